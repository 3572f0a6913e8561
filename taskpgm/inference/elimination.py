"""In which order to eliminate the nodes of a network, and how large the tables get: what exact methods cost.

Eliminating a node couples all its neighbours. The tree-width is the least, over all orders, of the most neighbours that
a node has when its turn comes; finding it is hard. Two rules are tried and the cheaper outcome is taken: min-fill
(eliminate next the node that couples the fewest new pairs, the lowest index among several: Rose 1972; Koller & Friedman
2009, section 9.4.3), good on irregular networks, and a sweep from one end to the other (reverse Cuthill & McKee 1969),
good on grids: 20 instead of 29 on one of 20 by 20. A budget couples all nodes.

    order, width = elimination_order(network)
    elimination = eliminate(network, most_entries=2**24)    # None where a table would be larger
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import IntArray, readonly

PATIENCE = 2.0**40  # entries of a table from which on min-fill is not worth its time: nobody can use the order


@dataclass(frozen=True, eq=False)
class Elimination:
    """An order of the nodes and what follows from it.

    order: (n,) the first to be eliminated first. cliques: for each place in the order the node and its neighbours at
    its turn, sorted by their own turns, the node itself first. log2_table: of the joint states of the largest clique.
    log2_total: of the joint states of all cliques together.
    """

    order: IntArray
    cliques: tuple[tuple[int, ...], ...]
    log2_table: float
    log2_total: float

    @property
    def width(self) -> int:
        """The most neighbours at a turn: an upper bound on the tree-width."""
        return max(len(clique) for clique in self.cliques) - 1


def elimination_order(network: PairwiseNetwork) -> tuple[IntArray, int]:
    """(order, width), the width an upper bound on the tree-width. With a budget every two nodes count as neighbours."""
    if network.budget is not None:
        return readonly(np.arange(len(network)), np.int64), len(network) - 1
    patience = math.log2(PATIENCE) if least_table(network) < math.log2(PATIENCE) else -math.inf
    narrowest = min(_tried(network, patience, math.inf), key=lambda elimination: elimination.width)
    return narrowest.order, narrowest.width


def eliminate(network: PairwiseNetwork, most_entries: float = math.inf) -> Elimination | None:
    """The better elimination along the edges alone, or None where a clique has more than `most_entries` joint states.

    Edges to nodes with a single state couple nothing.
    """
    limit = math.log2(most_entries) + 1e-9
    if least_table(network) > limit:
        return None
    return min(_tried(network, limit, limit), key=lambda elimination: elimination.log2_total, default=None)


def least_table(network: PairwiseNetwork) -> float:
    """log2 of a number of joint states that some clique has in every order, from the degrees alone: quickly had.

    Some subgraph's least degree is d (the degeneracy), so every order makes a clique of d + 1 nodes.
    """
    neighbours = _neighbours(network)
    queue = [(len(others), node) for node, others in enumerate(neighbours)]
    heapq.heapify(queue)
    gone, degeneracy = [False] * len(neighbours), 0
    while queue:
        degree, node = heapq.heappop(queue)
        if gone[node] or degree != len(neighbours[node]):
            continue
        gone[node], degeneracy = True, max(degeneracy, degree)
        for other in neighbours[node]:
            neighbours[other].discard(node)
            heapq.heappush(queue, (len(neighbours[other]), other))
    sizes = np.sort(np.log2(network.states[network.states > 1]))
    return float(sizes[: degeneracy + 1].sum())


def _neighbours(network: PairwiseNetwork) -> list[set[int]]:
    """For each node the nodes that it shares a table with, where both have a choice of states."""
    several = network.states > 1
    found: list[set[int]] = [set() for _ in network.names]
    for i, j in network.edges[several[network.edges].all(axis=1)].tolist():
        found[i].add(j)
        found[j].add(i)
    return found


def _tried(network: PairwiseNetwork, fill_limit: float, sweep_limit: float) -> list[Elimination]:
    """What either rule finds as long as log2 of its tables keeps to its limit."""
    tried = (
        _collected(network, _min_fill(_neighbours(network)), fill_limit),
        _collected(network, _sweep(_neighbours(network)), sweep_limit),
    )
    return [elimination for elimination in tried if elimination is not None]


def _collected(
    network: PairwiseNetwork, turns: Iterable[tuple[int, Iterable[int]]], limit: float
) -> Elimination | None:
    """The elimination that consists of these (node, neighbours at its turn), if log2 of no table exceeds the limit."""
    sizes = np.log2(network.states).tolist()
    order: list[int] = []
    members: list[list[int]] = []
    for node, others in turns:
        members.append(list(others))
        order.append(node)
        if sizes[node] + sum(sizes[i] for i in members[-1]) > limit:
            return None
    turn = {node: place for place, node in enumerate(order)}
    cliques = tuple((node, *sorted(others, key=turn.__getitem__)) for node, others in zip(order, members, strict=True))
    tables = [sum(sizes[i] for i in clique) for clique in cliques]
    total = float(np.logaddexp2.reduce(tables))
    return Elimination(readonly(order, np.int64), cliques, max(tables), total)


def _sweep(neighbours: list[set[int]]) -> Iterator[tuple[int, set[int]]]:
    """Eliminate in reverse Cuthill-McKee order: (node, neighbours at its turn)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    count = len(neighbours)
    starts = np.cumsum([0, *map(len, neighbours)])
    indices = np.array([other for others in neighbours for other in sorted(others)], dtype=np.int64)
    graph = csr_matrix((np.ones(len(indices)), indices, starts), shape=(count, count))
    order = reverse_cuthill_mckee(graph, symmetric_mode=True).tolist()
    turn = {node: place for place, node in enumerate(order)}
    later = [{j for j in others if turn[j] > turn[i]} for i, others in enumerate(neighbours)]
    for node in order:
        yield node, later[node]
        if later[node]:  # they become neighbours of each other: whoever is first among them passes it on
            first = min(later[node], key=turn.__getitem__)
            later[first] |= later[node] - {first}


