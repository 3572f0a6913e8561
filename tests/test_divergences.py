"""The divergence kernel equals its slow twin and scipy, on flat, random and peaked distributions, zeros included."""

from __future__ import annotations

import numpy as np
import pytest
from evidence import random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

import taskpgm as tp
from taskpgm.divergences import LN2, jensen_shannon, jensen_shannon_reference

LOG_PROBS = st.builds(
    random_log_probs,
    seed=st.integers(0, 2**31),
    n=st.integers(2, 5),
    contexts=st.integers(1, 4),
    vocabulary=st.integers(2, 30),
    sharpness=st.sampled_from([0.01, 1.0, 10.0, 300.0]),
    zeros=st.sampled_from([0.0, 0.3]),
)


@given(LOG_PROBS)
@settings(max_examples=60)
def test_kernel_equals_twin_and_scipy(log_probs: np.ndarray) -> None:
    fast, slow = jensen_shannon(log_probs), jensen_shannon_reference(log_probs)
    assert np.allclose(fast, slow, rtol=0.0, atol=1e-12)
    p = np.exp(log_probs)
    for i in range(len(p)):
        for j in range(len(p)):
            distances = np.nan_to_num(jensenshannon(p[i], p[j], axis=-1))  # scipy gives nan for tiny negative squares
            assert fast[i, j] == pytest.approx(np.mean(distances**2), abs=1e-6)


@given(LOG_PROBS)
@settings(max_examples=40)
def test_divergence_laws(log_probs: np.ndarray) -> None:
    divergence = jensen_shannon(log_probs)
    assert np.array_equal(divergence, divergence.T)
    assert np.all(np.diag(divergence) == 0.0)
    assert divergence.min() >= 0.0
    assert divergence.max() <= LN2
    order = np.random.default_rng(0).permutation(len(log_probs))
    assert np.allclose(jensen_shannon(log_probs[order]), divergence[np.ix_(order, order)], rtol=0, atol=1e-15)


@given(LOG_PROBS, st.floats(0.1, 30.0))
@settings(max_examples=40)
def test_both_similarities_are_positive_semidefinite(log_probs: np.ndarray, kappa: float) -> None:
    divergence = jensen_shannon(log_probs)
    for similarity in (tp.LinearSimilarity(), tp.ExponentialSimilarity(kappa)):
        assert np.linalg.eigvalsh(similarity.of(divergence))[0] >= -1e-12 * len(divergence)


def test_context_weights_are_a_weighted_mean() -> None:
    log_probs = random_log_probs(3, 4, 3, 6, 2.0, 0.0)
    parts = [jensen_shannon(log_probs[:, c : c + 1]) for c in range(3)]
    expected = (1 * parts[0] + 2 * parts[1] + 5 * parts[2]) / 8
    assert np.allclose(jensen_shannon(log_probs, weights=[1, 2, 5]), expected, atol=1e-15)
    alone = jensen_shannon(log_probs, weights=[0, 1, 0])
    assert np.allclose(alone, parts[1], atol=1e-15)


def test_known_values() -> None:
    apart = np.log([[[1.0, 1e-300]], [[1e-300, 1.0]]])
    assert jensen_shannon(apart)[0, 1] == pytest.approx(LN2, abs=1e-12)
    halves = np.array([[[np.log(0.5), np.log(0.5)]], [[0.0, -np.inf]]])
    expected = 0.5 * (0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)) + 0.5 * np.log(1 / 0.75)
    assert jensen_shannon(halves)[0, 1] == pytest.approx(expected, abs=1e-15)


def test_identical_experts_are_at_distance_zero() -> None:
    log_probs = np.repeat(random_log_probs(1, 1, 20, 500, 3.0, 0.1), 3, axis=0)
    assert jensen_shannon(log_probs).max() <= 1e-15


def test_float32_input_is_accumulated_in_float64() -> None:
    log_probs = random_log_probs(5, 3, 10, 2000, 4.0, 0.0)
    difference = jensen_shannon(log_probs.astype(np.float32)) - jensen_shannon(log_probs)
    assert np.abs(difference).max() < 1e-6


@pytest.mark.parametrize(
    ("log_probs", "weights", "message"),
    [
        (np.zeros((2, 3)), None, "shape"),
        (np.full((2, 1, 2), np.nan), None, "sum to nan"),
        (np.log(np.full((2, 1, 2), 0.6)), None, "sum to 1.2"),
        (np.log(np.full((2, 1, 2), 0.5)), [1.0, 1.0], "weights"),
        (np.log(np.full((2, 1, 2), 0.5)), [-1.0], "weights"),
        (np.log(np.full((2, 1, 2), 0.5)), [0.0], "weights"),
    ],
)
def test_bad_input_is_refused(log_probs: np.ndarray, weights: list[float] | None, message: str) -> None:
    with pytest.raises(tp.InputError, match=message):
        jensen_shannon(log_probs, weights)
