"""From a convex program to an answer: the first solver that succeeds, and Newton steps after it.

An interior-point answer is accurate to about 1e-8; a few active-set Newton steps on the original energy then give
weights that sit on their bounds exactly and a gap near the rounding error.

    answer_of(ConvexProgram(network), network, ("CLARABEL", "SCS"), Deadline(None))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskpgm.energy import MixtureEnergy
from taskpgm.inference.active_set import into_bounds, polish
from taskpgm.inference.constrained import settle
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.method import Answer, Deadline
from taskpgm.judge import certificate
from taskpgm.types import FloatArray

SOLVED_GAP = 1e-10


def answer_of(
    program: ConvexProgram,
    problem: MixtureEnergy,
    solvers: Sequence[str],
    deadline: Deadline,
    *,
    newton: bool = True,
    max_iterations: int | None = None,
) -> Answer:
    """The best mixture of the solvers, which are tried in turn until one closes the gap."""
    best: FloatArray | None = None
    best_gap, statuses, message = np.inf, {}, ""
    for solver in solvers:
        point, statuses[solver] = program.solve(problem, solver, seconds=deadline.left(), max_iterations=max_iterations)
        if point is None:
            message = f"{solver} ended with {statuses[solver]}"
            continue
        point = finished(problem, point) if newton else within(problem, point)
        gap = certificate(problem, point).gap
        if best is None or gap < best_gap:
            best, best_gap = point, gap
        solved = statuses[solver] == "optimal" and best_gap <= SOLVED_GAP * problem.scale
        if solved or deadline.passed():
            break
    stats = {"solver_status": statuses}
    return Answer(best, None, not deadline.passed(), "" if best is not None else message, stats)


def finished(problem: MixtureEnergy, point: FloatArray) -> FloatArray:
    """The mixture after Newton steps from a solver's, or from any other nearby."""
    return polish(problem, into_bounds(point, problem)) if problem.only_bounds else settle(problem, point)


def within(problem: MixtureEnergy, point: FloatArray) -> FloatArray:
    """A solver's mixture, moved into the bounds that it misses by its tolerance."""
    return into_bounds(point, problem) if problem.only_bounds else np.clip(point, problem.lower, problem.upper)
