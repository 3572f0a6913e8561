"""pytoulbar2's traps: each is shown to be there still, and our method is shown to avoid it.

pytoulbar2 itself runs in processes of its own here, as it does in our method.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from oracles import least_pairwise_energy
from scripts import benchmark
from strategies import random_network, random_pairwise

from taskpgm.inference import Toulbar2, solve
from taskpgm.inference.counting import counted, with_the_count
from taskpgm.inference.toulbar2 import WholeCosts
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import Status

pytest.importorskip("pytoulbar2")

BEGIN = """
import itertools, json, sys, threading
import numpy as np
import pytoulbar2
from pytoulbar2 import CFN

def model(factors, sizes, resolution):
    made = CFN(resolution=resolution)
    for i, size in enumerate(sizes):
        made.AddVariable(f"x{i}", range(size))
    for scope, table in factors:
        made.AddFunction(scope, table)
    return made

"""
END = '\nprint("ANSWER", json.dumps(answer))'


def told(script: str) -> Any:
    """The variable `answer` at the end of a script in a process of its own."""
    done = subprocess.run([sys.executable, "-c", BEGIN + script + END], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert lines, done.stderr
    return json.loads(lines[-1].removeprefix("ANSWER"))


# Three nodes pay 0.4 each in their first state; each pair pays 0.7 if both are in their second.
FACTORS: list[Any] = [([i], [0.4, 0.0]) for i in range(3)]
FACTORS += [([i, j], [0.0, 0.0, 0.0, 0.7]) for i, j in itertools.combinations(range(3), 2)]


def three() -> PairwiseNetwork:
    return PairwiseNetwork.from_factors([2] * 3, [(scope, np.reshape(t, [2] * len(scope))) for scope, t in FACTORS])


def test_trap_without_decimals_costs_are_rounded_to_whole_numbers() -> None:
    script = f"answer = [model({FACTORS}, [2] * 3, r).Solve()[:2] for r in (0, 6)]"
    (rounded, claimed), (_, right) = told(script)
    assert claimed == 0.0
    assert right == pytest.approx(0.8)
    assert three().energy(rounded) > 1.0
    solution = solve(three(), Toulbar2())
    assert solution.status is Status.optimal
    assert solution.energy == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
def test_energies_of_any_unit_are_proved(scale: float) -> None:
    network = random_pairwise(1, nodes=6, scale=scale)
    solution = solve(network, Toulbar2())
    assert solution.status is Status.optimal
    assert solution.energy == pytest.approx(least_pairwise_energy(network), rel=1e-9)


def test_whole_costs_are_as_close_as_they_say() -> None:
    network = random_pairwise(3, nodes=5, scale=0.1)
    costs = WholeCosts.of(network)
    factors = len(network) + len(network.edges)
    for states in itertools.product(*map(range, network.states.tolist())):
        energy = costs.of_states(np.array(states)) / costs.scale + costs.network.constant
        assert energy == pytest.approx(network.energy(states), abs=(0.5 * factors + 1.0) / costs.scale)
        assert costs.energy_of_bound(costs.of_states(np.array(states))) <= network.energy(states) + network.rounding


def test_trap_a_second_model_changes_the_options_of_the_first() -> None:
    script = f"""
first = model([], [2] * 3, 6)
second = model([], [2], 0)
for scope, table in {FACTORS}:
    first.AddFunction(scope, table)
answer = [first.Option.decimalPoint, first.Option is second.Option, first.Solve()[1]]
"""
    decimals, shared, claimed = told(script)
    assert decimals == 0
    assert shared
    assert claimed == 0.0  # with 6 decimals: 0.8


def test_our_solves_leave_this_process_and_each_other_alone() -> None:
    import pytoulbar2

    option = pytoulbar2.pytoulbar2.tb2.option
    before, option.decimalPoint = option.decimalPoint, 5
    try:
        for network in (three(), random_pairwise(2, nodes=6), three()):
            assert solve(network, Toulbar2()).energy == pytest.approx(least_pairwise_energy(network), abs=1e-9)
        assert option.decimalPoint == 5
    finally:
        option.decimalPoint = before


def test_trap_it_fails_off_the_main_thread() -> None:
    script = f"""
answer = []
def in_a_thread():
    try:
        answer.append(model({FACTORS}, [2] * 3, 6).Solve()[1])
    except BaseException as error:
        answer.append(type(error).__name__)
thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
"""
    assert told(script) == ["InternalError"]
    with ThreadPoolExecutor(2) as pool:
        for solution in pool.map(lambda network: solve(network, Toulbar2()), [three(), three()]):
            assert solution.status is Status.optimal
            assert solution.energy == pytest.approx(0.8, abs=1e-12)


def test_sixty_tasks_without_a_budget_are_proved_in_five_seconds() -> None:
    network = benchmark("inference").make_network(60, False, "random", 0, beta=16.0)
    solution = solve(network.levels(None, cap=1), Toulbar2(), deadline=5.0)
    assert solution.status is Status.optimal
    assert solution.point is not None
    assert 0 < solution.point.sum() < 60


def test_a_budget_is_a_linear_constraint_and_no_penalty() -> None:
    script = """
from taskpgm.inference.method import Deadline
from taskpgm.inference.toulbar2 import Toulbar2
from taskpgm.pairwise import PairwiseNetwork
native, added, answer = CFN.AddGeneralizedLinearConstraint, CFN.AddFunction, []
scopes = []
def constrain(self, uses, relation, budget):
    answer.append([sorted(uses), relation, budget])
    return native(self, uses, relation, budget)
