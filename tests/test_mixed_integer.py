"""The integer program says what the network says, and HiGHS's answers survive the judge."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from oracles import least_pairwise_energy
from strategies import random_network, random_pairwise

from taskpgm.inference import MixedInteger, solve
from taskpgm.inference.mixed_integer import Program, reparametrised
from taskpgm.judge import gap_tolerance
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import Status


@pytest.mark.parametrize("seed", range(12))
def test_the_program_has_every_assignments_energy(seed: int) -> None:
    network = random_pairwise(seed, nodes=4)
    program = Program.of(network)
    unary, tables, constant = reparametrised(network)
    starts = np.cumsum(network.states - 1) - (network.states - 1)
    for states in product(*map(range, network.states.tolist())):
        y = np.zeros(len(program.cost))
        for node, state in enumerate(states):
            if state:
                y[starts[node] + state - 1] = 1.0
        place = program.binary
        for (i, j), table in zip(network.edges.tolist(), tables, strict=True):
            if states[i] and states[j]:
                y[place + (states[i] - 1) * table.shape[1] + states[j] - 1] = 1.0
            place += table.size
        assert program.cost @ y + program.constant == pytest.approx(network.energy(states), abs=1e-9)
        found = program.rows @ y
        assert np.all((found >= program.low - 1e-12) & (found <= program.high + 1e-12))
        assert [int(score.argmax()) for score in program.scores(y)] == list(states)
    assert constant == program.constant
    assert [values.size for values in unary] == (network.states - 1).tolist()


@pytest.mark.parametrize("counting", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_it_proves_the_least_energy(seed: int, counting: bool) -> None:
    network = random_pairwise(seed, nodes=5)
    solution = solve(network, MixedInteger(counting=counting))
    best = least_pairwise_energy(network)
    assert solution.status is Status.optimal
    assert solution.energy == pytest.approx(best, abs=1e-9 * max(1.0, abs(best)))
    assert best - gap_tolerance(network, best) <= solution.bound <= best


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_energies_of_any_scale_are_proved(scale: float) -> None:
    network = random_network(9, 2).levels(4, cap=2).pairwise.scaled(scale)
    solution = solve(network, MixedInteger())
    best = least_pairwise_energy(network)
    assert solution.energy == pytest.approx(best, rel=1e-9)
    assert best - 1e-8 * scale <= solution.bound <= best


def test_a_budget_that_nothing_keeps_is_said() -> None:
    network = PairwiseNetwork.from_factors(
        [2, 2, 2], [([0, 1], [[0.0, 1.0], [1.0, 0.0]])], levels=[[0, 2]] * 3, budget=3
    )
    solution = solve(network, MixedInteger())
    assert solution.point is None
    assert "no assignment keeps the budget" in solution.message


def test_stopped_early_it_keeps_a_point_and_an_honest_bound() -> None:
    rng = np.random.default_rng(1)
    entries = rng.normal(size=(40, 40))
    factors = [((i, j), [[0.0, 0.0], [0.0, float(entries[i, j])]]) for i in range(40) for j in range(i + 1, 40)]
    network = PairwiseNetwork.from_factors([2] * 40, factors, budget=12)
    stopped = solve(network, MixedInteger(counting=False), deadline=0.3)
    better = solve(network, MixedInteger(), deadline=1.0)
    assert stopped.status in (Status.timeout, Status.bound)
    assert stopped.bound <= better.energy
    assert network.violation(stopped.point) == 0.0


def test_a_size_beyond_the_limit_is_refused_in_words() -> None:
    solution = solve(random_network(6, 0).levels(3, cap=1), MixedInteger(limit=3))
    assert solution.status is Status.refused
    assert "variables of the integer program" in solution.message
