"""The router: what it names does not refuse, reaches the oracle's energy, and its reason says what decided."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from strategies import indefinite, random_network, random_pairwise
from test_contracts import PROBLEMS, problem_and_oracle

from taskpgm.inference import best_method, solve
from taskpgm.judge import Problem, gap_tolerance
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import InputError, Status


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_chosen_method_proves_small_problems(name: str) -> None:
    problem, oracle = problem_and_oracle(name)
    if name == "indefinite":
        with pytest.raises(InputError, match=r"use network\.levels"):
            best_method(problem)
        return
    choice = best_method(problem)
    solution = solve(problem, choice.method, deadline=20.0)
    assert solution.status is Status.optimal, choice
    assert solution.energy == pytest.approx(oracle, abs=10.0 * gap_tolerance(problem, oracle))
    assert "\n" not in choice.reason


def dense_pairwise(nodes: int, seed: int) -> PairwiseNetwork:
    """Three states a node, random tables for all pairs."""
    rng = np.random.default_rng(seed)
    pairs = [(i, j) for i in range(nodes) for j in range(i + 1, nodes)]
    return PairwiseNetwork.from_factors([3] * nodes, [(pair, rng.random((3, 3))) for pair in pairs])


# Too large to enumerate: what decides is the budget, the curvature, the tree-width and the number of nodes.
LARGE: dict[str, tuple[Callable[[], Problem], str, str]] = {
    "fixed budget": (lambda: random_network(60, 1).levels(8, cap=1), "branch-and-bound", "fixed budget, energy convex"),
    "fixed budget, indefinite": (
        lambda: TaskNetwork(np.zeros(60), indefinite(60, np.random.default_rng(1))).levels(8, cap=1),
        "branch-and-bound",
        "not convex (least eigenvalue -",
    ),
    "tree": (lambda: random_pairwise(1, nodes=40, tree=True), "junction-tree", "tree-width at most 1"),
    "dense": (lambda: random_network(50, 2).levels(None), "branch-by-count", "50 nodes, nearly all pairs coupled"),
    "dense and large": (lambda: random_network(100, 3).levels(None), "branch-by-count", "100 nodes, nearly all pairs"),
    "dense, no products": (lambda: dense_pairwise(40, 4), "toulbar2", "40 nodes: too wide to eliminate"),
    "dense and large, no products": (lambda: dense_pairwise(70, 5), "trw-s", "too much for exact methods"),
}


@pytest.mark.parametrize("name", LARGE)
def test_the_choice_for_a_large_problem_says_what_decided(name: str) -> None:
    make, method, reason = LARGE[name]
    if method == "toulbar2":
        pytest.importorskip("pytoulbar2")
    problem = make()
    choice = best_method(problem)
    assert choice.method.name == method
    assert reason in choice.reason
    solution = solve(problem, choice.method, deadline=1.0)
    assert solution.point is not None
    assert problem.violation(solution.point) == 0.0
