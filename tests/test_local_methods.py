"""Rounding, swap search, annealing, greedy selection, and pgmpy's exact MAP, each against its slow, obvious twin."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import energy_scale, level_energies, level_points
from strategies import ODD_NAMES, SEEDS, SIMILARITIES, levels_networks, random_levels, random_network, rebounded
from test_contracts import PROBLEMS, broken_laws, problem_and_oracle

from taskpgm.inference import Deadline, Exhaustive, Method, SimplexQP, solve
from taskpgm.inference.annealing import SimulatedAnnealing
from taskpgm.inference.greedy import GreedySelection
from taskpgm.inference.kernels import exchange_sweep
from taskpgm.inference.pgmpy_exact import PgmpyElimination, PgmpyJunctionTree
from taskpgm.inference.rounding import LargestRemainder, even_levels, nearest_levels, takers
from taskpgm.inference.swap_search import SwapSearch, level_steps, move_changes
from taskpgm.inference.swap_search import random_levels as drawn_levels
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import IntArray, Status

LOCAL: tuple[Method, ...] = (LargestRemainder(), SwapSearch(), SimulatedAnnealing(sweeps=50), GreedySelection())
PGMPY: tuple[Method, ...] = (PgmpyElimination(), PgmpyJunctionTree())
LEVELS = [name for name in PROBLEMS if name.startswith("levels")]
TAUS = (0.0, 0.3)


def named(methods: tuple[Method, ...]) -> Any:
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.name)


def indefinite_levels(seed: int, quanta: int = 4, cap: int | None = None) -> LevelsNetwork:
    return random_network(5, seed, "indefinite", beta=0.3).levels(quanta, cap)


class Interrupted(Deadline):
    """Passes after a number of looks at the clock."""

    def __init__(self, looks: int) -> None:
        super().__init__(None)
        self.looks = looks

    def passed(self) -> bool:
        self.looks -= 1
        return self.looks < 0


# ------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", LEVELS)
@named(LOCAL + PGMPY)
def test_the_methods_keep_the_contract(method: Method, name: str) -> None:
    solution, broken = broken_laws(method, *problem_and_oracle(name))
    assert not broken, solution
    assert solution.status is not Status.refused or isinstance(method, LargestRemainder)


@named(LOCAL + PGMPY)
@given(levels=levels_networks(taus=TAUS), seed=SEEDS)
@settings(max_examples=15)
def test_points_are_feasible_and_equal_seeds_give_equal_points(
    method: Method, levels: LevelsNetwork, seed: int
) -> None:
    solution = solve(levels, method, seed=seed)
    assert levels.violation(solution.point) == 0.0
    rounding = 1e-9 * energy_scale(levels.network)
    assert solution.bound - rounding <= min(level_energies(levels)) <= solution.energy + rounding
    np.testing.assert_array_equal(solution.point, solve(levels, method, seed=seed).point)


@named(LOCAL + PGMPY)
@pytest.mark.parametrize("seconds", [0.0, 1e-3])
def test_a_deadline_of_nearly_nothing_is_met_without_crashing(method: Method, seconds: float) -> None:
    levels = rebounded(random_network(12, 3), np.full(12, 0.01), np.full(12, 0.5)).levels(40, cap=9)
    if method in PGMPY:
        levels = random_network(6, 3).levels(4)
    solution = solve(levels, method, deadline=seconds)
    assert solution.status is not Status.failed
    assert solution.point is None or levels.violation(solution.point) == 0.0
    if seconds == 0.0:
        assert solution.status is Status.timeout
        assert (solution.point is None) == (method in PGMPY)


@named((SwapSearch(), SimulatedAnnealing(sweeps=5), GreedySelection()))
def test_stopped_at_any_moment_there_is_a_feasible_point(method: Method) -> None:
    levels = rebounded(random_network(6, 5), np.full(6, 0.05), np.full(6, 0.6)).levels(12)
    for looks in range(5):
        answer = method.run(levels, Interrupted(looks), 0)
        assert not answer.finished
        assert levels.violation(answer.point) == 0.0
    assert method.run(levels, Interrupted(1000), 0).finished


@named(LOCAL)
def test_the_anytime_trace_ends_with_the_answer(method: Method) -> None:
    levels = random_network(12, 3, "low_rank", beta=0.3).levels(6, cap=1)
    solution = solve(levels, method, seed=1)
    energies = [point.energy for point in solution.trace]
    assert energies[-1] == solution.energy
    assert energies == sorted(energies, reverse=True)
    assert all(point.bound <= solution.bound for point in solution.trace)
    if isinstance(method, LargestRemainder):
        assert solution.trace[-1].bound == solution.bound


def test_annealing_notes_at_most_once_a_sweep_how_its_energy_falls() -> None:
    solution = solve(random_network(30, 3, "low_rank").levels(10), SimulatedAnnealing(sweeps=40, proposals=1))
    assert 5 < len(solution.trace) <= 41


def test_importing_the_methods_imports_no_heavy_library() -> None:
    modules = ("annealing", "gibbs", "greedy", "icm", "pgmpy_exact", "rounding", "swap_search")
    script = "".join(f"import taskpgm.inference.{module}\n" for module in modules)
    script += "import sys; print([name for name in ('numba', 'pgmpy', 'cvxpy', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------------------- rounding


@given(levels_networks(), SEEDS, st.sampled_from(["mixture", "anything"]))
def test_nearest_levels_are_nearest(levels: LevelsNetwork, seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    quanta = levels.quanta * random.dirichlet(np.ones(len(levels)))
    if kind == "anything":
        quanta = random.normal(0.0, levels.quanta, len(levels))
    found = nearest_levels(levels, quanta)
    assert levels.violation(found) == 0.0
    distances = [float(((np.array(x) - quanta) ** 2).sum()) for x in level_points(levels)]
    assert float(((found - quanta) ** 2).sum()) == pytest.approx(min(distances), abs=1e-9)


def test_largest_remainders_and_even_levels_by_hand() -> None:
    levels = TaskNetwork(np.zeros(4), np.eye(4)).levels(10)
    assert nearest_levels(levels, [1.6, 2.5, 3.4, 2.5]).tolist() == [2, 3, 3, 2]  # of equal remainders the first
    assert even_levels(levels).tolist() == [3, 3, 2, 2]
    assert even_levels(TaskNetwork(np.zeros(3), np.eye(3), upper={"task 0": 0.1}).levels(10)).tolist() == [1, 5, 4]


@given(levels_networks(taus=TAUS))
def test_the_rounded_mixture_has_a_bound_below_the_oracle(levels: LevelsNetwork) -> None:
    solution = solve(levels, LargestRemainder())
    exact = solve(levels, Exhaustive()).energy
    assert solution.bound <= exact
    assert exact <= solution.energy + 1e-12 * energy_scale(levels.network)
    assert np.isfinite(solution.bound)


ROOMS = {
    "two have no room": ([0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], 2),
    "two have taken all": ([0.5, 0.0, 0.0, 0.5], [1.0, 1.0, 1.0, 1.0], 2),
    "one takes all": ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], 1),
    "one must take all": ([0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], 1),
}


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("room", ROOMS)
def test_tasks_that_can_take_nothing_are_left_out_of_the_relaxation(room: str, tau: float) -> None:
    lower, upper, count = ROOMS[room]
    levels = rebounded(random_network(4, 7, tau=tau), np.array(lower), np.array(upper)).levels(4)
    solution, exact = solve(levels, LargestRemainder()), solve(levels, Exhaustive())
    assert takers(levels).sum() == count
    assert np.isfinite(solution.bound)
    assert solution.bound <= exact.energy <= solution.energy + 1e-12
    if levels.size == 1:
        assert solution.status is Status.optimal


def test_only_tasks_that_can_take_something_need_to_be_convex() -> None:
    similarity = np.diag([1.0, 1.0, -9.0])
    assert solve(TaskNetwork(np.zeros(3), similarity).levels(4), LargestRemainder()).status is Status.refused
    levels = TaskNetwork(np.zeros(3), similarity, upper={"task 2": 0.2}).levels(4)
    assert solve(levels, LargestRemainder()).status is Status.optimal


def test_a_whole_mixture_is_proved_optimal() -> None:
    levels = TaskNetwork(np.zeros(5), np.eye(5)).levels(10)  # the minimiser is uniform
    solution = solve(levels, LargestRemainder())
    assert solution.status is Status.optimal
    assert solution.point.tolist() == [2] * 5


def test_the_box_of_the_levels_binds_the_relaxation() -> None:
    network = TaskNetwork([1.0, 0.0, 0.0], np.zeros((3, 3)))
    solution = solve(network.levels(10, cap=4), LargestRemainder())
    assert solution.point.tolist()[0] == 4
    assert solution.status is Status.optimal  # over the whole simplex the bound would be -1


def test_rounding_refuses_what_the_relaxation_refuses() -> None:
    levels = indefinite_levels(1)
    solution = solve(levels, LargestRemainder())
    assert solution.status is Status.refused
    assert solution.message == SimplexQP().refuses(levels.network)


# ------------------------------------------------------------------------------------------------- swaps and annealing


@given(levels_networks(taus=TAUS), SEEDS)
def test_move_changes_are_differences_of_energies(levels: LevelsNetwork, seed: int) -> None:
    x = random_levels(levels, seed)
    changes = move_changes(levels, x, levels.coupling @ x, *level_steps(levels))
    for i, j in itertools.product(range(len(levels)), repeat=2):
        moved = moved_quantum(x, i, j)
        if i == j or levels.violation(moved) > 0.0:
            assert changes[i, j] == np.inf
        else:
            change = levels.energy(moved) - levels.energy(x)
            assert changes[i, j] == pytest.approx(change, abs=1e-12 * energy_scale(levels.network))


@given(levels_networks(taus=TAUS), SEEDS)
@settings(max_examples=25)
def test_no_single_swap_improves_where_the_searches_end(levels: LevelsNetwork, seed: int) -> None:
    for method in (SwapSearch(restarts=2), SimulatedAnnealing(sweeps=3, proposals=2)):
        solution = solve(levels, method, seed=seed)
        x = np.array(solution.point)
        neighbours = [moved_quantum(x, i, j) for i, j in itertools.permutations(range(len(levels)), 2)]
        least = min((levels.energy(y) for y in neighbours if levels.violation(y) == 0.0), default=np.inf)
        assert solution.energy <= least + 1e-12 * energy_scale(levels.network)


@pytest.mark.parametrize("seed", range(5))
def test_on_fine_quanta_the_descent_goes_on_to_the_last_small_gain(seed: int) -> None:
    levels = random_network(5, seed, tau=0.1).levels(1000)
    x = np.array(solve(levels, SwapSearch(restarts=0)).point)
    neighbours = [moved_quantum(x, i, j) for i, j in itertools.permutations(range(5), 2)]
    least = min(levels.energy(y) for y in neighbours if levels.violation(y) == 0.0)
    assert levels.energy(x) <= least + 1e-13
    assert least - levels.energy(x) < 1e-5  # steps are that small here


def moved_quantum(x: IntArray, giver: int, taker: int) -> IntArray:
    moved = x.copy()
    moved[giver] -= 1
    moved[taker] += 1
    return moved


def test_more_restarts_are_never_worse_and_are_counted() -> None:
    for seed in range(10):
        levels = random_network(12, seed, "low_rank", beta=0.3).levels(6, cap=1)
        few, many = (solve(levels, SwapSearch(restarts=count), seed=2) for count in (0, 30))
        assert many.energy <= few.energy
        assert (few.stats["descents"], many.stats["descents"]) == (1, 31)


@given(levels_networks(), SEEDS)
def test_random_starts_are_feasible(levels: LevelsNetwork, seed: int) -> None:
    assert levels.violation(drawn_levels(levels, np.random.default_rng(seed))) == 0.0


@pytest.mark.parametrize(("quanta", "cap"), [(4, 1), (4, 3), (70, 50)])
@pytest.mark.parametrize("kind", [*SIMILARITIES, "indefinite"])
def test_the_annealing_kernel_equals_its_slow_twin(kind: str, quanta: int, cap: int) -> None:
    levels = random_network(7, 3, kind, tau=0.2 if cap == 3 else 0.0).levels(quanta, cap)
    start = random_levels(levels, 1)
    rise, fall = level_steps(levels)
    fast, best, field = start.copy(), start.copy(), levels.coupling @ start
    owner = np.repeat(np.arange(7), start - levels.minimum)
    random = np.random.default_rng(5)
    temperature = 0.3 * float(np.abs(levels.coupling).max() + np.abs(rise[np.isfinite(rise)]).max())
    energy, least, accepted = exchange_sweep(
        levels.coupling, rise, fall, levels.minimum, fast, field, owner, best, 0.0, 0.0, temperature, 300, random
    )
    slow, slow_best, slow_accepted = slow_sweep(levels, start, temperature, 300, np.random.default_rng(5))
    assert accepted == slow_accepted > 0
    np.testing.assert_array_equal(fast, slow)
    np.testing.assert_array_equal(best, slow_best)
    np.testing.assert_array_equal(np.sort(owner), np.repeat(np.arange(7), fast))
    tolerance = 1e-10 * energy_scale(levels.network)
    np.testing.assert_allclose(field, levels.coupling @ fast, atol=tolerance)
    assert energy == pytest.approx(levels.energy(fast) - levels.energy(start), abs=tolerance)
    assert least == pytest.approx(levels.energy(best) - levels.energy(start), abs=tolerance)


def slow_sweep(
    levels: LevelsNetwork, start: IntArray, temperature: float, proposals: int, random: np.random.Generator
) -> tuple[IntArray, IntArray, int]:
    """Metropolis with the energy computed anew for every proposal."""
    x, best, accepted = start.copy(), start.copy(), 0
    owner = np.repeat(np.arange(len(levels)), start - levels.minimum).tolist()
    for _ in range(proposals):
        quantum, taker = int(random.integers(0, len(owner))), int(random.integers(0, len(levels)))
        moved = moved_quantum(x, owner[quantum], taker)
        if owner[quantum] == taker:
            continue
        change = levels.energy(moved) - levels.energy(x) if levels.violation(moved) == 0.0 else np.inf
        if change <= 0.0 or random.random() < np.exp(-change / temperature):
            x, owner[quantum], accepted = moved, taker, accepted + 1
            if levels.energy(x) < levels.energy(best):
                best = x
    return x, best, accepted


def test_annealing_does_not_depend_on_the_unit_of_energy() -> None:
    one, other = (random_network(8, 3, scale=scale).levels(4, cap=1) for scale in (1.0, 1024.0))
    first, second = (solve(levels, SimulatedAnnealing(sweeps=5), seed=3) for levels in (one, other))
    np.testing.assert_array_equal(first.point, second.point)
    assert first.stats == second.stats


# ------------------------------------------------------------------------------------------------------------- greedy


def greedy_path(levels: LevelsNetwork) -> list[IntArray]:
    """All the points greedy passes through, each by trying every task."""
    path = [np.array(levels.minimum)]
    while path[-1].sum() < levels.quanta:
        candidates = [path[-1] + unit for unit in np.eye(len(levels), dtype=np.int64)]
        path.append(min((x for x in candidates if (x <= levels.maximum).all()), key=levels.energy))
    return path


@given(levels_networks(taus=TAUS))
def test_greedy_equals_greedy_by_brute_force(levels: LevelsNetwork) -> None:
    path = greedy_path(levels)
    solution = solve(levels, GreedySelection())
    if not np.array_equal(solution.point, path[-1]):  # only where two tasks were equally good at some step
        gains = [
            np.sort([levels.energy(x + unit) for unit in np.eye(len(levels)) if (x + unit <= levels.maximum).all()])
            for x in path[:-1]
        ]
        assert any(len(each) > 1 and np.diff(each).min() <= 1e-12 * energy_scale(levels.network) for each in gains)


@given(st.integers(3, 6), SEEDS, st.sampled_from([*SIMILARITIES, "indefinite"]), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_submodularity_ratio_holds_for_every_set(n: int, seed: int, kind: str, beta: float) -> None:
    network = random_network(n, seed, kind, beta=beta)
    levels = TaskNetwork(np.abs(network.utility), network.similarity, beta=beta).levels(n // 2 + 1, cap=1)
    ratio = solve(levels, GreedySelection()).stats.get("submodularity_ratio_at_least")
    assume(ratio is not None)
    assert 0.0 <= ratio <= 1.0
    for x in greedy_path(levels)[:-1]:
        fall = {
            chosen: levels.energy(x) - levels.energy(x + np.isin(np.arange(n), chosen))
            for size in range(1, levels.quanta + 1)
            for chosen in itertools.combinations(np.flatnonzero(x == 0).tolist(), size)
        }
        for chosen, together in fall.items():
            alone = sum(fall[(i,)] for i in chosen)
            assert alone >= ratio * together - 1e-12 * energy_scale(levels.network)


def test_the_submodularity_ratio_of_three_kinds() -> None:
    def ratio(similarity: Any, utility: Any, cap: int = 1) -> Any:
        levels = TaskNetwork(utility, similarity).levels(2, cap)
        return solve(levels, GreedySelection()).stats.get("submodularity_ratio_at_least")

    assert ratio(np.ones((3, 3)), [-9.0, 0.0, 1.0]) == 1.0  # tasks in each other's way: submodular
    alike = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    # the first two gain 1/2 each alone, and 1/4 more together: the set {0, 1} has 1 / 1.25
    assert ratio(alike, [1.0, 1.0, 1.0]) == pytest.approx(0.8)
    assert ratio(alike, [-1.0, 1.0, 1.0]) is None  # a task that costs something may pay with another
    assert ratio(np.ones((3, 3)), [1.0, 1.0, 1.0], cap=2) is None


@st.composite
def selections(draw: st.DrawFn) -> LevelsNetwork:
    """k of n tasks, perhaps on top of lower bounds, utilities perhaps of one sign only."""
    n, quanta = draw(st.integers(2, 7)), draw(st.integers(1, 7))
    kind, beta = draw(st.sampled_from([*SIMILARITIES, "indefinite"])), draw(st.sampled_from([0.0, 0.1, 1.0, 10.0]))
    network = random_network(n, draw(SEEDS), kind, beta=beta, tau=draw(st.sampled_from(TAUS)))
    if draw(st.booleans()):
        network = TaskNetwork(np.abs(network.utility), network.similarity, beta=beta)
    if draw(st.booleans()):
        return network.levels(min(quanta, n), cap=1)
    low = np.random.default_rng(draw(SEEDS)).integers(0, 2, n)
    quanta = int(low.sum()) + min(quanta, n)
    return rebounded(network, (low - 0.5).clip(0.0) / quanta, (low + 1) / quanta).levels(quanta)


def falls(levels: LevelsNetwork) -> list[float]:
    """F of every feasible point."""
    least = levels.energy(levels.minimum)
    return [least - energy for energy in level_energies(levels)]


@given(selections())
@settings(max_examples=200)
def test_the_bound_of_greedy_holds_for_every_feasible_point(levels: LevelsNetwork) -> None:
    solution = solve(levels, GreedySelection())
    slack = 1e-12 * energy_scale(levels.network)
    assert solution.status is not Status.failed
    assert np.isfinite(solution.bound)
    assert solution.bound <= levels.energy(levels.minimum) - max(falls(levels)) + slack


def monotone_falls(n: int, seed: int, kind: str) -> LevelsNetwork:
    """Utilities so large that one more task always lowers the energy, by more than any couplings take away."""
    network = random_network(n, seed, kind)
    return TaskNetwork(np.abs(network.utility) + 2.0 * np.abs(network.similarity).sum(), network.similarity).levels(
        n // 2 + 1, cap=1
    )


@given(st.integers(3, 7), SEEDS, st.sampled_from([*SIMILARITIES, "indefinite"]))
def test_where_f_is_monotone_the_bound_of_greedy_is_no_worse_than_the_guarantee(n: int, seed: int, kind: str) -> None:
    levels = monotone_falls(n, seed, kind)
    solution = solve(levels, GreedySelection())
    ratio = solution.stats["submodularity_ratio_at_least"]
    least, slack = levels.energy(levels.minimum), 1e-9 * energy_scale(levels.network)
    guaranteed = (least - solution.energy) / (1.0 - np.exp(-ratio))
    assert max(falls(levels)) <= guaranteed + slack
    assert solution.bound >= least - guaranteed - slack


def test_the_bound_of_greedy_by_hand() -> None:
    # alone the tasks gain 1, 1/2 and 1/2; the last two gain 1/2 more together, which greedy never sees
    pairs = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -2.0], [0.0, -2.0, 0.0]])
    levels = TaskNetwork([2.0, 1.0, 1.0], pairs).levels(2, cap=1)
    solution = solve(levels, GreedySelection())
    assert levels.energy([0, 1, 1]) == pytest.approx(-1.5)
    assert solution.energy == pytest.approx(-1.5)
    # at the start task 0 may gain 1, tasks 1 and 2 up to 1/2 + 1/4 each: together at most 1.75
    assert solution.bound == pytest.approx(-1.75)


def test_no_bound_of_greedy_where_a_task_takes_more_than_one_quantum() -> None:
    assert solve(random_network(4, 1).levels(4, cap=2), GreedySelection()).bound == -np.inf


def no_help(coupling: Any, gains: Any) -> float:
    """As if tasks never helped each other."""
    return float(np.sort(gains[0])[-len(gains) :].sum())


def no_losses(coupling: Any, gains: Any) -> float:
    """As if F were monotone."""
    most, taken = np.inf, 0.0
    for alone in gains:
        bonus = 0.5 * np.sort(np.maximum(0.0, -coupling), axis=1)[:, 1 - len(gains) :].sum(axis=1)
        most = min(most, taken + float(np.sort(np.maximum(0.0, alone + bonus))[-len(gains) :].sum()))
        taken += float(alone.max())
    return most


@pytest.mark.parametrize("careless", [no_help, no_losses])
def test_the_bound_of_greedy_needs_every_term(careless: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refuted = 0
    for seed in range(150):
        levels = random_network(6, seed, "indefinite", beta=0.3).levels(3, cap=1)
        oracle = min(level_energies(levels))
        assert solve(levels, GreedySelection()).bound <= oracle + 1e-12
        with monkeypatch.context() as patched:
            patched.setattr("taskpgm.inference.greedy.most_fall", careless)
            answer = GreedySelection().run(levels, Deadline(None), 0)
        refuted += answer.bound is not None and answer.bound > oracle + 1e-9
    assert refuted > 1


def test_greedy_starts_from_the_least_levels() -> None:
    network = TaskNetwork([1.0, 0.0, 0.0], np.zeros((3, 3)), lower=[0.0, 0.2, 0.3])
    assert solve(network.levels(10), GreedySelection()).point.tolist() == [5, 2, 3]


# -------------------------------------------------------------------------------------------------------------- pgmpy


@named(PGMPY)
@given(levels=levels_networks(max_tasks=5, max_quanta=4, taus=TAUS))
@settings(max_examples=25)
def test_pgmpy_has_the_energy_of_the_oracle(method: Method, levels: LevelsNetwork) -> None:
    solution, exact = solve(levels, method), solve(levels, Exhaustive()).energy
    assert solution.energy == pytest.approx(exact, abs=1e-12 * energy_scale(levels.network))
    assert solution.bound <= exact
    assert solution.status is Status.optimal


@named(PGMPY)
@pytest.mark.parametrize("cap", [None, 1, 2])
def test_pgmpy_on_indefinite_energies(method: Method, cap: int | None) -> None:
    for seed in range(8):
        levels = indefinite_levels(seed, cap=cap)
        assert solve(levels, method).energy == pytest.approx(min(level_energies(levels)), abs=1e-12)


@named(PGMPY)
@pytest.mark.parametrize(
    "names", [ODD_NAMES[:5], ODD_NAMES[5:], ("2", "1", "0", "-1", "1.0"), ("e", "d", "c", "b", "a")]
)
def test_pgmpy_levels_come_back_in_the_order_of_the_tasks(method: Method, names: tuple[str, ...]) -> None:
    levels = random_network(5, 16, names=names, beta=3.0, bounds="lower").levels(24, cap=9)
    exact = solve(levels, Exhaustive())
    assert exact.stats["ties"] == 1
    np.testing.assert_array_equal(solve(levels, method).point, exact.point)


@named(PGMPY)
@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_pgmpy_is_right_in_any_unit(method: Method, scale: float) -> None:
    """Energies of 1,000 taken as logarithms without shift and temperature would underflow."""
    for seed in range(5):
        levels = random_network(5, seed, "exponential_kernel", scale=scale).levels(4)
        assert solve(levels, method).energy == pytest.approx(min(level_energies(levels)), rel=1e-12)


@named(PGMPY)
def test_pgmpy_refuses_more_than_its_envelope_holds(method: Method) -> None:
    assert solve(random_network(20, 1).levels(3, cap=1), method).status is Status.optimal  # 2^20 states
    solution = solve(random_network(21, 1).levels(3, cap=1), method)
    assert solution.status is Status.refused
    assert "2097152 joint states" in solution.message
    assert "1048576" in solution.message
    assert "e+1202 joint states" in solve(TaskNetwork(np.zeros(600), np.eye(600)).levels(100), method).message
    fixed = rebounded(random_network(33, 1), np.zeros(33), np.eye(33)[0] + np.eye(33)[1])
    assert "33 nodes" in solve(fixed.levels(2), method).message
    assert "joint states" in solve(random_network(4, 1).levels(3), type(method)(limit=255)).message


@named(PGMPY)
def test_a_state_off_the_budget_is_no_answer(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairwiseNetwork, "budget_weight", 0.0)  # so the most probable state is the box's
    answer = method.run(TaskNetwork(np.ones(4), np.eye(4)).levels(4).pairwise, Deadline(None), 0)
    assert answer.point is None
    assert "does not keep the budget" in answer.message
