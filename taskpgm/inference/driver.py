"""One call for every method: bring the problem into the method's form, run it, and let the judge say what came of it.

A method for pairwise networks gets one part that hangs together at a time, nothing infinite in it, and every factor's
least entry 0. Solvers that others wrote run in a child process.

    solution = solve(network, SimplexQP())
    solution.status, solution.gap
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.inference.child import map_answer, run_in_child
from taskpgm.inference.memory import peak_of_memory, start_of_memory
from taskpgm.inference.method import Answer, Deadline, Method, Note
from taskpgm.inference.warming import warm
from taskpgm.judge import ENERGY_TOLERANCE, FEASIBILITY_TOLERANCE, Mixtures, Problem, certificate, gap_tolerance
from taskpgm.levels import LevelsNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.storage import first_line
from taskpgm.types import Solution, Status, TracePoint, readonly

DOMAINS = {
    "mixture": "a TaskNetwork (a continuous mixture)",
    "levels": "a LevelsNetwork (network.levels(quanta), a fixed budget)",
    "pairwise": "a PairwiseNetwork, or a LevelsNetwork",
}
TABLE_LIMIT = 20_000_000
LARGEST = ("width", "table", "order", "solver", "r_hat", "standard_error")


def solve(problem: Problem, method: Method, *, deadline: float | None = None, seed: int = 0) -> Solution:
    """Put a problem to a method and judge what comes back.

    Args:
        problem: a TaskNetwork, its levels, or any PairwiseNetwork.
        method: one of METHODS, or your own.
        deadline: seconds after which the method should stop with the best it has.
        seed: for methods that draw random numbers.

    Returns:
        A Solution whose energy, bound, gap, status and anytime trace were computed here, in float64.
    """
    form = _in_form(problem, method)
    parts = [] if isinstance(form, str) else _parts(form)
    reason = _reason(form, parts, method)
    if reason is not None or isinstance(form, str):
        return Solution(method.name, Status.refused, message=reason or "")
    before = start_of_memory()
    memory: list[int] = []
    try:
        if deadline is not None:
            warm(method)
        clock = Deadline(deadline)
        answers = [_run(part, method, clock, seed, memory) for part in parts]
    except Exception as error:  # whatever a solver of others raises, a comparison goes on and says so
        return Solution(method.name, Status.failed, message=f"{type(error).__name__}: {first_line(error)}")
    seconds = time.monotonic() - clock.start
    peak = max(memory) if method.foreign else peak_of_memory(before)
    answer = answers[0] if len(parts) == 1 else _assembled(form, parts, answers)
    answer = _translated(problem, method, answer, clock)
    solution = _judged(problem, method, answer)
    trace = _trace(problem, clock) if len(parts) == 1 else ()
    return replace(solution, seconds=seconds, memory=peak, trace=trace)


def refusal(problem: Problem, method: Method) -> str | None:
    """Why `solve` would refuse, or None."""
    form = _in_form(problem, method)
    return _reason(form, [] if isinstance(form, str) else _parts(form), method)


def _reason(form: Problem | str, parts: list[Any], method: Method) -> str | None:
    if isinstance(form, str):
        return form
    return next((reason for reason in map(method.refuses, parts) if reason is not None), None)


def _in_form(problem: Problem, method: Method) -> Problem | str:
    """The problem as the method's domain has it, or why it cannot be had."""
    if method.domain == "mixture" and isinstance(problem, Mixtures):
        return problem
    if method.domain == "levels" and isinstance(problem, LevelsNetwork):
        return problem
    if method.domain == "pairwise" and not isinstance(problem, Mixtures):
        return canonical(problem)
    return f"takes {DOMAINS[method.domain]}"


def canonical(problem: LevelsNetwork | PairwiseNetwork) -> PairwiseNetwork | str:
    """The network that pairwise methods are given: finite, each factor's least entry 0. Or why it is too large."""
    if isinstance(problem, LevelsNetwork):
        states = (problem.maximum - problem.minimum + 1).astype(float)
        entries = 0.5 * float(states @ (problem.coupling != 0.0) @ states)
        if entries > TABLE_LIMIT:
            return f"tables of {entries:.3g} pairs of levels; {TABLE_LIMIT:.3g} are held: use fewer quanta or a cap"
        problem = problem.pairwise
    return problem.finite().shifted()


def _parts(form: Problem) -> list[Any]:
    """The pieces of a pairwise network that have nothing to do with each other; any other problem whole."""
    if not isinstance(form, PairwiseNetwork):
        return [form]
    components = form.components()
    return [form] if len(components) == 1 else [form.part(nodes) for nodes in components]


def _run(part: Any, method: Method, clock: Deadline, seed: int, memory: list[int]) -> Answer:
    if not method.foreign:
        return method.run(part, clock, seed)
    offset = time.monotonic() - clock.start
    values, peak = run_in_child(method, part, clock, seed)
    memory.append(peak)
    if values is None:
        return Answer(None, None, False, "stopped at the deadline: it had handed in nothing by then")
    return map_answer(values, clock, offset)


