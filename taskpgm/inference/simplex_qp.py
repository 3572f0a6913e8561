"""The continuous mixture as a convex program in cvxpy, finished by Newton steps on the tasks between their bounds.

S is centred first: on the simplex p'Sp = p'CSCp + 2 r'p + constant with C the projection on the sum-zero subspace, so
the quadratic form handed to cvxpy is positive semidefinite exactly when the energy is convex where it matters. An
interior-point answer is accurate to about 1e-8; a few active-set Newton steps on the original energy then give weights
that sit on their bounds exactly and a gap near the rounding error.

    solution = solve(network, SimplexQP())
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from taskpgm.inference.active_set import into_bounds, polish
from taskpgm.inference.constrained import settle
from taskpgm.inference.method import DENSE, Answer, Deadline, Method
from taskpgm.judge import Problem, certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray

CONVEXITY_TOLERANCE = 1e-9
SOLVED_GAP = 1e-10


@dataclass(frozen=True)
class SimplexQP(Method):
    """cvxpy with the first of `solvers` that succeeds; the others are tried in turn where the gap is not closed.

    The order is the outcome of `benchmarks/convex.py`. `polish=False` leaves out the Newton steps, for comparison.
    """

    solvers: tuple[str, ...] = ("CLARABEL", "SCS")
    polish: bool = True
    max_iterations: int | None = None

    name: ClassVar[str] = "simplex-qp"
    domain: ClassVar[Literal["mixture", "levels"]] = "mixture"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        if not isinstance(problem, TaskNetwork):
            return DENSE
        scale = float(np.abs(problem.similarity).max())
        if problem.lam > 0.0 and problem.curvature < -CONVEXITY_TOLERANCE * scale:
            return (
                f"the energy is not convex: S has the eigenvalue {problem.curvature:.3g} on the sum-zero subspace;"
                " use a positive semidefinite similarity, or levels and an exact method"
            )
        return None

    def run(self, problem: TaskNetwork, deadline: Deadline, seed: int) -> Answer:
        best: FloatArray | None = None
        best_gap, statuses, message = np.inf, {}, ""
        for solver in self.solvers:
            point, statuses[solver] = self._solve_with(solver, problem, deadline)
            if point is None:
                message = f"{solver} ended with {statuses[solver]}"
                continue
            if not problem.only_bounds:
                point = settle(problem, point) if self.polish else np.clip(point, problem.lower, problem.upper)
            else:
                point = into_bounds(point, problem)
                point = polish(problem, point) if self.polish else point
            gap = certificate(problem, point).gap
            if best is None or gap < best_gap:
                best, best_gap = point, gap
            solved = statuses[solver] == "optimal" and best_gap <= SOLVED_GAP * problem.scale
            if solved or deadline.passed():
                break
        finished = not deadline.passed()
        return Answer(best, None, finished, "" if best is not None else message, {"solver_status": statuses})

    def _solve_with(self, solver: str, problem: TaskNetwork, deadline: Deadline) -> tuple[FloatArray | None, str]:
        import cvxpy as cp

        program, p = _program(problem)
        options = _options(solver, deadline.left(), self.max_iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "solution may be inaccurate": the certificate says by how much
            try:
                program.solve(solver=solver, **options)
            except cp.error.SolverError as error:
                return None, f"error: {str(error).splitlines()[0]}"
        value = p.value
        if value is None or not np.all(np.isfinite(value)):
            return None, str(program.status)
        return np.asarray(value, dtype=np.float64), str(program.status)


def _program(network: TaskNetwork) -> tuple[Any, Any]:
    import cvxpy as cp

    n = len(network)
    centring = np.eye(n) - 1.0 / n
    half = network.similarity @ centring
    centred = centring @ half
    row = half.T @ np.full(n, 1.0 / n)
    p = cp.Variable(n)
    objective = (-network.beta * network.utility + network.lam * row) @ p
    if network.lam > 0.0:
        objective += 0.5 * network.lam * cp.quad_form(p, cp.psd_wrap(0.5 * (centred + centred.T)))
    if network.tau > 0.0:
        objective += network.tau * cp.sum(cp.rel_entr(p, network.prior))
    constraints = [cp.sum(p) == 1.0, p >= network.lower, p <= network.upper]
    constraints += [row.coefficients @ p <= row.limit for row in network.halfspaces]
    constraints += [cp.sum(cp.rel_entr(p, ball.centre)) <= ball.limit for ball in network.balls]
    return cp.Problem(cp.Minimize(objective), constraints), p


def _options(solver: str, seconds: float, max_iterations: int | None) -> dict[str, Any]:
    """Each solver's own names for tight tolerances, a time limit and an iteration limit."""
    tight: dict[str, Any] = {}
    time_limit, iterations = "time_limit", "max_iter"
    if solver == "CLARABEL":
        tight = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
    elif solver == "SCS":
        tight, time_limit, iterations = {"eps_abs": 1e-9, "eps_rel": 1e-9}, "time_limit_secs", "max_iters"
    elif solver == "OSQP":
        tight = {"eps_abs": 1e-9, "eps_rel": 1e-9, "polishing": True, "max_iter": 100_000}
    if np.isfinite(seconds):
        tight[time_limit] = max(seconds, 1e-3)
    if max_iterations is not None:
        tight[iterations] = max_iterations
    return tight