def add(self, scope, costs):
    scopes.append(scope)
    return added(self, scope, costs)
CFN.AddGeneralizedLinearConstraint, CFN.AddFunction = constrain, add
network = PairwiseNetwork.from_factors([2] * 4, [([0], [0.0, 1.0]), ([0, 1], [[0, 0], [0, 2.0]])], budget=2)
found = Toulbar2(counting=False).run(network, Deadline(None), 0)
answer.append([len(scope) for scope in scopes])
answer.append(sum(found.point.tolist()))
"""
    constraint, arities, used = told(script)
    assert constraint == [[[i, s, s] for i in range(4) for s in range(2)], "==", 2]
    assert arities == [1, 1, 1, 1, 2]  # a penalty would couple every two nodes
    assert used == 2
    for seed in range(4):
        levels = random_network(6, seed, beta=0.3).levels(5, cap=2)
        for method in (Toulbar2(), Toulbar2(counting=False)):
            solution = solve(levels, method)
            assert solution.status is Status.optimal
            assert solution.energy == pytest.approx(least_pairwise_energy(levels.pairwise), abs=1e-9)


def test_trap_adding_a_constraint_may_raise_a_contradiction() -> None:
    script = """
impossible = model([], [1, 1], 0)
try:
    impossible.AddGeneralizedLinearConstraint([(0, 0, 1), (1, 0, 1)], "==", 3)
    answer = "added"
except impossible.Contradiction:
    answer = "contradiction"
"""
    assert told(script) == "contradiction"
    alone = PairwiseNetwork.from_factors([1, 1], [], levels=[[1], [1]], budget=3)
    odd = PairwiseNetwork.from_factors([2] * 3, [([0, 1], np.eye(2))], levels=[[0, 2]] * 3, budget=3)
    for network in (alone, odd):
        for method in (Toulbar2(), Toulbar2(counting=False)):
            solution = solve(network, method)
            assert solution.status is Status.failed
            assert "no assignment keeps the budget" in solution.message


def test_what_toulbar2_says_of_its_point_is_computed_again() -> None:
    network = random_pairwise(4, nodes=6)
    solution = solve(network, Toulbar2())
    assert solution.point is not None
    assert solution.energy == network.energy(solution.point)
    script = """
from taskpgm.inference.method import Deadline
from taskpgm.inference.toulbar2 import Toulbar2
from taskpgm.pairwise import PairwiseNetwork
honest = CFN.Solve
CFN.Solve = lambda self: ([1, 1], honest(self)[1], 1)
try:
    answer = Toulbar2().run(PairwiseNetwork.from_factors([2, 2], [([0, 1], np.eye(2))]), Deadline(None), 0).message
except RuntimeError as error:
    answer = str(error)
"""
    assert "but its point costs" in told(script)


@pytest.mark.parametrize("seed", range(3))
def test_a_proof_s_bound_is_its_optimum(seed: int) -> None:
    """Whatever GetDDualBound says then: it is asked only where the search was cut short."""
    network = random_pairwise(seed, nodes=7, density=1.0)
    solution = solve(network, Toulbar2())
    least = least_pairwise_energy(network)
    assert solution.status is Status.optimal
    assert least - 1e-9 <= solution.bound <= least
    script = f"""
from taskpgm.inference.method import Deadline
from taskpgm.inference.toulbar2 import Toulbar2
from taskpgm.pairwise import PairwiseNetwork
CFN.GetDDualBound = lambda self: -1.0e9
rng = np.random.default_rng({seed})
factors = [([i, j], rng.standard_normal((2, 2))) for i, j in itertools.combinations(range(5), 2)]
network = PairwiseNetwork.from_factors([2] * 5, factors)
found = Toulbar2().run(network, Deadline(None), 0)
answer = [found.bound, network.energy(found.point)]
"""
    bound, energy = told(script)
    assert energy - 1e-9 <= bound <= energy


def test_cut_short_it_keeps_a_point_and_an_honest_bound() -> None:
    rng = np.random.default_rng(0)
    factors = [((i, j), rng.standard_normal((4, 4))) for i, j in itertools.combinations(range(40), 2)]
    network = PairwiseNetwork.from_factors([4] * 40, factors)
    start = time.monotonic()
    solution = solve(network, Toulbar2(), deadline=0.5)
    assert time.monotonic() - start < 5.0
    assert solution.status is Status.timeout
    assert solution.point is not None
    assert -np.inf < solution.bound < solution.energy


@pytest.mark.parametrize("budget", [None, 9])
@pytest.mark.parametrize("seed", range(3))
def test_it_proves_the_same_whether_or_not_local_search_went_first(seed: int, budget: int | None) -> None:
    network = benchmark("inference").make_network(22, False, "random", seed, beta=16.0 if budget is None else 0.3)
    problem = network.levels(budget, cap=1)
    with_search = solve(problem, Toulbar2(), deadline=30.0)
    without = solve(problem, Toulbar2(), deadline=3.0)  # too little time for one
    assert with_search.status is without.status is Status.optimal
    assert with_search.energy == pytest.approx(without.energy, abs=1e-9)


def test_a_count_belongs_to_the_states_that_it_counts() -> None:
    network = benchmark("inference").make_network(24, False, "mean", 0, beta=16.0).levels(None, cap=1)
    easier = counted(network)
    assert len(easier) == len(network) + 1
    rng = np.random.default_rng(0)
    for _ in range(20):
        states = rng.integers(0, 2, size=24)
        lifted = with_the_count(network, easier, states)
        assert easier.violation(lifted) == 0.0
        assert easier.energy(lifted) == pytest.approx(network.energy(states), abs=1e-9)
