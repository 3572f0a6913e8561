"""Every method on one problem, each answer judged, and no method trusted that fails a problem with a known answer.

For example:

    rows = compare(network.levels(quanta=10), METHODS, deadline=10.0)
    rows[0].verdict.energy, rows[0].seconds, rows[0].trusted
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskpgm.inference import Method, solve
from taskpgm.judge import ENERGY_TOLERANCE, Problem, Verdict, judge
from taskpgm.network import TaskNetwork
from taskpgm.types import Solution, Status


@dataclass(frozen=True)
class Row:
    """One method's outcome. trusted is False where it failed a problem with a known answer; reason says which."""

    verdict: Verdict
    seconds: float
    trusted: bool
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The row as plain JSON values; what is not finite becomes null."""
        verdict = self.verdict
        numbers = {"energy": verdict.energy, "bound": verdict.bound, "gap": verdict.gap, "excess": verdict.excess}
        return {
            "method": verdict.method,
            "status": verdict.status.name,
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "proved": verdict.proved and self.trusted,
            "seconds": self.seconds,
            "trusted": self.trusted,
            "message": verdict.message or self.reason,
        }


def compare(problem: Problem, methods: Sequence[Method], *, deadline: float | None = None, seed: int = 0) -> list[Row]:
    """Solve a problem by every method; best energies first, refusals last.

    The reference is the best energy of a trusted method, and `proved` the judge's word.
    """
    runs: list[tuple[Solution, float, str]] = []
    for method in methods:
        reason = failed_check(method, seed)
        start = time.perf_counter()
        solution = solve(problem, method, deadline=deadline, seed=seed)
        runs.append((solution, time.perf_counter() - start, reason))
    reference = min((solution for solution, _, reason in runs if not reason), key=lambda s: s.energy, default=None)
    rows = []
    for solution, seconds, reason in runs:
        if not reason and reference is not None and solution.bound > reference.energy + ENERGY_TOLERANCE:
            reason = f"its bound {solution.bound:.9g} is above the energy that {reference.method} reached"
        rows.append(Row(judge(problem, solution, reference), seconds, not reason, reason))
    return sorted(rows, key=lambda row: (row.verdict.energy, not row.verdict.proved, row.seconds))


def failed_check(method: Method, seed: int = 0) -> str:
    """Which problem with a known answer the method gets wrong; empty where it gets none wrong.

    Every answer must be feasible, not below the least energy, and with no bound above it; an exact method's answer must
    reach it. A method may refuse.
    """
    for name, problem, least in known_problems():
        solution = solve(problem, method, deadline=10.0, seed=seed)
        if solution.status is Status.refused:
            continue
        if solution.status is Status.failed:
            return f"{name}: {solution.message}"
        if not least - ENERGY_TOLERANCE <= solution.energy < math.inf:
            return f"{name}: energy {solution.energy:.9g}, but the least is {least:.9g}"
        if solution.bound > least + ENERGY_TOLERANCE:
            return f"{name}: bound {solution.bound:.9g} above the least energy {least:.9g}"
        if method.exact and solution.energy > least + 1e-7:
            return f"{name}: energy {solution.energy:.9g} of an exact method, but the least is {least:.9g}"
    return ""


def known_problems() -> list[tuple[str, Problem, float]]:
    """Small problems with answers known by hand: (name, problem, least energy)."""
    alike = TaskNetwork(np.zeros(4), np.eye(4))
    apart = TaskNetwork([1.0, 0.0, 0.0], np.zeros((3, 3)))
    twins = TaskNetwork(np.zeros(3), [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    clique = TaskNetwork(np.zeros(4), [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    return [
        ("four tasks with nothing in common", alike, 1 / 8),
        ("one useful task", apart, -1.0),
        ("two equal tasks and another", twins, 1 / 4),
        ("four tasks, two quanta each", alike.levels(8), 1 / 8),
        ("four tasks, five quanta", alike.levels(5), 7 / 50),
        ("one useful task, capped", apart.levels(4, cap=3), -3 / 4),
        ("three of four, one unlike the others", clique.levels(3, cap=1), 1 / 6),
    ]
