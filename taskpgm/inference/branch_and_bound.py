"""Branch and bound on levels whose node bound is a Frank-Wolfe certificate that keeps the node energies exact.

Write the energy of levels x as sum_i h_i(x_i) + 1/2 x'Cx with C = lam (S - mu I) / K^2 and mu the least eigenvalue of S
on the sum-zero subspace, so that C is positive semidefinite there, whether S is or not; h_i takes up the difference,
exactly, on whole levels. In a box of levels let env_i be the lower convex envelope of h_i. For any mixture p of the box

    E(x) >= -1/2 p'Cp + min over whole q in the box, sum q = K, of sum_i env_i(q_i) + (Cp)_i q_i

and the minimum is found by taking the cheapest quanta first. So a node needs no solver: any p gives a bound, a better p
a better one, and the search stops as soon as the bound reaches the incumbent. What a quantum more or less of a task
would add to the bound also says which levels can be ruled out without branching; at the root, so does trying each task
(`taskpgm.inference.branch_probing_kernels`).

The bound is DESIGN fact 2; Buchheim, De Santis, Rinaldi & Trieu (2018) branch with Frank-Wolfe bounds for mean-risk
problems; shifting the diagonal by the least eigenvalue is Hammer & Rubin (1970).

    solution = solve(network.levels(quanta=10, cap=1), BranchAndBound())       # the best ten tasks
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.inference.branch_relaxation import Splitter, least_eigenvalue
from taskpgm.inference.branch_tree import LEAST_PROGRESS, Tree
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.rounding import even_levels
from taskpgm.inference.tabu_search import tabu_search
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork

PRUNE_TOLERANCE = 1e-10
TIE_TOLERANCE = 1e-12
FIRST_MOVES = 200
MORE_MOVES = 3000  # of the search for an incumbent, where the first boxes prove nothing
FIRST_BOXES = 300
STEPS_BETWEEN_SPLITS = 20
SEARCH_SHARE = 0.3  # seconds of searching for each of looking for a better split
PATIENCE = 3
FIRST_PATIENCE = 8  # rounds, before any split has helped


@dataclass(frozen=True)
class BranchAndBound(Method):
    """Stopped by the deadline it returns the best point so far with the least bound of the boxes that are left.

    count_ties: search on until every minimiser has been met, and count them. stats["boxes"] counts the boxes,
    stats["steps"] those of the search for a better split.
    """

    count_ties: bool = False

    name: ClassVar[str] = "branch-and-bound"
    domain: ClassVar[Domain] = "levels"
    exact: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        first = even_levels(problem)
        if not deadline.passed():
            first = tabu_search(problem, first, FIRST_MOVES)
        deadline.note(first)
        scale = max(1.0, max(float(np.abs(energies).max()) for energies in problem.node_energies))
        tolerance = -PRUNE_TOLERANCE * scale if self.count_ties else PRUNE_TOLERANCE * scale
        tree = Tree(problem, first, tolerance, TIE_TOLERANCE * scale)
        tree.try_split(*tree.no_split())
        steps = search(tree, deadline)
        finished = tree.waiting == 0
        ties = tree.ties if finished and self.count_ties else None
        return Answer(tree.best, tree.bound, finished, "", {"boxes": tree.visited, "steps": steps}, ties)


def search(tree: Tree, deadline: Deadline) -> int:
    """Search a bounded tree to its end; returns the steps of looking for a better split."""
    tree.drop_tasks()
    tree.explore(deadline, boxes=FIRST_BOXES)
    steps = 0
    if tree.waiting and not deadline.passed():
        tree.offer(tabu_search(tree.problem, tree.best, MORE_MOVES), deadline)
        if tree.problem.maximum.max() == 1:
            steps = strengthen(tree, deadline)
    tree.explore(deadline)
    return steps


def strengthen(tree: Tree, deadline: Deadline) -> int:
    """Search while looking for a split of the couplings with a better bound, to the end; returns the steps of that.

    Once splits hardly help any more, each search lasts as long as everything before it.
    """
    splitter = Splitter(tree.pairs, tree.singles[:, 1], tree.quanta, tree.point, least_eigenvalue(tree.pairs))
    patience, begin = FIRST_PATIENCE, time.monotonic()
    while tree.waiting and not deadline.passed():
        start, gap = time.monotonic(), tree.energy - tree.floor
        splitter.improve(STEPS_BETWEEN_SPLITS, deadline)
        gained = tree.try_split(*splitter.split())
        if gained > 0.0:
            tree.probe(deadline)
        places = tree.drop_tasks()
        if places is not None:
            splitter.keep(places)
        helps = gained > LEAST_PROGRESS * gap
        patience = PATIENCE if helps else patience - 1
        if helps or patience < 0:
            tree.explore(deadline, SEARCH_SHARE * (time.monotonic() - start) if helps else time.monotonic() - begin)
    return splitter.iterations
