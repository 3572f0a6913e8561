"""What dense couplings have in common, as a function of how many quanta are used: easier for solvers of others.

In a task network every two tasks are coupled, mostly by what is common to all: C_ij = a_i + a_j + a small rest. Bounds
that look at one table at a time cannot see what those many terms make up together. But with z = sum of all levels l,

    sum over pairs of (a_i + a_j) l_i l_j = sum_i a_i l_i (z - l_i)

exactly. With a budget, z is known and only node energies remain; without one, z becomes a node of its own, tied to the
others by a budget. To multiply an equation by variables is an idea of Adams & Sherali (1986); to choose multipliers
that make a weak relaxation strong, one of Faye & Roupin (2007) and Billionnet, Elloumi & Plateau (2009). With 40 tasks,
8 of them to be chosen, solvers that stalled prove within seconds.

    easier = counted(network)           # the same energies; perhaps one more node, the last: the count
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

FREE_SHARE = 0.2  # of the levels that a minimiser without a budget is taken to use
COUNT_LIMIT = 1000
SWEEPS = 5
USEFUL = 0.7


def counted(network: PairwiseNetwork) -> PairwiseNetwork:
    """A network with the same energies that keep the budget, and smaller tables; or the network itself.

    Its first nodes are those of `network`. Without a budget it has one more, the count of all levels above the least
    ones, and a budget that ties it to them. Networks that lack half of the pairs or whose couplings have little in
    common come back as they are, and so do those without a budget whose nodes attract each other.
    """
    levels = [values - values.min() for values in network.levels]
    able = np.array([values.max() > 0 for values in levels])
    top = sum(int(values.max()) for values in levels)
    pairs = able.sum() * (able.sum() - 1) // 2
    if able.sum() < 4 or len(network.edges) <= 0.5 * pairs or (network.budget is None and top > COUNT_LIMIT):
        return network
    coupling = couplings(network)[np.ix_(able, able)]
    spare = None if network.budget is None else network.budget - sum(int(values.min()) for values in network.levels)
    share = np.clip(FREE_SHARE if spare is None else spare / top, 0.05, 0.5)
    found = common_part(coupling, float(share))
    above = np.triu_indices(len(coupling), 1)
    rest = coupling - found[:, None] - found
    if np.abs(rest[above]).sum() > USEFUL * np.abs(coupling[above]).sum():
        return network
    common = np.zeros(len(network))
    common[able] = found
    if spare is not None:
        return _with_budget(network, levels, common, spare)
    return (
        network if np.median(found) <= 0.0 else _with_count(network, levels, common, float(2.0 * np.median(found)), top)
    )


def with_the_count(network: PairwiseNetwork, easier: PairwiseNetwork, states: IntArray) -> IntArray:
    """The states of `counted(network)` that belong to states of the network."""
    if len(easier) == len(network):
        return states
    least = sum(int(values.min()) for values in network.levels)
    return np.append(states, network.used(states) - least)


def couplings(network: PairwiseNetwork) -> FloatArray:
    """(n, n) C, such that C_ij l_i l_j is the part of a table that is linear in the levels of either node."""
    coupling = np.zeros((len(network), len(network)))
    slopes = []
    for values in network.levels:
        centred = values - values.mean()
        slopes.append(centred / (float(centred @ centred) or 1.0))
    for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True):
        coupling[i, j] = coupling[j, i] = slopes[i] @ table @ slopes[j]
    return coupling


def common_part(coupling: FloatArray, share: float) -> FloatArray:
    """(n,) a, such that about that share of the rests C_ij - a_i - a_j of every node is negative.

    A positive rest costs where both nodes have a level, a negative one loosens the bound where either has none; so the
    best share is about that of the levels in use. Tukey's median polish, with another quantile.
    """
    n = len(coupling)
    others = ~np.eye(n, dtype=bool)
    common = np.full(n, 0.5 * np.quantile(coupling[others], share))
    for _ in range(SWEEPS):
        for i in range(n):
            common[i] = np.quantile((coupling[i] - common)[others[i]], share)
    return common


def _with_budget(network: PairwiseNetwork, levels: list[IntArray], common: FloatArray, spare: int) -> PairwiseNetwork:
    """spare: the budget, less what the least levels use."""
    factors: list[tuple[Sequence[int], ArrayLike]] = [
        ([i], a * x * (spare - x)) for i, (a, x) in enumerate(zip(common, levels, strict=True))
    ]
    return _made(network, levels, common, factors, network.budget)


def _with_count(
    network: PairwiseNetwork, levels: list[IntArray], common: FloatArray, shared: float, top: int
) -> PairwiseNetwork:
    """shared: what is taken out of all couplings, as shared / 2 z^2; the rest of `common` enters tables with z."""
    count, node = np.arange(top + 1), len(network)
    factors: list[tuple[Sequence[int], ArrayLike]] = [([node], 0.5 * shared * count * count)]
    for i, (a, x) in enumerate(zip(common, levels, strict=True)):
        factors.append(([i], -a * x * x))
        if x.any() and a != 0.5 * shared:
            factors.append(([i, node], (a - 0.5 * shared) * np.outer(x, count)))
    return _made(network, levels, common, factors, 0, [-count - sum(int(values.min()) for values in network.levels)])


def _made(
    network: PairwiseNetwork,
    levels: list[IntArray],
    common: FloatArray,
    more: list[tuple[Sequence[int], ArrayLike]],
    budget: int | None,
    extra: Sequence[IntArray] = (),
) -> PairwiseNetwork:
    """The network with more factors, and each pair's part of the common couplings taken off."""
    factors: list[tuple[Sequence[int], ArrayLike]] = [([i], values) for i, values in enumerate(network.unary)]
    factors += [((i, j), table) for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True)]
    able = [i for i, x in enumerate(levels) if x.any()]
    for place, i in enumerate(able):
        for j in able[place + 1 :]:
            factors.append(((i, j), -(common[i] + common[j]) * np.outer(levels[i], levels[j])))
    return PairwiseNetwork.from_factors(
        [*network.states.tolist(), *(len(values) for values in extra)],
        [*factors, *more],
        constant=network.constant,
        levels=[*network.levels, *extra],
        budget=budget,
    )
