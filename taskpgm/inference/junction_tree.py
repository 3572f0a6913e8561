"""Exact answers by eliminating one node after the other, for networks of small tree-width, budget or not.

The least energy comes from maximising out each node and remembering its best state (Dechter 1999). Marginals and log Z
come from adding up instead, in logarithms, and from a second pass from the root back to the leaves, after which every
clique knows about the whole network (Lauritzen & Spiegelhalter 1988). What the budget has used is one more axis of each
table (see `taskpgm.inference.bucket_tree`): many tasks that each interact with a few others are solved exactly.

    solution = solve(network, JunctionTree())
    found = marginals(network, JunctionTreeMarginals(), temperature=0.5)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from taskpgm.inference.bucket_tables import Factor, aligned, best_states, best_sums, convolved, log_sum, met, moved
from taskpgm.inference.bucket_tree import BucketTree
from taskpgm.inference.method import Answer, Deadline, Domain, MarginalAnswer, MarginalMethod, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

IMPOSSIBLE = "every assignment is forbidden or breaks the budget"


@dataclass(frozen=True)
class JunctionTree(Method):
    """Bucket elimination with tables of up to `table_limit` entries and up to `message_limit` remembered choices.

    stats["width"] is the most neighbours a node had at its turn, stats["table"] the size of the largest table.
    """

    table_limit: int = 1 << 24
    message_limit: int = 1 << 30

    name: ClassVar[str] = "junction-tree"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        tree = BucketTree.of(problem, self.table_limit, self.message_limit)
        return tree if isinstance(tree, str) else None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        tree = BucketTree.of(problem, self.table_limit, self.message_limit)
        assert isinstance(tree, BucketTree)
        stats = {"width": tree.elimination.width, "table": max(tree.entries)}
        found = _upward(tree, deadline)
        if found is None:
            return Answer(None, None, False, "stopped at the deadline, before the last node was eliminated", stats)
        value, choices, splits = found
        if not np.isfinite(value):
            return Answer(None, message=IMPOSSIBLE, stats=stats)
        point = _decoded(tree, choices, splits)
        bound = problem.constant - value - problem.rounding
        deadline.note(point, bound)
        return Answer(point, bound, True, "", stats)


Choices = list[NDArray[Any]]
Splits = list[list[NDArray[Any] | None]]


def _upward(tree: BucketTree, deadline: Deadline) -> tuple[float, Choices, Splits] | None:
    """(greatest -E less the constant, each bucket's best states, how each bucket's children share what is used)."""
    waiting: dict[int, Factor] = {}
    choices: Choices = []
    splits: Splits = []
    for bucket, clique in enumerate(tree.cliques):
        if deadline.passed():
            return None
        table = np.zeros(1)
        scope: tuple[int, ...] = ()
        splits.append([])
        for child in tree.children[bucket]:
            message = waiting.pop(child)
            union = tree.union([scope, message[0]])
            table, split = best_sums(aligned((scope, table), union), aligned(message, union), tree.budget)
            scope = union
            splits[-1].append(split)
        table = aligned((scope, table), clique)
        for factor in tree.factors(bucket):
            table = table - aligned(factor, clique)
        best, choice = best_states(table, tree.levels[clique[0]], tree.budget)
        waiting[bucket] = (clique[1:], best)
        choices.append(choice)
    root = waiting[len(tree.cliques) - 1][1]
    return (float(root[tree.budget]) if 0 <= tree.budget < len(root) else -np.inf), choices, splits


def _decoded(tree: BucketTree, choices: Choices, splits: Splits) -> IntArray:
    """The states that the choices lead to, from the root back."""
    states, used = np.zeros(len(tree.network), dtype=np.int64), np.zeros(len(tree.cliques), dtype=np.int64)
    used[-1] = tree.budget
    for bucket in range(len(tree.cliques) - 1, -1, -1):
        node, *others = tree.cliques[bucket]
        left = int(used[bucket])
        states[node] = choices[bucket][(*states[others], left)]
        left -= int(tree.levels[node][states[node]])
        children = tree.children[bucket]
        scopes = [tree.cliques[child][1:] for child in children]
        for k in range(len(children) - 1, -1, -1):
            split = splits[bucket][k]
            scope = tree.union(scopes[: k + 1])
            used[children[k]] = 0 if split is None else int(split[(*states[list(scope)], left)])
            left -= int(used[children[k]])
    return states


# ------------------------------------------------------------------------------------------------------------ marginals


@dataclass(frozen=True)
class JunctionTreeMarginals(MarginalMethod):
    """A calibrated junction tree, its tables of up to `table_limit` entries, its messages of `message_limit` in all.

    stats as for JunctionTree.
    """

    table_limit: int = 1 << 24
    message_limit: int = 1 << 29

    name: ClassVar[str] = "junction-tree"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = "both"

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        tree = BucketTree.of(problem, self.table_limit, self.message_limit)
        return tree if isinstance(tree, str) else None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        tree = BucketTree.of(problem, self.table_limit, self.message_limit)
        assert isinstance(tree, BucketTree)
        stats = {"width": tree.elimination.width, "table": max(tree.entries)}
        late = MarginalAnswer((), None, None, False, "stopped at the deadline, before the tree was calibrated", stats)
        messages = _collect(tree, deadline)
        if messages is None:
            return late
        root = messages.pop(len(tree.cliques) - 1)[1]
        log_partition = float(root[tree.budget]) if 0 <= tree.budget < len(root) else -np.inf
        if not np.isfinite(log_partition):
            return MarginalAnswer((), message=IMPOSSIBLE, stats=stats)
        found = _distribute(tree, messages, log_partition, deadline)
        if found is None:
            return late
        return MarginalAnswer(*found, log_partition - problem.constant, stats=stats)


def _collect(tree: BucketTree, deadline: Deadline) -> dict[int, Factor] | None:
    """Every bucket's message: for each state of its later neighbours log of the sum of exp(-E) of what is below."""
    messages: dict[int, Factor] = {}
    for bucket, clique in enumerate(tree.cliques):
        if deadline.passed():
            return None
        table = _product(tree, clique, [messages[child] for child in tree.children[bucket]])
        for factor in tree.factors(bucket):
            table = table - aligned(factor, clique)
        messages[bucket] = (clique[1:], log_sum(moved(table, tree.levels[clique[0]], tree.budget), (0,)))
    return messages


