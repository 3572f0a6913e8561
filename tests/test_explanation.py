"""Explanations add up to the energy, prices and derivatives are the finite differences of solved problems."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import energy_scale
from strategies import SEEDS, networks, random_network, rebounded

from taskpgm.explanation import Sensitivity, budget_price, explain, sensitivity
from taskpgm.inference import SimplexQP, solve
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Solution, Status

TAUS = (0.0, 0.3)


def solved(network: TaskNetwork) -> Solution:
    solution = solve(network, SimplexQP())
    assert solution.point is not None
    return solution


def changed(
    network: TaskNetwork, *, utility: FloatArray | None = None, similarity: FloatArray | None = None
) -> FloatArray:
    made = TaskNetwork(
        network.utility if utility is None else utility,
        network.similarity if similarity is None else similarity,
        beta=network.beta,
        lam=network.lam,
        tau=network.tau,
        prior=network.prior,
        lower=network.lower,
        upper=network.upper,
    )
    return np.array(solved(made).point)


@given(networks(max_tasks=6, taus=TAUS))
@settings(max_examples=30)
def test_explanations_add_up_to_the_energy(network: TaskNetwork) -> None:
    solution = solved(network)
    reasons = [explain(network, solution, name) for name in network.names]
    assert sum(why.energy for why in reasons) == pytest.approx(solution.energy, abs=1e-12 * energy_scale(network))
    for why, weight in zip(reasons, solution.point, strict=True):
        assert why.weight == weight
        assert set(why.redundancy) == set(network.names)
        assert why.bound_price >= -1e-6 * energy_scale(network)
        assert "of the budget" in str(why)
        if not why.bound:
            assert why.slope == pytest.approx(why.budget_price, abs=1e-5 * energy_scale(network))


def strictly(network: TaskNetwork, found: Sensitivity) -> bool:
    """Whether small changes keep the active set: no weight within 1e-3 of a bound unless held there at a price."""
    p = found.mixture
    apart = np.minimum(p - network.lower, network.upper - p)
    slope, price = network.gradient(p), budget_price(network, p)
    held = ~found.free
    return bool((apart[found.free] > 1e-3).all() and (np.abs(slope[held] - price) > 1e-2).all())


@given(SEEDS, st.sampled_from(["full_rank", "exponential_kernel"]), st.sampled_from(TAUS), st.booleans())
@settings(max_examples=30)
def test_derivatives_are_finite_differences(seed: int, kind: str, tau: float, bounded: bool) -> None:
    network = random_network(5, seed, kind, tau=tau, bounds="both" if bounded else "none", beta=0.3)
    found = sensitivity(network, solved(network))
    assume(found.unique and strictly(network, found))
    step = 1e-5
    rng = np.random.default_rng(seed)
    for j in range(5):
        moved = step * np.eye(5)[j]
        difference = changed(network, utility=network.utility + moved) - changed(
            network, utility=network.utility - moved
        )
        np.testing.assert_allclose(found.to_utility[:, j], difference / (2.0 * step), atol=1e-4, rtol=1e-4)
    change = rng.standard_normal((5, 5))
    change = 0.5 * (change + change.T)
    up, down = (changed(network, similarity=network.similarity + s * step * change) for s in (1.0, -1.0))
    np.testing.assert_allclose(found.to_similarity(change), (up - down) / (2.0 * step), atol=1e-4, rtol=1e-4)


@given(networks(max_tasks=6, taus=TAUS, scales=(1.0,)))
def test_derivatives_keep_the_sum_and_the_bounds(network: TaskNetwork) -> None:
    found = sensitivity(network, solved(network))
    np.testing.assert_allclose(found.to_utility.sum(axis=0), 0.0, atol=1e-6 * (1.0 + np.abs(found.to_utility).max()))
    assert not found.to_utility[~found.free].any()
    if found.unique:
        assert (np.diag(found.to_utility) * np.sign(network.beta) >= -1e-9).all()  # more useful: never less of it


@given(SEEDS)
@settings(max_examples=30)
def test_a_bounds_price_is_what_moving_it_saves(seed: int) -> None:
    plain = random_network(5, seed, "full_rank", beta=0.5)
    network = rebounded(plain, np.full(5, 0.08), np.full(5, 0.5))
    solution = solved(network)
    found = sensitivity(network, solution)
    assume(strictly(network, found))
    step = 1e-6
    for i, name in enumerate(network.names):
        why = explain(network, solution, name)
        if not why.bound:
            continue
        lower, upper = np.array(network.lower), np.array(network.upper)
        (lower if why.bound == "lower" else upper)[i] += -step if why.bound == "lower" else step
        saved = solution.energy - solved(rebounded(network, lower, upper)).energy
        assert saved / step == pytest.approx(why.bound_price, abs=1e-3, rel=1e-3)


@given(SEEDS, st.sampled_from(TAUS))
@settings(max_examples=20)
def test_leaving_a_task_out_is_the_network_without_it(seed: int, tau: float) -> None:
    network = random_network(5, seed, "exponential_kernel", beta=0.2, tau=tau)
    solution = solved(network)
    why = explain(network, solution, "task 2")
    assert why.without is not None
    assert "task 2" not in why.without
    mixture = np.array([why.without.get(name, 0.0) for name in network.names])
    assert mixture.sum() == pytest.approx(1.0)
    assert network.energy(mixture) - solution.energy == pytest.approx(why.cost_without, abs=1e-9)
    assert why.cost_without >= -1e-9
    others = np.random.default_rng(seed).dirichlet(np.ones(4), size=200)
    assert all(network.energy(np.insert(p, 2, 0.0)) >= network.energy(mixture) - 1e-9 for p in others)


def test_two_equal_tasks_have_no_unique_shares() -> None:
    similarity = np.array([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])
    network = TaskNetwork([0.1, 0.1, 0.0], similarity)
    found = sensitivity(network, np.array([0.3, 0.3, 0.4]))
    assert not found.unique
    total = found.to_utility[0] + found.to_utility[1]
    assert total[0] == pytest.approx(total[1])  # what the two get together does not depend on which is more useful


def test_a_task_at_a_bound_that_costs_nothing_is_named() -> None:
    # at beta = 1 the second weight has just reached 0: less utility of the first would free it
    network = TaskNetwork([1.0, 0.0], np.eye(2))
    found = sensitivity(network, np.array([1.0, 0.0]))
    assert set(found.undecided) == {"task 0", "task 1"}
    assert sensitivity(TaskNetwork([2.0, 0.0], np.eye(2)), np.array([1.0, 0.0])).undecided == ()


def test_the_words_say_what_holds_the_weight() -> None:
    similarity = [[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]
    network = TaskNetwork([0.5, 0.4, 0.0], similarity, names=("copy", "echo", "sort"), beta=0.5, lower=0.1)
    solution = solved(network)
    copy, echo, sort = (str(explain(network, solution, name)) for name in network.names)
    assert "with echo" in copy
    assert "at its floor" in echo
    assert "at its floor" not in copy
    assert "Without it the best mixture's energy is higher by" in sort
    two = explain(TaskNetwork([1.0, 0.0], np.eye(2)), np.array([1.0, 0.0]), "task 0")
    assert two.without == {"task 1": 1.0}
    assert two.cost_without == pytest.approx(1.0)
    assert "at its ceiling" in str(two)


def test_what_cannot_be_explained_is_named() -> None:
    network = random_network(3, 1)
    with pytest.raises(InputError, match="there is no task 'nobody'"):
        explain(network, solved(network), "nobody")
    with pytest.raises(InputError, match="solve the network first"):
        explain(network, Solution("none", Status.failed), "task 0")
    with pytest.raises(InputError, match="no mixture of 3 tasks"):
        sensitivity(network, [0.5, 0.5])
