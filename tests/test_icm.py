"""Iterated conditional modes: local minima of any pairwise network, against a slow twin; starts that keep a budget."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import least_pairwise_energy, pairwise_energy_by_loops, pairwise_points
from strategies import SEEDS, pairwise_networks, random_pairwise
from test_contracts import PROBLEMS, broken_laws, problem_and_oracle
from test_local_methods import Interrupted

from taskpgm.inference.driver import canonical, solve
from taskpgm.inference.icm import NO_START, BudgetSampler, Descent, IteratedConditionalModes, starts
from taskpgm.inference.kernels import Layout, begin, fill, find_slot, lay_out, least_gain, list_pairs, settle, turn
from taskpgm.inference.method import Deadline
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import IntArray, Status

DISCRETE = [name for name in PROBLEMS if name.startswith(("levels", "free", "pairwise"))]
ANY = pairwise_networks(budgets=None, max_states=4)


def with_levels(network: PairwiseNetwork, seed: int, least: int = -2, most: int = 4) -> PairwiseNetwork:
    """The network with a budget on random whole levels: repeated ones, gaps and negative ones among them."""
    rng = np.random.default_rng(seed)
    levels = tuple(rng.integers(least, most + 1, size=count) for count in network.states)
    return replace(network, levels=levels, budget=sum(int(rng.choice(values)) for values in levels))


def neighbours(network: PairwiseNetwork, states: IntArray) -> list[IntArray]:
    """Every assignment that keeps the budget and differs at one node, or where there is a budget at up to two."""
    found = []
    nodes = range(len(network))
    pairs = (
        itertools.combinations(nodes, 2) if network.budget is not None and len(network) > 1 else ((i,) for i in nodes)
    )
    for changed in pairs:
        for new in itertools.product(*(range(network.states[i]) for i in changed)):
            other = states.copy()
            other[list(changed)] = new
            if network.budget is None or network.used(other) == network.budget:
                found.append(other)
    return found


def faults(network: PairwiseNetwork, start: IntArray, layout: Layout) -> list[str]:
    """What is wrong with where turn after turn in this layout leads from the start."""
    search, gain = begin(layout, start), least_gain(layout)
    for _ in range(1000):
        if settle(layout, search, gain) == 0:
            break
    end, slack = search.states, 1e-12 * scale_of(network)
    energy = pairwise_energy_by_loops(network, end)
    least = min(pairwise_energy_by_loops(network, other) for other in [end, *neighbours(network, end)])
    laws = {
        "keeps the budget": network.budget is None or network.used(end) == network.budget,
        "is not above the start": energy <= pairwise_energy_by_loops(network, start) + slack,
        "is a local minimum": energy <= least + slack,
        "is the slow twin's": np.array_equal(end, slow_descent(network, start, gain)),
    }
    return [law for law, holds in laws.items() if not holds]


def scale_of(network: PairwiseNetwork) -> float:
    return float(sum(np.abs(table).max() for table in (*network.unary, *network.tables))) + abs(network.constant)


def slow_descent(network: PairwiseNetwork, start: IntArray, gain: float) -> IntArray:
    """Each node in turn makes the best change, energies being computed anew for each, until none improves."""
    states, changed = start.copy(), True
    while changed:
        changed = False
        for i in range(len(network)):
            best = min(_changes(network, states, i), key=network.energy, default=states)
            if network.energy(best) < network.energy(states) - gain:
                states, changed = best, True
    return states


def _changes(network: PairwiseNetwork, states: IntArray, i: int) -> list[IntArray]:
    """What is open to node i in its turn; with a budget, one of a pair may stay as it is."""
    if network.budget is None:
        return [np.r_[states[:i], a, states[i + 1 :]] for a in range(network.states[i])]
    changed = [(other, np.flatnonzero(other != states).tolist()) for other in neighbours(network, states)]
    return [other for other, nodes in changed if len(nodes) < 2 or i in nodes]


# ------------------------------------------------------------------------------------------------------------ descents


@given(ANY, SEEDS)
def test_the_end_is_a_local_minimum_and_the_slow_twins(network: PairwiseNetwork, seed: int) -> None:
    for start in itertools.islice(starts(network, 2, seed), 3):
        broken = faults(network, start, lay_out(network))
        assert not [law for law in broken if "twin" not in law]


@pytest.mark.parametrize("kind", ["free", "budget", "any levels", "one node"])
@pytest.mark.parametrize("seed", range(8))
def test_without_ties_the_path_is_the_slow_twins(seed: int, kind: str) -> None:
    network = random_pairwise(seed, nodes=1 if kind == "one node" else 6, most_states=4, budget=kind == "budget")
    if kind in ("any levels", "one node"):
        network = with_levels(network, seed)
    for start in starts(network, 4, seed):
        assert faults(network, start, lay_out(network)) == []


def no_sign(layout: Layout) -> Layout:
    return layout._replace(values=-layout.values)


def no_last_neighbour(layout: Layout) -> Layout:
    """The last node is not heard by the others."""
    return layout._replace(
        values=np.where(np.arange(len(layout.values)) < layout.offsets[layout.slots[-2]], layout.values, 0.0)
    )


def transposed(layout: Layout) -> Layout:
    """Every table is read the wrong way round (all nodes have the same number of states)."""
    size = int(layout.states[0])
    return layout._replace(values=layout.values.reshape(-1, size, size).transpose(0, 2, 1).ravel())


def no_levels(layout: Layout) -> Layout:
    return layout._replace(levels=np.zeros_like(layout.levels))


@pytest.mark.parametrize("bug", [no_sign, no_last_neighbour, transposed, no_levels])
def test_planted_bugs_are_caught(bug: Callable[[Layout], Layout]) -> None:
    caught = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pairs = itertools.combinations(range(5), 2)
        network = PairwiseNetwork.from_factors([3] * 5, [(p, rng.standard_normal((3, 3))) for p in pairs], budget=5)
        for start in starts(network, 2, seed):
            assert faults(network, start, lay_out(network)) == []
            caught += bool(faults(network, start, bug(lay_out(network))))
    assert caught >= 15  # of 30; a wrong network may lead to the right place


@given(ANY, SEEDS)
@settings(max_examples=20)
def test_fields_follow_the_turns(network: PairwiseNetwork, seed: int) -> None:
    rng, layout = np.random.default_rng(seed), lay_out(network)
    search = begin(layout, rng.integers(network.states))
    for _ in range(10):
        i = int(rng.integers(len(network)))
        turn(layout, search, i, int(rng.integers(network.states[i])))
    anew = begin(layout, search.states)
    np.testing.assert_allclose(search.field, anew.field, atol=1e-12 * scale_of(network))
    for i in range(len(network)):
        for a in range(int(network.states[i])):
            other = search.states.copy()
            other[i] = a
            change = layout.unary[i, a] + search.field[i, a]
            change -= layout.unary[i, search.states[i]] + search.field[i, search.states[i]]
            true = pairwise_energy_by_loops(network, other) - pairwise_energy_by_loops(network, search.states)
            assert change == pytest.approx(true, abs=1e-12 * scale_of(network))
    fill(layout, search)
    np.testing.assert_array_equal(search.field, anew.field)


@given(pairwise_networks(max_states=4), SEEDS)
@settings(max_examples=20)
def test_slots_and_pairs_of_states_are_found(network: PairwiseNetwork, seed: int) -> None:
    network = with_levels(network, seed)
    layout, edges = lay_out(network), {(int(i), int(j)) for i, j in network.edges}
    search = begin(layout, np.random.default_rng(seed).integers(network.states))
    for i, j in itertools.permutations(range(len(network)), 2):
        slot = find_slot(layout, i, j)
        assert (slot >= 0) == ((min(i, j), max(i, j)) in edges)
        assert slot < 0 or layout.neighbours[slot] == j
        levels = network.levels
        total = levels[i][search.states[i]] + levels[j][search.states[j]]
        count = list_pairs(layout, search, i, j)
        found = sorted(zip(search.first[:count].tolist(), search.second[:count].tolist(), strict=True))
        both = itertools.product(range(network.states[i]), range(network.states[j]))
        assert found == [(a, b) for a, b in both if levels[i][a] + levels[j][b] == total]


# ---------------------------------------------------------------------------------------------------------- the method


@pytest.mark.parametrize("name", DISCRETE)
def test_the_method_keeps_the_contract(name: str) -> None:
    solution, broken = broken_laws(IteratedConditionalModes(), *problem_and_oracle(name))
    assert not broken, solution
    assert solution.status in (Status.feasible, Status.optimal)


@given(pairwise_networks(budgets=None, forbidden=(0.0, 0.2)), SEEDS)
@settings(max_examples=25)
def test_points_are_feasible_and_equal_seeds_give_equal_points(network: PairwiseNetwork, seed: int) -> None:
    one, other = (solve(network, IteratedConditionalModes(restarts=5), seed=seed) for _ in range(2))
    if one.point is None:
        assert network.forbids  # a local minimum may be one of forbidden states
        return
    assert network.violation(one.point) == 0.0
    assert one.energy >= least_pairwise_energy(network) - 1e-9 * scale_of(network.finite())
    assert other.point is not None
    np.testing.assert_array_equal(one.point, other.point)


def test_more_restarts_are_never_worse_and_are_counted() -> None:
    for seed in range(10):
        network = random_pairwise(seed, nodes=14, most_states=4, budget=seed % 2 == 0, density=1.0)
        few, many = (solve(network, IteratedConditionalModes(restarts=count), seed=2) for count in (0, 30))
        assert many.energy <= few.energy
        assert (few.stats["descents"], many.stats["descents"]) == (1, 31)
        assert many.stats["changes"] > few.stats["changes"]
        assert [point.energy for point in many.trace][-1] == many.energy


def test_stopped_at_any_moment_there_is_a_feasible_point() -> None:
    network = canonical(random_pairwise(3, nodes=8, budget=True))
    assert isinstance(network, PairwiseNetwork)
    for looks in range(8):
        answer = IteratedConditionalModes().run(network, Interrupted(looks), 0)
        assert not answer.finished
        assert answer.point is not None
        assert network.violation(answer.point) == 0.0
    assert IteratedConditionalModes().run(network, Interrupted(10_000), 0).finished


def test_a_budget_that_nothing_keeps_is_no_answer() -> None:
    network = replace(random_pairwise(1), budget=1000)
    solution = solve(network, IteratedConditionalModes())
    assert solution.status is Status.failed
    assert solution.message == NO_START
    even = replace(random_pairwise(1), levels=tuple(2 * x for x in random_pairwise(1).levels), budget=3)
    assert solve(even, IteratedConditionalModes()).message == NO_START


def test_levels_with_too_many_sums_to_hold_are_repaired_from_random_states(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_pairwise(6, nodes=6, budget=True)
    monkeypatch.setattr("taskpgm.inference.icm.PARTIAL_SUMS", 1)
    found = list(starts(network, 5, 1))
    assert len(found) == 6
    assert all(network.violation(states) == 0.0 for states in found)
    assert len({tuple(states.tolist()) for states in found}) > 1


# -------------------------------------------------------------------------------------------------------------- starts


@given(pairwise_networks(max_states=4, max_nodes=4), SEEDS, st.booleans(), st.booleans())
def test_the_sampler_counts_every_assignment_that_keeps_the_budget(
    network: PairwiseNetwork, seed: int, budget: bool, banned: bool
) -> None:
    if budget:
        network = with_levels(network, seed)
    rng = np.random.default_rng(seed)
    logits = [rng.standard_normal(count) for count in network.states]
    if banned:
        logits = [np.where(rng.random(len(values)) < 0.3, -np.inf, values) for values in logits]
    sampler = BudgetSampler(network, logits)
    with np.errstate(divide="ignore"):
        total = np.log(sum(np.exp(sum(v[k] for v, k in zip(logits, s, strict=True))) for s in pairwise_points(network)))
    assert sampler.log_total == pytest.approx(total, abs=1e-9)
    if np.isfinite(total):
        for states in sampler.draw(5, rng):
            assert network.budget is None or network.used(states) == network.budget
            assert np.isfinite(sum(v[k] for v, k in zip(logits, states, strict=True)))


@pytest.mark.parametrize("budget", [False, True])
def test_the_sampler_draws_with_the_right_probabilities(budget: bool) -> None:
    network = random_pairwise(4, nodes=4)
    if budget:
        network = with_levels(network, 4, 0, 2)
    logits = [np.random.default_rng(i).standard_normal(count) for i, count in enumerate(network.states)]
    drawn = BudgetSampler(network, logits).draw(20_000, np.random.default_rng(1))
    points = pairwise_points(network)
    weights = np.exp([sum(v[k] for v, k in zip(logits, s, strict=True)) for s in points])
    chances = weights / weights.sum()
    counts = np.array([(drawn == np.array(s)).all(axis=1).sum() for s in points])
    assert len(points) > 3
    assert counts.sum() == 20_000
    deviations = (counts - 20_000 * chances) / np.sqrt(20_000 * chances * (1.0 - chances))
    assert np.abs(deviations).max() < 4.5


def test_the_first_start_is_the_nodes_cheapest_states() -> None:
    network = random_pairwise(5, nodes=6)
    first = next(starts(network, 0, 0))
    assert first.tolist() == [int(values.argmin()) for values in network.unary]
    states, changes, ended = Descent(network, Deadline(0.0)).run(first)
    assert (states is first, changes, ended) == (True, 0, False)