def _distribute(
    tree: BucketTree, messages: dict[int, Factor], log_partition: float, deadline: Deadline
) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]] | None:
    """(node marginals, pair marginals) after a pass from the root. Messages are taken out as they are used."""
    rest: dict[int, Factor] = {len(tree.cliques) - 1: ((), np.zeros(1))}  # of all that is not below, by what that uses
    nodes: dict[int, FloatArray] = {}
    pairs: dict[int, FloatArray] = {}
    for bucket in range(len(tree.cliques) - 1, -1, -1):
        if deadline.passed():
            return None
        clique, children = tree.cliques[bucket], tree.children[bucket]
        above = aligned(rest.pop(bucket), clique)
        for factor in tree.factors(bucket):
            above = above - aligned(factor, clique)
        above = moved(above, tree.levels[clique[0]], tree.budget)
        below = [messages.pop(child) for child in children]
        for child, others in zip(children, _all_but_one(tree, below), strict=True):
            scope = tree.cliques[child][1:]
            outside = convolved(above, aligned(others, clique), tree.budget)
            gone = tuple(axis for axis, node in enumerate(clique) if node not in scope)
            rest[child] = (scope, log_sum(outside, gone))
        belief = met(above, _product(tree, clique, below), tree.budget) - log_partition
        _read_off(tree, bucket, np.exp(belief), nodes, pairs)
    return tuple(nodes[i] for i in range(len(tree.network))), tuple(pairs[e] for e in range(len(tree.network.edges)))


def _read_off(
    tree: BucketTree, bucket: int, belief: FloatArray, nodes: dict[int, FloatArray], pairs: dict[int, FloatArray]
) -> None:
    """The marginals of a bucket's node and edges from the probabilities of its clique."""
    clique = tree.cliques[bucket]
    node = clique[0]
    total = belief.sum()
    nodes[node] = belief.sum(axis=tuple(range(1, len(clique)))) / total
    for edge, other in tree.edges(bucket):
        if other in clique:
            axis = clique.index(other)
            pair = belief.sum(axis=tuple(k for k in range(1, len(clique)) if k != axis)) / total
        else:
            pair = nodes[node][:, None]  # the other node has one state
        pairs[edge] = pair if tree.network.edges[edge][0] == node else pair.T


def _product(tree: BucketTree, clique: tuple[int, ...], messages: Sequence[Factor]) -> FloatArray:
    """The product of some messages with an axis for every node of the clique, some of length 1."""
    scope: tuple[int, ...] = ()
    table = np.zeros(1)
    for message in messages:
        union = tree.union([scope, message[0]])
        table = convolved(aligned((scope, table), union), aligned(message, union), tree.budget)
        scope = union
    return aligned((scope, table), clique)


def _all_but_one(tree: BucketTree, messages: list[Factor]) -> list[Factor]:
    """For each message the product of all others: from products of the first few and of the last few."""
    nothing: Factor = ((), np.zeros(1))
    first, last = [nothing], [nothing]
    for message in messages[:-1]:
        first.append(_times(tree, first[-1], message))
    for message in messages[:0:-1]:
        last.append(_times(tree, message, last[-1]))
    return [_times(tree, a, b) for a, b in zip(first, last[::-1], strict=True)] if messages else []


def _times(tree: BucketTree, a: Factor, b: Factor) -> Factor:
    scope = tree.union([a[0], b[0]])
    return scope, convolved(aligned(a, scope), aligned(b, scope), tree.budget)
