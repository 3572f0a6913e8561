"""The Triton kernels in Triton's interpreter, against the twin and 50 digits.

Run by tests/test_device.py in a process of its own, since triton reads TRITON_INTERPRET when it is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from evidence import random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS
from test_divergence_kernel import ADVERSARIAL, fifty_digits, logs, one_hot

import taskpgm as tp
from taskpgm.divergences import LN2, Batch, jensen_shannon_reference, streamed_divergences
from taskpgm.divergences.device import DEVICE_ROUNDING, TOKENS, DeviceSums

ARITHMETICS = ("float32", "float64")
TOLERANCE = {"float32": DEVICE_ROUNDING, "float64": 1e-13}
SHAPES = ((1, 1, 2), (2, 3, TOKENS - 1), (3, 1, TOKENS), (5, 2, TOKENS + 1), (9, 2, 300), (17, 1, 130), (33, 1, 5))
"""Experts, contexts and tokens around the kernels' sizes: squares of 4 and 8 experts, 32 scaled at a time."""
TYPES = (torch.bfloat16, torch.float16, torch.float64)


def divergence(log_probs: Any, arithmetic: Any, weights: Any = None, logits: bool = False, **sizes: int) -> np.ndarray:
    """(n, n) weighted mean over the contexts in one arithmetic."""
    sums = DeviceSums(len(log_probs), arithmetic=arithmetic, **sizes)
    sums.add(Batch(torch.as_tensor(log_probs), weights, logits=logits))
    assert sums.rounding == (DEVICE_ROUNDING if arithmetic == "float32" else 0.0)
    return sums.divergence[0] / sums.weight


def twin(values: torch.Tensor, weights: Any = None) -> np.ndarray:
    """Of the rounded numbers that the kernels are given, normalised in float64."""
    return jensen_shannon_reference(torch.log_softmax(values.double(), dim=-1).numpy(), weights)


@pytest.mark.parametrize(
    ("shape", "dtype"), [(shape, torch.float32) for shape in SHAPES] + [((5, 2, TOKENS + 1), each) for each in TYPES]
)
@pytest.mark.parametrize("logits", [True, False])
def test_equals_the_twin(shape: tuple[int, int, int], dtype: torch.dtype, logits: bool) -> None:
    values = 3.0 * torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = (values + 20.0 if logits else torch.log_softmax(values, dim=-1)).to(dtype)
    for arithmetic in ARITHMETICS:
        found = divergence(values, arithmetic, logits=logits)
        np.testing.assert_allclose(found, twin(values), atol=TOLERANCE[arithmetic], rtol=0.0)


@pytest.mark.parametrize("case", [name for name, rows in ADVERSARIAL.items() if rows.shape[2] <= 3000])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_within_its_rounding_of_fifty_digits(case: str, arithmetic: str) -> None:
    log_probs = ADVERSARIAL[case]
    found = divergence(log_probs, arithmetic)
    assert found.min() >= 0.0
    assert found.max() <= LN2
    for i in range(len(found)):
        for j in range(i):
            exact = fifty_digits(log_probs[i, 0], log_probs[j, 0])
            assert found[i, j] == pytest.approx(exact, abs=TOLERANCE[arithmetic], rel=0.0), (i, j)
            if exact == 0.0:
                assert found[i, j] == 0.0


def test_float32_errs_less_between_nearly_equal_experts() -> None:
    log_probs = ADVERSARIAL["nearly equal"]
    exact = divergence(log_probs, "float64")
    assert 1e-12 < exact[~np.eye(len(exact), dtype=bool)].min() < exact.max() < 1e-9
    assert np.abs(divergence(log_probs, "float32") - exact).max() < 1e-8


