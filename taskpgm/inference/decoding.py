"""From states that an approximate method picked node by node to a point that keeps the budget.

states = np.array([belief.argmin() for belief in beliefs])
point = within_budget(network, states)      # None where no single changes lead to the budget
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray


def local_energies(network: PairwiseNetwork, states: IntArray) -> FloatArray:
    """(n, D) what each state of each node adds to the energy, all other nodes being as in (n,) `states`.

    Entries beyond a node's own states are infinite.
    """
    padded = network.padded
    energies = padded.unary.copy()
    i, j = padded.edges.T
    np.add.at(energies, i, padded.tables[np.arange(len(i)), :, states[j]])
    np.add.at(energies, j, padded.tables[np.arange(len(i)), states[i], :])
    return energies


def within_budget(network: PairwiseNetwork, states: ArrayLike) -> IntArray | None:
    """(n,) states that keep the budget: single nodes are changed, each time the one that costs least per quantum.

    Only changes that bring the sum of levels nearer to the budget are made; None where none is left before it is met.
    """
    point = np.array(states, dtype=np.int64)
    if network.budget is None:
        return point
    levels = np.full(network.padded.unary.shape, np.iinfo(np.int32).max, dtype=np.int64)
    for i, values in enumerate(network.levels):
        levels[i, : len(values)] = values
    nodes = np.arange(len(network))
    while (missing := network.budget - network.used(point)) != 0:
        energies = local_energies(network, point)
        gain = abs(missing) - np.abs(missing - (levels - levels[nodes, point][:, None]))
        with np.errstate(invalid="ignore", divide="ignore"):
            cost = np.where(gain > 0, (energies - energies[nodes, point][:, None]) / gain, np.inf)
        node, state = divmod(int(np.nanargmin(cost)), cost.shape[1])
        if not np.isfinite(cost[node, state]):
            return None
        point[node] = state
    return point
