"""Tree-reweighted message passing: bounds from convex combinations of trees.

An energy is a mean of energies of trees, each of which is easy. The mean of the trees' least energies is a lower bound
on the least energy, which sequential tree-reweighted passing (TRW-S, Kolmogorov 2006) never lowers. The mean of the
trees' log Z is an upper bound on log Z (Wainwright, Jaakkola & Willsky 2005). Here the trees are a list: spanning trees
that together use every edge about equally often. So the upper bound is computed tree by tree, and holds for whatever
messages there are, converged or not.

    solve(network, TreeReweightedMax()).bound
    marginals(network, TreeReweighted()).upper
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.loopy_propagation import BUDGET, beliefs, sweep_once
from taskpgm.inference.messages import Incumbent, MessageState
from taskpgm.inference.method import Answer, Deadline, Domain, MarginalAnswer, MarginalMethod, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

CHECK_EVERY = 10


@dataclass(frozen=True)
class TreeReweightedMax(Method):
    """TRW-S until the bound reaches the best decoded point, or rises by less than `tolerance` in ten sweeps."""

    tolerance: float = 1e-9
    sweeps: int = 2000

    name: ClassVar[str] = "trw-s"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        from taskpgm.inference.message_kernels import sequential_sweep

        folded = problem.folded()
        incumbent = Incumbent(problem, deadline)
        if len(folded.edges) == 0:  # one node: what connects nothing has no messages
            incumbent.raise_bound(folded.constant + sum(float(v.min()) for v in folded.unary) - folded.rounding)
            incumbent.offer(np.array([int(values.argmin()) for values in folded.unary]))
            return Answer(incumbent.point, incumbent.bound, True, "", {"sweeps": 0})
        state, earlier, sweep = MessageState.of(folded), -np.inf, 0
        for sweep in range(1, self.sweeps + 1):
            bound = float(sequential_sweep(*state.arrays))
            slack = folded.rounding + 1e-13 * float(np.abs(state.messages).max(initial=0.0)) * len(state.edges)
            incumbent.raise_bound(bound + folded.constant - slack)
            incumbent.offer(state.decoded())
            if incumbent.proved() or deadline.passed():
                break
            if sweep % CHECK_EVERY == 0:
                if incumbent.bound - earlier <= self.tolerance * max(1.0, abs(incumbent.bound)):
                    break
                earlier = incumbent.bound
        finished = incumbent.proved() or not deadline.passed()
        message = incumbent.finish()
        return Answer(incumbent.point, incumbent.bound, finished, message, {"sweeps": sweep})


@dataclass(frozen=True)
class TreeReweighted(MarginalMethod):
    """Tree-reweighted sum-product; its log Z is the least upper bound met on the way.

    trees: how many spanning trees, at least enough that every edge is in one.
    """

    damping: float = 0.3
    tolerance: float = 1e-9
    sweeps: int = 2000
    trees: int = 50

    name: ClassVar[str] = "trw"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = "upper"

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return BUDGET if problem.budget is not None else None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        trees = spanning_trees(len(problem), problem.edges, self.trees, seed)
        uses = np.bincount(np.concatenate([*trees, np.zeros(0, dtype=np.int64)]), minlength=len(problem.edges))
        weights = uses / len(trees)
        state, change, sweep = MessageState.of(problem), np.inf, 0
        upper = mean_log_partition(state, weights, trees)
        for sweep in range(1, self.sweeps + 1):
            change = sweep_once(state, weights, self.damping if len(trees) > 1 else 0.0, "sequential", soft=True)
            ended = change <= self.tolerance or deadline.passed()
            if ended or sweep % CHECK_EVERY == 0 or sweep == self.sweeps:
                upper = min(upper, mean_log_partition(state, weights, trees))
            if ended:
                break
        nodes, pairs = beliefs(state, weights)
        message = "" if change <= self.tolerance else f"messages still change by {change:.2g} after {sweep} sweeps"
        rounding = problem.rounding + 1e-12 * max(1.0, abs(upper))
        stats = {"sweeps": sweep, "trees": len(trees)}
        return MarginalAnswer(tuple(nodes), tuple(pairs), upper + rounding, not message, message, stats)


def spanning_trees(nodes: int, edges: IntArray, count: int, seed: int) -> list[IntArray]:
    """Spanning trees of a connected graph as lists of edges; `count` of them, and more until every edge is in one.

    Each is a minimum spanning tree where an edge weighs as often as it was used before, plus a random fraction.
    """
    if len(edges) == 0:
        return [np.zeros(0, dtype=np.int64)]
    if len(edges) == nodes - 1:
        return [np.arange(len(edges))]
    rng, uses = np.random.default_rng(seed), np.zeros(len(edges))
    trees: list[IntArray] = []
    while len(trees) < count or uses.min() == 0.0:
        tree = _least_tree(nodes, edges, np.argsort(uses + rng.random(len(edges)), kind="stable"))
        uses[tree] += 1.0
        trees.append(tree)
    return trees


def _least_tree(nodes: int, edges: IntArray, order: IntArray) -> IntArray:
    """Kruskal's algorithm on edges in the given order."""
    parent = list(range(nodes))

    def root(v: int) -> int:
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    tree = []
    for e in order.tolist():
        i, j = root(int(edges[e, 0])), root(int(edges[e, 1]))
        if i != j:
            parent[i] = j
            tree.append(e)
            if len(tree) == nodes - 1:
                break
    return np.array(tree, dtype=np.int64)


