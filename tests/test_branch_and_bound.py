"""Branch and bound against enumeration, its kernels against brute force, and instances of others with known answers."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from oracles import level_points
from scripts import benchmark
from strategies import SEEDS, levels_networks

import taskpgm as tp
from taskpgm.inference import BranchAndBound, branch_and_bound, branch_tree
from taskpgm.inference.branch_box_kernels import (
    bound_at,
    certain_pairs,
    cheapest_quanta,
    envelope,
    relaxed_energy,
    tighten,
    true_energy,
)
from taskpgm.inference.branch_kernels import exchange_curvatures
from taskpgm.inference.branch_relaxation import Splitter, least_eigenvalue
from taskpgm.inference.branch_tree import Tree
from taskpgm.inference.method import Deadline
from taskpgm.inference.rounding import even_levels
from taskpgm.inference.swap_search import descend
from taskpgm.inference.tabu_search import tabu_search
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork


@given(levels_networks())
@settings(max_examples=150)
def test_it_agrees_with_enumeration(problem: LevelsNetwork) -> None:
    scale = 1.0 + max(float(np.abs(node).max()) for node in problem.node_energies)
    found, exact = tp.solve(problem, BranchAndBound()), tp.solve(problem, tp.Exhaustive())
    assert found.energy == pytest.approx(exact.energy, abs=1e-9 * scale)
    assert found.bound <= exact.energy
    assert exact.energy - found.bound <= 1e-7 * scale


@pytest.mark.parametrize("seed", range(120))
def test_it_agrees_with_enumeration_on_indefinite_and_tied_energies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    entries = rng.normal(size=(n, n)) if seed % 2 else rng.integers(-1, 2, size=(n, n)).astype(float)
    network = TaskNetwork(rng.integers(0, 2, size=n), entries + entries.T, beta=float(rng.random()))
    cap = int(rng.integers(1, 5))
    problem = network.levels(int(rng.integers(1, n * cap + 1)), cap)
    found, exact = tp.solve(problem, BranchAndBound()), tp.solve(problem, tp.Exhaustive())
    assert found.status is tp.Status.optimal
    assert found.energy == pytest.approx(exact.energy, abs=1e-9)


@pytest.mark.parametrize("progress", [0.0, 0.1, 10.0])
@pytest.mark.parametrize("seed", range(12))
def test_better_splits_on_the_way_lose_no_point_and_no_tie(
    seed: int, progress: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Selections, many of them tied, on which the split is changed after every few boxes; some searches go on."""
    monkeypatch.setattr(branch_and_bound, "FIRST_BOXES", 2)
    monkeypatch.setattr(branch_and_bound, "STEPS_BETWEEN_SPLITS", 2)
    monkeypatch.setattr(branch_tree, "LEAST_PROGRESS", progress)
    monkeypatch.setattr(branch_and_bound, "LEAST_PROGRESS", progress)
    monkeypatch.setattr(branch_tree, "SECONDS_PER_CALL", 1e-6)
    rng = np.random.default_rng(seed)
    entries = rng.integers(0, 3, size=(11, 11)).astype(float)
    network = TaskNetwork(rng.integers(0, 2, size=11), entries + entries.T, beta=0.5)
    problem = network.levels(int(rng.integers(3, 7)), cap=1)
    found, exact = tp.solve(problem, BranchAndBound(count_ties=True)), tp.solve(problem, tp.Exhaustive())
    assert found.status is tp.Status.optimal
    assert found.stats["steps"] > 0
    assert found.energy == pytest.approx(exact.energy, abs=1e-12)
    assert found.bound <= exact.energy
    assert found.ties == exact.ties


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_thousand_networks_leave_no_disagreement_with_enumeration() -> None:
    """Energies, bounds, proofs and counts of ties, S indefinite included: the benchmark yields what disagrees."""
    assert list(benchmark("inference").agreement(20.0, 1, 500)) == []


