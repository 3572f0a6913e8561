"""Nodes that a budget alone couples, as a Markov chain: its nodes are partial sums of their levels.

With s_i = x_1 + ... + x_i every node's energy becomes a table between neighbours, unary_i(s_i - s_(i-1)), infinite
where no state has that level, and the budget is the last sum, which is known. The chain has tree-width 1, so every
exact method for Markov networks, pgmpy's included, solves it; `DynamicProgram` is max-product on it.

    levels = separable_network.levels(12)
    chain = partial_sums(levels)                    # n - 1 nodes, 2 n - 3 factors
    states = states_of_sums(levels, chain, solve(chain, JunctionTree()).point)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray


def partial_sums(network: PairwiseNetwork) -> PairwiseNetwork:
    """The chain with the same energies as a network without edges, for assignments that keep its budget.

    Node i is named after the i-th node; its levels are the sums that nodes up to there can make.

    Raises:
        InputError: edges, no budget, or fewer than two nodes.
    """
    if len(network.edges) or network.budget is None or len(network) < 2:
        raise InputError("partial sums: expected two nodes or more, a budget, and no pairs with energies of their own.")
    sums = _sums(network)
    last = len(network) - 1
    first = _transitions(network, 0, np.zeros(1, np.int64), sums[0])[0]
    factors: list[tuple[Sequence[int], ArrayLike]] = [((0,), first)]
    factors += [((i - 1, i), _transitions(network, i, sums[i - 1], sums[i])) for i in range(1, last)]
    end = np.array([network.budget], dtype=np.int64)
    factors.append(((last - 1,), _transitions(network, last, sums[last - 1], end)[:, 0]))
    names = [f"up to {name}" for name in network.names[:last]]
    sizes = [len(each) for each in sums]
    return PairwiseNetwork.from_factors(sizes, factors, names=names, constant=network.constant, levels=sums)


def states_of_sums(network: PairwiseNetwork, chain: PairwiseNetwork, states: ArrayLike) -> IntArray:
    """(n,) the states of a network whose partial sums are those of (n - 1,) states of its chain.

    Of several states with the same level it is the one with the least energy.
    """
    found = np.asarray(states, dtype=np.int64)
    sums = [int(levels[k]) for levels, k in zip(chain.levels, found, strict=True)]
    budget = 0 if network.budget is None else network.budget
    wanted = np.diff([0, *sums, budget])
    places = [
        int(np.where(levels == x, energies, np.inf).argmin())
        for levels, energies, x in zip(network.levels, network.unary, wanted, strict=True)
    ]
    return np.array(places, dtype=np.int64)


def _sums(network: PairwiseNetwork) -> list[IntArray]:
    """For each node but the last, every whole number from the least to the greatest sum up to it."""
    low = np.cumsum([int(levels.min()) for levels in network.levels])
    high = np.cumsum([int(levels.max()) for levels in network.levels])
    return [np.arange(a, b + 1, dtype=np.int64) for a, b in zip(low[:-1], high[:-1], strict=True)]


def _transitions(network: PairwiseNetwork, node: int, before: IntArray, after: IntArray) -> FloatArray:
    """(sums before, sums after) the least energy of the node's states that lead from one to the other."""
    step = after[None, :] - before[:, None]
    table = np.full(step.shape, np.inf)
    for level, energy in zip(network.levels[node].tolist(), network.unary[node].tolist(), strict=True):
        table = np.where(step == level, np.minimum(table, energy), table)
    return table
