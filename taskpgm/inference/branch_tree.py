"""The boxes that a branch and bound has still to search, and the split of the couplings that bounds them.

tree = Tree(problem, incumbent, tolerance=1e-10, tie=1e-12)
tree.try_split(*tree.no_split())        # the whole box, bounded by the least eigenvalue alone
tree.explore(deadline)
tree.energy, tree.bound
"""

from __future__ import annotations

import time

import numpy as np

from taskpgm.inference.branch_relaxation import least_eigenvalue
from taskpgm.inference.method import Deadline
from taskpgm.inference.sharing import SharesQuanta
from taskpgm.types import FloatArray, IntArray

FIRST_CAPACITY = 64
SECONDS_PER_CALL = 0.03
BEST_FIRST_NUMBERS = 20_000_000  # waiting boxes times tasks, beyond which memory is saved by going depth-first only
WORTH_SHRINKING = 0.95
PROBED_AT_ONCE = 16
LEAST_PROGRESS = 0.1  # of the gap: the search begins anew for a split that closes more


class Tree:
    """Boxes of levels of the tasks `kept`: no point better than the incumbent gives any quanta to the others.

    best and energy: the incumbent's. A box is dropped once its bound reaches energy - tolerance. Points whose energies
    differ by at most `tie` are ties.
    """

    def __init__(self, problem: SharesQuanta, incumbent: IntArray, tolerance: float, tie: float) -> None:
        self.problem, self.quanta, self.tolerance, self.tie = problem, problem.quanta, tolerance, tie
        self.pairs = np.array(problem.coupling)
        self.singles = np.zeros((len(problem), int(problem.maximum.max()) + 1))
        for i, energies in enumerate(problem.node_energies):
            self.singles[i, problem.minimum[i] : problem.maximum[i] + 1] = energies
        self.kept = np.arange(len(problem))
        self.lower, self.upper = problem.minimum.astype(np.int32), problem.maximum.astype(np.int32)
        self.best = np.array(incumbent, dtype=np.int64)
        self.energy = self._energy_of(self.best)
        self.point = self.best.astype(np.float64)
        self.floor, self.error = -np.inf, 0.0
        self.waiting = self.visited = self.ties = 0
        self.pace = 1

    @property
    def bound(self) -> float:
        """A lower bound of the least energy, less what rounding may have added to it."""
        reached = self.energy - max(self.tolerance, 0.0)
        if self.waiting:
            reached = min(reached, float(self.bounds[: self.waiting].min()))
        return reached - 1e-12 * (1.0 + abs(self.energy)) - self.error

    def offer(self, levels: IntArray, deadline: Deadline) -> None:
        """Another incumbent, taken where it is better: found elsewhere, it says which boxes need no search, no more."""
        energy = self._energy_of(levels)
        if energy < self.energy:
            if energy < self.energy - self.tie:
                self.ties = 0
            self.best, self.energy = np.array(levels, dtype=np.int64), energy
            deadline.note(self.best)

    def cut(self, energy: float) -> None:
        """Look only for points of less energy: one that is not of this tree is known. `best` may then stay above it."""
        self.energy = min(self.energy, energy)

    def no_split(self) -> tuple[FloatArray, FloatArray]:
        """The remainder and diagonal that leave all couplings to the relaxation."""
        return np.zeros_like(self.pairs), np.zeros(len(self.kept))

    def try_split(self, remainder: FloatArray, diagonal: FloatArray) -> float:
        """Bound and tighten the whole box with C = pairs - remainder - diag(diagonal); by how much its bound rose.

        C is made convex by whatever more has to go off its diagonal. Where the bound rose, the search goes on with this
        split: anew, if it rose by much, because boxes that a weak bound has left over take long with a strong one too.
        """
        coupling, nodes = convex_part(self.pairs, self.singles, remainder, diagonal)
        self.error = max(self.error, eigenvalue_error(coupling, self.quanta))
        bound, point = self._root_bound(coupling, remainder, nodes)
        gap, gained, self.floor = self.energy - self.floor, bound - self.floor, max(bound, self.floor)
        if gained > 0.0:
            self.coupling, self.remainder, self.nodes, self.point = coupling, remainder, nodes, point
            if not self.waiting or gained > LEAST_PROGRESS * gap or self.floor >= self.energy - self.tolerance:
                self._start_anew()
        return gained

    def probe(self, deadline: Deadline) -> None:
        """Fix tasks of the whole box by probing: first those that seem dearest, or cheapest, as long as it helps."""
        cost = self.coupling @ self.point + self.nodes[:, 1] - self.nodes[:, 0]
        for rising, order in ((True, np.argsort(-cost)), (False, np.argsort(cost))):
            for start in range(0, len(order), PROBED_AT_ONCE):
                if deadline.passed() or not self._probe(order[start : start + PROBED_AT_ONCE], rising):
                    break
        if self.waiting:
            boxes = self.boxes[: self.waiting]
            np.maximum(boxes[:, 0], self.lower, out=boxes[:, 0])
            np.minimum(boxes[:, 1], self.upper, out=boxes[:, 1])

    def drop_tasks(self) -> IntArray | None:
        """Forget the tasks that can get no quanta, where that saves work; the places of the others among those kept."""
        places = np.flatnonzero(self.upper > 0)
        if not self.waiting or len(places) > WORTH_SHRINKING * len(self.kept):
            return None
        for name in ("kept", "singles", "nodes", "point", "lower", "upper"):
            setattr(self, name, getattr(self, name)[places])
        for name in ("pairs", "coupling", "remainder"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[np.ix_(places, places)]))
        self._start_anew()
        return places

    def explore(self, deadline: Deadline, seconds: float = np.inf, boxes: float = np.inf) -> None:
        """Search until nothing waits, or the deadline, the seconds or the number of boxes are used up."""
        end, last = time.monotonic() + seconds, self.visited + boxes
        while self.waiting and self.visited < last and not deadline.passed() and time.monotonic() < end:
            self._take_the_least_first()
            start, energy = time.monotonic(), self.energy
            self._search(int(min(self.pace, last - self.visited)))
            deadline.note(self.best if self.energy < energy else None, self.bound)
            ratio = SECONDS_PER_CALL / max(time.monotonic() - start, 1e-6)
            self.pace = max(1, int(self.pace * min(max(ratio, 0.5), 2.0)))

    def _energy_of(self, levels: IntArray) -> float:
        pairs = 0.5 * float(levels @ self.problem.coupling @ levels)
        nodes = zip(self.problem.node_energies, levels - self.problem.minimum, strict=True)
        return pairs + sum(float(energies[place]) for energies, place in nodes)

    def _root_bound(self, coupling: FloatArray, remainder: FloatArray, nodes: FloatArray) -> tuple[float, FloatArray]:
        """(bound, relaxed levels) of the whole box, which loses the levels that cannot be better than the incumbent."""
        from taskpgm.inference.branch_kernels import relax

        point, incumbent, energy = self.point.copy(), self.best[self.kept], self.energy
        extra, values, slopes = np.zeros(len(point)), np.zeros(nodes.shape), np.zeros(nodes.shape)
        bound, self.energy = relax(
            coupling,
            remainder,
            nodes,
            self.quanta,
            self.lower,
            self.upper,
            point,
            -np.inf,
            incumbent,
            energy,
            self.tolerance,
            extra,
            values,
            slopes,
        )
        if self.energy < energy - self.tie:
            self.ties = 0
        self._adopt(incumbent, energy)
        return bound, point

    def _probe(self, places: IntArray, rising: bool) -> int:
        """How many of the tasks at these places could be fixed."""
        from taskpgm.inference.branch_probing_kernels import probe

        incumbent, energy = self.best[self.kept], self.energy
        fixed, self.energy = probe(
            self.coupling,
            self.remainder,
            self.nodes,
            self.quanta,
            self.lower,
            self.upper,
            self.point,
            places,
            rising,
            incumbent,
            energy,
            self.tolerance,
        )
        if self.energy < energy - self.tie:
            self.ties = 0
        self._adopt(incumbent, energy)
        return int(fixed)

    def _start_anew(self) -> None:
        self.boxes = np.stack([self.lower, self.upper])[None].repeat(FIRST_CAPACITY, axis=0)
        self.starts = self.point[None].repeat(FIRST_CAPACITY, axis=0)
        self.bounds = np.full(FIRST_CAPACITY, self.floor)
        self.waiting, self.ties = int(self.floor < self.energy - self.tolerance), 0

    def _adopt(self, incumbent: IntArray, before: float) -> None:
        if self.energy < before:
            self.best[:] = 0
            self.best[self.kept] = incumbent

    def _take_the_least_first(self) -> None:
        """Put the box with the least bound on top of the stack, unless memory is short."""
        if self.waiting * len(self.kept) <= BEST_FIRST_NUMBERS:
            top, least = self.waiting - 1, int(self.bounds[: self.waiting].argmin())
            for array in (self.boxes, self.starts, self.bounds):
                array[[top, least]] = array[[least, top]]

    def _search(self, limit: int) -> None:
        from taskpgm.inference.branch_kernels import search

        if self.waiting + 2 > len(self.bounds):
            self.boxes, self.starts, self.bounds = (
                np.concatenate([array, array]) for array in (self.boxes, self.starts, self.bounds)
            )
        incumbent, energy = self.best[self.kept], self.energy
        self.waiting, self.energy, visited, self.ties = search(
            self.coupling,
            self.remainder,
            self.nodes,
            self.quanta,
            self.boxes,
            self.starts,
            self.bounds,
            self.waiting,
            incumbent,
            energy,
            self.tolerance,
            self.ties,
            self.tie,
            limit,
        )
        self.visited += visited
        self._adopt(incumbent, energy)


def convex_part(
    pairs: FloatArray, singles: FloatArray, remainder: FloatArray, diagonal: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(C, h): pairs - remainder - diag(diagonal) with the diagonal that makes it convex, and what the levels h_i(x_i)
    of `singles` (n, top + 1) are left with, so that their energy and 1/2 x'(C + remainder)x make up the whole.
    """
    coupling = pairs - remainder - np.diag(diagonal)
    coupling -= least_eigenvalue(coupling) * np.eye(len(coupling))
    return coupling, singles - 0.5 * np.outer(np.diag(coupling), np.arange(singles.shape[1]) ** 2)


def eigenvalue_error(coupling: FloatArray, quanta: int) -> float:
    """By how much a bound may be too high because the coupling is semidefinite only up to rounding."""
    return float(np.finfo(np.float64).eps * len(coupling) * np.abs(coupling).sum(axis=1).max() * quanta**2)
