"""A task network on whole quanta: x_i levels of 1/K each, the budget sum x = K. A discrete pairwise Markov network.

The energy is that of the continuous network at p = x / K, written as node and pair terms:

    E(x / K) = sum_i node_i(x_i) + sum_{i<j} lam S_ij x_i x_j / K^2

    levels = network.levels(quanta=10)              # mixtures in whole tenths
    chosen = network.levels(quanta=3, cap=1)        # three of the tasks, in equal shares
    model = levels.to_pgmpy()                       # a pgmpy DiscreteMarkovNetwork
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.energy import relative_entropy
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray, readonly

if TYPE_CHECKING:
    from pgmpy.models import DiscreteMarkovNetwork


@dataclass(frozen=True, eq=False)
class LevelsNetwork:
    """The network restricted to p = x / quanta with x in {0..cap}^n and sum x = quanta.

    The network's own bounds hold too: x_i runs from ceil(quanta lower_i) to floor(quanta upper_i).

    Raises:
        InputError: quanta or cap below 1, or no x within the bounds adds up to quanta.
    """

    network: TaskNetwork
    quanta: int
    cap: int

    def __post_init__(self) -> None:
        if self.quanta < 1 or self.cap < 1:
            raise InputError(f"levels: quanta = {self.quanta}, cap = {self.cap}; both must be at least 1.")
        if (self.minimum > self.maximum).any():
            i = int(np.argmax(self.minimum > self.maximum))
            name, least = self.names[i], self.minimum[i]
            if least > self.cap:
                raise InputError(
                    f"levels: the lower bound of {name!r} needs {least} quanta, but the cap is {self.cap};"
                    " raise the cap or lower the bound."
                )
            raise InputError(f"levels: no multiple of 1/{self.quanta} lies within the bounds of {name!r}; use more.")
        if self.minimum.sum() > self.quanta:
            raise InputError(
                f"levels: the lower bounds need {self.minimum.sum()} quanta, but there are {self.quanta};"
                " use more quanta or lower the bounds."
            )
        if self.maximum.sum() < self.quanta:
            raise InputError(
                f"levels: at most {self.maximum.sum()} of {self.quanta} quanta fit under the caps; use fewer quanta,"
                " or raise the cap or the upper bounds."
            )

    def __len__(self) -> int:
        return len(self.network)

    @property
    def names(self) -> tuple[str, ...]:
        return self.network.names

    @cached_property
    def minimum(self) -> IntArray:
        """(n,) the least level of each task."""
        return readonly(np.ceil(self.quanta * self.network.lower - 1e-9), np.int64)

    @cached_property
    def maximum(self) -> IntArray:
        """(n,) the greatest level of each task."""
        return readonly(np.minimum(np.floor(self.quanta * self.network.upper + 1e-9), self.cap), np.int64)

    def energy(self, levels: ArrayLike) -> float:
        """E(x / quanta) in float64."""
        return self.network.energy(np.asarray(levels, dtype=np.float64) / self.quanta)

    def violation(self, levels: ArrayLike) -> float:
        """By how many quanta x breaks the budget or a bound, fractions included; 0 where it is feasible."""
        x = np.asarray(levels, dtype=np.float64)
        broken = max(abs(x.sum() - self.quanta), (self.minimum - x).max(), (x - self.maximum).max(), 0.0)
        return float(max(broken, np.abs(x - np.rint(x)).max()))

    @cached_property
    def node_energies(self) -> tuple[FloatArray, ...]:
        """For each task the energies of its levels minimum_i..maximum_i, diagonal of S and KL term included."""
        levels = [np.arange(low, high + 1) for low, high in zip(self.minimum, self.maximum, strict=True)]
        return _node_energies(self.network, levels, self.quanta)

    @cached_property
    def coupling(self) -> FloatArray:
        """(n, n) the energy of one quantum of i meeting one of j: lam S_ij / quanta^2, zero diagonal."""
        coupling = self.network.lam * self.network.similarity / self.quanta**2
        return readonly(coupling - np.diag(np.diag(coupling)), np.float64)

    @cached_property
    def composition_counts(self) -> list[list[int]]:
        """counts[i][s]: in how many ways tasks i, i+1, ... can share s quanta within their bounds (exact integers)."""
        counts = [[1] + [0] * self.quanta]
        for low, high in zip(self.minimum[::-1].tolist(), self.maximum[::-1].tolist(), strict=True):
            prefix = [0]
            for value in counts[0]:
                prefix.append(prefix[-1] + value)
            counts.insert(0, [prefix[max(s - low + 1, 0)] - prefix[max(s - high, 0)] for s in range(self.quanta + 1)])
        return counts

    @property
    def size(self) -> int:
        """The number of feasible points."""
        return self.composition_counts[0][self.quanta]

    @cached_property
    def pairwise(self) -> PairwiseNetwork:
        """The same network with tables for nodes and pairs; state s of task i is the level minimum_i + s."""
        levels = [np.arange(low, high + 1) for low, high in zip(self.minimum, self.maximum, strict=True)]
        return _with_tables(self.names, self.node_energies, self.coupling, levels, self.quanta)

    def to_pgmpy(self, log_range: float = 600.0) -> DiscreteMarkovNetwork:
        """This network as a pgmpy model whose MAP state is a minimiser; see `taskpgm.pgm.to_pgmpy`."""
        return self.pairwise.to_pgmpy(log_range)


def free_levels(network: TaskNetwork, cap: int) -> PairwiseNetwork:
    """Any level 0..cap of every task, within its bounds, and no budget: the energy of p = x / cap, sum whatever.

    The KL term is the sum of p log(p / q).

    Raises:
        InputError: cap below 1, or no multiple of 1 / cap within the bounds of a task.
    """
    if cap < 1:
        raise InputError(f"levels: without a budget the cap says how many levels there are; {cap} is not one.")
    lower, upper = np.ceil(cap * network.lower - 1e-9), np.floor(cap * network.upper + 1e-9)
    if (lower > upper).any():
        name = network.names[int(np.argmax(lower > upper))]
        raise InputError(f"levels: no multiple of 1/{cap} lies within the bounds of {name!r}; raise the cap.")
    levels = [np.arange(low, high + 1, dtype=np.int64) for low, high in zip(lower, upper, strict=True)]
    coupling = network.lam * network.similarity / cap**2
    np.fill_diagonal(coupling, 0.0)
    return _with_tables(network.names, _node_energies(network, levels, cap), coupling, levels, None)


def _node_energies(network: TaskNetwork, levels: Sequence[IntArray], quanta: int) -> tuple[FloatArray, ...]:
    """What each level of each task adds to the energy at p = level / quanta, by itself."""
    energies = []
    for i, x in enumerate(levels):
        p = x / quanta
        node = -network.beta * network.utility[i] * p + 0.5 * network.lam * network.similarity[i, i] * p * p
        if network.tau > 0.0:
            node = node + network.tau * relative_entropy(p, np.full_like(p, network.prior[i]))
        energies.append(readonly(node, np.float64))
    return tuple(energies)


def _with_tables(
    names: tuple[str, ...],
    nodes: Sequence[FloatArray],
    coupling: FloatArray,
    levels: Sequence[IntArray],
    budget: int | None,
) -> PairwiseNetwork:
    """A pairwise network of node energies and couplings of levels; pairs that do not interact share no table."""
    factors: list[tuple[Sequence[int], ArrayLike]] = [([i], values) for i, values in enumerate(nodes)]
    for i, j in zip(*np.nonzero(np.triu(coupling, 1)), strict=True):
        factors.append(((int(i), int(j)), coupling[i, j] * np.outer(levels[i], levels[j])))
    sizes = [len(values) for values in levels]
    return PairwiseNetwork.from_factors(sizes, factors, names=names, levels=levels, budget=budget)
