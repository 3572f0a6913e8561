"""Descents from many mixtures, for expected losses where tasks teach each other.

Each is Newton's method inside the feasible set (`taskpgm.interior`). They start from the prior; from where the sum of
the curves' convex envelopes is least; from the best coarse allocation as if no task taught another; from mixtures drawn
by the seed; and from where the envelopes are least in the parts into which the mixtures are cut for the bound. It all
ends as soon as the bound is met: only the judge's own says how good the best is.

    solution = solve(transfer_network, TransferDescent(starts=16))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.envelope_bound import ENOUGH
from taskpgm.inference.active_set import into_bounds
from taskpgm.inference.allocation import Allocation
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.interior import SharedLosses, descended
from taskpgm.judge import Problem
from taskpgm.room import Room
from taskpgm.transfer_bound import boxes
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray

COARSE = 256  # quanta
UNEVEN = 0.3  # of the Dirichlet distribution: a few tasks have nearly all
AT_BOUND = 1e-9


@dataclass(frozen=True)
class TransferDescent(Method):
    """`starts`: descents from mixtures that are drawn. The deadline is heeded between descents."""

    starts: int = 6

    name: ClassVar[str] = "transfer-descent"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = False

    def refuses(self, problem: Problem) -> str | None:
        return None if isinstance(problem, TransferNetwork) else "takes a TransferNetwork"

    def run(self, problem: TransferNetwork, deadline: Deadline, seed: int) -> Answer:
        room = Room.of(problem.feasible)
        if room is None:
            return Answer(None, message="the constraints leave no room between them; use EnvelopeProgram")
        search = Search(problem, room, deadline)
        search.descend(room.centre if problem.violation(problem.prior) > 0.0 else problem.prior)
        finished = True
        for count, box in enumerate(boxes(problem, search.best)):
            if count > 0:
                search.descend(box.mixture)
            if search.energy - box.bound <= ENOUGH:
                break
            for start in self._others(problem, seed) if count == 1 else ():
                search.descend(start)
            finished = not deadline.passed()
            if not finished:
                break
        return Answer(search.best, None, finished, stats={"descents": search.descents, "boxes": count + 1})

    def _others(self, problem: TransferNetwork, seed: int) -> Iterator[FloatArray]:
        if Allocation().refuses(problem.alone) is None:
            point = Allocation(quanta=COARSE, halvings=0).run(problem.alone, Deadline(None), seed).point
            if point is not None:
                yield np.asarray(point)
        rng = np.random.default_rng(seed)
        for _ in range(self.starts):
            yield into_bounds(rng.dirichlet(np.full(len(problem), UNEVEN)), problem)


class Search:
    """best: (n,) the mixture of least energy so far. descents: how many led to it or to others."""

    def __init__(self, problem: TransferNetwork, room: Room, deadline: Deadline) -> None:
        self.problem, self.room, self.deadline = problem, room, deadline
        self.losses = SharedLosses(problem, problem.derivatives)
        self.best, self.energy, self.descents = room.centre, float("inf"), 0

    def descend(self, start: FloatArray) -> None:
        """Once the deadline has passed, only if there is no mixture yet."""
        if self.descents and self.deadline.passed():
            return
        found = self._settled(descended(self.losses, self.room, start))
        energy, self.descents = self.problem.energy(found), self.descents + 1
        if energy < self.energy:
            self.best, self.energy = found, energy
            self.deadline.note(found)

    def _settled(self, p: FloatArray) -> FloatArray:
        """With weights that are as good as at a bound on it, unless that breaks a constraint or costs anything."""
        problem, inside = self.problem, into_bounds(p, self.problem)
        low, high = inside - problem.lower < AT_BOUND, problem.upper - inside < AT_BOUND
        moved = into_bounds(np.where(low, problem.lower, np.where(high, problem.upper, inside)), problem, ~(low | high))
        kept = problem.violation(moved) <= max(problem.violation(inside), 0.0)
        return moved if kept and problem.energy(moved) <= problem.energy(inside) else inside
