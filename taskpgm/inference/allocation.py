"""What is left of a budget shared out by dynamic programming, on quanta that are halved again and again.

The first round finds the best of all mixtures in whole quanta, whether curves are convex or not. Every further round
halves the quanta and looks again at a few of them to either side of each weight, by the same dynamic program: energies
never rise, constraints are kept exactly, and after twenty-odd rounds weights are right to ten digits. Nothing makes the
first round's quanta fine enough in general: the judge's bound (`taskpgm.envelope_bound`) says what is left to prove.

    solution = solve(separable_network, Allocation())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.constraints import EpochCap, Group
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.min_plus import QuantaGroup, allocate, crossing
from taskpgm.judge import Problem
from taskpgm.separable import SeparableNetwork
from taskpgm.types import FloatArray, IntArray

LEAST_QUANTA, MOST_QUANTA, QUANTA_A_TASK = 1024, 4096, 8
DOUBLINGS = 4
SLACK = 1e-9


@dataclass(frozen=True)
class Allocation(Method):
    """`quanta` of the first round (8 a task, from 1,024 to 4,096, where not given), `halvings` after it.

    In every later round a weight moves by up to `reach` of its quanta. The deadline is heeded between rounds.
    """

    quanta: int | None = None
    halvings: int = 22
    reach: int = 3

    name: ClassVar[str] = "allocation"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = False

    def refuses(self, problem: Problem) -> str | None:
        if not isinstance(problem, SeparableNetwork):
            return "takes a SeparableNetwork"
        others = [each for each in problem.constraints if not isinstance(each, Group | EpochCap)]
        if others:
            return f"a dynamic program over quanta takes groups, no {type(others[0]).__name__}: use EnvelopeProgram"
        pair = crossing(Quanta.of(problem, 1).groups)
        if pair is not None:
            shown = " and ".join(str([problem.names[i] for i in sorted(group.tasks)]) for group in pair)
            return f"groups {shown} overlap, and neither holds the other: use EnvelopeProgram"
        return None

    def run(self, problem: SeparableNetwork, deadline: Deadline, seed: int) -> Answer:
        count = self.quanta or min(max(LEAST_QUANTA, QUANTA_A_TASK * len(problem)), MOST_QUANTA)
        found = None
        for quanta in (count << k for k in range(DOUBLINGS)):  # tight bounds may leave too few levels
            grid = Quanta.of(problem, quanta)
            found = grid.best(problem, np.zeros(len(problem), np.int64), grid.most)
            if found is not None:
                break
        if found is None:
            return Answer(None, message=f"no mixture in {quanta} quanta keeps the bounds; use EnvelopeProgram")
        rounds = 0
        while rounds < self.halvings and not deadline.passed():
            deadline.note(grid.mixture(problem, found))
            grid, found = Quanta.of(problem, 2 * grid.quanta), 2 * found
            low, high = np.maximum(found - self.reach, 0), np.minimum(found + self.reach, grid.most)
            again = grid.best(problem, low, high)
            found, rounds = found if again is None else again, rounds + 1
        return Answer(grid.mixture(problem, found), None, rounds == self.halvings, stats={"quanta": quanta})


@dataclass(frozen=True, eq=False)
class Quanta:
    """What the bounds leave to decide, in equal parts: weights are origin + step x with sum x = quanta, 0 <= x <= most.

    Counted up from the lower bounds or, where those above leave less room, down from the upper ones (step < 0): so that
    without groups there is a point however close the bounds are.
    """

    quanta: int
    origin: FloatArray
    step: float
    most: IntArray
    groups: tuple[QuantaGroup, ...]

    @classmethod
    def of(cls, network: SeparableNetwork, quanta: int) -> Quanta:
        above, below = 1.0 - float(network.lower.sum()), float(network.upper.sum()) - 1.0
        origin, step = (network.lower, above / quanta) if above <= below else (network.upper, -below / quanta)
        if min(above, below) <= 0.0:
            return cls(quanta, origin, 0.0, np.full(len(network), quanta, np.int64), ())
        most = np.minimum(np.floor((network.upper - network.lower) / abs(step) + SLACK), quanta).astype(np.int64)
        groups = []
        for group in network.constraints:
            if isinstance(group, Group):
                tasks = frozenset(network.names.index(name) for name in group.tasks)
                fixed = float(origin[sorted(tasks)].sum())
                low, high = sorted((limit - fixed) / step for limit in (group.lower, group.upper))
                groups.append(QuantaGroup(tasks, *_whole(low, high)))
        return cls(quanta, origin, step, most, tuple(groups))

    def best(self, network: SeparableNetwork, low: IntArray, high: IntArray) -> IntArray | None:
        """(n,) the best quanta from low to high, None where none keep all bounds."""
        tables = network.tables(low, high, self.step, self.origin)
        rows = [row[: h - a + 1] for row, a, h in zip(tables, low, high, strict=True)]
        return allocate(rows, low.tolist(), self.quanta, self.groups)

    def mixture(self, network: SeparableNetwork, x: IntArray) -> FloatArray:
        return np.clip(self.origin + self.step * x, network.lower, network.upper)


def _whole(low: float, high: float) -> tuple[int, int]:
    """The whole numbers from low to high; the two around them where there is none: off by a quantum, which shrinks."""
    first, last = int(np.ceil(low - SLACK)), int(np.floor(high + SLACK))
    return (first, last) if first <= last else (last, first)
