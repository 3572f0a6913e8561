"""Branch and bound without a budget against enumeration: products of states, any count, any sign of the couplings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pairwise_points
from scripts import benchmark
from strategies import SEEDS, networks, random_pairwise

import taskpgm as tp
from taskpgm.inference import BranchByCount, Exhaustive, branch_by_count, count_bounds
from taskpgm.inference.count_bounds import CountBounds
from taskpgm.inference.method import Deadline
from taskpgm.inference.sharing import Products
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork


def products_network(seed: int, whole: bool = False, budget: bool = False) -> PairwiseNetwork:
    """Nodes of one to three states, tables of products of states and terms of one node each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, size=int(rng.integers(1, 7)))

    def energies(*shape: int) -> Any:
        return rng.integers(-2, 3, size=shape).astype(float) if whole else rng.standard_normal(shape)

    factors: list[Any] = [([i], energies(size)) for i, size in enumerate(sizes)]
    for i in range(len(sizes)):
        for j in range(i):
            product = energies(1) * np.outer(np.arange(sizes[i]), np.arange(sizes[j]))
            factors.append(([i, j], product + energies(sizes[i], 1) + energies(1, sizes[j])))
    some = int(rng.integers(0, int((sizes - 1).sum()) + 1))
    return PairwiseNetwork.from_factors(
        sizes.tolist(), factors, constant=float(energies(1)[0]), budget=some if budget else None
    )


def assert_it_is_exact(network: PairwiseNetwork) -> None:
    found, exact = tp.solve(network, BranchByCount()), tp.solve(network, Exhaustive())
    scale = 1.0 + sum(float(np.abs(table).max()) for table in (*network.unary, *network.tables))
    assert found.status in (tp.Status.optimal, tp.Status.bound), found.message
    assert exact.energy - found.bound <= max(1e-7, 1e-11 * scale)
    assert found.energy == pytest.approx(exact.energy, abs=1e-8 * scale)
    assert found.bound <= exact.energy + 1e-12 * scale


@given(SEEDS, st.booleans(), st.booleans())
@settings(max_examples=80)
def test_it_agrees_with_enumeration_on_products_of_states(seed: int, whole: bool, budget: bool) -> None:
    assert_it_is_exact(products_network(seed, whole, budget))


@given(SEEDS, st.booleans(), st.booleans(), st.sampled_from([0.3, 1.0]))
@settings(max_examples=60)
def test_it_agrees_with_enumeration_on_any_network_of_two_states(
    seed: int, whole: bool, budget: bool, density: float
) -> None:
    assert_it_is_exact(random_pairwise(seed, nodes=8, most_states=2, density=density, whole=whole, budget=budget))


@given(networks(max_tasks=6), st.integers(1, 3), st.sampled_from([0.5, 3.0, 20.0]))
@settings(max_examples=60)
def test_it_agrees_with_enumeration_on_free_levels(network: TaskNetwork, cap: int, beta: float) -> None:
    try:
        free = network.changed(beta=beta * network.beta).levels(None, cap)
    except tp.InputError:  # no level within a task's bounds
        return
    assert_it_is_exact(free)


@pytest.mark.slow
def test_two_thousand_networks_leave_no_disagreement_with_enumeration() -> None:
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        assert_it_is_exact(products_network(seed, whole=bool(seed % 2), budget=seed % 3 == 0))
        n = int(rng.integers(6, 13))
        entries = rng.integers(-1, 2, size=(n, n)).astype(float) if seed % 2 else rng.normal(size=(n, n))
        similarity = entries @ entries.T / 2.0 if seed % 5 == 0 else entries + entries.T
        assert_it_is_exact(TaskNetwork(rng.integers(-2, 3, size=n), similarity, beta=2.0).levels(None, cap=1))


