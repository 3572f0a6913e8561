"""Exhaustive enumeration of pairwise networks against loops over every assignment, its halves, and planted bugs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import least_pairwise_energy, pairwise_energy_by_loops, pairwise_marginals, pairwise_points
from strategies import SEEDS, levels_networks, pairwise_networks, random_network, random_pairwise
from test_contracts import broken_laws, factors_of, remade

from taskpgm.inference import exhaustive
from taskpgm.inference.driver import canonical, solve
from taskpgm.inference.exhaustive import Exhaustive, ExhaustiveMarginals
from taskpgm.inference.halves import Halves
from taskpgm.inference.marginals import marginals
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.levels import LevelsNetwork
from taskpgm.pairwise import PairwiseNetwork, ways_with
from taskpgm.types import MarginalStatus, Status


def scale_of(network: PairwiseNetwork) -> float:
    tables = [table[np.isfinite(table)] for table in (*network.unary, *network.tables)]
    return abs(network.constant) + sum(float(np.abs(values).max(initial=0.0)) for values in tables)


def with_odd_levels(network: PairwiseNetwork, seed: int) -> PairwiseNetwork:
    """The same energies with levels that have gaps, repeat and may be negative, and a budget that some point keeps."""
    rng = np.random.default_rng(seed)
    levels = [rng.integers(-3, 5, size=count) * int(rng.choice([1, 100])) for count in network.states]
    allowed = [s for s in itertools.product(*map(range, network.states)) if np.isfinite(network.energy(s))]
    kept = allowed[rng.integers(len(allowed))]
    budget = sum(int(own[k]) for own, k in zip(levels, kept, strict=True))
    return replace(network, levels=tuple(levels), budget=budget)


NETWORKS = pairwise_networks(max_nodes=6, max_states=4, forbidden=(0.0, 0.3), budgets=None)


@given(NETWORKS, st.booleans(), SEEDS)
@settings(max_examples=150)
def test_it_finds_the_least_energy_and_counts_points_and_ties(network: PairwiseNetwork, odd: bool, seed: int) -> None:
    network = with_odd_levels(network, seed) if odd else network
    energies = np.array([pairwise_energy_by_loops(network, s) for s in pairwise_points(network)])
    least, scale = float(energies.min()), scale_of(network)
    solution = solve(network, Exhaustive())
    assert solution.energy == pytest.approx(least, abs=1e-12 * scale)
    assert least - 1e-10 * scale - 1e-6 * (scale > 0.0) * network.forbids <= solution.bound <= least + 1e-13 * scale
    if len(network.components()) == 1:
        assert solution.stats["points"] == len(energies)
    assert solution.ties == (energies <= least + 1e-9 * scale).sum()


@given(NETWORKS)
def test_every_pair_of_partial_points_comes_once_with_its_energy(network: PairwiseNetwork) -> None:
    network = network.finite()
    halves, seen = Halves(network), []
    for rows, columns, energies in halves.blocks(7):
        assert 1 <= energies.size <= 7
        pairs = itertools.product(halves.left.states[rows], halves.right.states[columns])
        for (a, b), energy in zip(pairs, energies.ravel(), strict=True):
            seen.append((*a.tolist(), *b.tolist()))
            by_hand = pairwise_energy_by_loops(network, seen[-1]) - network.constant
            assert energy == pytest.approx(by_hand, abs=1e-13 * (1.0 + scale_of(network)))
    assert sorted(seen) == pairwise_points(network)


@given(levels_networks(max_tasks=5, max_quanta=5))
def test_one_number_a_state_is_enough_for_tasks(levels: LevelsNetwork) -> None:
    network = canonical(levels)
    assert isinstance(network, PairwiseNetwork)
    assert all(feature.shape[1] <= 1 for feature in Halves(network)._across[1])


def test_one_number_a_state_is_not_enough_for_just_any_table() -> None:
    network = random_pairwise(3, nodes=6, most_states=4, density=1.0)
    assert max(feature.shape[1] for feature in Halves(network)._across[1]) > 1


def test_the_halves_have_about_as_many_partial_points() -> None:
    network = PairwiseNetwork.from_factors([2] * 12 + [16] * 3, [([i, i + 1], np.zeros((2, 2))) for i in range(11)])
    halves = Halves(network)
    assert halves.cut == 12
    assert halves.counts(12) == (2**12, 16**3)


@given(NETWORKS, SEEDS)
@settings(max_examples=25)
def test_small_blocks_give_the_same_answers(network: PairwiseNetwork, seed: int) -> None:
    whole, summed = solve(network, Exhaustive()), marginals(network, ExhaustiveMarginals())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhaustive, "BLOCK", 4)
        assert solve(network, Exhaustive()).energy == pytest.approx(whole.energy, abs=1e-12 * scale_of(network))
        assert solve(network, Exhaustive()).ties == whole.ties
        parts = marginals(network, ExhaustiveMarginals())
    assert parts.log_partition == pytest.approx(summed.log_partition, rel=1e-12, abs=1e-11)
    assert parts.pairs is not None
    assert summed.pairs is not None
    for a, b in zip((*parts.nodes, *parts.pairs), (*summed.nodes, *summed.pairs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_what_is_too_large_is_refused_and_a_deadline_is_kept() -> None:
    network = random_pairwise(1, nodes=8, density=1.0)
    size = network.size
    assert f"{size} feasible points" in solve(network, Exhaustive(limit=size - 1)).message
    assert solve(network, Exhaustive(limit=size)).status is Status.optimal
    assert "in memory" in solve(network, Exhaustive(partial_limit=3)).message
    assert "feasible points" in marginals(network, ExhaustiveMarginals(limit=size - 1)).message
    vast = PairwiseNetwork.from_factors([2] * 3000, [([0, 1], np.zeros((2, 2)))], budget=1500)
    assert "e+901 feasible points" in solve(vast, Exhaustive()).message
    stopped = solve(network, Exhaustive(), deadline=0.0)
    assert (stopped.status, stopped.point) == (Status.timeout, None)
    assert marginals(network, ExhaustiveMarginals(), deadline=0.0).status is MarginalStatus.timeout


def test_a_budget_that_nothing_keeps_is_no_answer() -> None:
    network = replace(random_pairwise(1), budget=100)
    assert network.size == 0
    assert "budget" in solve(network, Exhaustive()).message
    assert "budget" in marginals(network, ExhaustiveMarginals()).message


def test_the_trace_notes_new_best_points_only() -> None:
    network = random_pairwise(4, nodes=9, density=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhaustive, "BLOCK", 16)
        solution = solve(network, Exhaustive())
    energies = [point.energy for point in solution.trace]
    assert len(energies) < 40 < network.size / 16
    assert energies == sorted(set(energies), reverse=True)
    assert energies[-1] == solution.energy


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5), max_size=5), st.integers(0, 15))
def test_ways_are_counted_like_by_hand(levels: list[list[int]], most: int) -> None:
    ways = {0: 1}
    for own in levels:
        ways = ways_with(ways, own, most)
    sums = [sum(each) for each in itertools.product(*levels)]
    assert ways == {total: sums.count(total) for total in sums if total <= most}


# ------------------------------------------------------------------------------------------------------- marginals


@given(NETWORKS, st.booleans(), SEEDS)
@settings(max_examples=80)
def test_marginals_equal_sums_over_all_assignments(network: PairwiseNetwork, odd: bool, seed: int) -> None:
    network = with_odd_levels(network, seed) if odd else network
    nodes, pairs, log_partition = pairwise_marginals(network)
    found = marginals(network, ExhaustiveMarginals())
    assert found.status is MarginalStatus.exact, found.message
    assert found.log_partition == pytest.approx(log_partition, rel=1e-12, abs=1e-11)
    assert found.pairs is not None
    for a, b in zip((*found.nodes, *found.pairs), (*nodes, *pairs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_evidence_is_conditioning() -> None:
    network = random_pairwise(7, nodes=6, budget=True, forbidden=0.1)
    points = [s for s in pairwise_points(network) if s[2] == 0]
    weights = np.exp([-pairwise_energy_by_loops(network, s) for s in points])
    found = marginals(network.conditioned({network.names[2]: 0}), ExhaustiveMarginals())
    assert found.log_partition == pytest.approx(np.log(weights.sum()), abs=1e-12)
    first = [weights[[s[0] == k for s in points]].sum() for k in range(network.states[0])]
    np.testing.assert_allclose(found.nodes[0], first / weights.sum(), atol=1e-12)


def test_a_network_that_forbids_everything_has_no_marginals() -> None:
    network = PairwiseNetwork.from_factors([2, 2], [([0, 1], np.full((2, 2), np.inf))])
    assert "forbidden" in marginals(network, ExhaustiveMarginals()).message
    diagonal = np.where(np.eye(2), np.inf, 0.0)
    factors = [([0, 1], diagonal), ([1, 2], diagonal), ([0, 2], diagonal)]
    odd_cycle = PairwiseNetwork.from_factors([2, 2, 2], factors)
    assert "forbidden" in marginals(odd_cycle, ExhaustiveMarginals()).message


# ------------------------------------------------------------------------------------------------------ planted bugs


@dataclass(frozen=True)
class Altered(Method):
    """Another exact method on a network changed by a function, its bound changed by a number."""

    inner: Method
    change: Any
    raised: float = 0.0

    name: ClassVar[str] = "altered"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Any) -> str | None:
        return None

    def run(self, problem: Any, deadline: Deadline, seed: int) -> Answer:
        answer = self.inner.run(self.change(problem), deadline, seed)
        deadline.notes.clear()
        bound = answer.bound
        return Answer(answer.point, None if bound is None else bound + self.raised)


BUGS: dict[str, tuple[Any, float]] = {
    "a factor is dropped": (lambda n: remade(n, factors_of(n)[:-1], n.constant), 0.0),
    "the sign is wrong": (lambda n: n.scaled(-1.0), 0.0),
    "a table is transposed": (lambda n: remade(n, [(e, t.T.reshape(t.shape)) for e, t in factors_of(n)], 0.0), 0.0),
    "the bound is too high": (lambda n: n, 1e-6),
    "the constant is forgotten": (lambda n: replace(n, constant=0.0), 0.0),
    "the budget is off by one": (lambda n: replace(n, budget=n.budget and n.budget + 1), 0.0),
}


def planted_network() -> PairwiseNetwork:
    return replace(random_pairwise(6, nodes=5, density=1.0, budget=True), constant=-3.0)


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str) -> None:
    network = planted_network()
    oracle = least_pairwise_energy(network)
    change, raised = BUGS[bug]
    solution, broken = broken_laws(Altered(Exhaustive(), change, raised), network, oracle)
    assert broken or solution.status is not Status.optimal, solution  # an exact method that proves nothing is wrong
    solution, broken = broken_laws(Altered(Exhaustive(), lambda n: n), network, oracle)
    assert (solution.status, broken) == (Status.optimal, [])


def test_a_lost_column_of_the_product_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(6, 12).levels(4)
    oracle = least_pairwise_energy(network.pairwise)
    assert broken_laws(Exhaustive(), network, oracle)[1] == []
    whole = Halves._right_factor

    def halved(self: Halves, rows: slice) -> Any:
        factor = whole(self, rows)
        factor[0] = 0.0
        return factor

    monkeypatch.setattr(Halves, "_right_factor", halved)
    assert broken_laws(Exhaustive(), network, oracle)[1]
