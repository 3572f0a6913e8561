"""Many networks in a row, each solved without being translated again where it differs from the last in numbers only.

betas = np.geomspace(0.01, 10.0, 50)
solutions = list(solve_many(network.changed(beta=beta) for beta in betas))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.driver import refusal, solve
from taskpgm.inference.program_parts import FACTORED_PARTS, PARTS
from taskpgm.inference.simplex_qp import SimplexQP
from taskpgm.network import TaskNetwork
from taskpgm.types import Solution

FACTORED = 40  # tasks up to which S is a parameter once it changes: as measured by benchmarks/convex.py


def solve_many(
    networks: Iterable[TaskNetwork], method: SimplexQP | None = None, *, deadline: float | None = None
) -> Iterator[Solution]:
    """Solutions, each judged as `solve` does it.

    Utilities, weights of the terms, prior, bounds and limits are parameters of one convex program, and from the second
    S of few tasks on S too; solvers that can start from their last answer do. Another S of many tasks, or another
    number of constraints, begins a new program.

    Args:
        networks: taken one at a time, so that one may depend on the solution before it.
        method: SimplexQP with its options.
        deadline: seconds for each network.
    """
    method = SimplexQP() if method is None else method
    for network in networks:
        kept = method.program
        if (kept is None or not kept.fits(network)) and refusal(network, method) is None:
            again = kept is not None and len(network) <= FACTORED
            method = replace(method, program=ConvexProgram(network, FACTORED_PARTS if again else PARTS))
        yield solve(network, method, deadline=deadline)
