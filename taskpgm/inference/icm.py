"""Iterated conditional modes: each node in turn takes the state of least energy given all others, until none changes.

The end is a local minimum (Besag 1986, "On the statistical analysis of dirty pictures"). With a budget no node can
change its level alone: in its turn it makes the best exchange with any other node, to any two states whose levels have
the same sum as before, or goes to a state of the same level. On the levels of tasks that is close to SwapSearch; here
tables and levels may be any.

The descents start from each node's cheapest state and from random assignments. Those that keep a budget are drawn
without rejecting any, by counting, node by node, in how many ways the first nodes can use each part of the budget.

    solution = solve(network, IteratedConditionalModes(restarts=20), seed=1)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from taskpgm.inference.decoding import within_budget
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

if TYPE_CHECKING:
    from taskpgm.inference.kernels import Layout

NO_START = "no assignment that keeps the budget was found"
PARTIAL_SUMS = 20_000_000


@dataclass(frozen=True)
class IteratedConditionalModes(Method):
    """Descends from the nodes' cheapest states and from `restarts` random assignments, and keeps the best.

    stats["descents"] counts the starts, stats["changes"] the changes of all of them.
    """

    restarts: int = 10

    name: ClassVar[str] = "icm"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        best: IntArray | None = None
        least, descents, changes, settled = np.inf, 0, 0, True
        descent = Descent(problem, deadline)
        for start in starts(problem, self.restarts, seed):
            states, made, settled = descent.run(start)
            descents, changes, energy = descents + 1, changes + made, problem.energy(states)
            if energy < least:
                best, least = states, energy
                deadline.note(states)
            if not settled:
                break
        return Answer(best, None, settled, NO_START if best is None else "", {"descents": descents, "changes": changes})


class Descent:
    """Goes downhill from any start in a network, which is laid out once."""

    def __init__(self, problem: PairwiseNetwork, deadline: Deadline) -> None:
        self.problem, self.deadline = problem, deadline

    def run(self, start: IntArray) -> tuple[IntArray, int, bool]:
        """Turn after turn until no node changes: (states, changes made, whether it ended before the deadline)."""
        if self.deadline.passed():
            return start, 0, False
        from taskpgm.inference.kernels import begin, settle

        layout, gain = self._laid_out
        search, changes = begin(layout, start), 0
        while not self.deadline.passed():
            made = settle(layout, search, gain)
            changes += made
            if made == 0:
                return search.states, changes, True
        return search.states, changes, False

    @cached_property
    def _laid_out(self) -> tuple[Layout, float]:
        from taskpgm.inference.kernels import lay_out, least_gain

        layout = lay_out(self.problem)
        return layout, least_gain(layout)


# -------------------------------------------------------------------------------------------------------------- starts


def starts(problem: PairwiseNetwork, restarts: int, seed: int) -> Iterator[IntArray]:
    """The nodes' cheapest states, made to keep the budget, then random assignments; none where none is found."""
    cheapest = within_budget(problem, [int(values.argmin()) for values in problem.unary])
    if cheapest is not None:
        yield cheapest
    random = np.random.default_rng(seed)
    sampler = BudgetSampler(problem, [np.zeros(len(values)) for values in problem.unary])
    for _ in range(restarts + (cheapest is None)):
        if np.isfinite(sampler.log_total):
            yield sampler.draw(1, random)[0]
        elif (repaired := within_budget(problem, random.integers(problem.states))) is not None:
            yield repaired


class BudgetSampler:
    """Independent nodes with given weights of their states, except that the levels add up to the budget, if any.

    logits: for each node the (d_i,) logarithms of the weights. log_total: the logarithm of the sum, over assignments
    that keep the budget, of the products of weights; -inf where there are none, or too many sums of levels to hold.
    """

    def __init__(self, problem: PairwiseNetwork, logits: Sequence[FloatArray]) -> None:
        self.logits = logits
        self.levels, self.left = _steps(problem)
        self.ways: list[FloatArray] = []
        self.log_total = -np.inf
        if self.left >= 0 and (len(problem) + 1) * (self.left + 1) <= PARTIAL_SUMS:
            self.ways.append(np.append(0.0, np.full(self.left, -np.inf)))
            for steps, values in zip(self.levels, logits, strict=True):
                self.ways.append(_used(self.ways[-1], steps, values))
            self.log_total = float(self.ways[-1][self.left])

    def draw(self, count: int, random: np.random.Generator) -> IntArray:
        """(count, n) assignments that keep the budget, with probabilities as the products of weights."""
        states = np.zeros((count, len(self.levels)), dtype=np.int64)
        rest = np.full(count, self.left)
        for i in reversed(range(len(self.levels))):
            before = rest[:, None] - self.levels[i]
            weights = np.where(before >= 0, self.ways[i][np.maximum(before, 0)] + self.logits[i], -np.inf)
            states[:, i] = (weights + random.gumbel(size=weights.shape)).argmax(axis=1)
            rest = rest - self.levels[i][states[:, i]]
        return states


def _used(ways: FloatArray, steps: IntArray, logits: FloatArray) -> FloatArray:
    """log of how much weight uses each number of steps, once a node with these steps is added."""
    more = np.full(len(ways), -np.inf)
    for step, logit in zip(steps.tolist(), logits.tolist(), strict=True):
        if step < len(ways):
            more[step:] = np.logaddexp(more[step:], ways[: len(ways) - step] + logit)
    return more


def _steps(problem: PairwiseNetwork) -> tuple[list[IntArray], int]:
    """Levels above each node's least, and the budget above all of those, in units of their greatest common divisor.

    The rest of the budget is -1 where it cannot be met; without a budget all steps and the rest are 0.
    """
    if problem.budget is None:
        return [np.zeros_like(values) for values in problem.levels], 0
    lowest = [int(values.min()) for values in problem.levels]
    steps = [values - low for values, low in zip(problem.levels, lowest, strict=True)]
    unit = max(1, int(np.gcd.reduce(np.concatenate(steps))))
    left, over = divmod(problem.budget - sum(lowest), unit)
    return [values // unit for values in steps], left if over == 0 and left >= 0 else -1
