"""The coverage energy as a convex program in cvxpy, finished by Newton steps.

Every shape of every learning curve, and forgetting, is a power of an affine expression, (1 + e / scale)^-power, which
cvxpy turns into second-order cones. The losses take the place of a pairwise energy's terms in a `ConvexProgram`; the
rest is the same.

    solve(coverage_network, CoverageProgram())
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.convex_program import ConvexProgram, answered
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.program_parts import CONSTRAINTS, PRIOR, Part, Written
from taskpgm.judge import Problem
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
    """The sum of all factors. Its hundreds of numbers are no parameters: that would take longer than it saves."""
    import cvxpy as cp

    curves, v, reach = network.factors.curves, network.factors.weights, network.factors.reach
    amounts = v[:, None] * curves.weights * curves.drops
    # exposures in shares of the largest that any mixture gives: numbers near 1 for the solver
    largest = np.maximum(reach.max(axis=0), 1e-300)
    exposure = (reach / largest).T @ p
    total: Any = float(v @ (curves.weights * curves.floors).sum(axis=1))
    for power in np.unique(curves.powers):
        task, shape = np.nonzero((curves.powers == power) & (amounts > LEAST_SHARE * amounts.max()))
        if len(task):
            grown = 1.0 + cp.multiply(largest[task] / curves.scales[task, shape], exposure[task])
            total += amounts[task, shape] @ cp.power(grown, -float(power))
    return Written(total, constants=[(own(network), own) for own in CONSTANTS])


CONSTANTS: tuple[Callable[[CoverageNetwork], FloatArray], ...] = (
    lambda network: network.factors.reach,
    lambda network: network.factors.weights,
    lambda network: network.factors.curves.weights,
    lambda network: network.factors.curves.floors,
    lambda network: network.factors.curves.drops,
    lambda network: network.factors.curves.scales,
    lambda network: network.factors.curves.powers,
)
LOSSES = Part("the losses", "energy", lambda network: 1, losses, "losses fall with exposure, ever more slowly")
COVERAGE_PARTS = (LOSSES, PRIOR, *CONSTRAINTS)