@given(
    st.builds(
        random_log_probs,
        seed=SEEDS,
        n=st.integers(2, 9),
        contexts=st.integers(1, 4),
        vocabulary=st.integers(2, 200),
        sharpness=st.sampled_from([1e-4, 0.1, 3.0, 50.0]),
        zeros=st.sampled_from([0.0, 0.5]),
    ),
    st.sampled_from(ARITHMETICS),
    SEEDS,
)
@settings(max_examples=8)
def test_laws(log_probs: np.ndarray, arithmetic: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = divergence(log_probs, arithmetic)
    assert np.array_equal(found, found.T)
    assert np.all(np.diag(found) == 0.0)
    assert found.min() >= 0.0
    assert found.max() <= LN2
    order = rng.permutation(len(found))
    assert np.array_equal(divergence(log_probs[order], arithmetic), found[np.ix_(order, order)])
    weights = rng.uniform(0.0, 1.0, log_probs.shape[1]) + 0.01
    weighted = divergence(log_probs, arithmetic, weights)
    np.testing.assert_allclose(weighted, jensen_shannon_reference(log_probs, weights), atol=TOLERANCE[arithmetic])
    split = np.concatenate([log_probs, log_probs[:, :, :1] + np.log(0.3)], axis=-1)
    split[:, :, 0] += np.log(0.7)
    np.testing.assert_allclose(divergence(split, arithmetic), found, atol=2 * TOLERANCE[arithmetic], rtol=0.0)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("logits", [True, False])
def test_equal_experts_are_at_zero_wherever_they_stand(arithmetic: str, logits: bool) -> None:
    rows = random_log_probs(4, 3, 2, 200, 3.0, 0.3)
    who = np.arange(19) % 3
    found = divergence(rows[who], arithmetic, logits=logits)
    same = who[:, None] == who[None, :]
    assert np.all(found[same] == 0.0)
    assert found[~same].min() > 0.01


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_disjoint_supports_are_ln_2_apart(arithmetic: str) -> None:
    found = divergence(logs(*(one_hot(250, 30 * token) for token in range(7))), arithmetic)
    np.testing.assert_allclose(found, LN2 * (1.0 - np.eye(7)), atol=TOLERANCE[arithmetic], rtol=0.0)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_logits_of_any_size(arithmetic: str) -> None:
    """Masked tokens, whole tiles of them at the start, and sums far beyond the range of float32."""
    values = 5.0 * torch.randn((3, 2, 9 * TOKENS), generator=torch.Generator().manual_seed(3))
    values[:, :, : 8 * TOKENS + 5] = -torch.inf
    values[1] += 1000.0
    values[2] -= 1000.0
    found = divergence(values, arithmetic, logits=True)
    np.testing.assert_allclose(found, twin(values), atol=TOLERANCE[arithmetic], rtol=0.0)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_layouts_groups_and_chunks_change_rounding_alone(arithmetic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs = torch.as_tensor(random_log_probs(7, 5, 6, 300, 3.0, 0.1))
    expected = divergence(log_probs, arithmetic)
    turned = log_probs.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not turned.is_contiguous()
    np.testing.assert_array_equal(divergence(turned, arithmetic), expected)
    slack = {"float32": 1e-7, "float64": 1e-14}[arithmetic]
    np.testing.assert_allclose(divergence(log_probs, arithmetic, scratch=1), expected, atol=slack, rtol=0.0)
    monkeypatch.setattr("taskpgm.divergences.device.STEPS", 1)
    np.testing.assert_allclose(divergence(log_probs, arithmetic), expected, atol=slack, rtol=0.0)
    monkeypatch.setattr("taskpgm.divergences.device.PROGRAMS", 1)
    np.testing.assert_allclose(divergence(log_probs, arithmetic), expected, atol=slack, rtol=0.0)


def test_streams_blocks_and_contexts_as_on_the_processor() -> None:
    log_probs = random_log_probs(5, 6, 7, 140, 2.0, 0.1)
    rng = np.random.default_rng(0)
    weights, members = rng.uniform(0.1, 1.0, 7), np.array([2, 0, 2, 1, 0, 0, 2])
    parts = [np.array([6, 0, 3]), np.array([1, 2]), np.array([4, 5])]

    def batches(values: Any) -> list[Batch]:
        return [Batch(values, weights[part], members[part], part) for part in parts]

    expected = streamed_divergences(batches(log_probs), blocks=4)
    found = streamed_divergences(batches(torch.as_tensor(log_probs)), blocks=4)
    assert expected[:3].min(axis=(1, 2)).tolist() == [0.0, 0.0, 0.0]
    assert not found[3].any()
    np.testing.assert_allclose(found, expected, atol=1e-14, rtol=0.0)


def test_float32_that_cannot_show_convexity_is_followed_by_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskpgm.divergences.streaming.EXACT_WORK", 0)
    apart = torch.as_tensor(random_log_probs(2, 4, 3, 150, 5.0, 0.0))
    np.testing.assert_array_equal(tp.jensen_shannon(apart), divergence(apart, "float32"))
    alike = apart[[0, 0, 1, 1]]
    np.testing.assert_array_equal(tp.jensen_shannon(alike), divergence(alike, "float64"))
    with pytest.warns(UserWarning, match="error of 1e-06 nats"):
        streamed_divergences(iter([Batch(alike)]))


def test_no_sums_yet() -> None:
    assert not DeviceSums(3, 2).divergence.any()
    assert DeviceSums(3, 2).divergence.shape == (2, 3, 3)


def test_another_device_is_refused() -> None:
    sums = DeviceSums(2)
    sums.add(Batch(torch.full((2, 1, 2), float(np.log(0.5)))))
    with pytest.raises(tp.InputError, match="a batch on meta among batches on cpu"):
        sums.add(Batch(torch.zeros((2, 1, 2), device="meta")))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 5.0])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_what_is_no_distribution_is_named(bad: float, arithmetic: str) -> None:
    log_probs = np.log(np.full((3, 4, 50), 0.02))
    log_probs[1, 2, 30] = bad
    with pytest.raises(tp.InputError, match=r"log_probs\[1, 2\]"):
        divergence(log_probs, arithmetic)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_without_a_softmax_are_named(bad: float) -> None:
    logits = np.zeros((3, 4, 50))
    logits[1, 2] = bad
    with pytest.raises(tp.InputError, match=r"log_probs\[1, 2\]"):
        divergence(logits, "float32", logits=True)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (Batch(np.zeros((2, 1, 1))), "expected a torch tensor on a graphics card"),
        (Batch(torch.zeros(2, 3)), "shape"),
        (Batch(torch.zeros(3, 1, 1)), "3 experts among batches of 2"),
        (Batch(torch.zeros(2, 1, 1, dtype=torch.int64)), "expected floating-point numbers, found torch.int64"),
        (Batch(torch.zeros(2, 1, 1), members=[1]), "from 0 to 0"),
        (Batch(torch.zeros(2, 1, 1), weights=[-1.0]), "not negative"),
        (Batch(torch.zeros(2, 1, 1), contexts=np.array([1])), "0 to 0"),
        (Batch(torch.full((2, 1, 2), -0.68)), r"log_probs\[0, 0\]: the probabilities sum to 1.01"),
    ],
)
def test_batches_that_do_not_fit_are_refused(batch: Batch, message: str) -> None:
    with pytest.raises(tp.InputError, match=message):
        DeviceSums(2).add(batch)