@pytest.mark.parametrize("seed", range(8))
def test_splits_from_one_count_bound_all_counts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every count's bound is at most its least energy; those that are done with are bounded by the incumbent alone."""
    monkeypatch.setattr(count_bounds, "COUNTS_AT_ONCE", 1 + seed)
    monkeypatch.setattr(branch_by_count, "FEW_COUNTS", 0)
    monkeypatch.setattr(branch_by_count, "STEPS_BETWEEN_SPLITS", 5)
    rng = np.random.default_rng(seed)
    entries = rng.random((9, 9)) - 0.3 * (seed % 3)
    network = TaskNetwork(rng.random(9), entries + entries.T, beta=4.0).levels(None)
    products = Products.of(network.shifted())
    assert isinstance(products, Products)
    counts = CountBounds(products, tolerance=-np.inf)  # all counts wait for ever
    counts.bound_all(*counts.no_split(), Deadline(None))
    first = counts.bounds.copy()
    random = np.triu(rng.exponential(size=(9, 9)), 1)
    counts.bound_all(random + random.T, rng.normal(size=9), Deadline(None))
    least = dict.fromkeys(counts.counts.tolist(), np.inf)
    for point in pairwise_points(network):
        if sum(point):
            least[sum(point)] = min(least[sum(point)], network.energy(point) - products.constant)
    assert np.all(counts.bounds <= np.array(list(least.values())) + 1e-9)
    assert np.all(counts.bounds >= first)
    counts.tolerance = 1e-10
    counts.energy = np.inf
    branch_by_count.strengthen(counts, Deadline(None))
    assert np.all(np.minimum(counts.bounds, counts.energy) <= np.array(list(least.values())) + 1e-9)
    assert_it_is_exact(network)


@pytest.mark.parametrize("utility", ["random", "mean"])
def test_sixty_tasks_without_a_budget_are_proved_in_seconds(utility: str) -> None:
    """On an idle core these take 0.1 and 0.6 seconds; the deadline leaves slow machines room."""
    network = benchmark("inference").make_network(60, False, utility, 0, beta=16.0).levels(None)
    solution = tp.solve(network, BranchByCount(), deadline=60.0)
    assert solution.status is tp.Status.optimal
    assert solution.energy == pytest.approx({"random": -201.473469472524, "mean": -46.103880961355}[utility], abs=1e-9)


def test_stopped_early_it_keeps_a_point_and_an_honest_bound() -> None:
    network = benchmark("inference").make_network(40, False, "mean", 1, beta=16.0).levels(None)
    full = tp.solve(network, BranchByCount())
    stopped = tp.solve(network, BranchByCount(), deadline=0.0)
    assert full.status is tp.Status.optimal
    assert stopped.status is tp.Status.timeout
    assert stopped.bound <= full.energy <= stopped.energy
    cut = tp.solve(network, BranchByCount(), deadline=0.05)
    assert cut.bound <= full.energy <= cut.energy


def test_what_is_no_product_of_states_is_refused() -> None:
    potts = PairwiseNetwork.from_factors([3, 3], [([0, 1], np.eye(3))])
    solution = tp.solve(potts, BranchByCount())
    assert solution.status is tp.Status.refused
    assert "no product of the states" in solution.message
    gaps = PairwiseNetwork.from_factors([2, 2], [([0, 1], np.eye(2))], levels=[[0, 2], [0, 1]], budget=2)
    assert "one quantum more" in tp.solve(gaps, BranchByCount()).message
    assert tp.solve(PairwiseNetwork.from_factors([2, 2], [([0, 1], np.eye(2))]), BranchByCount()).energy == 0.0


def test_a_budget_that_nothing_keeps_is_said() -> None:
    network = PairwiseNetwork.from_factors([2, 2], [([0, 1], np.eye(2))], budget=3)
    assert "no assignment keeps the budget" in tp.solve(network, BranchByCount()).message


def test_a_table_that_is_nearly_a_product_costs_its_deviation() -> None:
    table = np.outer(np.arange(3), np.arange(3)).astype(float)
    table[1, 1] += 2e-10
    products = Products.of(PairwiseNetwork.from_factors([3, 3], [([0, 1], table)]))
    assert isinstance(products, Products)
    assert products.deviation >= 2e-10