def mean_log_partition(state: MessageState, weights: FloatArray, trees: list[IntArray]) -> float:
    """The mean over the trees of log Z of their share of the energy: an upper bound on log Z for any messages.

    With messages m and weights rho, node i holds theta_i + sum rho m and edge e holds theta_e / rho - m - m. A node is
    in every tree and edge e in a share rho_e of them, so that the mean of the trees' energies is the network's.
    """
    network = state.network
    nodes = state.node_energies(weights)
    tables = []
    for e, table in enumerate(network.tables):
        first, second = state.messages[e, 0, : table.shape[0]], state.messages[e, 1, : table.shape[1]]
        with np.errstate(invalid="ignore"):
            rest = table / weights[e] - first[:, None] - second[None, :]
        # What a message forbids, its node forbids as well: the table need not, and infinity minus infinity is nothing.
        tables.append(np.where(np.isfinite(first)[:, None] & np.isfinite(second)[None, :], rest, np.inf))
    logs = [_tree_log_partition(nodes, tables, network.edges, tree) for tree in trees]
    return float(np.mean(logs)) - network.constant


def _tree_log_partition(nodes: list[FloatArray], tables: list[FloatArray], edges: IntArray, tree: IntArray) -> float:
    """log Z of a tree, from its leaves to node 0."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in nodes]
    for e in tree.tolist():
        i, j = edges[e].tolist()
        neighbours[i].append((e, j))
        neighbours[j].append((e, i))
    order, parent = [0], {0: (-1, -1)}
    for v in order:
        for e, w in neighbours[v]:
            if w not in parent:
                parent[w] = (e, v)
                order.append(w)
    energies = [values.copy() for values in nodes]
    for v in reversed(order[1:]):
        e, up = parent[v]
        table = tables[e] if edges[e, 0] == up else tables[e].T
        energies[up] = energies[up] + _softmin(table + energies[v][None, :])
    return -float(_softmin(energies[0][None, :])[0])


def _softmin(values: FloatArray) -> FloatArray:
    """-log sum exp(-values) along the rows; infinite where all are."""
    low = values.min(axis=1, keepdims=True)
    safe = np.where(np.isfinite(low), low, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(safe[:, 0] - np.log(np.exp(safe - values).sum(axis=1)))
