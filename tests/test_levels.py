"""The discrete network is the continuous energy on whole quanta; Exhaustive is the oracle; pgmpy sees the same field.

The convex answer and the discrete optimum check each other (the oracle sandwich of the design, fact 5).
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import energy_by_loops, energy_scale, level_energies, level_points
from strategies import ODD_NAMES, SEEDS, levels_networks, networks, random_levels, random_network

from taskpgm.inference import Exhaustive, SimplexQP, solve
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.types import InputError, Status

TAUS = (0.0, 0.3)


def field_energy(levels: LevelsNetwork, x: Any) -> float:
    """The sum of the node and pair terms."""
    value = sum(node[x_i - low] for node, x_i, low in zip(levels.node_energies, x, levels.minimum, strict=True))
    return float(value) + sum(
        float(levels.coupling[i, j]) * x[i] * x[j] for i, j in itertools.combinations(range(len(levels)), 2)
    )


@given(levels_networks(taus=TAUS), SEEDS)
def test_nodes_and_pairs_add_up_to_the_energy(levels: LevelsNetwork, seed: int) -> None:
    x = random_levels(levels, seed)
    tolerance = 1e-13 * energy_scale(levels.network)
    assert field_energy(levels, x) == pytest.approx(levels.energy(x), abs=tolerance)
    assert levels.energy(x) == pytest.approx(levels.network.energy(x / levels.quanta), abs=tolerance)
    assert levels.energy(x) == pytest.approx(energy_by_loops(levels.network, x / levels.quanta), abs=tolerance)
    assert levels.violation(x) == 0.0


@given(levels_networks())
def test_composition_counts_equal_brute_force(levels: LevelsNetwork) -> None:
    ranges = [range(low, high + 1) for low, high in zip(levels.minimum, levels.maximum, strict=True)]
    for i in range(len(levels) + 1):
        sums = [sum(x) for x in itertools.product(*ranges[i:])]
        assert levels.composition_counts[i] == [sums.count(s) for s in range(levels.quanta + 1)]
    assert levels.size == len(list(level_points(levels)))


@given(levels_networks(taus=TAUS))
def test_exhaustive_equals_a_naive_enumeration(levels: LevelsNetwork) -> None:
    energies = level_energies(levels)
    solution = solve(levels, Exhaustive())
    assert solution.status is Status.optimal
    assert solution.energy == pytest.approx(min(energies), abs=1e-12 * energy_scale(levels.network))
    assert solution.bound <= min(energies) + 1e-13 * energy_scale(levels.network)
    assert solution.stats["points"] == len(energies)
    assert levels.violation(solution.point) == 0.0


def test_exhaustive_counts_ties() -> None:
    levels = TaskNetwork(np.zeros(6), np.eye(6)).levels(3)
    solution = solve(levels, Exhaustive())
    assert solution.stats == {"points": 56, "ties": 20}  # any three of the six tasks
    assert solution.energy == pytest.approx(0.5 / 3.0)
    assert solve(random_network(5, 1).levels(4), Exhaustive()).stats["ties"] == 1


def test_exhaustive_stops_at_its_deadline_and_refuses_what_is_too_large() -> None:
    levels = random_network(6, 1).levels(6)
    stopped = solve(levels, Exhaustive(), deadline=0.0)
    assert stopped.status is Status.timeout
    assert stopped.point is None
    assert "462 feasible points" in solve(levels, Exhaustive(limit=461)).message
    assert solve(levels, Exhaustive(limit=462)).status is Status.optimal
    assert "in memory" in solve(levels, Exhaustive(partial_limit=10)).message
    vast = TaskNetwork(np.zeros(600), np.eye(600)).levels(600)
    assert "e+359 feasible points" in solve(vast, Exhaustive()).message


@given(levels_networks())
def test_bounds_and_caps_are_respected(levels: LevelsNetwork) -> None:
    quanta, network = levels.quanta, levels.network
    for x in level_points(levels):
        assert network.violation(np.array(x) / quanta) <= 1e-9
        assert max(x) <= levels.cap
    solution = solve(levels, Exhaustive())
    assert levels.violation(solution.point) == 0.0


def test_violation_counts_quanta_and_fractions() -> None:
    levels = TaskNetwork(np.zeros(3), np.eye(3), lower=[0.25, 0.0, 0.0]).levels(4, cap=3)
    assert levels.minimum.tolist() == [1, 0, 0]
    assert levels.maximum.tolist() == [3, 3, 3]
    assert levels.violation([1, 2, 1]) == 0.0
    assert levels.violation([0, 2, 2]) == 1.0
    assert levels.violation([2, 2, 2]) == 2.0
    assert levels.violation([1.5, 1.5, 1.0]) == 0.5
    assert np.isnan(levels.violation([np.nan, 2, 2]))


REFUSALS: list[tuple[dict[str, Any], tuple[int, int | None], tuple[str, ...]]] = [
    ({}, (0, None), ("quanta = 0",)),
    ({}, (5, 0), ("cap = 0",)),
    ({}, (10, 2), ("6 of 10", "cap")),
    ({"lower": 0.3}, (4, None), ("6 quanta", "there are 4")),
    ({"lower": {"b": 0.34}, "upper": {"b": 0.39}}, (10, None), ("'b'", "no multiple of 1/10")),
    ({"lower": {"b": 0.5}}, (10, 4), ("'b'", "needs 5 quanta", "cap is 4")),
    ({"upper": {"a": 0.2, "b": 0.3, "c": 0.6}}, (3, None), ("1 of 3",)),
]


@pytest.mark.parametrize(("bounds", "budget", "parts"), REFUSALS)
def test_impossible_budgets_are_refused(
    bounds: dict[str, Any], budget: tuple[int, int | None], parts: tuple[str, ...]
) -> None:
    network = TaskNetwork(np.zeros(3), np.eye(3), ("a", "b", "c"), **bounds)
    with pytest.raises(InputError) as caught:
        network.levels(*budget)
    assert len(str(caught.value).splitlines()) == 1
    for part in parts:
        assert part in str(caught.value)


# ------------------------------------------------------------------------------------- the continuous and the discrete


@given(networks(max_tasks=6, bounds=("none",)), st.integers(1, 6))
@settings(max_examples=80)
def test_oracle_sandwich(network: TaskNetwork, quanta: int) -> None:
    relaxed, exact = solve(network, SimplexQP()), solve(network.levels(quanta), Exhaustive())
    assert relaxed.point is not None
    rounding = 1e-10 * energy_scale(network)
    support = np.flatnonzero(relaxed.point > 0.0)
    largest = float(np.linalg.eigvalsh(network.similarity[np.ix_(support, support)])[-1])
    spread = network.lam * max(0.0, largest) * len(support) / quanta**2
    assert relaxed.bound <= exact.energy + rounding
    assert exact.energy <= relaxed.energy + relaxed.gap + 0.5 * spread + rounding
    # Sharper: rounding at random to the two neighbouring levels (systematic sampling keeps the mean and the budget)
    # has a variance of at most 1/4 quantum squared per task, so some rounding costs no more than this, gap or not.
    assert exact.energy <= relaxed.energy + 0.125 * spread + rounding


@given(networks(max_tasks=5, bounds=("none",)), st.integers(1, 3), st.integers(2, 3))
def test_finer_quanta_are_never_worse(network: TaskNetwork, quanta: int, times: int) -> None:
    coarse = solve(network.levels(quanta), Exhaustive())
    fine = solve(network.levels(quanta * times), Exhaustive())
    assert fine.energy <= coarse.energy + 1e-12 * energy_scale(network)


@given(levels_networks(max_tasks=4, max_quanta=4, taus=TAUS))
def test_budget_weight_makes_every_minimiser_over_the_box_keep_the_budget(levels: LevelsNetwork) -> None:
    ranges = [range(low, high + 1) for low, high in zip(levels.minimum, levels.maximum, strict=True)]
    charged = {
        x: field_energy(levels, x) + levels.pairwise.budget_weight * (sum(x) - levels.quanta) ** 2
        for x in itertools.product(*ranges)
    }
    least = min(charged.values())
    within = min(value for x, value in charged.items() if sum(x) == levels.quanta)
    beyond = min((value for x, value in charged.items() if sum(x) != levels.quanta), default=np.inf)
    assert least == within
    assert beyond > within


# --------------------------------------------------------------------------------------------------- as a pgmpy model


@given(levels_networks(max_tasks=4, max_quanta=4, taus=TAUS), SEEDS)
@settings(max_examples=20)
def test_pgmpy_tables_reproduce_the_penalised_energies(levels: LevelsNetwork, seed: int) -> None:
    names, model = levels.names, levels.to_pgmpy()
    assert model.check_model()
    assert tuple(model.nodes) == names
    folded = levels.pairwise.folded()
    nodes, pairs = folded.unary, {(i, j): t for (i, j), t in zip(folded.edges.tolist(), folded.tables, strict=True)}
    charge = levels.pairwise.budget_weight * levels.quanta**2
    x = random_levels(levels, seed)
    total = sum(float(t[x_i - low]) for t, x_i, low in zip(nodes, x, levels.minimum, strict=True))
    total += sum(float(t[x[i] - levels.minimum[i], x[j] - levels.minimum[j]]) for (i, j), t in pairs.items())
    scale = energy_scale(levels.network) + charge
    assert total + charge == pytest.approx(levels.energy(x), abs=1e-12 * scale)
    spans = sum(float(np.ptp(t)) for t in (*nodes, *pairs.values()))
    factors = {tuple(factor.variables): factor for factor in model.get_factors()}
    tables = {(names[i],): t for i, t in enumerate(nodes)} | {(names[i], names[j]): t for (i, j), t in pairs.items()}
    assert set(factors) == set(tables)
    for scope, table in tables.items():
        assert factors[scope].values.max() == 1.0
        logs = -np.log(factors[scope].values) * (spans / 600.0 if spans > 0.0 else 1.0)
        np.testing.assert_allclose(logs, table - table.min(), rtol=1e-9, atol=1e-12 * scale)
        assert [list(factors[scope].state_names[name]) for name in scope] == [
            list(range(levels.minimum[names.index(name)], levels.maximum[names.index(name)] + 1)) for name in scope
        ]


@given(levels_networks(max_tasks=4, max_quanta=3, taus=TAUS))
@settings(max_examples=15)
def test_map_by_variable_elimination_has_the_least_energy(levels: LevelsNetwork) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pgmpy's own: this import reaches modules that it has deprecated itself
        from pgmpy.inference import VariableElimination

    joint = VariableElimination(levels.to_pgmpy()).query(list(levels.names), show_progress=False)
    state = joint.assignment([int(joint.values.argmax())])[0]
    found = dict(state)
    x = np.array([found[name] for name in levels.names])
    exact = solve(levels, Exhaustive()).energy
    assert levels.violation(x) == 0.0
    # a float64 table tells energies apart to about 1e-16 of its logarithm's range
    assert levels.energy(x) == pytest.approx(exact, abs=1e-9 * energy_scale(levels.network) + 1e-12)


def test_names_of_any_kind_survive_the_export() -> None:
    levels = random_network(len(ODD_NAMES), 2, names=ODD_NAMES).levels(2, cap=1)
    model = levels.to_pgmpy()
    assert tuple(model.nodes) == ODD_NAMES
    assert model.states["😀"] == [0, 1]


@given(levels_networks())
def test_selecting_k_of_n_is_the_case_of_cap_1(levels: LevelsNetwork) -> None:
    network, n = levels.network, len(levels)
    k = min(levels.quanta, n)
    assume(network.lower.max() == 0.0 and network.upper.min() == 1.0)
    chosen = solve(network.levels(k, cap=1), Exhaustive())
    shares = [np.isin(np.arange(n), subset) / k for subset in itertools.combinations(range(n), k)]
    assert chosen.energy == pytest.approx(min(map(network.energy, shares)), abs=1e-12 * energy_scale(network))
    assert chosen.stats["points"] == len(shares)
