"""Exhaustive enumeration of all ways to share the quanta: the oracle that every other answer is held against.

The tasks are cut into two halves. For every way to give s quanta to the left half and K - s to the right one, the
energies of all pairs of partial points are one matrix product, so each of the feasible points is looked at, none twice.

    exact = solve(network.levels(quanta=10), Exhaustive())
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray, IntArray

BLOCK = 1 << 22
TIE_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Exhaustive(Method):
    """Enumerates up to `limit` feasible points; stats["points"] says how many, stats["ties"] how many are minimal."""

    limit: int = 2_000_000_000
    partial_limit: int = 4_000_000

    name: ClassVar[str] = "exhaustive"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        assert isinstance(problem, LevelsNetwork)
        if problem.size > self.limit:
            size = Decimal(problem.size)  # may exceed what a float holds
            return f"{size:.3g} feasible points; enumerates up to {self.limit:.3g}: use fewer quanta or tasks"
        left = len(problem) // 2
        counts = (_partial_count(problem, 0, left), _partial_count(problem, left, len(problem)))
        if max(counts) > self.partial_limit:
            return f"{max(counts):.3g} partial points in one half; holds up to {self.partial_limit:.3g} in memory"
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        middle = len(problem) // 2
        left, right = _half(problem, 0, middle), _half(problem, middle, len(problem))
        coupling = problem.coupling[:middle, middle:]
        best, best_point, ties, points = np.inf, None, 0, 0
        for used in range(problem.quanta + 1):
            (a, energy_a), (b, energy_b) = left[used], right[problem.quanta - used]
            if len(a) == 0 or len(b) == 0:
                continue
            pull = a @ coupling
            rows = max(1, BLOCK // len(b))
            for start in range(0, len(a), rows):
                if deadline.passed():
                    return _answer(best_point, None, points, ties, finished=False)
                block = pull[start : start + rows] @ b.T + energy_a[start : start + rows, None] + energy_b
                points += block.size
                least = float(block.min())
                if least < best - TIE_TOLERANCE:
                    ties = 0
                if least <= best + TIE_TOLERANCE:
                    ties += int((block <= min(least, best) + TIE_TOLERANCE).sum())
                if least < best:
                    i, j = np.unravel_index(int(block.argmin()), block.shape)
                    best, best_point = least, np.concatenate([a[start + i], b[j]]).astype(np.int64)
        return _answer(best_point, best, points, ties, finished=True)


def _answer(point: IntArray | None, bound: float | None, points: int, ties: int, *, finished: bool) -> Answer:
    # The enumerated energy sums the terms in another order than the judge does: allow for that rounding.
    bound = None if bound is None else bound - 1e-13 * (1.0 + abs(bound))
    message = "" if finished else f"stopped after {points} points"
    return Answer(point, bound, finished, message, {"points": points, "ties": ties})


def _partial_count(problem: LevelsNetwork, start: int, stop: int) -> int:
    """How many level vectors tasks start..stop-1 have that do not exceed the budget."""
    ways = np.zeros(problem.quanta + 1)
    ways[0] = 1.0
    for low, high in zip(problem.minimum[start:stop], problem.maximum[start:stop], strict=True):
        ways = np.convolve(ways, np.r_[np.zeros(low), np.ones(high - low + 1)])[: problem.quanta + 1]
    return int(ways.sum())


def _half(problem: LevelsNetwork, start: int, stop: int) -> list[tuple[FloatArray, FloatArray]]:
    """For each budget s: the level vectors (m, stop - start) that use s quanta, and their energies (m,)."""
    points = np.zeros((1, 0))
    for low, high in zip(problem.minimum[start:stop], problem.maximum[start:stop], strict=True):
        levels = np.arange(low, high + 1.0)
        points = np.column_stack([np.repeat(points, len(levels), axis=0), np.tile(levels, len(points))])
        points = points[points.sum(axis=1) <= problem.quanta]
    energies = np.zeros(len(points))
    for column, i in enumerate(range(start, stop)):
        energies += problem.node_energies[i][points[:, column].astype(np.int64) - problem.minimum[i]]
    energies += 0.5 * np.einsum("ai,ij,aj->a", points, problem.coupling[start:stop, start:stop], points, optimize=True)
    used = points.sum(axis=1).astype(np.int64)
    return [(points[used == s], energies[used == s]) for s in range(problem.quanta + 1)]
