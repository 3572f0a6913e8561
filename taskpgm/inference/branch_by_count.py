"""Branch and bound without a budget: every number of quanta is a problem with a budget, and few of them need a search.

With a budget, what all couplings have in common is the same for all points, so the bounds of `BranchAndBound` see only
what tells tasks apart; without one they would see that common part smeared over all counts. So the count is branched on
first. One split of the couplings bounds all counts at once, from one to the next with few steps; the better split that
is then looked for at the most promising count serves all others too. What is left is searched, the least bound first,
for points that beat the best of all counts.

    solution = solve(network.levels(None), BranchByCount())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.inference.branch_and_bound import (
    FIRST_MOVES,
    FIRST_PATIENCE,
    MORE_MOVES,
    PATIENCE,
    PRUNE_TOLERANCE,
    STEPS_BETWEEN_SPLITS,
    search,
)
from taskpgm.inference.branch_relaxation import Splitter, least_eigenvalue
from taskpgm.inference.branch_tree import LEAST_PROGRESS, Tree
from taskpgm.inference.count_bounds import CountBounds
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.rounding import nearest_levels
from taskpgm.inference.sharing import Products
from taskpgm.inference.tabu_search import tabu_search
from taskpgm.pairwise import PairwiseNetwork

CLOSE = 1e-8  # to the least energy, where all parts of a network together should be proved to 1e-7
FEW_COUNTS = 2  # are searched without looking for a split that serves all


@dataclass(frozen=True)
class BranchByCount(Method):
    """Takes networks whose tables are products of states, above all those of two states a node; with a budget too.

    Stopped by the deadline it returns the best point so far with the least bound of the counts that are left.
    stats: the counts that were searched, the boxes of all, and the steps of looking for better splits.
    """

    name: ClassVar[str] = "branch-by-count"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        products = Products.of(problem)
        return products if isinstance(products, str) else None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        products = Products.of(problem)
        assert not isinstance(products, str)
        if not products.counts:
            return Answer(None, message="no assignment keeps the budget")
        scale = max(1.0, float(np.abs(products.nodes).max()))
        counts = CountBounds(products, max(min(PRUNE_TOLERANCE * scale, CLOSE), 1e-13 * scale))
        counts.bound_all(*counts.no_split(), deadline)
        steps = 0
        if len(counts.waiting()) and not deadline.passed():
            improve_incumbent(counts, FIRST_MOVES)
            counts.bound_all(*counts.no_split(), deadline)
            if products.top.max() == 1 and len(counts.waiting()) > FEW_COUNTS:
                improve_incumbent(counts, MORE_MOVES)
                steps = strengthen(counts, deadline)
        deadline.note(counts.best)
        stats = {"counts": 0, "boxes": 0, "steps": steps}
        while len(counts.waiting()) and not deadline.passed():
            tree, more = searched(counts, int(counts.waiting()[0]), deadline)
            stats["counts"] += 1
            stats["boxes"] += tree.visited
            stats["steps"] += more
        bound = products.constant + counts.bound - products.deviation
        deadline.note(counts.best, bound)
        return Answer(counts.best, bound, not len(counts.waiting()), "", stats)


def improve_incumbent(counts: CountBounds, moves: int) -> None:
    """Tabu search with as many quanta as the incumbent has, and with as many as the least bound."""
    place = int(counts.bounds.argmin())
    sharing = counts.products.sharing(int(counts.counts[place]))
    counts.offer(tabu_search(sharing, nearest_levels(sharing, counts.points[place]), moves))
    if counts.best.any():
        counts.offer(tabu_search(counts.products.sharing(int(counts.best.sum())), counts.best, moves))


def strengthen(counts: CountBounds, deadline: Deadline) -> int:
    """Look, at the count of the least bound, for a split that bounds all counts better; the steps it took."""
    place, products = int(counts.bounds.argmin()), counts.products
    count, shift = int(counts.counts[place]), least_eigenvalue(products.coupling)
    splitter = Splitter(products.coupling, products.nodes[:, 1], count, counts.points[place], shift)
    patience = FIRST_PATIENCE
    while patience and len(counts.waiting()) > FEW_COUNTS and not deadline.passed():
        gap = counts.energy - float(counts.bounds.min())
        splitter.improve(STEPS_BETWEEN_SPLITS, deadline)
        patience -= 1
        if counts.bound_all(*splitter.split(), deadline) > LEAST_PROGRESS * gap:
            patience = PATIENCE
    return splitter.iterations


def searched(counts: CountBounds, place: int, deadline: Deadline) -> tuple[Tree, int]:
    """Search one count for something better than the incumbent: the tree, and its steps of looking for a split."""
    sharing, clock = counts.products.sharing(int(counts.counts[place])), Deadline(deadline.left())
    first = tabu_search(sharing, nearest_levels(sharing, counts.points[place]), FIRST_MOVES)
    tree = Tree(sharing, first, counts.tolerance, 0.01 * counts.tolerance)
    tree.cut(counts.energy)
    tree.try_split(*tree.no_split())
    tree.try_split(*counts.split)
    steps = search(tree, clock)
    counts.error = max(counts.error, tree.error)
    if counts.offer(tree.best):
        deadline.note(counts.best)
    counts.bounds[place] = max(counts.bounds[place], tree.bound if tree.waiting else counts.energy)
    return tree, steps
