"""Buckets: the tree on which elimination works, with what the budget has used as one more axis of every table.

Each node has a bucket, in the order of elimination: the factors whose other node comes later. Eliminating a node sends
a message, a table over its later neighbours, to the first of them (Dechter 1999; Lauritzen & Spiegelhalter 1988). With
a budget the message also says what the nodes below have used: entry u of its last axis is for levels that add up to u,
and two messages meet in a convolution along that axis. So a budget costs a factor in time and memory, not the tree.

    tree = BucketTree.of(network, most_entries=2**24)       # or the reason why not
    tree.cliques[0], tree.children[0], tree.factors(0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from taskpgm.inference.bucket_tables import Factor
from taskpgm.inference.elimination import Elimination, eliminate, least_table
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import IntArray


@dataclass(frozen=True, eq=False)
class BucketTree:
    """A network and an elimination of it. Buckets are counted in the order of elimination; the last is the root."""

    network: PairwiseNetwork
    elimination: Elimination

    @classmethod
    def of(cls, network: PairwiseNetwork, most_entries: int, most_in_all: int) -> BucketTree | str:
        """The tree, or in one line why tables or messages would have too many entries."""
        elimination = eliminate(network, most_entries)
        if elimination is None:
            least = f"at least 2^{least_table(network):.0f} and "
            return f"tables of {least}more than {most_entries:.3g} joint states: the network's tree-width is too large"
        tree = cls(network, elimination)
        if max(tree.entries) > most_entries:
            return f"tables of {max(tree.entries):.3g} joint states and sums of levels; holds up to {most_entries:.3g}"
        if sum(tree.message_entries) > most_in_all:
            return f"messages of {sum(tree.message_entries):.3g} entries in all; holds up to {most_in_all:.3g}"
        return tree

    @property
    def cliques(self) -> tuple[tuple[int, ...], ...]:
        return self.elimination.cliques

    @cached_property
    def turn(self) -> IntArray:
        """(n,) the bucket of each node."""
        return np.argsort(self.elimination.order)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """For each bucket the one that its message goes to; without a later neighbour that is the root."""
        root = len(self.cliques) - 1
        return tuple(int(self.turn[clique[1]]) if len(clique) > 1 else root for clique in self.cliques[:-1])

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.cliques]
        for bucket, parent in enumerate(self.parents):
            found[parent].append(bucket)
        return tuple(map(tuple, found))

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """For each node its levels above its least; zeros without a budget."""
        spent = self.network.budget is not None
        return tuple(np.asarray((x - x.min()) * spent, dtype=np.int64) for x in self.network.levels)

    @cached_property
    def budget(self) -> int:
        """What these levels must add up to; below 0 where none can."""
        least = sum(int(x.min()) for x in self.network.levels)
        return 0 if self.network.budget is None else self.network.budget - least

    @cached_property
    def below(self) -> tuple[int, ...]:
        """For each bucket the most that the levels of the nodes below it, without its own, can add up to."""
        total = [0] * len(self.cliques)
        for bucket, parent in enumerate(self.parents):
            total[parent] += total[bucket] + int(self.levels[self.cliques[bucket][0]].max())
        return tuple(total)

    @cached_property
    def entries(self) -> tuple[int, ...]:
        """For each bucket the size of its table."""
        states = self.network.states.tolist()
        sizes = []
        for clique, below in zip(self.cliques, self.below, strict=True):
            size = max(0, min(below, self.budget)) + 1
            for node in clique:
                size *= states[node]
            sizes.append(size)
        return tuple(sizes)

    @cached_property
    def message_entries(self) -> tuple[int, ...]:
        """For each bucket roughly the size of its message."""
        states = self.network.states.tolist()
        return tuple(size // states[clique[0]] for size, clique in zip(self.entries, self.cliques, strict=True))

    @cached_property
    def _edges(self) -> tuple[tuple[int, ...], ...]:
        """For each bucket the edges whose table is in it. Tables with a node of one state belong to the other node."""
        found: list[list[int]] = [[] for _ in self.cliques]
        for edge, (i, j) in enumerate(self.network.edges.tolist()):
            several = [node for node in (i, j) if len(self.network.unary[node]) > 1] or [i]
            found[min(int(self.turn[node]) for node in several)].append(edge)
        return tuple(map(tuple, found))

    def factors(self, bucket: int) -> list[Factor]:
        """The energies in a bucket, of its node and of its edges, each with a last axis of length 1."""
        node = self.cliques[bucket][0]
        found: list[Factor] = [((node,), self.network.unary[node][:, None])]
        for edge in self._edges[bucket]:
            i, j = self.network.edges[edge].tolist()
            table = self.network.tables[edge] if i == node else self.network.tables[edge].T
            other = j if i == node else i
            if len(self.network.unary[other]) == 1:
                found.append(((node,), table))
            else:
                found.append(((node, other), table[:, :, None]))
        return found

    def edges(self, bucket: int) -> list[tuple[int, int]]:
        """(edge, other node) of the tables in a bucket."""
        node = self.cliques[bucket][0]
        ends = [(edge, self.network.edges[edge].tolist()) for edge in self._edges[bucket]]
        return [(edge, j if i == node else i) for edge, (i, j) in ends]

    def union(self, scopes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """All nodes of some scopes, in order of elimination."""
        return tuple(sorted(set().union(*scopes), key=lambda node: int(self.turn[node])))
