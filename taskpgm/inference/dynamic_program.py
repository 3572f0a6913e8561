"""The exact MAP of nodes that a budget alone couples, by dynamic programming over partial sums of their levels.

    solution = solve(network.levels(40), DynamicProgram())      # of a SeparableNetwork

Partial sums make it a Markov chain, whose messages are min-plus convolutions (see `taskpgm.inference.min_plus`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.min_plus import allocate
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True)
class DynamicProgram(Method):
    """Takes networks without edges whose joint range of levels, times itself, times nodes, is up to `limit`.

    Once begun it is not stopped by the deadline: a second for some 10^9.
    """

    limit: float = 2e11

    name: ClassVar[str] = "dynamic-program"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        if len(problem.edges):
            return (
                f"takes nodes that a budget alone couples; here {len(problem.edges)} pairs have energies of their own"
            )
        span = float(sum(int(np.ptp(levels)) for levels in problem.levels))
        if len(problem) * span**2 > self.limit:
            return f"levels that add up over a range of {span:.3g} for {len(problem)} nodes: use fewer quanta"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        if deadline.passed():
            return Answer(None, None, False, "the deadline passed before the first message")
        if problem.budget is None:
            states = np.array([int(values.argmin()) for values in problem.unary], dtype=np.int64)
        else:
            dense = [_by_level(*node) for node in zip(problem.unary, problem.levels, strict=True)]
            levels = allocate(
                [table for table, _ in dense], [int(levels.min()) for levels in problem.levels], problem.budget
            )
            if levels is None:
                return Answer(None, message="no assignment keeps the budget")
            places = zip(dense, levels, problem.levels, strict=True)
            states = np.array([state[x - values.min()] for (_, state), x, values in places], dtype=np.int64)
        # Sums of the same numbers in another order: right to the rounding that any order of them has.
        return Answer(states, problem.energy(states) - 2.0 * problem.rounding)


def _by_level(energies: FloatArray, levels: IntArray) -> tuple[FloatArray, IntArray]:
    """(least energy of each level from the least to the greatest, infinite where there is none; the state with it)."""
    low = int(levels.min())
    table, state = np.full(int(levels.max()) - low + 1, np.inf), np.zeros(int(levels.max()) - low + 1, np.int64)
    for k in np.argsort(-energies, kind="stable"):  # the least energy of a level comes last and stays
        table[levels[k] - low], state[levels[k] - low] = energies[k], k
    return table, state
