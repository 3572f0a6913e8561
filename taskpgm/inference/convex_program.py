"""A network as a convex program in cvxpy, translated once for all networks that differ from it in numbers only.

    program = ConvexProgram(network)
    program.solve(network, "CLARABEL")                      # (mixture, what the solver says)
    program.solve(network.changed(beta=2.0), "CLARABEL")    # translated already

What the program is made of is in `taskpgm.inference.program_parts`. An interior-point answer is accurate to about 1e-8;
a few Newton steps on the original energy then give weights that sit on their bounds exactly and a gap near the rounding
error.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.active_set import into_bounds, polish
from taskpgm.inference.constrained import settle
from taskpgm.inference.method import Answer, Deadline
from taskpgm.inference.program_parts import PARTS, Part, check
from taskpgm.judge import certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError

SOLVED_GAP = 1e-10


class ConvexProgram:
    """A network's program, for any number of networks that differ in parameters alone.

    parts: the terms and constraints to look for in the network. tight: ask the solvers for ten digits, not for eight.

    Raises:
        InputError: a part that is not convex, or whose parameters enter so that they could not be changed; it is named.
    """

    def __init__(self, network: Any, parts: Sequence[Part] = PARTS, *, tight: bool = True) -> None:
        import cvxpy as cp

        self.tight = tight
        self.p = cp.Variable(len(network))
        self.parts = tuple(parts)
        self.counts = self._counts(network)
        present = [part for part, count in zip(self.parts, self.counts, strict=True) if count]
        self.written = {part.name: part.write(self.p, network) for part in present}
        terms: list[Any] = []
        limits: list[Any] = []
        for part in present:
            expression = self.written[part.name].expression
            check(part, expression)
            if part.role == "energy":
                terms.append(expression)
            else:
                limits.append(expression == 0.0 if part.role == "equation" else expression <= 0.0)
        self.problem = cp.Problem(cp.Minimize(sum(terms)), limits)
        if not self.problem.is_dcp(dpp=True):
            raise InputError("convex program: its parts are convex, but not what they make together.")

    def fits(self, network: Any) -> bool:
        """Whether a network is this program with other parameters."""
        if len(network) != self.p.size or self._counts(network) != self.counts:
            return False
        kept = [pair for written in self.written.values() for pair in written.constants]
        return all(np.array_equal(array, own(network)) for array, own in kept)

    def set(self, network: Any) -> None:
        """Give every parameter the network's value."""
        for written in self.written.values():
            for parameter, value in written.settings:
                parameter.value = np.asarray(value(network), dtype=np.float64)

    def solve(
        self, network: Any, solver: str, *, seconds: float = np.inf, max_iterations: int | None = None
    ) -> tuple[FloatArray | None, str]:
        """(mixture (n,) or None, the solver's own verdict). Solvers that can start from their last answer do.

        Args:
            network: one that the program fits.
            solver: cvxpy's name of it.
            seconds, max_iterations: when the solver should give up.
        """
        import cvxpy as cp

        self.set(network)
        options = _options(solver, self.tight, seconds, max_iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "solution may be inaccurate": the certificate says by how much
            try:
                self.problem.solve(solver=solver, warm_start=True, enforce_dpp=True, **options)
            except cp.error.SolverError as error:
                return None, f"error: {str(error).splitlines()[0]}"
        value = self.p.value
        if value is None or not np.all(np.isfinite(value)):
            return None, str(self.problem.status)
        return np.array(value, dtype=np.float64), str(self.problem.status)

    def _counts(self, network: Any) -> tuple[int, ...]:
        return tuple(part.count(network) for part in self.parts)


def answered(
    program: ConvexProgram,
    problem: TaskNetwork | CoverageNetwork,
    solvers: Sequence[str],
    deadline: Deadline,
    *,
    finish: bool = True,
    max_iterations: int | None = None,
) -> Answer:
    """The best of the solvers' answers, asked in turn until one is certified; `finish` adds the Newton steps."""
    best: FloatArray | None = None
    best_gap, statuses, message = np.inf, {}, ""
    for solver in solvers:
        point, statuses[solver] = program.solve(problem, solver, seconds=deadline.left(), max_iterations=max_iterations)
        if point is None:
            message = f"{solver} ended with {statuses[solver]}"
            continue
        point = finished(problem, point) if finish else _near(problem, point)
        gap = certificate(problem, point).gap
        if best is None or gap < best_gap:
            best, best_gap = point, gap
        if best_gap <= SOLVED_GAP * problem.scale or deadline.passed():
            break
    stats = {"solver_status": statuses}
    return Answer(best, None, not deadline.passed(), "" if best is not None else message, stats)


def finished(problem: TaskNetwork | CoverageNetwork, point: FloatArray) -> FloatArray:
    """The mixture after Newton steps from one nearby."""
    return polish(problem, into_bounds(point, problem)) if problem.only_bounds else settle(problem, point)


def _near(problem: TaskNetwork | CoverageNetwork, point: FloatArray) -> FloatArray:
    """A solver's point with its roundings beyond a bound taken off."""
    return into_bounds(point, problem) if problem.only_bounds else np.clip(point, problem.lower, problem.upper)


def _options(solver: str, tight: bool, seconds: float, max_iterations: int | None) -> dict[str, Any]:
    """Each solver's own names for tolerances, a time limit and an iteration limit.

    CLARABEL keeps the settings of its last solve where none are given: all of them are.
    """
    options: dict[str, Any] = {}
    time_limit, iterations = "time_limit", "max_iter"
    if solver == "CLARABEL":
        digits = 1e-10 if tight else 1e-8
        options = {"tol_gap_abs": digits, "tol_gap_rel": digits, "tol_feas": digits}
        options |= {"time_limit": np.inf, "max_iter": 200}
    elif solver == "SCS":
        digits = 1e-9 if tight else 1e-5
        options, time_limit, iterations = {"eps_abs": digits, "eps_rel": digits}, "time_limit_secs", "max_iters"
    elif solver == "OSQP":
        options = {"eps_abs": 1e-9, "eps_rel": 1e-9, "polishing": True, "max_iter": 100_000}
    if np.isfinite(seconds):
        options[time_limit] = max(seconds, 1e-3)
    if max_iterations is not None:
        options[iterations] = max_iterations
    return options
