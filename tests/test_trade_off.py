"""The exact path: every corner and every middle is certified, and other methods' answers lie on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import energy_scale, least_energy_by_faces
from strategies import SEEDS, networks, random_network, rebounded

from taskpgm.exact_path import effective_tasks, trade_off
from taskpgm.inference import SimplexQP, solve
from taskpgm.inference.critical_line import CriticalLine, Walk, best_vertex
from taskpgm.judge import certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Status


def at_beta(network: TaskNetwork, beta: float) -> TaskNetwork:
    return TaskNetwork(
        network.utility,
        network.similarity,
        network.names,
        beta=beta,
        lam=network.lam,
        lower=network.lower,
        upper=network.upper,
    )


def tolerance(network: TaskNetwork, beta: float) -> float:
    return 1e-9 * energy_scale(at_beta(network, beta))


@given(networks(max_tasks=8), SEEDS)
@settings(max_examples=150)
def test_every_corner_and_every_point_between_is_certified(network: TaskNetwork, seed: int) -> None:
    path = trade_off(network)
    assert path.betas[0] == 0.0
    assert (np.diff(path.betas) >= 0.0).all()
    rng = np.random.default_rng(seed)
    betas = [*path.betas, *rng.uniform(0.0, 1.5 * path.betas[-1] + 1e-9, 5), 10.0 * path.betas[-1] + 1.0]
    for beta in betas:
        mixture = path.at(float(beta))
        checked = certificate(at_beta(network, float(beta)), mixture)
        assert checked.violation <= 1e-12
        assert checked.gap <= tolerance(network, float(beta))
    assert (path.gaps <= [[tolerance(network, beta)] for beta in path.betas]).all()


@given(networks(max_tasks=5), st.floats(0.0, 5.0))
@settings(max_examples=40)
def test_the_path_has_the_oracles_energy(network: TaskNetwork, beta: float) -> None:
    there = at_beta(network, beta)
    assert there.energy(trade_off(network).at(beta)) == pytest.approx(
        least_energy_by_faces(there), abs=tolerance(network, beta)
    )


@given(networks(max_tasks=8))
def test_utility_and_redundancy_never_fall_along_the_path(network: TaskNetwork) -> None:
    path = trade_off(network)
    scale = energy_scale(network) + float(np.abs(network.utility).max())
    assert (np.diff(path.utilities) >= -1e-9 * scale).all()
    assert (np.diff(path.redundancies) >= -1e-9 * scale).all()
    for beta, mixture, energy in zip(path.betas, path.mixtures, path.energies, strict=True):
        assert energy == pytest.approx(at_beta(network, beta).energy(mixture), abs=tolerance(network, beta))


@given(networks(max_tasks=6))
def test_the_ends_are_diversity_alone_and_utility_alone(network: TaskNetwork) -> None:
    path = trade_off(network)
    assert path.redundancies[0] == pytest.approx(
        solve(at_beta(network, 0.0), SimplexQP()).energy, abs=tolerance(network, 0.0)
    )
    best, _ = best_vertex(network, network.utility)
    most = float(network.utility @ best)
    assert path.utilities[-1] == pytest.approx(most, abs=1e-9 * float(np.abs(network.utility).max() + 1e-12))


@given(networks(max_tasks=6), SEEDS)
def test_relabelling_the_tasks_moves_the_weights_along(network: TaskNetwork, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(network))
    moved = TaskNetwork(
        network.utility[order],
        network.similarity[np.ix_(order, order)],
        beta=network.beta,
        lam=network.lam,
        lower=network.lower[order],
        upper=network.upper[order],
    )
    one, other = trade_off(network), trade_off(moved)
    for beta in (0.0, 0.3, 3.0):
        there = at_beta(network, beta)
        back = np.empty(len(network))
        back[order] = other.at(beta)
        assert there.energy(back) == pytest.approx(there.energy(one.at(beta)), abs=tolerance(network, beta))


@given(networks(max_tasks=7))
def test_the_method_agrees_with_the_convex_program(network: TaskNetwork) -> None:
    walked, solved = solve(network, CriticalLine()), solve(network, SimplexQP())
    assert walked.gap <= 1e-9 * energy_scale(network)
    assert walked.energy == pytest.approx(solved.energy, abs=solved.gap + 1e-9 * energy_scale(network))


@pytest.mark.parametrize("kind", ["full_rank", "low_rank", "exponential_kernel", "duplicated"])
@pytest.mark.parametrize("bounds", ["none", "both"])
def test_a_hundred_tasks(kind: str, bounds: str) -> None:
    network = random_network(100, 4, kind, bounds=bounds)
    path = trade_off(network)
    assert path.worst_gap <= 1e-9
    assert len(path.betas) > 20


def test_equal_tasks_share_and_the_weights_jump_between_them_at_no_cost() -> None:
    similarity = np.array([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])
    path = trade_off(TaskNetwork([0.5, 0.6, 0.1], similarity))
    assert path.worst_gap <= 1e-14
    np.testing.assert_allclose(path.mixtures[-1], [0.0, 1.0, 0.0], atol=1e-15)
    total = path.mixtures[:, :2].sum(axis=1)
    assert total[0] == pytest.approx(0.5)
    assert (np.diff(total) >= -1e-12).all()


def test_equal_utilities_change_nothing() -> None:
    network = random_network(6, 2, "full_rank", utility="equal")
    path = trade_off(network)
    np.testing.assert_allclose(path.mixtures, np.tile(path.mixtures[0], (len(path.mixtures), 1)), atol=1e-12)


def test_fixed_weights_stay() -> None:
    fixed = TaskNetwork([1.0, 0.0, 2.0], np.eye(3), lower=[0.2, 0.3, 0.5], upper=[0.2, 0.3, 0.5])
    path = trade_off(fixed)
    np.testing.assert_allclose(path.at(7.0), [0.2, 0.3, 0.5])
    assert path.worst_gap <= 1e-15


def test_a_piece_between_two_tasks_by_hand() -> None:
    # p1 - p2 = beta (u1 - u2) / 2 for S = 1: from (1/2, 1/2) at 0 to (1, 0) at beta = 2
    path = trade_off(TaskNetwork([1.0, 0.0], np.eye(2), lam=1.0))
    np.testing.assert_allclose(path.betas, [0.0, 1.0], atol=1e-15)
    np.testing.assert_allclose(path.mixtures, [[0.5, 0.5], [1.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(path.at(0.5), [0.75, 0.25], atol=1e-15)
    assert path.with_utility_share(0.5) == pytest.approx(0.5)
    assert path.with_effective_tasks(2.0) == pytest.approx(0.0, abs=1e-6)
    assert path.with_effective_tasks(1.0) == 1.0


@given(networks(max_tasks=7, bounds=("none", "lower"), scales=(1.0,)), st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_rules_for_the_trade_off_give_what_they_name(network: TaskNetwork, share: float) -> None:
    path = trade_off(network)
    least, most = path.effective_tasks.min(), path.effective_tasks.max()
    count = float(least + share * (most - least))
    there = float(effective_tasks(path.at(path.with_effective_tasks(count))))
    last = float(effective_tasks(path.mixtures[-1]))
    jumps = bool((np.diff(path.betas) == 0.0).any())
    assert jumps or there == pytest.approx(count, abs=1e-6) or there == pytest.approx(last, abs=1e-9)
    goal = path.utilities[0] + share * (path.utilities[-1] - path.utilities[0])
    reached = float(network.utility @ path.at(path.with_utility_share(share)))
    assert reached >= goal - 1e-9
    assert jumps or reached == pytest.approx(goal, abs=1e-9)
    assert path.knee() in path.betas


def test_effective_tasks() -> None:
    counts: FloatArray = effective_tasks([[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    np.testing.assert_allclose(counts, [4.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (TaskNetwork([0.0, 1.0], [[0.0, 2.0], [2.0, 0.0]]), "is not convex"),
        (TaskNetwork([0.0, 1.0], np.eye(2), tau=0.1), "the path is curved"),
    ],
)
def test_no_path_is_a_clear_line(network: TaskNetwork, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trade_off(network)
    refused = solve(network, CriticalLine())
    assert refused.status is Status.refused
    assert message in refused.message


def test_rules_out_of_reach_say_what_there_is() -> None:
    path = trade_off(random_network(5, 1))
    with pytest.raises(InputError, match="mixtures have"):
        path.with_effective_tasks(6.0)
    with pytest.raises(InputError, match="between 0 and 1"):
        path.with_utility_share(1.5)
    with pytest.raises(InputError, match="from 0 upwards"):
        path.at(-1.0)


def test_a_wrong_corner_is_caught_by_its_certificate() -> None:
    network = random_network(8, 3)
    path = trade_off(network)
    mixtures = np.array(path.mixtures)
    mixtures[1] = path.mixtures[2]
    assert type(path)(network, path.betas, mixtures).worst_gap > 1e-6
    late = np.array(path.betas)
    late[1] *= 1.01
    assert type(path)(network, late, path.mixtures).worst_gap > 1e-9


def test_the_starting_vertex_is_the_linear_programs() -> None:
    network = rebounded(random_network(6, 5), np.full(6, 0.05), np.full(6, 0.4))
    best, last = best_vertex(network, network.utility)
    assert best.sum() == pytest.approx(1.0)
    assert network.violation(best) <= 1e-15
    assert 0 <= last < 6
    others = np.random.default_rng(0).dirichlet(np.ones(6), size=2000)
    feasible = others[(others >= 0.05).all(axis=1) & (others <= 0.4).all(axis=1)]
    assert len(feasible) > 50
    assert (feasible @ network.utility <= network.utility @ best).all()


def test_an_inverse_that_is_updated_is_an_inverse() -> None:
    walk = Walk.at_no_gain(random_network(30, 6, "exponential_kernel"))
    for _ in walk.follow(np.zeros(30), walk.network.utility, np.inf):
        free = walk.system.free
        whole = np.ones((len(free) + 1, len(free) + 1))
        whole[1:, 1:] = walk.matrix[np.ix_(free, free)]
        whole[0, 0] = 0.0
        np.testing.assert_allclose(walk.system.inverse @ whole, np.eye(len(whole)), atol=1e-9)
        np.testing.assert_allclose(walk.pull, walk.matrix @ walk.p, atol=1e-12 * walk.scale)
        x = np.arange(1.0, len(free) + 1.0)
        np.testing.assert_allclose(walk.system.times(x), walk.matrix[:, free] @ x, rtol=1e-12)


@given(networks(max_tasks=7, scales=(1.0,)))
@settings(max_examples=60)
def test_the_path_is_the_same_from_either_end(network: TaskNetwork) -> None:
    path = trade_off(network)
    upwards = list(Walk.at_no_gain(network).follow(np.zeros(len(network)), network.utility, np.inf))
    for corner in upwards:
        there = at_beta(network, corner.s)
        expected = there.energy(corner.mixture)
        assert there.energy(path.at(corner.s)) == pytest.approx(expected, abs=tolerance(network, corner.s))
