"""Greedy selection: from the least levels up, each quantum goes to the task where it lowers the energy most.

With cap = 1 this is greedy selection of k tasks. Let F(A) be how far the energy falls when one quantum goes to each
task of A on top of the least levels. The submodularity ratio (Das & Kempe 2011, "Submodular meets spectral"), taken
along the greedy path, is the largest g <= 1 with

    sum over i in S of F(L + i) - F(L)  >=  g (F(L + S) - F(L))

for every set L that greedy adds a task to and every S of at most k tasks outside it. The proof of their guarantee uses
no other sets: if F is monotone, greedy's F is at least 1 - exp(-g) of the best. g = 1 says that no tasks are worth more
together than one by one; it holds wherever no coupling is negative, as with similarities. This F is about equal shares
of k tasks, not about the best mixture of the tasks in A, of which fact 7 of the design speaks.

    solution = solve(network.levels(quanta=3, cap=1), GreedySelection())
    solution.stats["submodularity_ratio_at_least"]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.inference.rounding import nearest_levels
from taskpgm.inference.swap_search import level_steps
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class GreedySelection(Method):
    """Gives out the quanta one by one; of equal gains the first task's counts.

    Where each task takes at most one quantum above its least level, stats["submodularity_ratio_at_least"] is a lower
    bound on the ratio above (see `ratio_along`); it is left out where there is none. Stopped by the deadline, it shares
    what is left evenly.
    """

    name: ClassVar[str] = "greedy"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = False

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        rise, _ = level_steps(problem)
        tasks, levels = np.arange(len(problem)), problem.minimum.copy()
        field, path = problem.coupling @ levels, []
        left = problem.quanta - int(levels.sum())
        for given in range(left):
            if deadline.passed():
                even = nearest_levels(problem, levels + (left - given) / len(problem))
                return Answer(even, None, False, f"stopped after {given} of {left} quanta")
            gains = -(rise[tasks, levels - problem.minimum] + field)
            taker = int(gains.argmax())
            path.append(gains)
            levels[taker] += 1
            field += problem.coupling[taker]
        return Answer(levels, None, True, "", _stats(problem, path))


def _stats(problem: LevelsNetwork, path: list[FloatArray]) -> dict[str, Any]:
    if not path or (problem.maximum - problem.minimum).max() > 1:
        return {}
    ratio = ratio_along(problem.coupling, np.array(path))
    return {} if ratio is None else {"submodularity_ratio_at_least": ratio}


def ratio_along(coupling: FloatArray, gains: FloatArray) -> float | None:
    """A lower bound on the submodularity ratio along a greedy path of k steps, or None.

    coupling: (n, n) energy of two quanta meeting. gains: (k, n) by how much one quantum lowers the energy at each step,
    -inf for tasks that take no more.

    With m_i the gains at L, F(L + S) - F(L) = sum of m_i over S - sum of C_ij over pairs in S. Every i meets at most
    k - 1 others in S, so the pairs add at most half the sum over S of b_i, the sum of the k - 1 largest of
    max(0, -C_ij). With no m_i < 0 the ratio is therefore at least the least m_i / (m_i + b_i / 2); and 1 if no b_i > 0,
    whatever the sign of m_i. If neither holds, one task with m_i < 0 breaks the inequality for every g < 1.
    """
    open_tasks = np.isfinite(gains[0])
    together = np.maximum(0.0, -coupling[np.ix_(open_tasks, open_tasks)])
    partners = min(len(gains), len(together)) - 1
    bonus = 0.5 * np.sort(together, axis=1)[:, len(together) - partners :].sum(axis=1)
    if not bonus.any():
        return 1.0
    alone = gains[:, open_tasks]
    if alone[np.isfinite(alone)].min() < 0.0:
        return None
    with np.errstate(invalid="ignore"):  # tasks taken already are -inf, and 0 / 0 is no limit
        ratios = alone / (alone + bonus)
    return float(ratios[np.isfinite(ratios)].min(initial=1.0))
