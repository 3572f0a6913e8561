"""The coverage energy as a convex program in cvxpy, finished by Newton steps.

Every shape of every learning curve is a power of an affine expression, (1 + e / scale)^-power, which cvxpy turns into
second-order cones (see `taskpgm.inference.program_parts`).

    solve(coverage_network, CoverageProgram())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.finishing import answer_of
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.program_parts import COVERAGE_PARTS
from taskpgm.judge import Problem


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
        return answer_of(ConvexProgram(problem, COVERAGE_PARTS), problem, self.solvers, deadline)
