"""Pairwise Frank-Wolfe on dense and factored networks agrees with the convex program, and certifies what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import energy_scale
from strategies import BOUNDS, SEEDS, feasible_mixtures, networks, random_bounds

import taskpgm as tp
from taskpgm.factored import FactoredNetwork
from taskpgm.inference import CriticalLine, SimplexQP, solve
from taskpgm.inference.frank_wolfe import PairwiseFrankWolfe
from taskpgm.inference.frank_wolfe_kernels import exchange
from taskpgm.judge import certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Status


def random_factored(n: int, rank: int, seed: int, bounds: str = "none", beta: float = 0.1) -> FactoredNetwork:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, rank)) / np.sqrt(rank)
    utility = rng.standard_normal(n)
    lower, upper = random_bounds(bounds, n, rng)
    return FactoredNetwork(utility, features, beta=beta, lower=lower, upper=upper)


@given(networks(max_tasks=8))
@settings(max_examples=80)
def test_it_agrees_with_the_convex_program_and_the_critical_line(network: TaskNetwork) -> None:
    walked, solved, stepped = (solve(network, m) for m in (CriticalLine(), SimplexQP(), PairwiseFrankWolfe()))
    slack = 1e-8 * energy_scale(network)
    assert stepped.gap <= slack
    assert stepped.energy == pytest.approx(walked.energy, abs=slack)
    assert stepped.energy == pytest.approx(solved.energy, abs=slack + solved.gap)


@given(st.integers(2, 30), st.integers(1, 5), SEEDS, st.sampled_from(BOUNDS), st.sampled_from([0.0, 0.1, 10.0]))
@settings(max_examples=60)
def test_factored_and_dense_networks_are_the_same(n: int, rank: int, seed: int, bounds: str, beta: float) -> None:
    network = random_factored(n, rank, seed, bounds, beta)
    dense = network.dense()
    p = np.random.default_rng(seed).dirichlet(np.ones(n))
    scale = energy_scale(dense)
    assert network.energy(p) == pytest.approx(dense.energy(p), abs=1e-12 * scale)
    np.testing.assert_allclose(network.gradient(p), dense.gradient(p), atol=1e-12 * scale)
    assert network.violation(p) == dense.violation(p)
    one, other = solve(network, PairwiseFrankWolfe()), solve(dense, PairwiseFrankWolfe())
    assert one.gap <= 1e-8 * scale
    assert one.energy == pytest.approx(other.energy, abs=1e-8 * scale)
    assert one.bound <= other.energy + 1e-9 * scale
    assert certificate(dense, np.array(one.point)).gap <= 2e-8 * scale


def exchange_by_hand(network: TaskNetwork, start: FloatArray, tolerance: float, most: int) -> tuple[FloatArray, int]:
    """The same exchanges with the gradient computed anew each time."""
    p = start.copy()
    for count in range(most):
        slope = network.gradient(p)
        takers = [i for i in range(len(p)) if p[i] < network.upper[i]]
        if not takers:
            return p, count
        taker = min(takers, key=lambda i: (slope[i], i))
        givers = [j for j in range(len(p)) if p[j] > network.lower[j] and slope[j] > slope[taker]]
        if not givers or max(slope[j] - slope[taker] for j in givers) <= tolerance:
            return p, count
        s = network.lam * network.similarity
        bend = {j: max(s[taker, taker] + s[j, j] - 2.0 * s[taker, j], 1e-300) for j in givers}
        giver = max(givers, key=lambda j: (slope[j] - slope[taker]) ** 2 / bend[j])
        step = min(
            (slope[giver] - slope[taker]) / bend[giver],
            network.upper[taker] - p[taker],
            p[giver] - network.lower[giver],
        )
        p[taker], p[giver] = p[taker] + step, p[giver] - step
    return p, most


@given(st.integers(2, 8), SEEDS, st.sampled_from(BOUNDS))
@settings(max_examples=40)
def test_the_compiled_exchanges_are_the_obvious_ones(n: int, seed: int, bounds: str) -> None:
    dense = random_factored(n, n + 1, seed, bounds).dense()
    for start in feasible_mixtures(dense, 6, seed):  # from anywhere, since an exchange makes slopes equal: ties
        expected, count = exchange_by_hand(dense, start, 1e-6, 1)
        weights, slope = start.copy(), dense.gradient(start)
        made = exchange(dense.lam * dense.similarity, slope, weights, dense.lower, dense.upper, 1e-6, 1)
        assert made == count
        np.testing.assert_allclose(weights, expected, atol=1e-12)
        np.testing.assert_allclose(slope, dense.gradient(weights), atol=1e-9)


@given(st.integers(2, 8), SEEDS, st.sampled_from(BOUNDS))
@settings(max_examples=40)
def test_many_exchanges_keep_the_slopes_and_the_bounds(n: int, seed: int, bounds: str) -> None:
    dense = random_factored(n, n + 1, seed, bounds).dense()
    weights = feasible_mixtures(dense, 1, seed)[0]
    slope, before = dense.gradient(weights), dense.energy(weights)
    made = exchange(dense.lam * dense.similarity, slope, weights, dense.lower, dense.upper, 1e-9, 500)
    np.testing.assert_allclose(slope, dense.gradient(weights), atol=1e-9)
    assert dense.violation(weights) <= 1e-12
    assert dense.energy(weights) <= before + 1e-15
    assert made == 500 or certificate(dense, weights).gap <= 1e-8


@given(networks(max_tasks=8), SEEDS)
@settings(max_examples=40)
def test_where_it_starts_does_not_matter(network: TaskNetwork, seed: int) -> None:
    cold, slack = solve(network, PairwiseFrankWolfe()), 1e-8 * energy_scale(network)
    for start in (feasible_mixtures(network, 1, seed)[0], np.array(cold.point), np.full(len(network), 2.0)):
        warm = solve(network, PairwiseFrankWolfe(start=start))
        assert warm.gap <= slack
        assert warm.energy == pytest.approx(cold.energy, abs=slack)
    again = solve(network, PairwiseFrankWolfe(start=np.array(cold.point)))
    assert again.stats["exchanges"] <= max(10, cold.stats["exchanges"])


def test_two_thousand_tasks_with_few_features() -> None:
    network = random_factored(2000, 16, 5, "lower", beta=0.05)
    solution = solve(network, PairwiseFrankWolfe())
    assert solution.status is Status.optimal
    assert solution.gap <= 1e-10
    assert solution.trace[-1].energy - solution.trace[-1].bound <= 1e-10
    assert solution.trace[0].energy > solution.energy


def test_what_needs_similarities_written_out_says_so() -> None:
    network = random_factored(5, 2, 1)
    for method in (SimplexQP(), CriticalLine()):
        refused = solve(network, method)
        assert refused.status is Status.refused
        assert "use PairwiseFrankWolfe" in refused.message
    assert "takes no KL term" in solve(TaskNetwork([0.0, 1.0], np.eye(2), tau=1.0), PairwiseFrankWolfe()).message
    assert "not convex" in solve(TaskNetwork([0.0, 1.0], 1.0 - np.eye(2)), PairwiseFrankWolfe()).message
    assert solve(network, tp.Exhaustive()).status is Status.refused


@pytest.mark.parametrize(
    ("utility", "features", "message"),
    [
        ([0.0, 1.0], np.ones((3, 2)), "3 rows, but there are 2 tasks"),
        ([0.0, 1.0], [[1.0], [np.nan]], "features of 'task 1'"),
        ([0.0, 1.0], [1.0, 2.0], "expected 2 dimension"),
        ([0.0, np.inf], np.ones((2, 2)), "utility of task 'task 1'"),
    ],
)
def test_bad_features_are_named(utility: list[float], features: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FactoredNetwork(utility, features)  # type: ignore[arg-type]


def test_a_deadline_gives_the_certificate_of_what_there_is() -> None:
    network = random_factored(3000, 32, 2, beta=0.001)
    solution = solve(network, PairwiseFrankWolfe(exchanges=50), deadline=0.02)
    assert solution.status in (Status.timeout, Status.optimal)
    assert solution.bound <= solve(network, PairwiseFrankWolfe()).energy <= solution.energy + 1e-15