@pytest.mark.parametrize(
    ("tasks", "quanta", "cap"), [(100, 5, 1), (100, 10, 1), (100, 25, 1), (200, 10, 1), (200, 20, 1), (30, 50, None)]
)
def test_similarities_of_many_experts_are_proved_in_seconds(tasks: int, quanta: int, cap: int | None) -> None:
    """S = 1 - JSD / ln 2. The deadline leaves slow machines room: on an idle core each takes a tenth of a second."""
    network = benchmark("inference").make_network(tasks, False, "random", 0)
    assert tp.solve(network.levels(quanta, cap), BranchAndBound(), deadline=10.0).status is tp.Status.optimal


@pytest.mark.slow
@pytest.mark.parametrize("utility", ["mean", "zero"])
@pytest.mark.parametrize("families", [False, True])
@pytest.mark.parametrize(("tasks", "quanta"), [(200, 20), (500, 10), (500, 30)])
def test_similarities_are_proved_in_seconds_without_help_from_utilities(
    tasks: int, quanta: int, families: bool, utility: str
) -> None:
    """Utilities that tell no task from another are the hardest. On an idle core these take 0.3 to 4 seconds."""
    network = benchmark("inference").make_network(tasks, families, utility, 0)
    assert tp.solve(network.levels(quanta, cap=1), BranchAndBound(), deadline=20.0).status is tp.Status.optimal


def tree_with_split(problem: LevelsNetwork, seed: int) -> Tree:
    """A tree whose couplings are split at random, its box the whole problem's."""
    rng = np.random.default_rng(seed)
    n = len(problem)
    remainder = np.triu(rng.exponential(size=(n, n)) * float(np.abs(problem.coupling).max()), 1) * (seed % 3)
    tree = Tree(problem, next(iter(level_points(problem))), tolerance=-np.inf, tie=0.0)
    tree.try_split(remainder + remainder.T, rng.normal(size=n) * float(np.abs(problem.coupling).max()))
    return tree


