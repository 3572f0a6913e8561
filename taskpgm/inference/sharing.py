"""Quanta shared among tasks, with an energy that is a product where two meet: what branch and bound searches.

A `LevelsNetwork` is such a problem. So is a pairwise network for each sum of its states, if its tables are, up to terms
of one node alone, products of a number and both nodes' states: every network of two states a node is, and so is every
task network without a budget.

    products = Products.of(network.levels(None))       # or why not, in a line
    products.sharing(16)                               # the assignments whose states add up to 16
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

NODE_LIMIT = 2000
ROUNDING = 1e-10  # of a table's largest entry


class SharesQuanta(Protocol):
    """Levels minimum <= x <= maximum, sum x = quanta, with the energy sum_i node_i(x_i) + 1/2 x'Cx.

    node_energies: for each task those of its levels minimum_i..maximum_i. coupling: (n, n) C, symmetric, zero diagonal.
    """

    def __len__(self) -> int: ...

    @property
    def quanta(self) -> int: ...

    @property
    def minimum(self) -> IntArray: ...

    @property
    def maximum(self) -> IntArray: ...

    @property
    def node_energies(self) -> tuple[FloatArray, ...]: ...

    @property
    def coupling(self) -> FloatArray: ...


@dataclass(frozen=True, eq=False)
class Sharing:
    """See `SharesQuanta`; minimum, maximum: (n,) integers."""

    quanta: int
    minimum: IntArray
    maximum: IntArray
    node_energies: tuple[FloatArray, ...]
    coupling: FloatArray

    def __len__(self) -> int:
        return len(self.maximum)


@dataclass(frozen=True, eq=False)
class Products:
    """The energy constant + sum_i nodes[i, s_i] + 1/2 s'Cs of states s, within `deviation` of the network's.

    nodes: (n, D), 0 for the first state and beyond the last. coupling: (n, n) C, zero diagonal. top: (n,) each node's
    last state. counts: the sums of states that are feasible: one where there is a budget.
    """

    nodes: FloatArray
    coupling: FloatArray
    top: IntArray
    constant: float
    deviation: float
    counts: range

    @classmethod
    def of(cls, network: PairwiseNetwork) -> Products | str:
        """A finite network in this form, or in one line why it has none."""
        if len(network) > NODE_LIMIT:
            return f"{len(network)} nodes; up to {NODE_LIMIT} are searched: use another method, or fewer nodes"
        if network.budget is not None and any((np.diff(levels) != 1).any() for levels in network.levels):
            return "a node's states do not count one quantum more each: use toulbar2 or the junction tree"
        tables, top = network.padded.tables, network.states - 1
        first, second = network.edges.T
        entry = np.arange(len(tables))
        valid = np.isfinite(tables)
        tables = np.where(valid, tables, 0.0)
        corner = tables[:, 0, 0]
        rows, columns = tables[:, :, 0] - corner[:, None], tables[:, 0] - corner[:, None]
        rise = tables[entry, top[first], top[second]] - corner - rows[entry, top[first]] - columns[entry, top[second]]
        slopes = rise / np.maximum(top[first] * top[second], 1)
        states = np.arange(tables.shape[1])
        products = slopes[:, None, None] * np.outer(states, states)
        apart = tables - (corner[:, None, None] + rows[:, :, None] + columns[:, None] + products)
        apart = np.abs(np.where(valid, apart, 0.0)).max(axis=(1, 2), initial=0.0)
        if (apart > ROUNDING * np.abs(tables).max(axis=(1, 2), initial=0.0)).any():
            return "a table is no product of the states of its two nodes: use toulbar2 or the junction tree"
        unary = network.padded.unary
        nodes = np.where(np.isfinite(unary), unary, 0.0)
        np.add.at(nodes, first, rows)
        np.add.at(nodes, second, columns)
        least = nodes[:, 0].copy()
        nodes = np.where(states > top[:, None], 0.0, nodes - least[:, None])
        coupling = np.zeros((len(network), len(network)))
        coupling[first, second] = coupling[second, first] = slopes
        used = None if network.budget is None else network.budget - sum(int(levels[0]) for levels in network.levels)
        counts = range(int(top.sum()) + 1)
        if used is not None:
            counts = range(used, used + 1) if used in counts else range(0)
        constant = network.constant + float(corner.sum() + least.sum())
        return cls(nodes, coupling, top, constant, float(apart.sum()) + network.rounding, counts)

    def sharing(self, quanta: int) -> Sharing:
        """The assignments whose states add up to `quanta`, as levels; the constant is left out."""
        energies = tuple(values[: last + 1] for values, last in zip(self.nodes, self.top, strict=True))
        return Sharing(quanta, np.zeros_like(self.top), self.top, energies, self.coupling)

    def energy(self, levels: IntArray) -> float:
        """The energy of (n,) states, without the constant."""
        return float(self.nodes[np.arange(len(levels)), levels].sum() + 0.5 * (levels @ self.coupling @ levels))