def _min_fill(neighbours: list[set[int]]) -> Iterator[tuple[int, set[int]]]:
    """Eliminate by min-fill: (node, neighbours at its turn)."""
    graph = _Graph(neighbours)
    for _ in neighbours:
        node = graph.next()
        yield node, graph.eliminate(node)


class _Graph:
    """What is left of a graph as nodes are eliminated, and how many edges each elimination would add.

    fill[v] is the number of pairs of v's neighbours that are no neighbours of each other. It is kept up to date: an
    edge that is added changes it for its ends and for their common neighbours.
    """

    def __init__(self, neighbours: list[set[int]]) -> None:
        self.neighbours = neighbours
        self.fill = [self._missing(node) for node in range(len(neighbours))]
        self.queue = [(fill, node) for node, fill in enumerate(self.fill)]
        heapq.heapify(self.queue)
        self.gone = [False] * len(neighbours)

    def _missing(self, node: int) -> int:
        others = self.neighbours[node]
        present = sum(len(others & self.neighbours[other]) for other in others)
        return (len(others) * (len(others) - 1) - present) // 2

    def next(self) -> int:
        """The node whose elimination adds the fewest edges, the lowest index among several."""
        while True:
            fill, node = heapq.heappop(self.queue)
            if not self.gone[node] and fill == self.fill[node]:
                return node

    def eliminate(self, node: int) -> set[int]:
        """Couple the node's neighbours, take it away, and return them."""
        others = self.neighbours[node]
        changed = set(others)
        for a in sorted(others) if self.fill[node] else ():
            for b in others - self.neighbours[a]:
                if b > a:
                    changed |= self._join(a, b)
        self.gone[node] = True
        for other in others:
            self.neighbours[other].discard(node)
            self.fill[other] -= len(self.neighbours[other] - others)  # these missed a pair with the node each
        for other in changed:
            if not self.gone[other]:
                heapq.heappush(self.queue, (self.fill[other], other))
        return others

    def _join(self, a: int, b: int) -> set[int]:
        """Add an edge; the nodes other than its ends whose fill changes by it."""
        common = self.neighbours[a] & self.neighbours[b]
        for node in common:
            self.fill[node] -= 1
        self.fill[a] += len(self.neighbours[a]) - len(common)
        self.fill[b] += len(self.neighbours[b]) - len(common)
        self.neighbours[a].add(b)
        self.neighbours[b].add(a)
        return common
