"""One call for every method: refuse, run, and let the judge say what the answer is worth.

For example:

    solution = solve(network, SimplexQP())
    solution.status, solution.gap
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.judge import ENERGY_TOLERANCE, FEASIBILITY_TOLERANCE, GAP_TOLERANCE, Problem, certificate
from taskpgm.network import TaskNetwork
from taskpgm.storage import first_line
from taskpgm.types import Solution, Status, readonly

DOMAINS = {"mixture": "a TaskNetwork (a continuous mixture)", "levels": "a LevelsNetwork (network.levels(quanta))"}


def solve(problem: Problem, method: Method, *, deadline: float | None = None, seed: int = 0) -> Solution:
    """Put a problem to a method and judge what comes back.

    Args:
        problem: a TaskNetwork, or its levels.
        method: one of METHODS, or your own.
        deadline: seconds after which the method should stop with the best it has.
        seed: for methods that draw random numbers.

    Returns:
        A Solution whose energy, bound, gap and status were computed here, in float64.
    """
    domain = "mixture" if isinstance(problem, TaskNetwork) else "levels"
    if method.domain != domain:
        return Solution(method.name, Status.refused, message=f"takes {DOMAINS[method.domain]}")
    reason = method.refuses(problem)
    if reason is not None:
        return Solution(method.name, Status.refused, message=reason)
    try:
        answer = method.run(problem, Deadline(deadline), seed)
    except Exception as error:  # whatever a solver of others raises, a comparison goes on and says so
        return Solution(method.name, Status.failed, message=f"{type(error).__name__}: {first_line(error)}")
    return _judged(problem, method, answer)


def _judged(problem: Problem, method: Method, answer: Answer) -> Solution:
    if answer.point is None:
        status = Status.failed if answer.finished else Status.timeout
        return Solution(method.name, status, message=answer.message, stats=answer.stats)
    if np.shape(answer.point) != (len(problem),):
        message = f"the returned point has the shape {np.shape(answer.point)}; there are {len(problem)} tasks"
        return Solution(method.name, Status.failed, message=message, stats=answer.stats)
    violation = problem.violation(answer.point) if np.all(np.isfinite(answer.point)) else np.inf
    if not violation <= FEASIBILITY_TOLERANCE:
        message = f"the returned point breaks the feasible set by {violation:.3g}"
        return Solution(method.name, Status.failed, message=message, stats=answer.stats)
    discrete = not isinstance(problem, TaskNetwork)
    point = readonly(np.rint(answer.point), np.int64) if discrete else readonly(answer.point, np.float64)
    energy = problem.energy(point)
    bound = -np.inf if answer.bound is None else float(answer.bound)
    if np.isnan(bound) or bound > energy + ENERGY_TOLERANCE * max(1.0, abs(energy)):
        message = f"the claimed lower bound {bound:.12g} is not below the point's energy {energy:.12g}"
        return Solution(method.name, Status.failed, message=message, stats=answer.stats)
    if isinstance(problem, TaskNetwork):
        bound = certificate(problem, point).bound  # needs no method's word
    bound = min(bound, energy)
    gap = energy - bound
    solution = Solution(method.name, Status.feasible, point, energy, bound, gap, answer.message, answer.stats)
    return replace(solution, status=_status(solution, answer.finished))


def _status(solution: Solution, finished: bool) -> Status:
    if solution.gap <= GAP_TOLERANCE:
        return Status.optimal
    if not finished:
        return Status.timeout
    return Status.bound if np.isfinite(solution.bound) else Status.feasible
