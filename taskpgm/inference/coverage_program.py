"""The coverage energy as a convex program in cvxpy, finished by Newton steps.

Every shape of every learning curve, and forgetting, is a power of an affine expression, (1 + e / scale)^-power, which
cvxpy turns into second-order cones; the corners of envelopes are Huber functions. The losses take the place of a
pairwise energy's terms in a `ConvexProgram`; the rest is the same.

    solve(coverage_network, CoverageProgram())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from taskpgm.coverage import CoverageNetwork
from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.inference.convex_program import ConvexProgram, answered
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.program_parts import CONSTRAINTS, PRIOR, Part, Written
from taskpgm.judge import Problem
from taskpgm.learning_curves import LearningCurves
from taskpgm.types import FloatArray

LEAST_SHARE = 1e-9  # of a task's possible fall: shapes below it do not need a cone of their own


@dataclass(frozen=True)
class CoverageProgram(Method):
    """cvxpy with the first of `solvers` that succeeds; the others are tried in turn where the gap is not closed.

    program: one to use again for every network that it fits: another prior, tau, bounds or limits.
    """

    solvers: tuple[str, ...] = ("CLARABEL", "SCS")
    program: ConvexProgram | None = None

    name: ClassVar[str] = "coverage-program"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return None if isinstance(problem, CoverageNetwork) else "takes a CoverageNetwork; for others use SimplexQP"

    def run(self, problem: CoverageNetwork, deadline: Deadline, seed: int) -> Answer:
        program = self.program
        if program is None or not program.fits(problem):
            program = ConvexProgram(problem, COVERAGE_PARTS, tight=False)
        return answered(program, problem, self.solvers, deadline)


def losses(p: Any, network: CoverageNetwork) -> Written:
    """The sum of all that falls. Its hundreds of numbers are no parameters: that would take longer than it saves."""
    total: Any = 0.0
    for part in network.falling:
        # exposures in shares of the largest that any mixture gives: numbers near 1 for the solver
        largest = np.maximum(part.reach.max(axis=0), 1e-300)
        exposure = (part.reach / largest).T @ p
        if isinstance(part.curves, EnvelopeCurves):
            total += _hinges(part.curves, part.weights, exposure, largest)
        else:
            total += _powers(part.curves, part.weights, exposure, largest)
    return Written(total, constants=[(constants(network), constants)])


def _powers(curves: LearningCurves, v: FloatArray, exposure: Any, largest: FloatArray) -> Any:
    import cvxpy as cp

    amounts = v[:, None] * curves.weights * curves.drops
    total: Any = float(v @ (curves.weights * curves.floors).sum(axis=1))
    for power in np.unique(curves.powers):
        task, shape = np.nonzero((curves.powers == power) & (amounts > LEAST_SHARE * amounts.max()))
        if len(task):
            grown = 1.0 + cp.multiply(largest[task] / curves.scales[task, shape], exposure[task])
            total += amounts[task, shape] @ cp.power(grown, -float(power))
    return total


def _hinges(curves: EnvelopeCurves, v: FloatArray, exposure: Any, largest: FloatArray) -> Any:
    """A rounded hinge is a Huber function of what is positive: hinge(t; h) = h/4 huber((t / h + 1)+, 2)."""
    import cvxpy as cp

    task, corner = np.nonzero(v[:, None] * curves.bends_at_knots > 0.0)
    total: Any = float(v @ curves.floors)
    if len(task):
        knot, width = curves.knots[task, corner], curves.widths[task, corner]
        past = knot / width + 1.0 - cp.multiply(largest[task] / width, exposure[task])
        total += (0.25 * v[task] * curves.bends_at_knots[task, corner] * width) @ cp.huber(cp.pos(past), 2.0)
    return total


def constants(network: CoverageNetwork) -> FloatArray:
    """Every number that the written losses depend on."""
    numbers = [(part.reach, part.weights, *part.curves.parameters) for part in network.falling]
    return np.concatenate([np.ravel(values) for part in numbers for values in part])


LOSSES = Part("the losses", "energy", lambda network: 1, losses, "losses fall with exposure, ever more slowly")
COVERAGE_PARTS = (LOSSES, PRIOR, *CONSTRAINTS)