@given(levels_networks(), SEEDS)
@settings(max_examples=50)
def test_any_mixture_and_split_bound_every_point_and_rule_out_none_that_is_better(
    problem: LevelsNetwork, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tree = tree_with_split(problem, seed)
    coupling, remainder, nodes = tree.coupling, tree.remainder, tree.nodes
    lower, upper = problem.minimum.copy(), problem.maximum.copy()
    extra, values, slopes = np.zeros(len(problem)), np.zeros(nodes.shape), np.zeros(nodes.shape)
    constant = certain_pairs(remainder, lower, extra)
    envelope(nodes, extra, lower, upper, values, slopes)
    points = np.array(list(level_points(problem)))
    p = rng.dirichlet(np.ones(len(points))) @ points  # somewhere between the feasible points
    taken = np.empty(len(problem), np.int64)
    free = np.flatnonzero(lower < upper)
    gradient = coupling @ p
    bound, dearest, cheapest = bound_at(p, gradient, values, slopes, lower, upper, free, problem.quanta, taken)
    energies = np.array([problem.energy(point) for point in points])
    scale = 1.0 + float(np.abs(nodes).max()) + float((np.abs(coupling) + remainder).sum()) * problem.quanta**2
    assert bound + constant <= energies.min() + 1e-12 * scale
    assert bound <= relaxed_energy(p, gradient, values, slopes, upper) + 1e-7 * scale
    slack = float(np.median(energies)) - bound - constant
    tighten(lower, upper, free, p, gradient, slopes, taken, slack, dearest, cheapest)
    better = points[energies < np.median(energies) - 1e-12 * scale]
    assert np.all((better >= lower) & (better <= upper))


@given(levels_networks(), SEEDS)
@settings(max_examples=80)
def test_any_split_keeps_the_energy_and_a_convex_part(problem: LevelsNetwork, seed: int) -> None:
    tree = tree_with_split(problem, seed)
    scale = 1.0 + float((np.abs(tree.coupling) + tree.remainder).sum()) * problem.quanta**2
    assert least_eigenvalue(tree.coupling) >= -1e-12 * scale
    assert tree.remainder.min() >= 0.0
    for point in list(level_points(problem))[:50]:
        x = np.array(point)
        energy = true_energy(tree.coupling, tree.remainder, tree.nodes, x)
        assert energy == pytest.approx(problem.energy(x), abs=1e-12 * scale)
        assert tree.bound <= energy


@given(levels_networks(), SEEDS)
@settings(max_examples=60)
def test_probing_rules_out_no_point_that_is_better_than_the_incumbent(problem: LevelsNetwork, seed: int) -> None:
    """The incumbent is a poor one, so that there is something better to lose."""
    points = np.array(list(level_points(problem)))
    energies = np.array([problem.energy(point) for point in points])
    poor = points[np.argsort(energies)[len(points) // 2]]
    rng = np.random.default_rng(seed)
    n, largest = len(problem), float(np.abs(problem.coupling).max())
    remainder = np.triu(rng.exponential(size=(n, n)) * largest, 1) * (seed % 3)
    scale = 1.0 + float((np.abs(problem.coupling) + remainder).sum()) * problem.quanta**2
    tree = Tree(problem, poor, tolerance=1e-11 * scale, tie=1e-12 * scale)
    tree.try_split(remainder + remainder.T, rng.normal(size=n) * largest)
    tree.probe(Deadline(None))
    least = float(energies.min())
    assert problem.energy(tree.best) == pytest.approx(tree.energy, abs=1e-12 * scale)
    better = points[energies < tree.energy - 1e-10 * scale]
    assert np.all((better >= tree.lower) & (better <= tree.upper))
    tree.explore(Deadline(None))
    assert tree.energy == pytest.approx(least, abs=1e-9 * scale)


def test_probing_drops_many_tasks_that_the_bound_alone_keeps_and_none_of_the_best() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 100))
    utility = 0.1 * rng.random(100)
    utility[:3] += 1.0
    problem = TaskNetwork(utility, features @ features.T / 100.0, lam=1.3).levels(5, cap=1)
    best = tp.solve(problem, BranchAndBound())
    tree = Tree(problem, best.point, tolerance=1e-10, tie=1e-12)
    tree.try_split(*tree.no_split())
    before = int((tree.upper > 0).sum())
    tree.probe(Deadline(None))
    assert tree.waiting > 0, "the root's bound proves it already: choose another problem"
    assert (tree.upper > 0).sum() < 0.75 * before
    assert np.all(tree.upper >= best.point)
    assert np.all(tree.lower <= best.point)


def test_a_better_split_is_found_and_keeps_the_bound_below_the_best_selection() -> None:
    rng = np.random.default_rng(3)
    entries = rng.random((16, 16))
    problem = TaskNetwork(rng.random(16), entries + entries.T).levels(5, cap=1)
    best = tp.solve(problem, tp.Exhaustive())
    tree = Tree(problem, best.point, tolerance=1e-10, tie=1e-12)
    tree.try_split(*tree.no_split())
    by_eigenvalue = tree.floor
    splitter = Splitter(tree.pairs, tree.singles[:, 1], 5, tree.point, least_eigenvalue(tree.pairs))
    splitter.improve(300, Deadline(None))
    tree.try_split(*splitter.split())
    assert best.energy - tree.floor < 0.2 * (best.energy - by_eigenvalue)
    assert tree.floor <= best.energy + 1e-9


@pytest.mark.parametrize("seed", range(10))
def test_curvatures_ignore_what_is_constant_under_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, shared = rng.normal(size=(6, 4)), rng.normal(size=6)
    coupling = features @ features.T
    curvatures = exchange_curvatures(coupling)
    directions = np.eye(6) - 1.0 / 6.0
    assert curvatures == pytest.approx(np.diag(directions @ coupling @ directions), abs=1e-12)
    assert exchange_curvatures(coupling + np.add.outer(shared, shared)) == pytest.approx(curvatures, abs=1e-12)


@given(levels_networks())
@settings(max_examples=60)
def test_tabu_search_keeps_to_the_levels_and_never_ends_above_its_start(problem: LevelsNetwork) -> None:
    start = even_levels(problem)
    found = tabu_search(problem, start, moves=50)
    assert problem.violation(found) == 0.0
    assert problem.energy(found) <= problem.energy(start) + 1e-12 * (1.0 + abs(problem.energy(start)))


@pytest.mark.parametrize(("quanta", "cap"), [(6, 1), (12, None)])
def test_tabu_search_leaves_a_local_minimum(quanta: int, cap: int | None) -> None:
    """It reaches what branch and bound proves, where descents from the same start end above it."""
    left = 0
    for seed in range(8):
        problem = benchmark("inference").make_network(40, True, "mean", seed).levels(quanta, cap)
        start = even_levels(problem)
        best = tp.solve(problem, BranchAndBound())
        found = tabu_search(problem, start, moves=2000)
        assert problem.energy(found) == pytest.approx(best.energy, abs=1e-10)
        left += problem.energy(descend(problem, start, Deadline(None))[0]) > best.energy + 1e-9
    assert left > 0


@pytest.mark.parametrize("seed", range(20))
def test_envelopes_are_the_greatest_convex_functions_below(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes, extra = rng.normal(size=(3, 7)), rng.normal(size=3)
    lower, upper = np.array([0, 2, 5]), np.array([6, 4, 5])
    values, slopes = np.zeros((3, 7)), np.zeros((3, 7))
    envelope(nodes, extra, lower, upper, values, slopes)
    tilted = nodes + np.outer(extra, np.arange(7))
    for i in range(3):
        levels = range(lower[i], upper[i] + 1)
        for v in levels:
            chords = [
                tilted[i, a] + (tilted[i, b] - tilted[i, a]) * (v - a) / max(1, b - a)
                for a, b in product(levels, levels)
                if a <= v <= b
            ]
            assert values[i, v] == pytest.approx(min(chords), abs=1e-12)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_the_cheapest_quanta_are_the_linear_minimum(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    slopes = np.sort(rng.integers(3, size=(4, 3)).astype(float) if tied else rng.normal(size=(4, 3)), axis=1)
    gradient, lower, upper = rng.normal(size=4) * (not tied), np.array([0, 1, 0, 0]), np.array([3, 3, 1, 2])
    taken = np.empty(4, np.int64)
    dearest, cheapest = cheapest_quanta(gradient, slopes, lower, upper, np.array([0, 1, 2, 3]), 5, taken)

    def cost(levels: tuple[int, ...]) -> float:
        return sum(slopes[i, :v].sum() + gradient[i] * v for i, v in enumerate(levels))

    ranges = [range(low, high + 1) for low, high in zip(lower, upper, strict=True)]
    assert cost(tuple(taken)) == pytest.approx(min(cost(x) for x in product(*ranges) if sum(x) == 5))
    assert taken.sum() == 5
    assert dearest <= cheapest


def test_stopped_early_it_keeps_a_point_and_an_honest_bound() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 60))
    problem = TaskNetwork(np.zeros(60), features @ features.T / 60).levels(8, cap=1)
    full = tp.solve(problem, BranchAndBound())
    stopped = tp.solve(problem, BranchAndBound(), deadline=0.0)
    assert full.status is tp.Status.optimal
    assert stopped.status is tp.Status.timeout
    assert stopped.bound <= full.energy <= stopped.energy
    assert problem.violation(stopped.point) == 0.0


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("GKD-b_1_n25_m2", 121.24863),
        ("GKD-b_6_n25_m7", 4165.53404),
        ("GKD-b_11_n50_m5", 1795.20603),
        ("GKD-b_16_n50_m15", 10852.35428),
    ],
)
def test_maximum_diversity_instances_are_proved(shared_data: Path, name: str, known: float) -> None:
    """Choose m of n at the greatest sum of distances: S = -m^2 D, which is indefinite."""
    rows = (shared_data / "instances" / "mdp" / f"{name}.txt").read_text().split("\n")
    n, m = map(int, rows[0].split())
    distances = np.zeros((n, n))
    for i, j, value in (row.split() for row in rows[1:] if row.strip()):
        distances[int(i), int(j)] = distances[int(j), int(i)] = float(value)
    solution = tp.solve(TaskNetwork(np.zeros(n), -distances * m * m).levels(m, cap=1), BranchAndBound())
    assert solution.status is tp.Status.optimal
    assert -solution.energy == pytest.approx(known, abs=5e-6)
