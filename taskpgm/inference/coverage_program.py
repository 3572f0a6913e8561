"""The coverage energy as a convex program in cvxpy, finished by Newton steps.

Every shape of every learning curve is a power of an affine expression, (1 + e / scale)^-power, which cvxpy turns into
second-order cones. The answer is then finished as `SimplexQP` finishes its own.

    solve(coverage_network, CoverageProgram())
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.active_set import into_bounds, polish
from taskpgm.inference.constrained import settle
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.judge import Problem, certificate
from taskpgm.types import FloatArray

SOLVED_GAP = 1e-10
LEAST_SHARE = 1e-9  # of a task's possible fall: shapes below it do not need a cone of their own


@dataclass(frozen=True)
class CoverageProgram(Method):
    """cvxpy with the first of `solvers` that succeeds; the others are tried in turn where the gap is not closed."""

    solvers: tuple[str, ...] = ("CLARABEL", "SCS")

    name: ClassVar[str] = "coverage-program"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return None if isinstance(problem, CoverageNetwork) else "takes a CoverageNetwork; for others use SimplexQP"

    def run(self, problem: CoverageNetwork, deadline: Deadline, seed: int) -> Answer:
        best: FloatArray | None = None
        best_gap, statuses, message = np.inf, {}, ""
        for solver in self.solvers:
            point, statuses[solver] = _solve_with(solver, problem, deadline)
            if point is None:
                message = f"{solver} ended with {statuses[solver]}"
                continue
            point = finished(problem, point)
            gap = certificate(problem, point).gap
            if best is None or gap < best_gap:
                best, best_gap = point, gap
            if best_gap <= SOLVED_GAP * problem.scale or deadline.passed():
                break
        stats = {"solver_status": statuses}
        return Answer(best, None, not deadline.passed(), "" if best is not None else message, stats)


def finished(problem: CoverageNetwork, point: FloatArray) -> FloatArray:
    """The mixture after Newton steps from a solver's."""
    return polish(problem, into_bounds(point, problem)) if problem.only_bounds else settle(problem, point)


def _solve_with(solver: str, problem: CoverageNetwork, deadline: Deadline) -> tuple[FloatArray | None, str]:
    import cvxpy as cp

    program, p = _program(problem)
    options: dict[str, Any] = {}
    if np.isfinite(deadline.left()):
        options["time_limit" if solver == "CLARABEL" else "time_limit_secs"] = max(deadline.left(), 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "solution may be inaccurate": the certificate says by how much
        try:
            program.solve(solver=solver, **options)
        except cp.error.SolverError as error:
            return None, f"error: {str(error).splitlines()[0]}"
    if p.value is None or not np.all(np.isfinite(p.value)):
        return None, str(program.status)
    return np.asarray(p.value, dtype=np.float64), str(program.status)


def _program(network: CoverageNetwork) -> tuple[Any, Any]:
    import cvxpy as cp

    p = cp.Variable(len(network))
    objective = _expected_loss(network, p)
    if network.tau > 0.0:
        objective += network.tau * cp.sum(cp.rel_entr(p, network.prior))
    constraints = [cp.sum(p) == 1.0, p >= network.lower, p <= network.upper]
    constraints += [row.coefficients @ p <= row.limit for row in network.halfspaces]
    constraints += [cp.sum(cp.rel_entr(p, ball.centre)) <= ball.limit for ball in network.balls]
    return cp.Problem(cp.Minimize(objective), constraints), p


def _expected_loss(network: CoverageNetwork, p: Any) -> Any:
    """sum_j v_j loss_j(e_j) without the floors, which no mixture changes."""
    import cvxpy as cp

    curves = network.curves
    amounts = network.target_weights[:, None] * curves.weights * curves.drops
    # exposures in shares of the largest that any mixture gives: numbers near 1 for the solver
    largest = np.maximum(network.reach.max(axis=0), 1e-300)
    exposure = (network.reach / largest).T @ p
    total: Any = 0.0
    for power in np.unique(curves.powers):
        task, shape = np.nonzero((curves.powers == power) & (amounts > LEAST_SHARE * amounts.max()))
        if len(task):
            grown = 1.0 + cp.multiply(largest[task] / curves.scales[task, shape], exposure[task])
            total += amounts[task, shape] @ cp.power(grown, -float(power))
    return total
