"""Which example comes next: a mixture as a sequence of draws that any process can repeat, stop and go on with.

    drawing = Drawing({"copy": 100, "sort": 40}, {"copy": 0.7, "sort": 0.3}, seed=0)
    drawing.draw()                      # (task, row): an index into drawing.names, and a row of that task's data
    drawing.set_shares({"copy": 0.5, "sort": 0.5}, at=1_000)
    state = drawing.state_dict()        # plain JSON values; a few numbers per task, however far it has come

Tasks come by Tijdeman's rule for the chairman assignment problem (1980): of the tasks that are behind their share, the
one that would soonest be a whole example behind. No prefix is then off by as much as one example per task, which
independent draws are by the square root of its length; a batch is as near to the mixture as whole examples can be.
Rows of a task come without replacement, in an order that depends on the seed, the task's name and the epoch alone, so
that mixtures and runs are compared on the same data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.amounts import task_stream
from taskpgm.limits import LARGEST_NUMBER, shown
from taskpgm.types import FloatArray, InputError, IntArray

FORMAT = "taskpgm-drawing/1"
SUM_TOLERANCE = 1e-9
LEAST_SHARE = 1e-300
"""The inverse of a smaller one is no number; it is not drawn in any run either way."""
ROUNDING = 1e-9
"""How far sums of shares may be off by rounding before a task counts as behind."""


def epoch_order(seed: int, name: str, epoch: int, size: int) -> IntArray:
    """(size,) the rows of a task in the order in which one pass over its data takes them."""
    return task_stream(seed, name, epoch).permutation(size)


class Drawing:
    """The sequence of draws of a mixture, at some position of it.

    names: the tasks, sorted, so that the order in which they are given changes nothing. position: draws so far.
    counts: (n,) how many of them each task got. sizes: (n,) the tasks' examples. shares: (n,) of the next draws.
    """

    def __init__(self, sizes: Mapping[str, int], shares: Mapping[str, float], seed: int = 0) -> None:
        """
        Args:
            sizes: examples of each task.
            shares: of the draws, by task name; not negative, scaled to add up to 1. Tasks of share 0 are never drawn.
            seed: not negative.

        Raises:
            InputError: shares that are no mixture of these tasks, or a share for a task without examples.
        """
        if seed < 0:
            raise InputError(f"seed {seed}: expected a whole number that is not negative.")
        self.names = tuple(sorted(sizes))
        self.seed = seed
        self.sizes: IntArray = np.array([sizes[name] for name in self.names], dtype=np.int64)
        self.position = 0
        self.counts: IntArray = np.zeros(len(self.names), dtype=np.int64)
        self._behind: FloatArray = np.zeros(len(self.names))
        self._changes: list[tuple[int, FloatArray]] = []
        self._orders: dict[int, tuple[int, IntArray]] = {}
        self._use(self._checked(shares))

    @property
    def planned(self) -> FloatArray:
        """(n,) how many examples of each task the shares would have given so far; adds up to the position."""
        return self.counts + self._behind

    @property
    def epochs(self) -> FloatArray:
        """(n,) how often each task's data was gone through so far; 0 for a task without data."""
        return self.counts / np.maximum(self.sizes, 1)

    def draw(self) -> tuple[int, int]:
        """The next example: (index of its task in names, row of that task's data)."""
        task = self.draw_task()
        epoch, place = divmod(int(self.counts[task]) - 1, int(self.sizes[task]))
        known = self._orders.get(task)
        if known is None or known[0] != epoch:
            known = (epoch, epoch_order(self.seed, self.names[task], epoch, int(self.sizes[task])))
            self._orders[task] = known
        return task, int(known[1][place])

    def draw_task(self) -> int:
        """The task of the next example alone: the same step of the sequence as draw takes."""
        behind = self._behind
        behind += self.shares
        waits = np.where(behind >= self._enough, (self._most - behind) * self._spacing, np.inf)
        task = int(waits.argmin())
        behind[task] -= 1.0
        self.counts[task] += 1
        self.position += 1
        self._take_up()
        return task

    def draw_tasks(self, count: int) -> IntArray:
        """(count,) the tasks of the next examples."""
        return np.array([self.draw_task() for _ in range(count)], dtype=np.int64)

    def set_shares(self, shares: Mapping[str, float], at: int | None = None) -> None:
        """Draw by other shares from a position on (the next draw where not given); part of the state until then.

        Raises:
            InputError: no mixture of these tasks, or a position that is drawn already or before an earlier change.
        """
        at = self.position if at is None else at
        earliest = max(self.position, self._changes[-1][0] if self._changes else 0)
        if at < earliest:
            raise InputError(f"shares from draw {at} on: draws up to {earliest} are settled; choose a later one.")
        value = self._checked(shares)
        if self._changes and self._changes[-1][0] == at:
            self._changes.pop()
        self._changes.append((at, value))
        self._take_up()

    def copy(self) -> Drawing:
        """Another drawing that goes on from here by itself."""
        other = Drawing(dict(zip(self.names, self.sizes.tolist(), strict=True)), self._named(self.shares), self.seed)
        other.load_state_dict(self.state_dict())
        return other

    # --------------------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the sequence depends on, as plain JSON values."""
        return {
            "format": FORMAT,
            "seed": self.seed,
            "sizes": dict(zip(self.names, self.sizes.tolist(), strict=True)),
            "position": self.position,
            "counts": self.counts.tolist(),
            "behind": self._behind.tolist(),
            "shares": self.shares.tolist(),
            "changes": [[at, shares.tolist()] for at, shares in self._changes],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken.

        Raises:
            InputError: a state of other data, another seed or another version.
        """
        found = state.get("format") if isinstance(state, Mapping) else type(state).__name__
        if found != FORMAT:
            raise InputError(f"not the state of a sampler (format {shown(found)}, expected {FORMAT!r}).")
        try:
            sizes = {str(name): int(size) for name, size in dict(state["sizes"]).items()}
            seed, position = state["seed"], int(state["position"])
            counts = self._numbers(np.array(state["counts"], dtype=np.int64))
            behind, shares = (self._numbers(np.array(state[key], dtype=np.float64)) for key in ("behind", "shares"))
            changes = [(int(at), self._numbers(np.array(value, dtype=np.float64))) for at, value in state["changes"]]
            if min(position, counts.min(), shares.min(), 0) < 0 or not 0.0 < shares.sum() < 1.0 + SUM_TOLERANCE:
                raise ValueError("negative amounts, or shares that do not add up to 1")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"damaged state of a sampler ({type(error).__name__}: {error}).") from error
        self._check_same(sizes, seed)
        self._use(shares)
        self.position, self.counts, self._behind = position, counts, behind
        self._changes = changes

    def _numbers(self, values: NDArray[Any]) -> NDArray[Any]:
        """A finite number for each task."""
        if values.shape != self.counts.shape or not np.all(np.abs(values) < LARGEST_NUMBER):
            raise ValueError(f"shape {values.shape}, or numbers that are too large or not finite")
        return values

    def _check_same(self, sizes: Mapping[str, int], seed: int) -> None:
        mine = dict(zip(self.names, self.sizes.tolist(), strict=True))
        if sizes != mine:
            name = min(name for name, _ in sizes.items() ^ mine.items())
            raise InputError(
                f"the state of the sampler is of other data: task {name!r} had {sizes.get(name, 0)} examples and has"
                f" {mine.get(name, 0)}; go on with the data the run began with, or begin anew."
            )
        if seed != self.seed:
            raise InputError(f"the state of the sampler has seed {seed}, not {self.seed}; give it that seed.")

    # -------------------------------------------------------------------------------------------------------- shares

    def _take_up(self) -> None:
        """Use the shares that begin here, if any do."""
        if self._changes and self._changes[0][0] == self.position:
            self._use(self._changes.pop(0)[1])

    def _use(self, shares: FloatArray) -> None:
        """Take up other shares. What a task that leaves was behind or ahead goes to the others by their shares."""
        active = shares > 0.0
        left = float(self._behind[~active].sum())
        self._behind = np.where(active, self._behind + left * shares, 0.0)
        n = int(active.sum())
        slack = 1.0 / (2 * n - 2) if n > 1 else 0.0
        self._most, self._enough = 1.0 - slack, np.where(active, slack - ROUNDING, np.inf)
        self._spacing = 1.0 / np.where(active, np.maximum(shares, LEAST_SHARE), 1.0)
        self.shares: FloatArray = shares

    def _checked(self, shares: Mapping[str, float]) -> FloatArray:
        unknown = [name for name in shares if name not in self.names and shares[name] != 0.0]
        if unknown:
            raise InputError(f"share for {unknown[0]!r}: there is no data of a task of that name; give its data too.")
        missing = [name for name in self.names if name not in shares]
        if missing:
            raise InputError(f"no share for task {missing[0]!r}; a share of 0 leaves its data out.")
        values = np.array([float(shares[name]) for name in self.names])
        if not len(values) or not np.all(np.isfinite(values)) or values.min() < 0.0 or values.sum() <= 0.0:
            raise InputError(f"shares {self._named(values)}: expected finite numbers, none negative and not all 0.")
        empty = [name for name, size, share in zip(self.names, self.sizes, values, strict=True) if share and size < 1]
        if empty:
            raise InputError(f"task {empty[0]!r} has a share and no examples; give it data or a share of 0.")
        return np.asarray(values / values.sum())

    def _named(self, values: FloatArray) -> dict[str, float]:
        return dict(zip(self.names, values.tolist(), strict=True))
