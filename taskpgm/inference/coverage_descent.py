"""The coverage energy of many tasks: Newton's method inside the feasible set, finished by Newton steps on its faces.

A convex program in cvxpy writes a cone for each shape of each curve, and its solver factorises all of them together;
here a step is one system of as many equations as there are tasks: 300 take a fifth of a second, 2,000 half a minute.

    solve(coverage_network, CoverageDescent())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.convex_program import SOLVED_GAP, finished
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.interior import Derivatives, descended
from taskpgm.judge import Problem, certificate
from taskpgm.learning_curves import LearningCurves
from taskpgm.room import Room
from taskpgm.types import FloatArray

NEAR, LAST = 1e-8, 1e-12
"""Nats that the logarithms weigh when steps on the faces are tried, which nearly always end it; and at last."""


@dataclass(frozen=True)
class CoverageDescent(Method):
    """Takes smooth curves, and constraints that leave some room. The deadline is heeded between two descents."""

    name: ClassVar[str] = "coverage-descent"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        if not isinstance(problem, CoverageNetwork):
            return "takes a CoverageNetwork; for others use SimplexQP"
        if not isinstance(problem.curves, LearningCurves):
            return "takes curves without corners; use CoverageProgram for envelopes"
        if Room.of(problem.feasible) is None:
            return "the constraints leave no room between them; use CoverageProgram"
        return None

    def run(self, problem: CoverageNetwork, deadline: Deadline, seed: int) -> Answer:
        room = Room.of(problem.feasible)
        assert room is not None
        start = room.centre if problem.violation(problem.prior) > 0.0 else problem.prior
        losses = CoveredLosses(problem)
        inside = descended(losses, room, start, last=NEAR)
        point = finished(problem, inside)
        if not deadline.passed() and certificate(problem, point).gap > SOLVED_GAP * problem.scale:
            deadline.note(point)
            last = finished(problem, descended(losses, room, inside, first=NEAR, last=LAST))
            point = min(point, last, key=lambda each: certificate(problem, each).gap)
        return Answer(point, None, not deadline.passed())


@dataclass(frozen=True, eq=False)
class CoveredLosses:
    """A coverage energy for `taskpgm.interior`: no part of it bends downwards."""

    network: CoverageNetwork

    def value(self, p: FloatArray) -> float:
        return self.network.smooth(p)

    def derivatives(self, p: FloatArray, moving: NDArray[np.intp]) -> Derivatives:
        form = self.network.smooth_hessian(p)
        whole = len(moving) == len(form)
        return Derivatives(self.network.smooth_gradient(p)[moving], form if whole else form[np.ix_(moving, moving)])
