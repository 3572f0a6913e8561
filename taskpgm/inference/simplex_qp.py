"""The continuous mixture as a convex program in cvxpy, finished by Newton steps on the tasks between their bounds.

The program is that of `taskpgm.inference.convex_program`. An interior-point answer is accurate to about 1e-8; a few
active-set Newton steps on the original energy then give weights that sit on their bounds exactly and a gap near the
rounding error.

    solution = solve(network, SimplexQP())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.active_set import into_bounds, polish
from taskpgm.inference.constrained import settle
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.method import DENSE, Answer, Deadline, Method
from taskpgm.inference.program_parts import CONVEXITY_TOLERANCE
from taskpgm.judge import Problem, certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray

SOLVED_GAP = 1e-10


@dataclass(frozen=True)
class SimplexQP(Method):
    """cvxpy with the first of `solvers` that succeeds; the others are tried in turn where the gap is not closed.

    The order is the outcome of `benchmarks/convex.py`. `polish=False` leaves out the Newton steps, for comparison.
    program: one to use again for every network that it fits; for many networks in a row see `solve_many`.
    """

    solvers: tuple[str, ...] = ("CLARABEL", "SCS")
    polish: bool = True
    max_iterations: int | None = None
    program: ConvexProgram | None = None

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
        program = self.program
        if program is None or not program.fits(problem):
            program = ConvexProgram(problem)
        for solver in self.solvers:
            point, statuses[solver] = self._solve_with(solver, program, problem, deadline)
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

    def _solve_with(
        self, solver: str, program: ConvexProgram, problem: TaskNetwork, deadline: Deadline
    ) -> tuple[FloatArray | None, str]:
        return program.solve(problem, solver, seconds=deadline.left(), max_iterations=self.max_iterations)
