"""The continuous mixture as a convex program in cvxpy, finished by Newton steps (`taskpgm.inference.convex_program`).

solution = solve(network, SimplexQP())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.convex_program import ConvexProgram, answered
from taskpgm.inference.method import DENSE, Answer, Deadline, Method
from taskpgm.inference.program_parts import CONVEXITY_TOLERANCE
from taskpgm.judge import Problem
from taskpgm.network import TaskNetwork


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
                " use a positive semidefinite similarity (shift or project it), levels and an exact method, or"
                " tp.global_solution"
            )
        return None

    def run(self, problem: TaskNetwork, deadline: Deadline, seed: int) -> Answer:
        program = self.program
        if program is None or not program.fits(problem):
            program = ConvexProgram(problem)
        return answered(
            program, problem, self.solvers, deadline, finish=self.polish, max_iterations=self.max_iterations
        )
