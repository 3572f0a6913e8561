"""The numba kernel of tabu search on levels; see `taskpgm.inference.tabu_search`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
def best_met(coupling: Any, nodes: Any, minimum: Any, levels: Any, moves: int, wait: int) -> Any:
    """The best levels met in so many moves from `levels`, which change in place.

    coupling: (n, n) symmetric, zero diagonal. nodes: (n, top + 2) energies of levels, infinite above each task's
    greatest. minimum: (n,) the least levels. wait: about how many moves a move may not be undone.
    """
    n = len(levels)
    best, change, least = levels.copy(), 0.0, 0.0
    takes_again, gives_again = np.zeros(n, np.int64), np.zeros(n, np.int64)  # the moves from which tasks may
    field = coupling @ levels.astype(np.float64)
    rise = np.empty(n)
    for i in range(n):
        rise[i] = nodes[i, levels[i] + 1] - nodes[i, levels[i]]
    for move in range(moves):
        smallest, giver, taker = np.inf, -1, -1
        for i in range(n):
            if levels[i] == minimum[i]:
                continue
            given = nodes[i, levels[i] - 1] - nodes[i, levels[i]] - field[i]
            for j in range(n):
                total = given + rise[j] + field[j] - coupling[i, j]
                if total < smallest and j != i:
                    waits = gives_again[i] > move or takes_again[j] > move
                    if not waits or change + total < least - 1e-12:
                        smallest, giver, taker = total, i, j
        if giver < 0:
            break
        change += smallest
        levels[giver] -= 1
        levels[taker] += 1
        for i in (giver, taker):
            rise[i] = nodes[i, levels[i] + 1] - nodes[i, levels[i]]
        toward, away = coupling[taker], coupling[giver]  # symmetric: rows are columns
        for k in range(n):
            field[k] += toward[k] - away[k]
        takes_again[giver] = move + 1 + wait + move % (wait + 1)
        gives_again[taker] = move + 1 + wait // 2 + move % (wait // 2 + 1)
        if change < least - 1e-12:
            least = change
            best[:] = levels
    return best
