"""Gibbs sampling against sums over all assignments; its conditionals, detailed balance, convergence and cooling."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import least_pairwise_energy, pairwise_energy_by_loops, pairwise_marginals, pairwise_points
from strategies import SEEDS, pairwise_networks, random_network, random_pairwise
from test_contracts import broken_laws, problem_and_oracle
from test_icm import DISCRETE, no_last_neighbour, no_levels, no_sign, scale_of, transposed, with_levels
from test_local_methods import Interrupted

from taskpgm.inference import kernels
from taskpgm.inference.annealing import GibbsMap
from taskpgm.inference.driver import canonical, solve
from taskpgm.inference.gibbs import AGREEMENT, Chains, GibbsSampling, log_mean, with_charges
from taskpgm.inference.gibbs_kernels import new_tally, node_weights, pair_weights, sweep
from taskpgm.inference.icm import NO_START
from taskpgm.inference.kernels import Layout, begin, find_slot, lay_out
from taskpgm.inference.marginals import marginals
from taskpgm.inference.method import Deadline
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray, MarginalStatus, Status

QUICK = GibbsSampling(chains=8, burn_in=100, sweeps=400)


def chains_of(network: PairwiseNetwork, chains: int, sweeps: int, seed: int = 0) -> Chains:
    """Chains that have been burnt in and sampled."""
    *randoms, random = np.random.default_rng(seed).spawn(chains + 1)
    begun = np.array([random.permutation(pairwise_points(network))[0] for _ in range(chains)])
    made = Chains(with_charges(network), begun, randoms)
    made.advance(sweeps // 4, Deadline(None))
    made.forget()
    made.advance(sweeps, Deadline(None))
    return made


def deviations(network: PairwiseNetwork, chains: Chains) -> float:
    """By how many standard errors, and a thousandth, the worst marginal of a node or a pair is off."""
    nodes, pairs, _ = pairwise_marginals(network)
    averages = np.sum(chains.sums, axis=0) / chains.swept
    errors = averages.std(axis=0, ddof=1) / np.sqrt(len(averages))
    worst = 0.0
    for i, (node, found) in enumerate(zip(nodes, chains.nodes(), strict=True)):
        worst = max(worst, float((np.abs(found - node) / (errors[i, : len(node)] + 1e-3)).max()))
    for pair, table in zip(pairs, chains.pairs(), strict=True):
        worst = max(worst, float(np.abs(pair - table).max()) / (float(errors.max()) + 4e-3))
    return worst


# --------------------------------------------------------------------------------------------------------- conditionals


def given_others(network: PairwiseNetwork, states: IntArray, free: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """The distribution of some nodes given the others and the budget, from energies of whole assignments."""
    weights = {}
    for new in itertools.product(*(range(network.states[i]) for i in free)):
        other = states.copy()
        other[list(free)] = new
        if network.budget is None or network.used(other) == network.used(states):
            weights[new] = np.exp(pairwise_energy_by_loops(network, states) - pairwise_energy_by_loops(network, other))
    total = sum(weights.values())
    return {new: weight / total for new, weight in weights.items()}


def with_any_levels(network: PairwiseNetwork, seed: int, budget: bool) -> PairwiseNetwork:
    return with_levels(network, seed) if budget else network


@given(pairwise_networks(max_states=4, forbidden=(0.0, 0.3), scales=(1.0, 0.1)), SEEDS, st.booleans())
def test_conditionals_are_ratios_of_whole_assignments(network: PairwiseNetwork, seed: int, budget: bool) -> None:
    network, rng = with_any_levels(network, seed, budget), np.random.default_rng(seed)
    points = [s for s in pairwise_points(network) if np.isfinite(pairwise_energy_by_loops(network, s))]
    states = np.array(points[rng.integers(len(points))] if points else 0)
    if not points:
        return
    layout = lay_out(with_charges(network))
    search, room = begin(layout, states), np.zeros(layout.unary.shape[1] ** 2)
    for i in range(len(network)):
        node_weights(layout, search, i, 1.0, 1.0, room)
        expected = given_others(network, states, (i,))
        for a in range(int(network.states[i])):
            assert room[a] == pytest.approx(expected.get((a,), 0.0), abs=1e-9)
    for i, j in itertools.permutations(range(len(network)), 2) if budget else ():
        count = pair_weights(layout, search, i, j, find_slot(layout, i, j), 1.0, 1.0, room)
        expected = given_others(network, states, (i, j))
        found = {(int(search.first[k]), int(search.second[k])): float(room[k]) for k in range(count)}
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, abs=1e-9)


def transition(network: PairwiseNetwork, points: list[tuple[int, ...]], free: tuple[int, ...]) -> FloatArray:
    """The matrix of the chain that draws these nodes given the others."""
    place = {point: k for k, point in enumerate(points)}
    matrix = np.zeros((len(points), len(points)))
    for point, k in place.items():
        for new, chance in given_others(network, np.array(point), free).items():
            moved = np.array(point)
            moved[list(free)] = new
            if chance > 0.0:
                matrix[k, place[tuple(moved.tolist())]] += chance
    return matrix


def moves(network: PairwiseNetwork) -> list[tuple[int, ...]]:
    nodes = range(len(network))
    alone = [(i,) for i in nodes]
    return alone if network.budget is None else alone + list(itertools.combinations(nodes, 2))


@given(pairwise_networks(max_nodes=4, budgets=None, scales=(1.0,)))
@settings(max_examples=25)
def test_every_draw_is_in_detailed_balance_and_all_together_reach_everything(network: PairwiseNetwork) -> None:
    points = pairwise_points(network)
    weights = np.exp([-pairwise_energy_by_loops(network, s) for s in points])
    chances, reached = weights / weights.sum(), np.eye(len(points))
    for free in moves(network):
        matrix = transition(network, points, free)
        flow = chances[:, None] * matrix
        np.testing.assert_allclose(flow, flow.T, atol=1e-14)
        np.testing.assert_allclose(chances @ matrix, chances, atol=1e-14)
        reached = reached + matrix
    assert (np.linalg.matrix_power(reached, len(points)) > 0.0).all()
    assert QUICK.refuses(network) is None


def test_levels_with_gaps_are_refused_since_exchanges_do_not_reach_everything() -> None:
    levels = (np.array([0, 1]), np.array([0, 2]), np.array([0, 3]), np.array([0, 6]))
    network = PairwiseNetwork.from_factors([2] * 4, [], levels=levels, budget=6)
    points = pairwise_points(network)
    assert points == [(0, 0, 0, 1), (1, 1, 1, 0)]
    assert all(np.array_equal(transition(network, points, free), np.eye(2)) for free in moves(network))
    found = marginals(network, QUICK)
    assert found.status is MarginalStatus.refused
    assert "gaps" in found.message
    apart = PairwiseNetwork.from_factors([3, 1, 3], [], levels=[[4, 0, 2], [7], [2, 4, 6]], budget=13)
    assert QUICK.refuses(apart) is None  # all in steps of two
    np.testing.assert_allclose(
        np.concatenate(marginals(apart, QUICK).nodes), [1 / 3, 1 / 3, 1 / 3, 1, 1 / 3, 1 / 3, 1 / 3], atol=0.02
    )


# --------------------------------------------------------------------------------------------------------------- sweeps


class SlowChain:
    """The sweep in plain Python, with energies of whole assignments."""

    def __init__(self, network: PairwiseNetwork, states: IntArray, seed: int) -> None:
        self.network, self.states, self.random = network, states.copy(), np.random.default_rng(seed)
        self.turns = list(range(len(network)))
        self.nodes = [np.zeros(count) for count in network.states]
        self.pairs = [np.zeros(table.shape) for table in network.tables]

    def sweep(self) -> None:
        n = len(self.network)
        budgeted = self.network.budget is not None
        for k in range(n - 1, 0, -1) if budgeted else ():
            other = int(self.random.random() * (k + 1))
            self.turns[k], self.turns[other] = self.turns[other], self.turns[k]
        alone = n % 2 if budgeted else n
        for i in self.turns[:alone]:
            self.draw((i,))
        for k in range(alone, n, 2):
            self.draw((self.turns[k], self.turns[k + 1]))

    def draw(self, free: tuple[int, ...]) -> None:
        chances = given_others(self.network, self.states, free)
        for new, chance in chances.items():
            drawn = dict(zip(free, new, strict=True))
            for i, state in drawn.items():
                self.nodes[i][state] += chance
            for e, (i, j) in enumerate(self.network.edges.tolist()):
                if i in drawn or j in drawn:
                    both = (drawn.get(i, int(self.states[i])), drawn.get(j, int(self.states[j])))
                    self.pairs[e][both] += chance * ((i in drawn) + (j in drawn))
        left = self.random.random()
        for new in sorted(chances, key=self.rank):
            left -= chances[new]
            if left < 0.0:
                break
        self.states[list(free)] = new

    def rank(self, new: tuple[int, ...]) -> tuple[int, ...]:
        return new  # levels rise with the states, so the kernel lists pairs by the first state


@pytest.mark.parametrize("kind", ["free", "budget", "forbidden", "forbidden and budget"])
@pytest.mark.parametrize("seed", range(4))
def test_the_sweep_is_the_slow_twins(seed: int, kind: str) -> None:
    network = random_pairwise(
        seed, nodes=5 + seed % 2, budget="budget" in kind, forbidden=0.2 if "forbidden" in kind else 0.0
    )
    start = np.array(min(pairwise_points(network), key=lambda s: pairwise_energy_by_loops(network, s)))
    layout = lay_out(with_charges(network))
    search, tally, random = (
        begin(layout, start),
        new_tally(layout, np.zeros(len(layout.values))),
        np.random.default_rng(7),
    )
    slow, sums, energy = SlowChain(network, start, 7), np.zeros(layout.unary.shape), network.energy(start)
    for _ in range(40):
        energy += sweep(layout, search, tally, 1.0, 1.0, random)
        sums += tally.chances
        slow.sweep()
        np.testing.assert_array_equal(search.states, slow.states)
        assert energy == pytest.approx(network.energy(slow.states), abs=1e-9)
    for i, node in enumerate(slow.nodes):
        np.testing.assert_allclose(sums[i, : len(node)], node, atol=1e-9)
    for (i, j), pair in zip(network.edges.tolist(), slow.pairs, strict=True):
        forth, back = layout.offsets[find_slot(layout, i, j)], layout.offsets[find_slot(layout, j, i)]
        found = tally.pairs[forth : forth + pair.size].reshape(pair.T.shape).T
        found = found + tally.pairs[back : back + pair.size].reshape(pair.shape)
        np.testing.assert_allclose(found, pair, atol=1e-9)
        assert pair.sum() == pytest.approx(80.0)


# ------------------------------------------------------------------------------------------------------------ marginals


@given(pairwise_networks(max_nodes=6, budgets=None, scales=(1.0, 0.3)))
@settings(max_examples=30)
def test_marginals_are_those_of_the_sum_over_all_assignments(network: PairwiseNetwork) -> None:
    chains = chains_of(network, 16, 1000)
    assert deviations(network, chains) < 6.0
    if network.budget is not None:
        used = sum(float(p @ levels) for p, levels in zip(chains.nodes(), network.levels, strict=True))
        assert used == pytest.approx(network.budget, abs=1e-9)


@pytest.mark.parametrize("budget", [False, True])
def test_strong_couplings_need_more_sweeps(budget: bool) -> None:
    network = random_pairwise(3, nodes=6, scale=1.5, budget=budget, density=1.0)
    assert deviations(network, chains_of(network, 16, 20_000)) < 6.0


BUGS = [(bug, budget) for bug in (no_sign, no_last_neighbour, transposed) for budget in (False, True)]


@pytest.mark.parametrize(("bug", "budget"), [*BUGS, (no_levels, True)])
def test_planted_bugs_are_caught(
    bug: Callable[[Layout], Layout], budget: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, pairs = np.random.default_rng(1), itertools.combinations(range(5), 2)
    factors = [(pair, rng.standard_normal((3, 3))) for pair in pairs]
    network = PairwiseNetwork.from_factors([3] * 5, factors, budget=4 if budget else None)
    assert deviations(network, chains_of(network, 16, 1000)) < 6.0
    monkeypatch.setattr(kernels, "lay_out", lambda problem: bug(lay_out(problem)))
    assert deviations(network, chains_of(network, 16, 1000)) > 12.0


@pytest.mark.parametrize(
    "name", ["loops", "budget", "forbidden", "levels", "free levels", "parts", "one node", "one node, budget"]
)
def test_the_method_through_the_driver(name: str) -> None:
    problem: Any = {
        "loops": random_pairwise(2, nodes=6),
        "budget": random_pairwise(6, budget=True),
        "forbidden": random_pairwise(5, forbidden=0.3),
        "levels": random_network(4, 12).levels(5),
        "free levels": random_network(5, 18, beta=0.5).levels(None, cap=2),
        "parts": random_pairwise(9, nodes=7, density=0.15),
        "one node": random_pairwise(11, nodes=1),
        "one node, budget": PairwiseNetwork.from_factors([3], [([0], [0.0, 1.0, 2.0])], levels=[[1, 2, 1]], budget=1),
    }[name]
    found = marginals(problem, GibbsSampling(), seed=3)
    network = problem if isinstance(problem, PairwiseNetwork) else problem.pairwise
    nodes, pairs, _ = pairwise_marginals(network)
    assert found.status is MarginalStatus.estimate, found.message
    assert np.isnan(found.log_partition)
    assert found.pairs is not None
    for a, b in [*zip(found.nodes, nodes, strict=True), *zip(found.pairs, pairs, strict=True)]:
        np.testing.assert_allclose(a, b, atol=0.03)
        assert (a[b == 0.0] == 0.0).all()
    if name != "parts":
        assert found.stats["r_hat"] <= 1.05
        assert found.stats["sweeps"] == 1000
        assert 0.0 <= found.stats["standard_error"] < 0.02
    assert ("forbidden" in found.message) == (name == "forbidden")


def test_equal_seeds_give_equal_answers_and_chains_have_random_numbers_of_their_own() -> None:
    network = random_pairwise(2, nodes=6, budget=True)
    one, same, other = (marginals(network, QUICK, seed=seed) for seed in (1, 1, 2))
    for a, b in zip((*one.nodes, *(one.pairs or ())), (*same.nodes, *(same.pairs or ())), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(one.nodes, other.nodes, strict=True))
    begun, randoms = np.zeros((3, 6), np.int64), np.random.default_rng(0).spawn(3)
    together = Chains(replace(network, budget=None), begun, randoms)
    together.advance(40, Deadline(None))
    last = Chains(replace(network, budget=None), begun[2:], np.random.default_rng(0).spawn(3)[2:])
    last.advance(40, Deadline(None))
    np.testing.assert_array_equal(np.array(together.sums)[:, 2], np.array(last.sums)[:, 0])


@pytest.mark.parametrize("budget", [False, True])
def test_the_order_of_the_nodes_does_not_matter(budget: bool) -> None:
    network = random_pairwise(8, nodes=5, budget=budget)
    order = np.random.default_rng(3).permutation(5)
    place = np.argsort(order)
    factors: list[Any] = [([int(place[i])], values) for i, values in enumerate(network.unary)]
    factors += [([int(place[i]), int(place[j])], t) for (i, j), t in zip(network.edges, network.tables, strict=True)]
    moved = PairwiseNetwork.from_factors(
        network.states[order].tolist(), factors, levels=[network.levels[i] for i in order], budget=network.budget
    )
    one, other = (marginals(each, GibbsSampling(), seed=1) for each in (network, moved))
    error = np.hypot(one.stats["standard_error"], other.stats["standard_error"])
    for i in range(5):
        np.testing.assert_allclose(one.nodes[i], other.nodes[place[i]], atol=5.0 * error + 1e-3)


# ---------------------------------------------------------------------------------------------------------- convergence


def test_chains_on_islands_are_seen_to_disagree() -> None:
    """Two nodes that must be equal: no single draw leads from (0, 0) to (1, 1)."""
    network = PairwiseNetwork.from_factors([2, 2], [([0, 1], [[0.0, np.inf], [np.inf, 0.0]])])
    found = marginals(network, QUICK, seed=1)
    assert found.status is MarginalStatus.timeout
    assert "chains disagree" in found.message
    assert found.stats["r_hat"] == np.inf


def test_r_hat_and_standard_error_are_those_of_the_formulas() -> None:
    network = random_pairwise(2, nodes=4)
    chains = chains_of(network, 5, 80)
    assert (chains.block, len(chains.sums)) == (2, 40)
    values = np.random.default_rng(0).random((40, 2, 5, *chains.layout.unary.shape))  # block, sweep, chain, node, state
    values[..., 0, 0] += np.arange(5)  # chains that disagree about the first node
    chains.sums, chains.squares = list(values.sum(axis=1)), list((values**2).sum(axis=1))
    draws = values.reshape(80, 5, *values.shape[3:])
    halves = np.concatenate([draws[:40], draws[40:]], axis=1)  # forty sweeps of each half-chain
    within, between = halves.var(axis=0, ddof=1).mean(axis=0), 40 * halves.mean(axis=0).var(axis=0, ddof=1)
    r_hat, error = chains.convergence()
    assert r_hat == pytest.approx(np.sqrt((39 / 40 * within + between / 40) / within).max(), rel=1e-9)
    assert r_hat > 2.0
    assert error == pytest.approx(draws.mean(axis=0).std(axis=0, ddof=1).max() / np.sqrt(5), rel=1e-9)
    chains.sums = [np.full_like(x, 0.5 + 0.1 * AGREEMENT) for x in chains.sums]
    chains.squares = [0.25 * np.ones_like(x) for x in chains.sums]
    assert chains.convergence() == (1.0, 0.0)  # nothing to converge


def test_too_few_sweeps_are_not_called_converged() -> None:
    network = random_pairwise(4, nodes=6, scale=2.0, density=1.0)
    found = marginals(network, GibbsSampling(chains=8, burn_in=0, sweeps=8), seed=1)
    assert found.status is MarginalStatus.timeout
    assert found.stats["r_hat"] > 1.05


def test_forbidden_starts_are_repaired_or_there_is_no_answer() -> None:
    """Colourings of a ring of nine nodes with four colours: a random one is allowed with probability 0.075."""
    different = np.where(np.eye(4, dtype=bool), np.inf, 0.0)
    ring = PairwiseNetwork.from_factors([4] * 9, [([i, (i + 1) % 9], different) for i in range(9)])
    found = marginals(ring, GibbsSampling(), seed=1)
    assert found.status is MarginalStatus.estimate, found.message
    for node in found.nodes:
        np.testing.assert_allclose(node, 0.25, atol=0.03)
    assert found.pairs is not None
    assert all((np.diag(pair) == 0.0).all() for pair in found.pairs)
    two = PairwiseNetwork.from_factors([2] * 3, [([i, j], different[:2, :2]) for i, j in ((0, 1), (1, 2), (0, 2))])
    nothing = marginals(two, GibbsSampling(chains=2))
    assert nothing.status is MarginalStatus.failed
    assert "no allowed assignment" in nothing.message
    assert marginals(replace(random_pairwise(1), budget=1000), QUICK).message == NO_START
    never = PairwiseNetwork.from_factors([1, 2], [([0], [np.inf]), ([0, 1], [[0.0, 1.0]])])
    assert marginals(never, QUICK).message == "every assignment is forbidden"


def test_deadlines_and_settings() -> None:
    network = random_pairwise(2, nodes=6)
    at_once = marginals(network, QUICK, deadline=0.0)
    assert (at_once.status, at_once.nodes) == (MarginalStatus.timeout, ())
    counts = set()
    for looks in range(0, 140, 9):
        answer = GibbsSampling(chains=2, burn_in=100, sweeps=400, annealing_steps=60).run(
            network, Interrupted(looks), 0
        )
        assert answer.nodes or not answer.finished
        counts.add(answer.stats.get("sweeps", 0))
    assert {0, 400} < counts
    with pytest.raises(InputError, match="2 chains"):
        GibbsSampling(chains=1)
    with pytest.raises(InputError, match="4 sweeps"):
        GibbsSampling(sweeps=3)


# ---------------------------------------------------------------------------------------------------------------- log Z


@pytest.mark.parametrize("budget", [False, True])
@pytest.mark.parametrize("forbidden", [0.0, 0.1])
def test_annealed_importance_sampling_estimates_log_z(budget: bool, forbidden: float) -> None:
    for seed in range(5):
        network = random_pairwise(seed, nodes=6, budget=budget, forbidden=forbidden, density=1.0, scale=0.7)
        found = marginals(network, replace(QUICK, annealing_steps=200), seed=seed)
        error = found.stats["log_partition_error"]
        assert found.log_partition == pytest.approx(pairwise_marginals(network)[2], abs=6.0 * error + 0.02)
        assert error < 0.5
        assert (found.lower, found.upper) == (-np.inf, np.inf)


def test_log_z_of_nodes_alone_is_exact() -> None:
    network = replace(random_pairwise(4, nodes=5, density=0.0), constant=3.0)
    for each in (network, replace(network, budget=3)):
        found = marginals(each, replace(QUICK, annealing_steps=1))
        assert found.log_partition == pytest.approx(pairwise_marginals(each)[2], abs=1e-9)
    assert marginals(replace(network, budget=3), replace(QUICK, annealing_steps=1)).stats["log_partition_error"] < 1e-12


def test_the_log_of_a_mean_by_hand() -> None:
    mean, error = log_mean(np.log([1.0, 2.0, 3.0]) + 1000.0)
    assert mean == pytest.approx(1000.0 + np.log(2.0))
    assert error == pytest.approx(1.0 / (2.0 * np.sqrt(3.0)))


# ------------------------------------------------------------------------------------------------------------- GibbsMap


@pytest.mark.parametrize("name", DISCRETE)
def test_cooling_keeps_the_contract(name: str) -> None:
    solution, broken = broken_laws(GibbsMap(), *problem_and_oracle(name))
    assert not broken, solution
    assert solution.status in (Status.feasible, Status.optimal)
    assert solution.energy == pytest.approx(problem_and_oracle(name)[1], abs=1e-9 * max(1.0, abs(solution.energy)))


@given(pairwise_networks(max_nodes=6, budgets=None, forbidden=(0.0, 0.2)), SEEDS)
@settings(max_examples=40)
def test_cooling_finds_the_least_energy_of_small_networks(network: PairwiseNetwork, seed: int) -> None:
    solution = solve(network, GibbsMap(), seed=seed)
    assert solution.point is not None
    assert network.violation(solution.point) == 0.0
    assert solution.energy == pytest.approx(least_pairwise_energy(network), abs=1e-9 * scale_of(network.finite()))


def test_cooling_does_not_depend_on_the_unit_of_energy() -> None:
    network = random_pairwise(3, nodes=150, density=0.03)
    one, other = (solve(network.scaled(unit), GibbsMap(chains=1, sweeps=8), seed=3) for unit in (1.0, 1024.0))
    np.testing.assert_array_equal(np.array(one.point), np.array(other.point))
    assert one.stats == other.stats
    assert solve(network, GibbsMap(), seed=3).energy < one.energy  # so the point depends on the temperatures


def test_cooling_stopped_at_any_moment_has_a_feasible_point_no_worse_than_its_start() -> None:
    network = canonical(random_pairwise(3, nodes=8, budget=True))
    assert isinstance(network, PairwiseNetwork)
    first = GibbsMap().run(network, Interrupted(0), 0).point
    for looks in range(1, 30, 4):
        deadline = Interrupted(looks)
        answer = GibbsMap().run(network, deadline, 0)
        assert not answer.finished
        assert answer.point is not None
        assert first is not None
        assert network.violation(answer.point) == 0.0
        assert network.energy(answer.point) <= network.energy(first)
        assert all(network.violation(note.point) == 0.0 for note in deadline.notes if note.point is not None)
    assert GibbsMap().run(network, Interrupted(100_000), 0).finished


def test_cooling_notes_how_its_energy_fell() -> None:
    solution = solve(random_pairwise(5, nodes=40, density=0.2), GibbsMap(), seed=1)
    energies = [point.energy for point in solution.trace]
    assert len(energies) > 2
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] == solution.energy


def test_cooling_has_no_answer_where_no_start_is_found() -> None:
    solution = solve(replace(random_pairwise(1), budget=1000), GibbsMap())
    assert (solution.status, solution.message) == (Status.failed, NO_START)
