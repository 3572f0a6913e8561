"""An energy as a quadratic form of indicators, and lower bounds from any way to split the form in two.

Write y = (1, one indicator for each state of each node). For every assignment E(y) = constant + y'Cy, |y|^2 = n + 1,
and y lies in the subspace where each node's indicators add up to 1 and the levels to the budget; Q is an orthonormal
basis of it. So for every symmetric matrix Z

    E(y) = constant + y'(C + Z)y - y'Zy >= constant + least(C + Z) - (n + 1) * largest eigenvalue of Q'ZQ,

where least(T) adds up the least entry of T for each node and for each pair of nodes. Whoever finds Z, nothing but this
needs to be believed, and rounding errors are allowed for (in the spirit of Jansson, Chaykin & Keil 2007).

    form = Lifting.of(network)
    form.bound(np.zeros_like(form.cost))        # the sum of all least entries
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Lifting:
    """See the module. N = 1 + all states; index 0 is the 1.

    cost: (N, N) symmetric, C divided by `unit`, its largest entry. rows: (m, N) what vanishes on every y. basis: (N,
    order) Q. starts: (n,) the index of each node's first state. same: (N, N) whether two entries are different states
    of one node, so that their product is 0. condition: how much worse than rounding Q may be.
    """

    network: PairwiseNetwork
    cost: FloatArray
    unit: float
    rows: FloatArray
    basis: FloatArray
    starts: IntArray
    same: NDArray[np.bool_]
    condition: float

    @classmethod
    def of(cls, network: PairwiseNetwork) -> Lifting:
        states = network.states
        starts = 1 + np.cumsum(states) - states
        cost = _cost(network, starts)
        unit = float(np.abs(cost).max()) or 1.0
        rows = _rows(network, starts)
        _, sizes, directions = np.linalg.svd(rows)
        rank = int((sizes > 1e-9 * sizes[0]).sum())
        owner = np.concatenate([[-1], np.repeat(np.arange(len(network)), states)])
        same = (owner[:, None] == owner) & ~np.eye(len(cost), dtype=bool)
        condition = float(sizes[0] / sizes[rank - 1])
        return cls(network, cost / unit, unit, rows, directions[rank:].T.copy(), starts, same, condition)

    @property
    def order(self) -> int:
        """The order of the matrix that has to be positive semidefinite."""
        return int(self.basis.shape[1])

    @cached_property
    def length(self) -> float:
        """|y|^2 of every assignment."""
        return len(self.network) + 1.0

    def bound(self, shift: FloatArray) -> float:
        """A lower bound on the least energy from a symmetric (N, N) matrix Z, in units of the cost."""
        total = self.cost + shift
        nodes = np.diag(total)[1:] + 2.0 * total[0, 1:]
        least = np.minimum.reduceat(nodes, self.starts - 1)
        blocks = np.minimum.reduceat(2.0 * total[1:, 1:], self.starts - 1, axis=0)
        pairs = np.triu(np.minimum.reduceat(blocks, self.starts - 1, axis=1), 1)
        largest = float(np.linalg.eigvalsh(self.basis.T @ shift @ self.basis)[-1])
        value = float(total[0, 0] + least.sum() + pairs.sum()) - self.length * largest
        bound = self.unit * (value - self._margin(total, shift)) + self.network.constant
        return bound - self.network.rounding

    def _margin(self, total: FloatArray, shift: FloatArray) -> float:
        """What rounding may have done to `bound`: in its sums, in the eigenvalue, and in Q."""
        sums = 4.0 * self.length**4 * float(np.abs(total).max() + np.abs(shift).max())
        spectrum = 64.0 * self.length * len(self.cost) * self.condition * float(np.linalg.norm(shift))
        return EPSILON * (sums + spectrum)

    def marginals(self, lifted: FloatArray) -> list[FloatArray]:
        """For each node the diagonal entries of an (N, N) matrix that belong to it."""
        return np.split(np.diag(lifted)[1:], self.starts[1:] - 1)


def _cost(network: PairwiseNetwork, starts: IntArray) -> FloatArray:
    """(N, N) C: unary energies on the diagonal, half of every table on either side of it."""
    size = 1 + int(network.states.sum())
    cost = np.zeros((size, size))
    cost[np.arange(1, size), np.arange(1, size)] = np.concatenate(network.unary)
    for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True):
        rows, columns = starts[i] + np.arange(table.shape[0]), starts[j] + np.arange(table.shape[1])
        cost[np.ix_(rows, columns)] = 0.5 * table
        cost[np.ix_(columns, rows)] = 0.5 * table.T
    return cost


def _rows(network: PairwiseNetwork, starts: IntArray) -> FloatArray:
    """(m, N) each node's indicators less 1, and the levels less the budget, at unit length."""
    states = network.states
    rows = np.zeros((len(network) + (network.budget is not None), 1 + int(states.sum())))
    rows[: len(network), 0] = -1.0
    rows[np.repeat(np.arange(len(network)), states), np.arange(1, rows.shape[1])] = 1.0
    if network.budget is not None:  # from each node's least level on, as some may be far from 0
        rows[-1, 0] = sum(float(levels.min()) for levels in network.levels) - network.budget
        rows[-1, 1:] = np.concatenate([levels - levels.min() for levels in network.levels])
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))
