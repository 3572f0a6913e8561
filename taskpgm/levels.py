"""A task network on whole quanta: x_i levels of 1/K each, the budget sum x = K. A discrete pairwise Markov network.

The energy is that of the continuous network at p = x / K, written as node and pair terms:

    E(x / K) = sum_i node_i(x_i) + sum_{i<j} lam S_ij x_i x_j / K^2

    levels = network.levels(quanta=10)              # mixtures in whole tenths
    chosen = network.levels(quanta=3, cap=1)        # three of the tasks, in equal shares
    model = levels.to_pgmpy()                       # a pgmpy DiscreteMarkovNetwork
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.network import TaskNetwork, relative_entropy
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
        net = self.network
        energies = []
        for i, (low, high) in enumerate(zip(self.minimum, self.maximum, strict=True)):
            p = np.arange(low, high + 1) / self.quanta
            node = -net.beta * net.utility[i] * p + 0.5 * net.lam * net.similarity[i, i] * p * p
            if net.tau > 0.0:
                node = node + net.tau * relative_entropy(p, np.full_like(p, net.prior[i]))
            energies.append(readonly(node, np.float64))
        return tuple(energies)

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
    def budget_weight(self) -> float:
        """A rho for which adding rho (sum x - quanta)^2 makes every minimiser over the box keep the budget.

        Giving or taking one quantum changes the energy by less than rho, whatever the other levels are, and a point
        that is m quanta off is charged rho m^2, at least rho m: it pays to repair it, quantum by quantum.
        """
        steps = [float(np.abs(np.diff(node)).max(initial=0.0)) for node in self.node_energies]
        pairs = np.abs(self.coupling) @ self.maximum
        largest = float((np.array(steps) + pairs).max())
        return 1.01 * largest + 1e-9

    def to_pgmpy(self, log_range: float = 600.0) -> DiscreteMarkovNetwork:
        """This network as a pgmpy model whose MAP state is a minimiser; see `taskpgm.pgm.to_pgmpy`."""
        from taskpgm.pgm import to_pgmpy

        return to_pgmpy(self, log_range)
