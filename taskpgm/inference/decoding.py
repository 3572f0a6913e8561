"""From states that an approximate method picked node by node to a point that keeps the budget.

states = np.array([belief.argmin() for belief in beliefs])
point = within_budget(network, states)      # None where no single changes lead to the budget
point = most_agreeing(network, marginals)   # None only where no assignment keeps the budget
"""

from __future__ import annotations

from collections.abc import Sequence

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


def most_agreeing(network: PairwiseNetwork, scores: Sequence[FloatArray]) -> IntArray | None:
    """(n,) states that keep the budget: those with the greatest scores, changed one by one, or the greatest sum of all.

    scores: for each node one number for each state, say its marginals. Of the two points the one with less energy is
    taken; None where no assignment keeps the budget.
    """
    changed = within_budget(network, [int(np.argmax(values)) for values in scores])
    if network.budget is None:
        return changed
    together = _greatest_sum(network, scores, network.budget)
    found = [point for point in (changed, together) if point is not None]
    return min(found, key=network.energy, default=None)


def _greatest_sum(network: PairwiseNetwork, scores: Sequence[FloatArray], budget: int) -> IntArray | None:
    """The states with the greatest sum of scores among all that keep the budget, node by node over what they use."""
    levels = [values - values.min() for values in network.levels]
    left = budget - sum(int(values.min()) for values in network.levels)
    if not 0 <= left <= sum(int(values.max()) for values in levels):
        return None
    best, choices = np.full(left + 1, -np.inf), []
    best[0] = 0.0
    for own, values in zip(levels, scores, strict=True):
        moved = np.full((len(values), left + 1), -np.inf)
        for state, level in enumerate(own.tolist()):
            if level <= left:
                moved[state, level:] = best[: left + 1 - level] + values[state]
        choices.append(moved.argmax(axis=0))
        best = moved.max(axis=0)
    if not np.isfinite(best[left]):
        return None
    point = np.zeros(len(network), dtype=np.int64)
    for node in range(len(network) - 1, -1, -1):
        point[node] = choices[node][left]
        left -= int(levels[node][point[node]])
    return point
