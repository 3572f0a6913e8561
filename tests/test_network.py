"""The energy is the formula of the design, its derivatives are right, its identities hold, and bad input is refused.

Every refusal must be one line that names the culprit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import energy_by_loops, energy_scale
from scipy.linalg import null_space
from strategies import SEEDS, feasible_mixtures, networks, random_network, rebounded

from taskpgm.inference import SimplexQP, solve
from taskpgm.judge import certificate
from taskpgm.network import TaskNetwork, balanced_beta
from taskpgm.types import FloatArray, InputError

PLAIN = ("none",)


def minimiser(network: TaskNetwork) -> FloatArray:
    solution = solve(network, SimplexQP())
    assert solution.point is not None, solution.message
    return np.asarray(solution.point)


# --------------------------------------------------------------------------------------------- energy and derivatives


@given(networks(taus=(0.0, 0.5)), SEEDS)
def test_energy_equals_its_slow_twin(network: TaskNetwork, seed: int) -> None:
    for p in feasible_mixtures(network, 3, seed):
        assert network.energy(p) == pytest.approx(
            energy_by_loops(network, p.tolist()), abs=1e-13 * energy_scale(network)
        )


@given(networks(bounds=PLAIN, taus=(0.0, 0.5)), SEEDS)
def test_gradient_equals_finite_differences(network: TaskNetwork, seed: int) -> None:
    n, step = len(network), 1e-6
    p = 0.5 * np.random.default_rng(seed).dirichlet(np.ones(n)) + 0.5 / n
    slopes = [(network.energy(p + step * e) - network.energy(p - step * e)) / (2.0 * step) for e in np.eye(n)]
    np.testing.assert_allclose(network.gradient(p), slopes, rtol=0.0, atol=1e-6 * energy_scale(network))


def test_gradient_at_the_border_of_a_kl_term_is_minus_infinity() -> None:
    gradient = random_network(3, 0, tau=1.0).gradient([0.0, 0.5, 0.5])
    assert gradient[0] == -np.inf
    assert np.isfinite(gradient[1:]).all()


@given(networks(kinds=("full_rank", "low_rank", "negative_distances", "indefinite"), max_tasks=8), SEEDS)
def test_curvature_is_the_least_eigenvalue_on_the_sum_zero_subspace(network: TaskNetwork, seed: int) -> None:
    n, s = len(network), network.similarity
    basis = null_space(np.ones((1, n)))
    expected = float(np.linalg.eigvalsh(basis.T @ s @ basis)[0])
    assert network.curvature == pytest.approx(expected, abs=1e-12 * n * float(np.abs(s).max()))
    direction = np.random.default_rng(seed).standard_normal(n)
    direction -= direction.mean()
    assert direction @ s @ direction >= (network.curvature - 1e-12 * n * np.abs(s).max()) * (direction @ direction)


@given(networks(taus=(0.0, 0.5)), SEEDS)
def test_convex_kinds_lie_below_their_chords(network: TaskNetwork, seed: int) -> None:
    a, b = feasible_mixtures(network, 2, seed)
    middle = 0.5 * (network.energy(a) + network.energy(b))
    assert network.energy(0.5 * (a + b)) <= middle + 1e-12 * energy_scale(network)


def test_violation_is_the_largest_broken_amount() -> None:
    network = TaskNetwork([0.0, 0.0, 0.0], np.eye(3), lower=0.1, upper=[1.0, 1.0, 0.5])
    assert network.violation([0.4, 0.4, 0.2]) <= 1e-16
    assert network.violation([0.0, 0.8, 0.2]) == pytest.approx(0.1)
    assert network.violation([0.1, 0.1, 0.8]) == pytest.approx(0.3)
    assert network.violation([0.4, 0.4, 0.4]) == pytest.approx(0.2)


# ------------------------------------------------------------------------------------- identities (fact 8 and others)


@given(networks(), st.floats(-5.0, 5.0))
def test_a_constant_added_to_every_similarity_moves_no_minimiser(network: TaskNetwork, constant: float) -> None:
    shifted = TaskNetwork(
        network.utility,
        network.similarity + constant,
        beta=network.beta,
        lam=network.lam,
        lower=network.lower,
        upper=network.upper,
    )
    tolerance = 1e-9 * (energy_scale(network) + energy_scale(shifted))
    assert network.energy(minimiser(shifted)) == pytest.approx(network.energy(minimiser(network)), abs=tolerance)


@given(networks(), SEEDS)
def test_a_mixture_whose_own_pull_is_the_utility_is_optimal(network: TaskNetwork, seed: int) -> None:
    q = feasible_mixtures(network, 1, seed)[0]
    s, lam = network.similarity, network.lam
    pulled = TaskNetwork(s @ q, s, beta=lam, lam=lam, lower=network.lower, upper=network.upper)
    assert certificate(pulled, q).gap <= 1e-13 * energy_scale(pulled)


@pytest.mark.parametrize("seed", range(5))
def test_a_mixture_whose_own_pull_is_the_utility_is_recovered(seed: int) -> None:
    s = random_network(8, seed).similarity + 0.1 * np.eye(8)
    q = np.random.default_rng(seed).dirichlet(np.ones(8))
    np.testing.assert_allclose(minimiser(TaskNetwork(s @ q, s, beta=0.7, lam=0.7)), q, atol=1e-9)
    row_means = TaskNetwork(s.mean(axis=1), s, beta=2.0, lam=2.0)
    np.testing.assert_allclose(minimiser(row_means), np.full(8, 0.125), atol=1e-9)


@given(networks(bounds=PLAIN), st.integers(0, 5))
def test_splitting_a_task_into_identical_halves_splits_its_weight(network: TaskNetwork, task: int) -> None:
    n = len(network)
    task %= n
    parts = [*range(n), task]
    split = TaskNetwork(
        network.utility[parts], network.similarity[np.ix_(parts, parts)], beta=network.beta, lam=network.lam
    )
    p = minimiser(split)
    merged = p[:n].copy()
    merged[task] += p[n]
    scale = energy_scale(network)
    assert split.energy(p) == pytest.approx(network.energy(merged), abs=1e-12 * scale)
    assert split.energy(p) == pytest.approx(network.energy(minimiser(network)), abs=1e-9 * scale)


@given(networks(taus=(0.0, 0.5), scales=(1.0,)), st.randoms(use_true_random=False))
def test_solving_commutes_with_renaming_and_reordering(network: TaskNetwork, random: Any) -> None:
    order = list(range(len(network)))
    random.shuffle(order)
    reordered = TaskNetwork(
        network.utility[order],
        network.similarity[np.ix_(order, order)],
        beta=network.beta,
        lam=network.lam,
        tau=network.tau,
        prior=network.prior[order],
        lower=network.lower[order],
        upper=network.upper[order],
    )
    p, q = minimiser(network), minimiser(reordered)
    assert reordered.energy(q) == pytest.approx(network.energy(p), abs=1e-8 * energy_scale(network))
    assert reordered.energy(p[order]) == pytest.approx(network.energy(p), abs=1e-12 * energy_scale(network))


@given(networks(scales=(1.0,)), st.sampled_from([1e-3, 0.5, 1e3]), SEEDS)
def test_units_do_not_matter(network: TaskNetwork, unit: float, seed: int) -> None:
    s, bounds = network.similarity, {"lower": network.lower, "upper": network.upper}
    louder = TaskNetwork(network.utility, s, beta=unit * network.beta, lam=unit * network.lam, **bounds)
    rescaled = TaskNetwork(unit * network.utility, s, beta=network.beta / unit, lam=network.lam, **bounds)
    scale = energy_scale(network)
    for p in feasible_mixtures(network, 2, seed):
        assert louder.energy(p) == pytest.approx(unit * network.energy(p), abs=1e-12 * unit * scale)
        assert rescaled.energy(p) == pytest.approx(network.energy(p), abs=1e-12 * scale)
    least = network.energy(minimiser(network))
    assert network.energy(minimiser(louder)) == pytest.approx(least, abs=1e-7 * scale)
    assert network.energy(minimiser(rescaled)) == pytest.approx(least, abs=1e-9 * scale)


def test_balanced_beta_scales_inversely_with_the_utility_and_is_zero_for_equal_utilities() -> None:
    network = random_network(6, 3, "exponential_kernel")
    beta = balanced_beta(network.utility, network.similarity)
    assert beta > 0.0
    assert balanced_beta(10.0 * network.utility, network.similarity) == pytest.approx(beta / 10.0)
    assert balanced_beta(np.full(6, 0.3), network.similarity) == 0.0


@given(networks(), SEEDS)
def test_arrays_are_read_only_copies(network: TaskNetwork, seed: int) -> None:
    mixture = feasible_mixtures(network, 1, seed)[0]
    utility = np.array(network.utility)
    copied = rebounded(network, np.zeros(len(network)), np.ones(len(network)))
    with pytest.raises(ValueError, match="read-only"):
        copied.utility[0] = 1.0
    assert (network.utility == utility).all()
    assert network.violation(mixture) <= 1e-12


# ------------------------------------------------------------------------------------------------------------ refusals

NAMES = ("été", "sort", "count")
S3 = np.eye(3)
ASYMMETRIC = S3 + np.array([[0, 0.5, 0], [0, 0, 0], [0, 0, 0]])
HOLE = np.where(np.arange(9).reshape(3, 3) == 5, np.nan, S3)

REFUSALS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]] = [
    ("nan utility", ([1.0, np.nan, 0.0], S3, NAMES), {}, ("utility", "'sort'", "nan")),
    ("infinite utility", ([1.0, 0.0, -np.inf], S3, NAMES), {}, ("'count'", "-inf")),
    ("utility is text", (["a", "b", "c"], S3, NAMES), {}, ("utility", "numbers")),
    ("utility is a matrix", (S3, S3, NAMES), {}, ("utility", "(3, 3)")),
    ("wrong size", ([1.0, 0.0, 0.0], np.eye(4), NAMES), {}, ("similarity", "4 x 4", "3 tasks")),
    ("ragged", ([1.0, 0.0], [[1.0], [1.0, 2.0]]), {}, ("similarity",)),
    ("nan similarity", ([1.0, 0.0, 0.0], HOLE, NAMES), {}, ("'sort'", "'count'", "nan")),
    ("not symmetric", ([1.0, 0.0, 0.0], ASYMMETRIC, NAMES), {}, ("not symmetric", "'été'", "'sort'", "0.5")),
    ("duplicate names", ([1.0, 0.0, 0.0], S3, ("a", "b", "a")), {}, ("duplicate", "'a'")),
    ("too few names", ([1.0, 0.0, 0.0], S3, ("a", "b")), {}, ("2 names", "3")),
    ("one task", ([1.0], [[1.0]]), {}, ("one task",)),
    ("lower clash", ([0.0] * 3, S3, NAMES), {"lower": [0.2, 0.5, 0.6]}, ("'count' (0.6)", "'sort' (0.5)", "1.1")),
    ("upper clash", ([0.0] * 3, S3, NAMES), {"upper": 0.3}, ("'été' (0.3)", "'sort'", "'count'", "0.9")),
    ("crossed", ([0.0] * 3, S3, NAMES), {"lower": {"sort": 0.6}, "upper": 0.5}, ("'sort'", "0.6", "0.5")),
    ("unknown task", ([0.0] * 3, S3, NAMES), {"lower": {"sorting": 0.1}}, ("lower", "'sorting'")),
    ("bound above 1", ([0.0] * 3, S3, NAMES), {"upper": {"sort": 1.5}}, ("'sort'", "upper", "1.5")),
    ("nan bound", ([0.0] * 3, S3, NAMES), {"lower": [0.0, np.nan, 0.0]}, ("'sort'", "lower", "nan")),
    ("bounds of wrong size", ([0.0] * 3, S3, NAMES), {"lower": [0.1, 0.1]}, ("lower", "(2,)", "3 tasks")),
    ("prior sum", ([0.0] * 3, S3, NAMES), {"prior": [0.5, 0.5, 0.5]}, ("prior", "add up to 1")),
    ("prior zero", ([0.0] * 3, S3, NAMES), {"prior": [0.5, 0.5, 0.0]}, ("prior", "positive")),
    ("prior size", ([0.0] * 3, S3, NAMES), {"prior": [0.5, 0.5]}, ("prior", "3")),
    ("negative lam", ([0.0] * 3, S3, NAMES), {"lam": -1.0}, ("lam", "-1")),
    ("negative tau", ([0.0] * 3, S3, NAMES), {"tau": -0.1}, ("tau", "-0.1")),
    ("nan beta", ([0.0] * 3, S3, NAMES), {"beta": np.nan}, ("beta", "nan")),
]


@pytest.mark.parametrize(("arguments", "options", "parts"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_bad_input_is_refused_in_one_line_that_names_the_culprit(
    arguments: tuple[Any, ...], options: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        TaskNetwork(*arguments, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message


def test_clashing_lower_bounds_are_named_minimally_even_with_odd_names() -> None:
    lower = {"b\nb": 0.5, "c": 0.2, "d": 0.45, "e": 0.1}
    with pytest.raises(InputError) as caught:
        TaskNetwork(np.zeros(5), np.eye(5), ("a", "b\nb", "c", "d", "e"), lower=lower)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(name in message for name in (r"'b\nb'", "'c'", "'d'"))
    assert "'a'" not in message
    assert "'e'" not in message
