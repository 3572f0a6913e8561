"""A discrete pairwise Markov network: energies of states and of pairs of states, and perhaps a budget.

    E(s) = constant + sum_i unary_i(s_i) + sum over edges (i, j) of table_ij(s_i, s_j)

An energy of infinity forbids a state or a pair. With a budget, every state counts some quanta (its level), and only
assignments whose levels add up to the budget are feasible. Anyone's pairwise model becomes one of these (see
`taskpgm.formats`), and so does every task network on levels:

    network.levels(quanta=10).pairwise      # with the budget
    network.levels(quanta=None, cap=3)      # without one: any level of any task
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.types import FloatArray, InputError, IntArray, readonly

if TYPE_CHECKING:
    from pgmpy.models import DiscreteMarkovNetwork


@dataclass(frozen=True, eq=False)
class PairwiseNetwork:
    """See the module. Build one by `from_factors`, which takes factors as they come.

    names: (n,) distinct. unary: for each node the (d_i,) energies of its states. edges: (m, 2) with i < j, each pair
    once. tables: for each edge its (d_i, d_j) energies. levels: for each node what its states count, (d_i,) integers;
    budget: what the levels must add up to, or None.

    Points are states, counted from 0; `levels` translates.
    """

    names: tuple[str, ...]
    unary: tuple[FloatArray, ...]
    edges: IntArray
    tables: tuple[FloatArray, ...]
    constant: float
    levels: tuple[IntArray, ...]
    budget: int | None = None

    @classmethod
    def from_factors(
        cls,
        states: Sequence[int],
        factors: Iterable[tuple[Sequence[int], ArrayLike]],
        *,
        names: Sequence[str] = (),
        constant: float = 0.0,
        levels: Sequence[ArrayLike] | None = None,
        budget: int | None = None,
    ) -> PairwiseNetwork:
        """A network from energies over at most two nodes each; factors on the same nodes are added up.

        Args:
            states: the number of states of each node.
            factors: (scope, table) with node indices and an array with one axis per node of the scope.
            names: node names; "node 0", "node 1", ... where not given.
            constant: added to every energy.
            levels: for each node what its states count towards the budget; 0, 1, 2, ... where not given.
            budget: what the levels must add up to.

        Raises:
            InputError: a scope of more than two nodes or of unknown ones, a table of another shape, an energy that is
                nan or minus infinity, repeated names, or levels of another shape.
        """
        sizes = [int(count) for count in states]
        if not sizes or min(sizes) < 1:
            raise InputError("a network needs at least one node, and every node at least one state.")
        checked = tuple(names) if len(names) else tuple(f"node {i}" for i in range(len(sizes)))
        if len(checked) != len(sizes) or len(set(checked)) != len(checked):
            raise InputError(f"{len(checked)} names for {len(sizes)} nodes; each node needs a name of its own.")
        unary = [np.zeros(size) for size in sizes]
        pairs: dict[tuple[int, int], FloatArray] = {}
        for scope, values in factors:
            table = _checked_table(scope, values, sizes, checked)
            if len(scope) == 0:
                constant += float(table)
            elif len(scope) == 1:
                unary[scope[0]] = unary[scope[0]] + table
            else:
                i, j = scope
                key, table = ((i, j), table) if i < j else ((j, i), table.T)
                pairs[key] = pairs[key] + table if key in pairs else table
        if not np.isfinite(constant):
            raise InputError(f"the constant energy is {constant}: every assignment would be forbidden.")
        return cls(
            checked,
            tuple(readonly(values, np.float64) for values in unary),
            readonly(np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2), np.int64),
            tuple(readonly(pairs[key], np.float64) for key in sorted(pairs)),
            constant,
            _checked_levels(levels, sizes, checked),
            None if budget is None else int(budget),
        )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def states(self) -> IntArray:
        """(n,) the number of states of each node."""
        return readonly([len(values) for values in self.unary], np.int64)

    @cached_property
    def size(self) -> int:
        """The number of assignments that keep the budget, all of them where there is none: an exact integer."""
        if self.budget is None:
            return math.prod(self.states.tolist())
        ways, most = {0: 1}, self.budget - sum(int(levels.min()) for levels in self.levels)
        for levels in self.levels:
            ways = ways_with(ways, (levels - levels.min()).tolist(), most)
        return ways.get(most, 0)

    @cached_property
    def rounding(self) -> float:
        """What float64 may have added to an energy, in whatever order its terms are summed."""
        largest = [float(np.abs(table[np.isfinite(table)]).max(initial=0.0)) for table in (*self.unary, *self.tables)]
        terms = len(largest) + 1
        return float(2.0 * np.finfo(np.float64).eps * terms * (abs(self.constant) + sum(largest)))

    def energy(self, states: ArrayLike) -> float:
        """E(s) in float64, infinite where a factor forbids s; the budget is left to `violation`."""
        s = np.asarray(states, dtype=np.int64)
        parts = [values[k] for values, k in zip(self.unary, s, strict=True)]
        parts += [table[s[i], s[j]] for (i, j), table in zip(self.edges, self.tables, strict=True)]
        return float(np.sum(parts) + self.constant)

    def violation(self, states: ArrayLike) -> float:
        """0 for a feasible point; by how much it misses a state's range or the budget; infinite where forbidden."""
        s = np.asarray(states, dtype=np.float64)
        broken = float(max((-s).max(), (s - (self.states - 1)).max(), np.abs(s - np.rint(s)).max(), 0.0))
        if broken > 0.0:
            return broken
        if not np.isfinite(self.energy(s)):
            return float("inf")
        return 0.0 if self.budget is None else float(abs(self.used(np.rint(s)) - self.budget))

    def used(self, states: ArrayLike) -> int:
        """The sum of the levels of a point."""
        s = np.asarray(states, dtype=np.int64)
        return int(sum(int(levels[k]) for levels, k in zip(self.levels, s, strict=True)))

    @property
    def forbids(self) -> bool:
        """Whether some energy is infinite."""
        return any(not np.isfinite(table).all() for table in (*self.unary, *self.tables))

    def finite(self) -> PairwiseNetwork:
        """The same network with each infinity replaced by more than all finite energies together can make up.

        A minimiser forbids itself something only where every assignment does; its energy is unchanged otherwise.
        """
        if not self.forbids:
            return self
        ranges = [table[np.isfinite(table)] for table in (*self.unary, *self.tables)]
        charge = 1.0 + sum(float(np.ptp(values)) for values in ranges if values.size)
        charge += max((float(np.abs(values).max()) for values in ranges if values.size), default=0.0)

        def replaced(table: FloatArray) -> FloatArray:
            return readonly(np.where(np.isfinite(table), table, charge), np.float64)

        unary, tables = tuple(map(replaced, self.unary)), tuple(map(replaced, self.tables))
        return replace(self, unary=unary, tables=tables)

    def shifted(self) -> PairwiseNetwork:
        """The same energies with the least entry of every factor 0, the rest of it in the constant."""
        least = [float(table.min()) for table in (*self.unary, *self.tables)]
        least = [value if np.isfinite(value) else 0.0 for value in least]
        unary = tuple(readonly(v - low, np.float64) for v, low in zip(self.unary, least[: len(self)], strict=True))
        tables = tuple(readonly(v - low, np.float64) for v, low in zip(self.tables, least[len(self) :], strict=True))
        return replace(self, unary=unary, tables=tables, constant=self.constant + float(sum(least)))

    def scaled(self, factor: float) -> PairwiseNetwork:
        """Every energy times a positive number."""
        unary = tuple(readonly(factor * values, np.float64) for values in self.unary)
        tables = tuple(readonly(factor * table, np.float64) for table in self.tables)
        return replace(self, unary=unary, tables=tables, constant=factor * self.constant)

    def folded(self) -> PairwiseNetwork:
        """The network without its budget: rho (sum of levels - budget)^2 is added to node and pair energies instead.

        rho is such that every minimiser keeps the budget (see `budget_weight`), with the same energy as before, if any
        assignment can.
        """
        if self.budget is None:
            return self
        rho, budget = self.budget_weight, self.budget
        levels = [values.astype(np.float64) for values in self.levels]
        factors: list[tuple[Sequence[int], ArrayLike]] = [([i], values) for i, values in enumerate(self.unary)]
        factors += [((int(i), int(j)), table) for (i, j), table in zip(self.edges, self.tables, strict=True)]
        factors += [([i], rho * (x * x - 2.0 * budget * x)) for i, x in enumerate(levels)]
        for i in range(len(self)):
            factors += [((i, j), 2.0 * rho * np.outer(levels[i], levels[j])) for j in range(i + 1, len(self))]
        constant = self.constant + rho * budget * budget
        return PairwiseNetwork.from_factors(
            self.states.tolist(), factors, names=self.names, constant=constant, levels=self.levels
        )

    @cached_property
    def budget_weight(self) -> float:
        """A rho for which adding rho (sum of levels - budget)^2 makes every minimiser over all states keep the budget.

        Where each node's levels are consecutive and nothing is forbidden, giving or taking one quantum changes the
        energy by less than rho, whatever the other states are, and a point that is m quanta off is charged rho m^2, at
        least rho m: it pays to repair it, quantum by quantum. Elsewhere rho exceeds the energy's whole range.
        """
        consecutive = all((np.diff(levels) == 1).all() for levels in self.levels)
        if not consecutive or self.forbids:
            finite = self.finite()
            ranges = sum(float(np.ptp(table)) for table in (*finite.unary, *finite.tables))
            return 1.01 * ranges + 1e-9
        steps = np.array([np.abs(np.diff(values)).max(initial=0.0) for values in self.unary])
        for (i, j), table in zip(self.edges, self.tables, strict=True):
            steps[i] += np.abs(np.diff(table, axis=0)).max(initial=0.0)
            steps[j] += np.abs(np.diff(table, axis=1)).max(initial=0.0)
        return 1.01 * float(steps.max()) + 1e-9

    def to_pgmpy(self, log_range: float = 600.0) -> DiscreteMarkovNetwork:
        """This network as a pgmpy model whose MAP state is a minimiser; see `taskpgm.pgm.to_pgmpy`."""
        from taskpgm.pgm import to_pgmpy

        return to_pgmpy(self, log_range)

    def conditioned(self, evidence: Mapping[str, int]) -> PairwiseNetwork:
        """The network of the other nodes, given the states of those in `evidence`.

        Raises:
            InputError: an unknown node, a state out of range, or no node left.
        """
        fixed = {}
        for name, state in evidence.items():
            if name not in self.names:
                raise InputError(f"evidence for {name!r}: there is no node of that name.")
            node = self.names.index(name)
            if not 0 <= state < self.states[node]:
                raise InputError(f"evidence for {name!r}: state {state} of {self.states[node]}.")
            fixed[node] = state
        keep = [i for i in range(len(self)) if i not in fixed]
        if not keep:
            raise InputError("evidence for every node: none is left.")
        place = {node: position for position, node in enumerate(keep)}
        constant = self.constant + float(sum(self.unary[i][s] for i, s in fixed.items()))
        factors: list[tuple[Sequence[int], ArrayLike]] = [([place[i]], self.unary[i]) for i in keep]
        for (i, j), table in zip(self.edges.tolist(), self.tables, strict=True):
            values: ArrayLike = table
            if i in fixed:
                values = np.asarray(values)[fixed[i]]
            if j in fixed:
                values = np.asarray(values)[..., fixed[j]]
            factors.append(([place[k] for k in (i, j) if k not in fixed], values))
        budget = self.budget
        if budget is not None:
            budget -= sum(int(self.levels[i][s]) for i, s in fixed.items())
        return PairwiseNetwork.from_factors(
            self.states[keep].tolist(),
            factors,
            names=[self.names[i] for i in keep],
            constant=constant,
            levels=[self.levels[i] for i in keep],
            budget=budget,
        )

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """For each node the nodes that it shares a table with."""
        found: list[list[int]] = [[] for _ in self.names]
        for i, j in self.edges.tolist():
            found[i].append(j)
            found[j].append(i)
        return tuple(tuple(sorted(others)) for others in found)

    def components(self) -> list[IntArray]:
        """The nodes of each connected part; one part where a budget couples all."""
        if self.budget is not None:
            return [np.arange(len(self))]
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        ones = np.ones(len(self.edges))
        graph = coo_matrix((ones, (self.edges[:, 0], self.edges[:, 1])), shape=(len(self), len(self)))
        count, label = connected_components(graph, directed=False)
        return [np.flatnonzero(label == part) for part in range(count)]

    def part(self, nodes: IntArray) -> PairwiseNetwork:
        """The network of a connected part's nodes, without the constant."""
        place = {int(node): position for position, node in enumerate(nodes)}
        factors: list[tuple[Sequence[int], ArrayLike]] = [([place[int(i)]], self.unary[i]) for i in nodes]
        for (i, j), table in zip(self.edges.tolist(), self.tables, strict=True):
            if i in place:
                factors.append(((place[i], place[j]), table))
        return PairwiseNetwork.from_factors(
            self.states[nodes].tolist(),
            factors,
            names=[self.names[i] for i in nodes],
            levels=[self.levels[i] for i in nodes],
        )

    @cached_property
    def padded(self) -> Padded:
        """The same numbers as rectangular arrays, for compiled loops."""
        widest = int(self.states.max())
        unary = np.full((len(self), widest), np.inf)
        tables = np.full((len(self.edges), widest, widest), np.inf)
        for i, values in enumerate(self.unary):
            unary[i, : len(values)] = values
        for e, table in enumerate(self.tables):
            tables[e, : table.shape[0], : table.shape[1]] = table
        return Padded(readonly(unary, np.float64), readonly(tables, np.float64), self.edges, self.states, self.constant)


