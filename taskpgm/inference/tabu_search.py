"""Tabu search over single quanta: a quick incumbent near a start, for branch and bound to measure its boxes against.

The best move of one quantum from task to task is made even where it costs energy, and undoing it is forbidden for a
while, unless that beat the best (Glover 1989). It proves nothing.

    levels = tabu_search(problem, even_levels(problem), moves=1000)
"""

from __future__ import annotations

import numpy as np

from taskpgm.inference.sharing import SharesQuanta
from taskpgm.types import IntArray

LONGEST_WAIT = 10  # moves, at least


def tabu_search(problem: SharesQuanta, start: IntArray, moves: int) -> IntArray:
    """(n,) the best levels met in so many moves from feasible ones; the start itself where none is better."""
    from taskpgm.inference.tabu_kernels import best_met

    nodes = np.full((len(problem), int(problem.maximum.max()) + 2), np.inf)  # a level too many costs infinity
    for i, energies in enumerate(problem.node_energies):
        nodes[i, problem.minimum[i] : problem.maximum[i] + 1] = energies
    levels = start.astype(np.int64)
    wait = max(3, min(LONGEST_WAIT, problem.quanta // 4))
    return np.asarray(best_met(problem.coupling, nodes, problem.minimum, levels, moves, wait))