def stats_of_parts(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What methods counted on the parts of a network: counts added, of sizes and errors the largest."""
    stats: dict[str, Any] = {"parts": len(each)}
    for part in each:
        for name, value in part.items():
            if isinstance(value, bool):
                stats[name] = stats.get(name, True) and value
            elif isinstance(value, int | float):
                before = stats.get(name, 0)
                stats[name] = max(before, value) if name in LARGEST else before + value
    return stats


def _assembled(form: Any, parts: list[Any], answers: list[Answer]) -> Answer:
    """One answer from those to the parts of a network: points side by side, bounds and counts added."""
    finished = all(answer.finished for answer in answers)
    message = next((answer.message for answer in answers if answer.message), "")
    stats = stats_of_parts([answer.stats for answer in answers])
    bounds = [answer.bound for answer in answers if answer.bound is not None]
    bound = form.constant + sum(bounds) if len(bounds) == len(answers) else None
    point = np.zeros(len(form), dtype=np.int64)
    for nodes, answer in zip(form.components(), answers, strict=True):
        if answer.point is None:
            return Answer(None, None, finished, message, stats)
        point[nodes] = np.asarray(answer.point)
    ties: int | None = 1
    for answer in answers:
        ties = None if ties is None or answer.ties is None else ties * answer.ties
    return Answer(point, bound, finished, message, stats, ties)


def _translated(problem: Problem, method: Method, answer: Answer, clock: Deadline) -> Answer:
    """States back into levels where the problem is about levels."""
    if method.domain != "pairwise" or not isinstance(problem, LevelsNetwork):
        return answer
    clock.notes[:] = [replace(note, point=_levels(problem, note.point)) for note in clock.notes]
    return replace(answer, point=_levels(problem, answer.point))


def _levels(problem: LevelsNetwork, states: NDArray[Any] | None) -> NDArray[Any] | None:
    """Levels from states; what cannot be states is left for the judge to find."""
    return states if states is None or states.shape != (len(problem),) else states + problem.minimum


def _trace(problem: Problem, clock: Deadline) -> tuple[TracePoint, ...]:
    """The notes of a run as best energy and best bound over time; energies are computed here."""
    energy, bound = np.inf, -np.inf
    trace: list[TracePoint] = []
    for note in sorted(clock.notes, key=_when):
        point = note.point
        if (
            point is not None
            and np.shape(point) == (len(problem),)
            and problem.violation(point) <= FEASIBILITY_TOLERANCE
        ):
            energy = min(energy, problem.energy(point))
        if note.bound is not None:
            bound = max(bound, note.bound)
        if not trace or (energy, bound) != (trace[-1].energy, trace[-1].bound):
            trace.append(TracePoint(note.seconds, energy, bound))
    return tuple(trace)


def _when(note: Note) -> float:
    return note.seconds


def _judged(problem: Problem, method: Method, answer: Answer) -> Solution:
    if answer.point is None:
        status = Status.failed if answer.finished else Status.timeout
        return Solution(method.name, status, message=answer.message, stats=answer.stats)
    if np.shape(answer.point) != (len(problem),):
        message = f"the returned point has the shape {np.shape(answer.point)}; there are {len(problem)} tasks"
        return Solution(method.name, Status.failed, message=message, stats=answer.stats)
    violation = problem.violation(answer.point) if np.all(np.isfinite(answer.point)) else np.nan
    if not violation <= FEASIBILITY_TOLERANCE:
        message = f"the returned point breaks the feasible set by {violation:.3g}"
        if isinstance(problem, PairwiseNetwork) and np.isinf(violation):
            message = "the returned point has a state, or a pair of states, that the network forbids"
        return Solution(method.name, Status.failed, message=message, stats=answer.stats)
    discrete = not isinstance(problem, Mixtures)
    point = readonly(np.rint(answer.point), np.int64) if discrete else readonly(answer.point, np.float64)
    energy = problem.energy(point)
    bound = -np.inf if answer.bound is None else float(answer.bound)
    if np.isnan(bound) or bound > energy + ENERGY_TOLERANCE * max(1.0, abs(energy)):
        message = f"the claimed lower bound {bound:.12g} is not below the point's energy {energy:.12g}"
        return Solution(method.name, Status.failed, message=message, stats=answer.stats)
    if isinstance(problem, Mixtures):
        bound = certificate(problem, point).bound  # needs no method's word
    bound = min(bound, energy)
    gap = energy - bound
    solution = Solution(method.name, Status.feasible, point, energy, bound, gap, answer.message, answer.stats)
    return replace(solution, status=_status(problem, solution, answer.finished), ties=answer.ties)


def _status(problem: Problem, solution: Solution, finished: bool) -> Status:
    if solution.gap <= gap_tolerance(problem, solution.energy):
        return Status.optimal
    if not finished:
        return Status.timeout
    return Status.bound if np.isfinite(solution.bound) else Status.feasible
