"""Greedy selection: from the least levels up, each quantum goes to the task where it lowers the energy most.

With cap = 1 this is greedy selection of k tasks. Let F(A) be how far the energy falls when one quantum goes to each
task of A on top of the least levels. The submodularity ratio (Das & Kempe 2011, "Submodular meets spectral"), taken
along the greedy path, is the largest g <= 1 with

    sum over i in S of F(L + i) - F(L)  >=  g (F(L + S) - F(L))

for every set L that greedy adds a task to and every S of at most k tasks outside it. The proof of their guarantee uses
no other sets: if F is monotone, greedy's F is at least 1 - exp(-g) of the best. g = 1 says that no tasks are worth more
together than one by one; it holds wherever no coupling is negative, as with similarities. This F is about equal shares
of k tasks, not about the best mixture of the tasks in A, of which fact 7 of the design speaks.

The answer's bound is the one that the steps of the proof give with the numbers met on the way instead of their worst
case (see `most_fall`). It holds for every F; where the path shows F to be monotone it is no worse than the guarantee's.

    solution = solve(network.levels(quanta=3, cap=1), GreedySelection())
    solution.stats["submodularity_ratio_at_least"], solution.bound
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.inference.rounding import nearest_levels, rounding_error
from taskpgm.inference.swap_search import level_steps
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class GreedySelection(Method):
    """Gives out the quanta one by one; of equal gains the first task's counts.

    Where each task takes at most one quantum above its least level, the answer has a bound, and
    stats["submodularity_ratio_at_least"] is a lower bound on the ratio above (see `ratio_along`); it is left out where
    there is none. Stopped by the deadline, it shares what is left evenly.
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
        deadline.note(levels)
        if not path or (problem.maximum - problem.minimum).max() > 1:
            return Answer(levels)
        ratio, fall = ratio_along(problem.coupling, np.array(path)), most_fall(problem.coupling, np.array(path))
        bound = problem.energy(problem.minimum) - fall - rounding_error(problem.network)
        return Answer(levels, bound, stats={} if ratio is None else {"submodularity_ratio_at_least": ratio})


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
    bonus = _bonus(coupling[np.ix_(open_tasks, open_tasks)], len(gains))
    if not bonus.any():
        return 1.0
    alone = gains[:, open_tasks]
    if alone[np.isfinite(alone)].min() < 0.0:
        return None
    with np.errstate(invalid="ignore"):  # tasks taken already are -inf, and 0 / 0 is no limit
        ratios = alone / (alone + bonus)
    return float(ratios[np.isfinite(ratios)].min(initial=1.0))


def most_fall(coupling: FloatArray, gains: FloatArray) -> float:
    """An upper bound on F of every set of k tasks, from a greedy path of k steps; arguments as for `ratio_along`.

    Let A_t be the first t tasks of greedy and B any set of k tasks. With m_i the gains at A_t and b_i as above,

        F(A_t + B) <= F(A_t) + the k largest max(0, m_i + b_i / 2)

    and F(B) <= F(A_t + B) + D_t: adding the tasks of A_t to B one by one, the next task i of greedy lowers F by at most
    the k largest max(0, C_ij), j outside A, less m_i, and D_t adds up what is positive of that: 0 where F is seen to be
    monotone. So F(B) <= F(A_t) + D_t + the k largest, for every t; the least of these is returned. At t = 0 there is no
    D, and since a task of B has exactly k - 1 partners there, b_i may take the largest -C_ij as they are.
    """
    open_tasks = np.isfinite(gains[0])
    alone, couplings = gains[:, open_tasks], coupling[np.ix_(open_tasks, open_tasks)]
    steps, bonus = len(gains), _bonus(couplings, len(gains))
    pull = np.sort(-couplings[~np.eye(len(couplings), dtype=bool)].reshape(len(couplings), -1), axis=1)
    exact = 0.5 * pull[:, pull.shape[1] - (steps - 1) :].sum(axis=1)
    least, fallen, lost = _largest(alone[0] + exact, steps), 0.0, 0.0
    for t in range(1, steps):
        taken = int(alone[t - 1].argmax())
        others = np.where(np.isfinite(alone[t]), np.maximum(0.0, couplings[taken]), 0.0)
        lost += max(0.0, _largest(others, steps) - alone[t - 1, taken])
        fallen += alone[t - 1, taken]
        least = min(least, fallen + lost + _largest(np.maximum(0.0, alone[t] + bonus), steps))
    return least


def _largest(values: FloatArray, count: int) -> float:
    """The sum of the largest of (n,) values."""
    return float(np.sort(values)[-count:].sum())


def _bonus(couplings: FloatArray, steps: int) -> FloatArray:
    """(n,) b_i / 2: half of the most that up to steps - 1 partners can add to a task's gain."""
    together = np.sort(np.maximum(0.0, -couplings), axis=1)
    partners = min(steps, len(together)) - 1
    bonus: FloatArray = 0.5 * together[:, len(together) - partners :].sum(axis=1)
    return bonus
