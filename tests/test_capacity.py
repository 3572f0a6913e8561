"""Mutual information: known channels, a conic program on small cases, and its pairwise surrogate."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from evidence import random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BOUNDS, SEEDS, log_probabilities, random_bounds
from test_constraints import random_constraints

from taskpgm.capacity import CapacityMixture
from taskpgm.divergences import jensen_shannon
from taskpgm.inference import SimplexQP, solve
from taskpgm.inference.mirror_descent import MirrorDescent, kl_projection
from taskpgm.judge import certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Status


def by_conic_program(problem: CapacityMixture) -> float:
    """The least energy by cvxpy: -lam [ sum of entropies of the mixed rows + p'negentropies ] - beta u'p."""
    p = cp.Variable(len(problem))
    mixed = problem.probabilities.T @ p
    rows = problem.probabilities
    negentropies = (rows * np.log(np.where(rows > 0.0, rows, 1.0))) @ problem.weights
    information = problem.weights @ cp.entr(mixed) + negentropies @ p
    objective = -problem.beta * (problem.utility @ p) - problem.lam * information
    if problem.tau > 0.0:
        objective += problem.tau * cp.sum(cp.rel_entr(p, problem.prior))
    allowed = [cp.sum(p) == 1, p >= problem.lower, p <= problem.upper]
    allowed += [row.coefficients @ p <= row.limit for row in problem.halfspaces]
    allowed += [cp.sum(cp.rel_entr(p, ball.centre)) <= ball.limit for ball in problem.balls]
    program = cp.Problem(cp.Minimize(objective), allowed)
    program.solve(solver=cp.CLARABEL)
    return float(program.value)


def channel(rows: list[list[float]]) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows))[:, None, :]


def entropy(*p: float) -> float:
    return -sum(x * np.log(x) for x in p if x > 0.0)


@pytest.mark.parametrize(
    ("rows", "capacity", "best"),
    [
        ([[0.9, 0.1], [0.1, 0.9]], np.log(2.0) - entropy(0.1, 0.9), [0.5, 0.5]),
        ([[0.7, 0.0, 0.3], [0.0, 0.7, 0.3]], 0.7 * np.log(2.0), [0.5, 0.5]),
        (np.eye(4).tolist(), np.log(4.0), [0.25] * 4),
        ([[0.5, 0.5], [0.5, 0.5]], 0.0, None),
        ([[1.0, 0.0], [0.5, 0.5]], np.log(1.25), [0.6, 0.4]),  # the Z-channel with 1/2
    ],
)
def test_known_capacities(rows: list[list[float]], capacity: float, best: list[float] | None) -> None:
    solution = solve(CapacityMixture(channel(rows)), MirrorDescent())
    assert solution.status is Status.optimal
    assert -solution.energy == pytest.approx(capacity, abs=1e-8)
    assert -solution.bound >= capacity - 1e-12  # Arimoto's upper bound on the capacity
    if best is not None:
        np.testing.assert_allclose(solution.point, best, atol=1e-4)


@given(st.integers(2, 5), SEEDS, st.sampled_from(BOUNDS), st.sampled_from([0.0, 0.3]))
@settings(max_examples=25)
def test_it_agrees_with_the_conic_program(n: int, seed: int, bounds: str, beta: float) -> None:
    rng = np.random.default_rng(seed)
    lower, upper = random_bounds(bounds, n, rng)
    logs = random_log_probs(seed, n, 4, 5, 2.0, 0.2)
    weights = rng.dirichlet(np.ones(4))
    problem = CapacityMixture(
        logs, weights, utility=rng.standard_normal(n), beta=beta, lam=2.0, lower=lower, upper=upper
    )
    solution = solve(problem, MirrorDescent())
    assert solution.gap <= 1e-7
    assert solution.energy == pytest.approx(by_conic_program(problem), abs=1e-5)


@given(st.integers(3, 5), SEEDS, st.sampled_from(["group", "cost", "trust", "effective"]), st.sampled_from([0.0, 0.1]))
@settings(max_examples=20)
def test_constraints_are_kept_and_proved_by_mirror_descent(n: int, seed: int, kind: str, tau: float) -> None:
    rng = np.random.default_rng(seed)
    logs = random_log_probs(seed, n, 4, 5, 2.0, 0.0)
    inside = 0.9 * rng.dirichlet(np.ones(n)) + 0.1 / n
    names = [f"task {i}" for i in range(n)]
    constraints = random_constraints(names, inside, [kind], seed)
    problem = CapacityMixture(
        logs, utility=rng.standard_normal(n), names=names, beta=0.1, lam=2.0, tau=tau, constraints=constraints
    )
    solution = solve(problem, MirrorDescent(), deadline=20.0)
    assert solution.status is Status.optimal
    assert problem.violation(solution.point) <= 1e-9
    assert solution.gap <= 1e-8
    assert solution.energy == pytest.approx(by_conic_program(problem), abs=1e-5)
    looser = problem.changed(constraints=())
    assert solve(looser, MirrorDescent()).bound <= solution.energy + 1e-9


@given(log_probabilities(), SEEDS)
@settings(max_examples=40)
def test_information_is_what_it_says(logs: FloatArray, seed: int) -> None:
    problem = CapacityMixture(logs)
    n, contexts, _ = logs.shape
    p = np.random.default_rng(seed).dirichlet(np.ones(n))
    rows = np.exp(logs)
    by_hand = 0.0
    for c in range(contexts):
        by_hand += entropy(*(p @ rows[:, c])) - sum(w * entropy(*row) for w, row in zip(p, rows[:, c], strict=True))
    assert problem.information(p) == pytest.approx(by_hand / contexts, abs=1e-9)
    assert p @ problem.divergences(p) == pytest.approx(problem.information(p), abs=1e-12)
    if (p > 1e-3).all():
        step = 1e-6 * (np.eye(n)[0] - np.eye(n)[-1])
        slope = (problem.energy(p + step) - problem.energy(p - step)) / 2e-6
        gradient = problem.gradient(p)
        assert slope == pytest.approx(gradient[0] - gradient[-1], abs=1e-5)
        bend = (problem.gradient(p + step) - problem.gradient(p - step)) / 2e-6
        np.testing.assert_allclose(
            problem.smooth_hessian(p) @ step / 1e-6, bend, atol=1e-3 * (1.0 + np.abs(bend).max())
        )


@given(log_probabilities())
@settings(max_examples=25)
def test_two_experts_in_equal_parts_tell_their_divergence(logs: FloatArray) -> None:
    problem = CapacityMixture(logs)
    half = np.zeros(len(logs))
    half[:2] = 0.5
    assert problem.information(half) == pytest.approx(jensen_shannon(logs)[0, 1], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_close_experts_have_twice_raos_quadratic_entropy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratios = []
    for nearness in (0.1, 0.01):
        logits = rng.standard_normal((1, 6, 8)) + nearness * rng.standard_normal((5, 6, 8))
        logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        p = rng.dirichlet(np.ones(5))
        ratios.append(CapacityMixture(logs).information(p) / (p @ jensen_shannon(logs) @ p))
    assert abs(ratios[1] - 2.0) < abs(ratios[0] - 2.0) + 1e-4
    assert ratios[1] == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_pairwise_mixture_is_nearly_the_best_for_close_experts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((1, 20, 8)) + 0.05 * rng.standard_normal((6, 20, 8))
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    problem = CapacityMixture(logs)
    pairwise = solve(TaskNetwork(np.zeros(6), 1.0 - jensen_shannon(logs) / np.log(2.0)), SimplexQP())
    best = -solve(problem, MirrorDescent()).energy
    assert problem.information(np.array(pairwise.point)) >= 0.999 * best


@given(st.integers(2, 6), SEEDS, st.sampled_from(BOUNDS))
@settings(max_examples=40)
def test_the_projection_is_the_nearest_in_relative_entropy(n: int, seed: int, bounds: str) -> None:
    rng = np.random.default_rng(seed)
    lower, upper = random_bounds(bounds, n, rng)
    problem = CapacityMixture(random_log_probs(seed, n, 1, 3, 1.0, 0.0), lower=lower, upper=upper)
    wanted = rng.dirichlet(np.ones(n))
    p = kl_projection(np.log(wanted), problem)
    assert problem.violation(p) <= 1e-12

    def distance(q: FloatArray) -> float:
        return float(np.sum(np.where(q > 0.0, q * np.log(np.maximum(q, 1e-300) / wanted), 0.0)))

    for _ in range(50):
        other = rng.dirichlet(np.ones(n))
        inside = kl_projection(np.log(other), problem)
        assert distance(p) <= distance(inside) + 1e-9


def test_every_iterate_brackets_the_capacity() -> None:
    logs = random_log_probs(3, 6, 10, 8, 2.0, 0.1)
    solution = solve(CapacityMixture(logs), MirrorDescent())
    for steps in (0, 1, 3):
        cut = solve(CapacityMixture(logs), MirrorDescent(steps=steps + 1, gap=0.0))
        assert cut.bound <= solution.energy + 1e-12
        assert cut.energy >= solution.bound - 1e-12
        assert cut.status is not Status.failed


def test_a_context_that_the_mixture_never_sees_is_infinitely_surprising() -> None:
    problem = CapacityMixture(channel([[1.0, 0.0], [0.5, 0.5]]))
    assert np.isinf(problem.divergences([1.0, 0.0])[1])
    assert problem.information([1.0, 0.0]) == 0.0
    assert certificate(problem, [1.0, 0.0]).bound == -np.inf


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="utility: 3 numbers, but there are 2 experts"):
        CapacityMixture(channel([[0.5, 0.5], [0.1, 0.9]]), utility=[1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="probabilities sum to"):
        CapacityMixture(np.zeros((2, 1, 3)))
    refused = solve(TaskNetwork([0.0, 1.0], np.eye(2)), MirrorDescent())
    assert "takes a CapacityMixture" in refused.message
    assert (
        "for a capacity MirrorDescent" in solve(CapacityMixture(channel([[1.0, 0.0], [0.5, 0.5]])), SimplexQP()).message
    )
