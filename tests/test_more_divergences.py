"""Every divergence that can be chosen keeps the laws of the seam, and what it says of itself is proved or refuted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from evidence import make_predictions, pooled, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.building import measure_of, similarity_of
from taskpgm.divergences import DIVERGENCES, LN2, Divergence
from taskpgm.energy_settings import EnergySettings
from taskpgm.network import TaskNetwork
from taskpgm.progress import silent

MEASURES: tuple[Divergence, ...] = (*(kind() for kind in DIVERGENCES), tp.RenyiJensen(0.2), tp.RenyiJensen(0.9))
LOG_PROBS = st.builds(
    random_log_probs,
    seed=st.integers(0, 2**31),
    n=st.integers(2, 5),
    contexts=st.integers(1, 4),
    vocabulary=st.integers(2, 30),
    sharpness=st.sampled_from([0.01, 1.0, 10.0]),
    zeros=st.sampled_from([0.0, 0.3]),
)
measures = pytest.mark.parametrize("measure", MEASURES, ids=repr)


def same(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """Equal where finite, and infinite in the same places."""
    finite = np.isfinite(a)
    return np.array_equal(finite, np.isfinite(b)) and np.allclose(a[finite], b[finite], rtol=1e-13, atol=tolerance)


@measures
@given(log_probs=LOG_PROBS)
@settings(max_examples=25)
def test_the_laws_of_the_seam(measure: Divergence, log_probs: np.ndarray) -> None:
    check_laws(measure, log_probs)


def check_laws(measure: Divergence, log_probs: np.ndarray) -> None:
    values = measure.between(log_probs)
    assert same(values, measure.reference(log_probs), 1e-11)
    assert np.array_equal(values, values.T)
    assert np.all(np.diag(values) == 0.0)
    assert values.min() >= 0.0
    assert values.max() <= measure.largest + 1e-12
    order = np.random.default_rng(0).permutation(len(log_probs))
    assert same(measure.between(log_probs[order]), values[np.ix_(order, order)], 1e-12)
    assert np.array_equal(measure.between(log_probs), values)  # to the bit, from run to run


class Planted(tp.Hellinger):
    """A divergence with a mistake: (B, n, n) is multiplied by some (n, n)."""

    def __init__(self, mistake: Callable[[int], np.ndarray]) -> None:
        object.__setattr__(self, "mistake", mistake)

    def blocks(self, log_probs: Any, weights: Any, members: Any, progress: Any = silent) -> np.ndarray:
        values = super().blocks(log_probs, weights, members, progress)
        return values * self.mistake(values.shape[1])


@pytest.mark.parametrize(
    "mistake",
    [
        lambda n: 1.0 + np.triu(np.ones((n, n)), 1),  # one side counts double
        lambda n: 1.0 / (1.0 + np.add.outer(np.arange(n), np.arange(n))),  # positions matter
        lambda n: np.full((n, n), 1.0 + 1e-6),  # nearly right
        lambda n: np.full((n, n), -1.0),
    ],
)
def test_a_planted_mistake_breaks_the_laws(mistake: Callable[[int], np.ndarray]) -> None:
    log_probs = random_log_probs(0, 4, 3, 9, 2.0, 0.0)
    check_laws(tp.Hellinger(), log_probs)
    with pytest.raises(AssertionError):
        check_laws(Planted(mistake), log_probs)


@measures
def test_blocks_add_up_with_the_contexts_weights(measure: Divergence) -> None:
    log_probs = random_log_probs(3, 4, 6, 7, 2.0, 0.0)
    weights, members = np.array([1.0, 2.0, 0.0, 3.0, 0.5, 1.5]), np.array([2, 0, 1, 1, 0, 2])
    told: list[tuple[int, int]] = []
    parts = measure.blocks(log_probs, weights, members, lambda stage, done, total, text: told.append((done, total)))
    assert parts.shape == (3, 4, 4)
    assert told[-1][0] == told[-1][1]
    each = [measure.reference(log_probs[:, c : c + 1]) for c in range(6)]
    for block in range(3):
        expected = sum(w / 8.0 * d for w, d, b in zip(weights, each, members, strict=True) if b == block)
        assert np.allclose(parts[block], expected, rtol=0.0, atol=1e-13)


@measures
def test_a_context_without_weight_does_not_matter(measure: Divergence) -> None:
    log_probs = random_log_probs(1, 3, 2, 5, 2.0, 0.0)
    log_probs[:, 1] = -np.inf
    log_probs[[0, 1, 2], 1, [0, 1, 2]] = 0.0  # infinitely far apart, where that is possible
    assert np.allclose(measure.between(log_probs, [1.0, 0.0]), measure.between(log_probs[:, :1]), rtol=0.0, atol=1e-15)


@measures
def test_equal_experts_are_not_apart(measure: Divergence) -> None:
    log_probs = np.repeat(random_log_probs(1, 1, 20, 300, 3.0, 0.1), 3, axis=0)
    assert measure.between(log_probs).max() <= 1e-13


@pytest.mark.parametrize("measure", [m for m in MEASURES if m.definite], ids=repr)
@given(log_probs=LOG_PROBS, kappa=st.floats(0.01, 30.0))
@settings(max_examples=20)
def test_similarities_are_positive_semidefinite(measure: Divergence, log_probs: np.ndarray, kappa: float) -> None:
    values = measure.between(log_probs)
    rules = [tp.ExponentialSimilarity(kappa)]
    rules += [tp.LinearSimilarity(measure.largest)] if np.isfinite(measure.largest) else []
    for rule in rules:
        assert np.linalg.eigvalsh(rule.of(values))[0] >= -1e-12 * len(values)


def test_kullback_leibler_is_no_kernel() -> None:
    """The witness of its docstring: three experts of two tokens."""
    p = np.array([[[0.01, 0.99]], [[0.2, 0.8]], [[0.5, 0.5]]])
    divergence = tp.KullbackLeibler().between(np.log(p))
    z = np.array([1.0, -2.0, 1.0])
    assert z @ divergence @ z == pytest.approx(0.2004784, abs=1e-6)
    assert np.linalg.eigvalsh(np.exp(-0.1 * divergence))[0] < -2e-3
    network = TaskNetwork(np.zeros(3), tp.ExponentialSimilarity(0.1).of(divergence))
    assert not tp.convexity(network).convex  # in exact arithmetic
    assert not tp.KullbackLeibler.definite


def test_the_gain_affinity_is_no_kernel() -> None:
    """PMI: two tasks that each help a third as much as it helps itself, but not each other."""
    from taskpgm.baselines.pmi_pairwise import scale_free

    similarity = scale_free(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
    assert np.linalg.eigvalsh(similarity)[0] == pytest.approx(1.0 - np.sqrt(2.0))
    network = TaskNetwork(np.zeros(3), similarity)
    assert not tp.convexity(network).convex


def test_known_values() -> None:
    halves = np.array([[[np.log(0.5), np.log(0.5)]], [[0.0, -np.inf]]])
    assert tp.Hellinger().between(halves)[0, 1] == pytest.approx(1.0 - np.sqrt(0.5), abs=1e-15)
    assert tp.TotalVariation().between(halves)[0, 1] == pytest.approx(0.5, abs=1e-15)
    assert tp.KullbackLeibler().between(halves)[0, 1] == np.inf
    half = 2.0 * np.log(np.sqrt(0.75) + np.sqrt(0.25)) - 0.5 * (2.0 * np.log(2.0 * np.sqrt(0.5)))
    assert tp.RenyiJensen(0.5).between(halves)[0, 1] == pytest.approx(half, abs=1e-15)
    pair = np.log([[[0.25, 0.75]], [[0.5, 0.5]]])
    expected = 0.5 * ((0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5))
    assert tp.KullbackLeibler().between(pair)[0, 1] == pytest.approx(expected, abs=1e-15)
    nearly = tp.RenyiJensen(0.9999).between(pair)[0, 1]
    assert nearly == pytest.approx(tp.jensen_shannon(pair)[0, 1], rel=1e-3)  # its limit


def test_kullback_leibler_stays_in_log_space() -> None:
    """A probability of exp(-800) is 0 in float64; its logarithm is not infinite."""
    logs = np.array([[[-800.0, 0.0]], [[np.log(0.5), np.log(0.5)]]])
    expected = 0.5 * (0.5 * (np.log(0.5) + 800.0) + 0.5 * (0.0 - np.log(0.5)))
    assert tp.KullbackLeibler().between(logs)[0, 1] == pytest.approx(expected, rel=1e-12)
    assert tp.KullbackLeibler().reference(logs)[0, 1] == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------------------------------ what pooling leaves


@measures
@given(seed=st.integers(0, 2**31), k=st.integers(1, 20), sharpness=st.sampled_from([0.1, 2.0, 20.0]))
@settings(max_examples=25)
def test_the_interval_contains_the_exact_value(measure: Divergence, seed: int, k: int, sharpness: float) -> None:
    full = random_log_probs(seed, 5, 8, 20, sharpness, 0.0)
    predictions = replace(make_predictions(seed, 4, 2), log_probs=pooled(full[:4], full[4], k))
    exact = measure.between(full[:4])
    affinity = tp.estimate_affinity(predictions, divergence=measure)
    assert np.all(affinity.divergence_lower <= exact + 1e-12)
    assert np.all(exact <= affinity.divergence_upper + 1e-12)
    assert affinity.divergence_upper.max() <= measure.largest
    if k == 20:
        assert np.all(affinity.divergence_upper - affinity.divergence_lower <= 1e-3)


@pytest.mark.parametrize("measure", [tp.JensenShannon(), tp.Hellinger(), tp.TotalVariation()], ids=repr)
def test_the_interval_cannot_be_narrower(measure: Divergence) -> None:
    """Tails that are proportional reach the lower end, tails that share no token the upper one."""
    known = np.array([[[0.5, 0.2]], [[0.3, 0.6]]])
    tails = 1.0 - known.sum(axis=-1, keepdims=True)
    alike = np.concatenate([known, tails * [0.25, 0.75]], axis=-1)
    apart = np.concatenate([known, tails * np.array([[[1.0, 0.0]], [[0.0, 1.0]]])], axis=-1)
    with np.errstate(divide="ignore"):
        least, most = measure.between(np.log(alike)), measure.between(np.log(apart))
        bucket = measure.between(np.log(np.concatenate([known, tails], axis=-1)))
    lower, upper = measure.interval(bucket, tails[:, :, 0], np.ones(1))
    assert np.allclose(lower, least, rtol=0.0, atol=1e-15)
    assert upper[0, 1] == pytest.approx(most[0, 1], abs=1e-15)


def test_pooling_can_raise_jensen_renyi() -> None:
    """So its pooled value is no lower bound, and none but 0 is claimed."""
    p = np.array([[[0.9, 0.1, 0.0]], [[0.9, 0.05, 0.05]]])
    raised = []
    for seed in range(60):
        full = random_log_probs(seed, 3, 1, 6, 3.0, 0.0)
        measure = tp.RenyiJensen()
        raised.append(measure.between(pooled(full[:2], full[2], 2))[0, 1] > measure.between(full[:2])[0, 1] + 1e-6)
    assert any(raised)
    lower, upper = tp.RenyiJensen().interval(np.ones((2, 2)), p[:, :, 2] + 0.01, np.ones(1))
    assert np.all(lower == 0.0)
    assert np.all(np.isinf(upper))


# ------------------------------------------------------------------------------------------------- how it is asked for


@measures
def test_an_affinity_names_its_divergence_and_can_be_drawn_again(measure: Divergence) -> None:
    affinity = tp.estimate_affinity(make_predictions(2, per_task=6), divergence=measure)
    assert np.allclose(affinity.divergence, measure.between(*full_of(2)), rtol=1e-9, atol=1e-9)
    named = affinity.similarity_name.endswith(f"of {measure.name}")
    assert named == (not isinstance(measure, tp.JensenShannon))
    network = TaskNetwork.from_affinity(affinity)
    if measure.definite:
        assert tp.bootstrap(affinity, network, replicates=3).replicates.shape == (3, 4)


def full_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    predictions = make_predictions(seed, per_task=6)
    return predictions.log_probs, predictions.weights


def test_an_infinite_divergence_is_refused_in_one_line() -> None:
    predictions = make_predictions(0)
    broken = predictions.log_probs.copy()
    broken[1, 2] = np.log(np.array([0.5, 0.5, *[1e-300] * 11]))
    broken[1, 2, 3] = -np.inf
    with pytest.raises(
        tp.InputError, match="kullback_leibler between tasks 'task 0' and 'task 1' is infinite"
    ) as error:
        tp.estimate_affinity(replace(predictions, log_probs=broken), divergence=tp.KullbackLeibler())
    assert "\n" not in str(error.value)
    tp.estimate_affinity(replace(predictions, log_probs=broken), divergence=tp.Hellinger())


def test_a_linear_similarity_must_fit() -> None:
    predictions = make_predictions(0)
    with pytest.raises(tp.InputError, match=r"does not fit hellinger.*use LinearSimilarity\(1\)"):
        tp.estimate_affinity(predictions, similarity=tp.LinearSimilarity(), divergence=tp.Hellinger())
    with pytest.raises(tp.InputError, match=r"use ExponentialSimilarity\(\)"):
        tp.estimate_affinity(predictions, similarity=tp.LinearSimilarity(), divergence=tp.KullbackLeibler())
    with pytest.raises(tp.InputError, match="largest"):
        tp.LinearSimilarity(float("inf"))
    linear = tp.estimate_affinity(predictions, similarity=tp.LinearSimilarity(1.0), divergence=tp.Hellinger())
    roots = np.sqrt(np.exp(predictions.log_probs.astype(float)))
    assert np.allclose(linear.similarity, np.einsum("icv,jcv,c->ij", roots, roots, predictions.weights), atol=1e-6)


@pytest.mark.parametrize("order", [0.0, 1.0, 2.0, float("nan")])
def test_an_order_outside_its_range_is_refused(order: float) -> None:
    with pytest.raises(tp.InputError, match="order"):
        tp.RenyiJensen(order)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_settings_name_every_divergence(kind: type[Divergence]) -> None:
    energy = EnergySettings.model_validate({"kind": "pairwise", "divergence": kind.name})
    assert measure_of(energy) == kind()
    assert similarity_of(energy) == tp.ExponentialSimilarity()


def test_settings_that_do_not_fit_together_are_refused() -> None:
    assert measure_of(EnergySettings(kind="pairwise", divergence="renyi_jensen", order=0.25)) == tp.RenyiJensen(0.25)
    assert similarity_of(
        EnergySettings(kind="pairwise", divergence="hellinger", similarity="linear")
    ) == tp.LinearSimilarity(1.0)
    assert similarity_of(EnergySettings(kind="pairwise", similarity="linear")) == tp.LinearSimilarity(LN2)
    for wrong in (
        {"divergence": "hellinger", "order": 0.5},
        {"divergence": "kullback_leibler", "similarity": "linear"},
        {"divergence": "renyi_jensen", "similarity": "linear"},
        {"divergence": "nonsense"},
        {"divergence": "renyi_jensen", "order": 1.0},
    ):
        with pytest.raises(ValueError, match=r"order|similarity|divergence"):
            EnergySettings.model_validate({"kind": "pairwise", **wrong})


def test_divergences_are_listed_once() -> None:
    names = [kind.name for kind in DIVERGENCES]
    assert all(a != b for a, b in combinations(names, 2))
