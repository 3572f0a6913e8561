"""All assignments of a pairwise network as pairs of partial points, one from each half of the nodes.

Every partial point of either half that some point of the other half completes to the budget is listed once, sorted by
what its levels add up to. The energy of a pair of partial points is

    E(a, b) = energy(a) + energy(b) + sum over edges (i, j) across of table_ij(a_i, b_j)

and the sum over the edges is an inner product: b_j enters through one number per state where one is enough (tables
that are bilinear in the levels, or two states: the tables of j, less their first columns, are multiples of one column),
and through an indicator of each state elsewhere. So the energies of a whole block of pairs are one matrix product. The
idea of two halves is Horowitz & Sahni's (1974).

    split = Halves(network)
    for a, b, energies in split.blocks(4096):   # slices of split.left.states and split.right.states, and a matrix
        ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from taskpgm.pairwise import PairwiseNetwork, ways_with
from taskpgm.types import FloatArray, IntArray

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Half:
    """Partial points of consecutive nodes from `first` on.

    states: (m, k) of each partial point. energies: (m,) of the factors within the half. groups: for every sum of levels
    the rows that have it.
    """

    first: int
    states: NDArray[np.int32]
    energies: FloatArray
    groups: dict[int, slice]


@dataclass(frozen=True, eq=False)
class Halves:
    """A network whose energies are finite, cut into two halves with about equally many partial points."""

    network: PairwiseNetwork

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """For each node its levels above its least; zeros without a budget."""
        spent = self.network.budget is not None
        return tuple(np.asarray((x - x.min()) * spent, dtype=np.int64) for x in self.network.levels)

    @cached_property
    def budget(self) -> int:
        """What these levels must add up to."""
        least = sum(int(x.min()) for x in self.network.levels)
        return 0 if self.network.budget is None else self.network.budget - least

    @cached_property
    def _ways(self) -> tuple[list[dict[int, int]], list[dict[int, int]]]:
        """For every cut: in how many ways the nodes before it, and those from it on, add up to each sum."""
        before, after = [{0: 1}], [{0: 1}]
        for x in self.levels:
            before.append(ways_with(before[-1], x.tolist(), self.budget))
        for x in self.levels[::-1]:
            after.append(ways_with(after[-1], x.tolist(), self.budget))
        return before, after[::-1]

    def counts(self, cut: int) -> tuple[int, int]:
        """How many partial points either half has if the second begins at `cut`."""
        before, after = self._ways[0][cut], self._ways[1][cut]
        left = sum(number for used, number in before.items() if self.budget - used in after)
        return left, sum(number for used, number in after.items() if self.budget - used in before)

    @cached_property
    def cut(self) -> int:
        """The first node of the second half."""
        return min(range(len(self.network) + 1), key=lambda cut: sum(self.counts(cut)))

    @cached_property
    def left(self) -> Half:
        return self._listed(0, self.cut, self._ways[1][self.cut])

    @cached_property
    def right(self) -> Half:
        return self._listed(self.cut, len(self.network), self._ways[0][self.cut])

    def _listed(self, start: int, stop: int, others: dict[int, int]) -> Half:
        """The partial points of nodes start..stop-1 which the other half, with its sums, completes."""
        states, energies = np.zeros((1, 0), dtype=np.int32), np.zeros(1)
        used = np.zeros(1, dtype=np.int64)
        least, most = self.budget - max(others, default=0), self.budget - min(others, default=0)
        for j in range(start, stop):
            added = energies[:, None] + self.network.unary[j]
            for i, table in self._tables_before(j, start):
                added += table[states[:, i - start]]
            total = used[:, None] + self.levels[j]
            later = sum(int(x.max()) for x in self.levels[j + 1 : stop])
            row, state = np.nonzero((total <= most) & (total + later >= least))
            states = np.column_stack([states[row], state.astype(np.int32)])
            energies, used = added[row, state], total[row, state]
        kept = np.flatnonzero(np.isin(used, [self.budget - value for value in others]))
        order = kept[np.argsort(used[kept], kind="stable")]
        return Half(start, states[order], energies[order], _groups(used[order]))

    def _tables_before(self, j: int, start: int) -> list[tuple[int, FloatArray]]:
        """The tables of node j with nodes start..j-1, which come first in them."""
        edges = zip(self.network.edges.tolist(), self.network.tables, strict=True)
        return [(i, table) for (i, k), table in edges if k == j and i >= start]

    @cached_property
    def _across(self) -> tuple[list[FloatArray], list[FloatArray]]:
        """What turns states into the factors of the matrix product.

        For each left node a (d_i, F + 1) table; of its rows the last entries add to the energy of the left half. For
        each right node (d_j, F_j) features, F of them in all.
        """
        states, cut = self.network.states.tolist(), self.cut
        rest = [np.zeros(d) for d in states[:cut]]
        columns: list[list[FloatArray]] = [[] for _ in range(cut)]
        features: list[FloatArray] = []
        for j in range(cut, len(states)):
            tables = {i: table for i, table in self._tables_before(j, 0) if i < cut}
            feature, parts, first = _factored(list(tables.values()), states[j])
            features.append(feature)
            for i in range(cut):
                columns[i].append(np.zeros((states[i], feature.shape[1])))
            for i, part, low in zip(tables, parts, first, strict=True):
                columns[i][-1] = part
                rest[i] += low
        return [np.column_stack([*c, r]) for c, r in zip(columns, rest, strict=True)], features

    def blocks(self, entries: int) -> Iterator[tuple[slice, slice, FloatArray]]:
        """(left rows, right rows, their energies less the constant) until every pair that keeps the budget was there.

        A block has up to `entries` energies.
        """
        width = max(1, int(entries**0.5))
        for used, rows in self.left.groups.items():
            columns = self.right.groups[self.budget - used]
            for start in range(columns.start, columns.stop, width):
                b = slice(start, min(start + width, columns.stop))
                right = self._right_factor(b)
                height = max(1, entries // right.shape[1])
                for begin in range(rows.start, rows.stop, height):
                    a = slice(begin, min(begin + height, rows.stop))
                    yield a, b, self._left_factor(a) @ right

    def _left_factor(self, rows: slice) -> FloatArray:
        states, energies = self.left.states[rows], self.left.energies[rows]
        total = np.zeros((len(states), sum(f.shape[1] for f in self._across[1]) + 2))
        for i, table in enumerate(self._across[0]):
            total[:, :-1] += table[states[:, i]]
        total[:, -2] += energies
        total[:, -1] = 1.0
        return total

    def _right_factor(self, rows: slice) -> FloatArray:
        states, energies = self.right.states[rows], self.right.energies[rows]
        parts = [feature[states[:, k]] for k, feature in enumerate(self._across[1])]
        return np.ascontiguousarray(np.column_stack([*parts, np.ones(len(states)), energies]).T)


def _groups(used: IntArray) -> dict[int, slice]:
    """The run of every value of a sorted array."""
    values, starts = np.unique(used, return_index=True)
    stops = [*starts.tolist(), len(used)][1:]
    return {int(v): slice(int(s), int(t)) for v, s, t in zip(values, starts, stops, strict=True)}


def _factored(tables: list[FloatArray], states: int) -> tuple[FloatArray, list[FloatArray], list[FloatArray]]:
    """(feature, parts, first) with table = first[:, None] + part @ feature.T for each of a node's tables, to rounding.

    tables: (d_i, d_j), d_j the node's `states`. feature: (d_j, F) with F = 1, or 0, where that is enough.
    """
    first = [table[:, 0] for table in tables]
    rises = [table - table[:, :1] for table in tables]
    stacked = np.concatenate([np.zeros((1, states)), *rises])
    row, column = np.unravel_index(int(np.abs(stacked).argmax()), stacked.shape)
    if stacked[row, column] == 0.0:
        return np.zeros((states, 0)), [table[:, :0] for table in tables], first
    feature = stacked[row] / stacked[row, column]
    largest = max(float(np.abs(table).max()) for table in tables)
    if np.abs(stacked - np.outer(stacked[:, column], feature)).max() <= 8.0 * EPSILON * largest:
        return feature[:, None], [rise[:, [column]] for rise in rises], first
    return np.eye(states), tables, [np.zeros(len(table)) for table in tables]
