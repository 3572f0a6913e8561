"""Every method on the same problem, each answer judged, and no method trusted that fails a problem with a known answer.

For example:

    rows = compare(network.levels(quanta=10), METHODS, deadline=10.0)
    rows[0].verdict.energy, rows[0].seconds, rows[0].trusted
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.inference import Method, solve
from taskpgm.inference.driver import refusal
from taskpgm.judge import ENERGY_TOLERANCE, Problem, Verdict, judge
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import Solution, Status

CHECK_SECONDS = 10.0


@dataclass(frozen=True)
class Row:
    """One method's outcome on one problem.

    trusted is False where the method failed a problem with a known answer, or another method's energy refutes its
    bound; reason says which.
    """

    problem: str
    verdict: Verdict
    solution: Solution
    trusted: bool
    reason: str

    @property
    def proved(self) -> bool:
        return self.verdict.proved and self.trusted

    def as_dict(self) -> dict[str, Any]:
        """The row as plain JSON values; what is not finite becomes null."""
        verdict, solution = self.verdict, self.solution
        return {
            "problem": self.problem,
            "method": verdict.method,
            "status": verdict.status.name,
            "energy": _finite(verdict.energy),
            "bound": _finite(verdict.bound),
            "gap": _finite(verdict.gap),
            "relative_gap": _finite(verdict.relative_gap),
            "excess": _finite(verdict.excess),
            "proved": self.proved,
            "ties": solution.ties,
            "seconds": solution.seconds,
            "memory_bytes": solution.memory,
            "trusted": self.trusted,
            "message": verdict.message or self.reason,
            "point": None if solution.point is None else solution.point.tolist(),
            "trace": [[each.seconds, _finite(each.energy), _finite(each.bound)] for each in solution.trace],
        }


def compare(
    problem: Problem,
    methods: Sequence[Method],
    *,
    name: str = "",
    deadline: float | None = None,
    seed: int = 0,
    done: Callable[[str], None] | None = None,
) -> list[Row]:
    """Solve a problem by every method; best energies first, refusals last.

    The reference is the best energy of a trusted method, and `proved` the judge's word. done: told each method's name
    before it starts.
    """
    runs: list[tuple[Solution, str]] = []
    for method in methods:
        if done is not None:
            done(method.name)
        reason = "" if refusal(problem, method) else failed_check(method, seed)  # first, so that nothing is timed cold
        runs.append((solve(problem, method, deadline=deadline, seed=seed), reason))
    reference = min((solution for solution, reason in runs if not reason), key=_energy, default=None)
    rows = []
    for solution, reason in runs:
        if not reason and reference is not None and _refuted(solution, reference):
            reason = f"its bound {solution.bound:.9g} is above the energy that {reference.method} reached"
        rows.append(Row(name, judge(problem, solution, reference), solution, not reason, reason))
    return sorted(rows, key=lambda row: (row.verdict.energy, not row.verdict.proved, row.solution.seconds))


@cache
def failed_check(method: Method, seed: int = 0) -> str:
    """Which problem with a known answer the method gets wrong; empty where it gets none wrong.

    Every answer must be feasible, not below the least energy, and with no bound above it; an exact method's answer must
    reach it. A method may refuse.
    """
    for name, problem, least in known_problems():
        solution = solve(problem, method, deadline=CHECK_SECONDS, seed=seed)
        if solution.status is Status.refused:
            continue
        if solution.status is Status.failed:
            return f"{name}: {solution.message}"
        if not least - ENERGY_TOLERANCE <= solution.energy < math.inf:
            return f"{name}: energy {solution.energy:.9g}, but the least is {least:.9g}"
        if solution.bound > least + ENERGY_TOLERANCE:
            return f"{name}: bound {solution.bound:.9g} above the least energy {least:.9g}"
        if method.exact and solution.status is not Status.timeout and solution.energy > least + 1e-7:
            return f"{name}: energy {solution.energy:.9g} of an exact method, but the least is {least:.9g}"
    return ""


def known_problems() -> list[tuple[str, Problem, float]]:
    """Small problems with answers known by hand: (name, problem, least energy)."""
    alike = TaskNetwork(np.zeros(4), np.eye(4))
    apart = TaskNetwork([1.0, 0.0, 0.0], np.zeros((3, 3)))
    twins = TaskNetwork(np.zeros(3), [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    clique = TaskNetwork(np.zeros(4), [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    unlike = [[0.0, 1.0], [1.0, 0.0]]  # 1 where two neighbours differ
    chain: list[tuple[list[int], ArrayLike]] = [
        ([0], [0.0, 0.5]),
        ([2], [3.0, 0.0]),
        ([0, 1], unlike),
        ([1, 2], unlike),
    ]
    odd_cycle: list[tuple[list[int], ArrayLike]] = [
        ([i, j], [[1.0, 0.0], [0.0, 1.0]]) for i, j in ((0, 1), (1, 2), (0, 2))
    ]
    return [
        ("four tasks with nothing in common", alike, 1 / 8),
        ("one useful task", apart, -1.0),
        ("two equal tasks and another", twins, 1 / 4),
        ("four tasks, two quanta each", alike.levels(8), 1 / 8),
        ("four tasks, five quanta", alike.levels(5), 7 / 50),
        ("one useful task, capped", apart.levels(4, cap=3), -3 / 4),
        ("three of four, one unlike the others", clique.levels(3, cap=1), 1 / 6),
        ("one useful task, free budget", apart.levels(None, cap=2), -1.0),
        ("a chain that agrees on its second state", PairwiseNetwork.from_factors([2, 2, 2], chain), 0.5),
        ("three that cannot all differ", PairwiseNetwork.from_factors([2, 2, 2], odd_cycle, constant=-2.0), -1.0),
    ]


def _refuted(solution: Solution, reference: Solution) -> bool:
    return solution.bound > reference.energy + ENERGY_TOLERANCE * max(1.0, abs(reference.energy))


def _energy(solution: Solution) -> float:
    return solution.energy


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
