"""The pairwise network: its energy is the sum that defines it, and every change of form keeps it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import least_pairwise_energy, level_energies, pairwise_energy_by_loops, pairwise_points
from strategies import SEEDS, levels_networks, networks, pairwise_networks, random_network, random_pairwise

from taskpgm.inference.driver import canonical
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import InputError

ANY = pairwise_networks(forbidden=(0.0, 0.3), budgets=None, trees=None)


def close(network: PairwiseNetwork, one: float, other: float) -> bool:
    return one == other or abs(one - other) <= network.rounding + 1e-12 * abs(other)


@given(ANY)
def test_the_energy_is_the_sum_of_its_terms(network: PairwiseNetwork) -> None:
    for states in pairwise_points(network):
        energy = pairwise_energy_by_loops(network, states)
        assert close(network, network.energy(states), energy)
        assert network.violation(states) == (0.0 if math.isfinite(energy) else math.inf)


@given(ANY, SEEDS)
def test_factors_on_one_scope_are_added_and_may_be_given_either_way_round(network: PairwiseNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors: list[tuple[list[int], np.ndarray]] = []
    for scope, table in [([i], v) for i, v in enumerate(network.unary)] + [
        ([int(i), int(j)], t) for (i, j), t in zip(network.edges, network.tables, strict=True)
    ]:
        part = np.where(np.isfinite(table), rng.standard_normal(table.shape), 0.0)
        halves = [(scope, part), (scope, table - part)]
        factors += [(s[::-1], t.T) if rng.random() < 0.5 else (s, t) for s, t in halves]
    shuffled = [factors[k] for k in rng.permutation(len(factors))]
    split = PairwiseNetwork.from_factors(
        network.states.tolist(),
        [*shuffled, ([], 1.0)],
        constant=network.constant - 1.0,
        levels=network.levels,
        budget=network.budget,
    )
    np.testing.assert_array_equal(split.edges, network.edges)
    for states in pairwise_points(network):
        assert close(network, split.energy(states), network.energy(states)) or math.isclose(
            split.energy(states), network.energy(states), rel_tol=1e-12, abs_tol=1e-12
        )


@given(ANY)
def test_shifting_moves_energy_into_the_constant_only(network: PairwiseNetwork) -> None:
    shifted = network.shifted()
    assert all(table.min() == 0.0 for table in (*shifted.unary, *shifted.tables) if np.isfinite(table).any())
    for states in pairwise_points(network):
        assert close(network, shifted.energy(states), network.energy(states))


@given(ANY)
def test_a_finite_network_has_the_same_minimisers(network: PairwiseNetwork) -> None:
    finite = network.finite()
    assert not finite.forbids
    energies = {s: (network.energy(s), finite.energy(s)) for s in pairwise_points(network)}
    least = least_pairwise_energy(network)
    assert math.isfinite(least)
    for energy, charged in energies.values():
        assert charged == energy if math.isfinite(energy) else charged > least


@given(ANY)
def test_folding_the_budget_keeps_every_minimiser(network: PairwiseNetwork) -> None:
    folded = network.folded()
    assert folded.budget is None
    everything = {s: folded.finite().energy(s) for s in pairwise_points(folded)}
    least = min(everything.values())
    tolerance = folded.rounding + 1e-12
    assert least == pytest.approx(least_pairwise_energy(network), abs=tolerance)
    for states, energy in everything.items():
        if energy <= least + 0.5 * tolerance:
            assert network.violation(states) == 0.0


@given(pairwise_networks(forbidden=(0.0, 0.3), budgets=None), SEEDS)
def test_conditioning_is_fixing_states(network: PairwiseNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fixed = {i: int(rng.integers(network.states[i])) for i in range(len(network)) if rng.random() < 0.5}
    if len(fixed) == len(network) or any(not np.isfinite(network.unary[i][s]) for i, s in fixed.items()):
        fixed = {}
    if any(
        i in fixed and j in fixed and not np.isfinite(table[fixed[i], fixed[j]])
        for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True)
    ):
        with pytest.raises(InputError, match="forbidden"):
            network.conditioned({network.names[i]: s for i, s in fixed.items()})
        return
    rest = network.conditioned({network.names[i]: s for i, s in fixed.items()})
    keep = [i for i in range(len(network)) if i not in fixed]
    assert rest.names == tuple(network.names[i] for i in keep)
    expected = {s: network.energy(s) for s in pairwise_points(network) if all(s[i] == k for i, k in fixed.items())}
    found = {s: rest.energy(s) for s in pairwise_points(rest)}
    assert {tuple(s[i] for i in keep): None for s in expected} == dict.fromkeys(found)
    for states, energy in expected.items():
        assert close(network, found[tuple(states[i] for i in keep)], energy)


@given(pairwise_networks(trees=False, budgets=None))
def test_parts_have_nothing_to_do_with_each_other(network: PairwiseNetwork) -> None:
    components = network.components()
    assert sorted(int(i) for nodes in components for i in nodes) == list(range(len(network)))
    if network.budget is not None:
        assert len(components) == 1
        return
    parts = [network.part(nodes) for nodes in components]
    assert sum(len(part.edges) for part in parts) == len(network.edges)
    for states in pairwise_points(network):
        total = sum(part.energy([states[i] for i in nodes]) for nodes, part in zip(components, parts, strict=True))
        assert close(network, network.constant + total, network.energy(states))


@given(ANY)
def test_the_size_counts_the_assignments(network: PairwiseNetwork) -> None:
    assert network.size == len(pairwise_points(network))


@given(levels_networks(max_tasks=4, max_quanta=4, taus=(0.0, 0.3)))
def test_levels_as_tables_have_the_same_energies(levels: LevelsNetwork) -> None:
    network = levels.pairwise
    points = pairwise_points(network)
    assert network.size == levels.size == len(points)
    energies = [network.energy(states) for states in points]
    expected = [levels.energy(np.array(states) + levels.minimum) for states in points]
    np.testing.assert_allclose(energies, expected, rtol=1e-9, atol=network.rounding + 1e-13)
    assert min(energies) == pytest.approx(min(level_energies(levels)), rel=1e-9, abs=network.rounding + 1e-13)


@given(networks(max_tasks=4, bounds=("none", "lower", "upper"), taus=(0.0, 0.3)), st.integers(1, 3))
def test_a_free_budget_is_the_energy_of_levels_over_the_cap(network: TaskNetwork, cap: int) -> None:
    if (np.ceil(cap * network.lower - 1e-9) > np.floor(cap * network.upper + 1e-9)).any():
        with pytest.raises(InputError, match="lies within the bounds of"):
            network.levels(None, cap)
        return
    free = network.levels(None, cap)
    assert free.names == network.names
    assert free.budget is None
    for states in pairwise_points(free):
        p = np.array([levels[k] for levels, k in zip(free.levels, states, strict=True)]) / cap
        assert (p >= network.lower - 1e-9).all()
        assert (p <= network.upper + 1e-9).all()
        assert free.energy(states) == pytest.approx(network.energy(p), rel=1e-9, abs=free.rounding + 1e-13)


def test_tasks_that_do_not_interact_share_no_table() -> None:
    network = TaskNetwork(np.zeros(3), [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert network.levels(None, 2).edges.tolist() == [[0, 1]]
    assert network.levels(3).pairwise.edges.tolist() == [[0, 1]]


def test_tables_too_large_to_hold_are_refused_by_their_size() -> None:
    reason = canonical(random_network(300, 0).levels(100))
    assert isinstance(reason, str)
    assert "4.58e+08 pairs of levels" in reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "at least one node"),
        (([2, 0], []), "at least one state"),
        (([2, 2], [([0, 1, 1], np.zeros((2, 2, 2)))]), "over 3 nodes"),
        (([2, 2], [([0, 2], np.zeros((2, 2)))]), "nodes are 0 to 1"),
        (([2, 2], [([1, 1], np.zeros((2, 2)))]), "each at most once"),
        (([2, 2], [([0, 1], np.zeros((2, 3)))]), "'node 0' and 'node 1': shape (2, 3)"),
        (([2, 2], [([0], [0.0, np.nan])]), "nan or minus infinity"),
        (([2, 2], [([0], [0.0, -np.inf])]), "nan or minus infinity"),
        (([2, 2], [([], np.inf)]), "every assignment would be forbidden"),
    ],
)
def test_what_is_no_pairwise_network_is_named(arguments: tuple[list[int], list[object]], message: str) -> None:
    with pytest.raises(InputError) as error:
        PairwiseNetwork.from_factors(*arguments)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ({"nobody": 0}, "no node of that name"),
        ({"node 0": 9}, "state 9 of"),
        ({"node 0": -1}, "state -1 of"),
        ({f"node {i}": 0 for i in range(5)}, "none is left"),
    ],
)
def test_impossible_evidence_is_named(evidence: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        random_pairwise(1).conditioned(evidence)


def test_names_and_levels_must_fit() -> None:
    with pytest.raises(InputError, match="a name of its own"):
        PairwiseNetwork.from_factors([2, 2], [], names=["a", "a"])
    with pytest.raises(InputError, match="levels of 1 nodes"):
        PairwiseNetwork.from_factors([2, 2], [], levels=[[0, 1]])
    with pytest.raises(InputError, match=r"levels of 'node 1': shape \(3,\)"):
        PairwiseNetwork.from_factors([2, 2], [], levels=[[0, 1], [0, 1, 2]])