@dataclass(frozen=True, eq=False)
class Padded:
    """Rectangular copies of a network's energies; entries beyond a node's states are infinite.

    unary: (n, D). tables: (m, D, D). edges: (m, 2). states: (n,). D is the most states of a node.
    """

    unary: FloatArray
    tables: FloatArray
    edges: IntArray
    states: IntArray
    constant: float


def ways_with(ways: Mapping[int, int], levels: Sequence[int], most: int) -> dict[int, int]:
    """In how many ways sums up to `most` come about when a node with these levels, none negative, joins in.

    ways: the number of ways for every sum before. Consecutive levels take one pass, whatever their number.
    """
    counts: dict[int, int] = {}
    if not ways:
        return counts
    low, high = min(levels), max(levels)
    first, last = min(ways) + low, min(max(ways) + high, most)
    if sorted(levels) == list(range(low, high + 1)) and last - first < len(ways) * len(levels):
        window = 0
        for used in range(first, last + 1):
            window += ways.get(used - low, 0) - ways.get(used - high - 1, 0)
            if window:
                counts[used] = window
        return counts
    for level in levels:
        for used, number in ways.items():
            if used + level <= most:
                counts[used + level] = counts.get(used + level, 0) + number
    return counts


def _checked_table(scope: Sequence[int], values: ArrayLike, sizes: list[int], names: tuple[str, ...]) -> FloatArray:
    if len(scope) > 2:
        raise InputError(f"a factor over {len(scope)} nodes: only networks of nodes and pairs can be used.")
    if any(not 0 <= i < len(sizes) for i in scope) or len(set(scope)) < len(scope):
        raise InputError(f"a factor over nodes {list(scope)}: nodes are 0 to {len(sizes) - 1}, each at most once.")
    table = np.asarray(values, dtype=np.float64)
    label = " and ".join(repr(names[i]) for i in scope) or "no node"
    if table.shape != tuple(sizes[i] for i in scope):
        raise InputError(f"the factor of {label}: shape {table.shape}, but {[sizes[i] for i in scope]} states.")
    if np.isnan(table).any() or np.isneginf(table).any():
        raise InputError(f"the factor of {label}: an energy is nan or minus infinity.")
    return table


def _checked_levels(
    levels: Sequence[ArrayLike] | None, sizes: list[int], names: tuple[str, ...]
) -> tuple[IntArray, ...]:
    if levels is None:
        return tuple(readonly(np.arange(size), np.int64) for size in sizes)
    if len(levels) != len(sizes):
        raise InputError(f"levels of {len(levels)} nodes, but there are {len(sizes)}.")
    for values, size, name in zip(levels, sizes, names, strict=True):
        if np.shape(values) != (size,):
            raise InputError(f"levels of {name!r}: shape {np.shape(values)}, but it has {size} states.")
    return tuple(readonly(values, np.int64) for values in levels)
