"""From predictions to potentials: intervals that hold, laws of gains and utilities, and equivariance under reorder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_predictions, pooled, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.divergences import LN2, jensen_shannon
from taskpgm.utilities import UTILITIES, Utility


@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from([0.1, 2.0, 20.0]))
@settings(max_examples=60)
def test_the_truncation_interval_contains_the_exact_divergence(seed: int, k: int, sharpness: float) -> None:
    full = random_log_probs(seed, 5, 8, 40, sharpness, 0.0)
    exact = jensen_shannon(full[:4])
    predictions = replace(make_predictions(seed, 4, 2), log_probs=pooled(full[:4], full[4], k))
    affinity = tp.estimate_affinity(predictions)
    assert np.all(affinity.divergence_lower <= exact + 1e-15)
    assert np.all(exact <= affinity.divergence_upper + 1e-15)
    assert affinity.divergence_upper.max() <= LN2
    if k == 40:
        assert np.all(affinity.divergence_upper - affinity.divergence_lower <= 3e-6)


@given(st.integers(0, 2**31))
@settings(max_examples=30)
def test_everything_follows_a_reordering_of_the_experts(seed: int) -> None:
    predictions = make_predictions(seed)
    order = np.random.default_rng(seed).permutation(4)
    moved = replace(
        predictions,
        names=tuple(predictions.names[i] for i in order),
        log_probs=predictions.log_probs[order],
        target_log_probs=predictions.target_log_probs[order],
        context_task=np.argsort(order)[predictions.context_task],
    )
    for utility in UTILITIES:
        before, after = (tp.estimate_affinity(p, utility=utility) for p in (predictions, moved))
        assert np.allclose(after.utility, before.utility[order], atol=1e-12)
        grid = np.ix_(order, order)
        for name in ("divergence", "divergence_lower", "divergence_upper", "similarity", "gain"):
            assert np.allclose(getattr(after, name), getattr(before, name)[grid], atol=1e-12), name
    network, shuffled = (tp.TaskNetwork.from_affinity(tp.estimate_affinity(p)) for p in (predictions, moved))
    first, second = (tp.solve(problem, tp.SimplexQP()) for problem in (network, shuffled))
    assert second.energy == pytest.approx(first.energy, abs=1e-10)


@pytest.mark.parametrize("utility", UTILITIES, ids=lambda utility: utility.name)
def test_utilities_are_finite(utility: Utility) -> None:
    values = tp.estimate_affinity(make_predictions(0), utility=utility).utility
    assert values.shape == (4,)
    assert np.all(np.isfinite(values))


def test_gain_is_the_mean_log_ratio_over_a_tasks_contexts() -> None:
    predictions = make_predictions(1)
    gain = tp.estimate_affinity(predictions).gain
    for i in range(4):
        for j in range(4):
            here = predictions.context_task == j
            ratio = predictions.target_log_probs[i, here] - predictions.base_target_log_probs[here]
            assert gain[i, j] == pytest.approx(ratio.mean(), abs=1e-6)


def test_learnability_is_the_share_removed_beyond_the_marginal() -> None:
    predictions = make_predictions(2)
    half = replace(
        predictions,
        target_log_probs=np.full_like(predictions.target_log_probs, -0.5),
        marginal_log_probs=np.where(predictions.context_task == 0, -1.0, -0.5).astype(np.float32),
    )
    u = tp.estimate_affinity(half, utility=tp.Learnability()).utility
    assert u == pytest.approx([0.5, 0.0, 0.0, 0.0], abs=1e-7)
    noise = replace(half, target_log_probs=np.full_like(half.target_log_probs, -9.0))
    assert np.all(tp.estimate_affinity(noise, utility=tp.Learnability()).utility == 0.0)


def test_target_weights_choose_what_gain_counts() -> None:
    predictions = make_predictions(3)
    gain = tp.estimate_affinity(predictions).gain
    only = tp.estimate_affinity(predictions, utility=tp.HeldoutGain({"task 2": 7.0})).utility
    assert only == pytest.approx(gain[:, 2])
    uniform = tp.estimate_affinity(predictions, utility=tp.HeldoutGain()).utility
    assert uniform == pytest.approx(gain.mean(axis=1))


def test_supplied_utilities_go_by_name() -> None:
    values = {"task 3": 3.0, "task 0": 0.0, "task 1": 1.0, "task 2": 2.0}
    affinity = tp.estimate_affinity(make_predictions(4), utility=tp.Supplied(values))
    assert affinity.utility.tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("utility", "message"),
    [
        (tp.Supplied({"task 0": 1.0}), "no value for task 'task 1'"),
        (tp.Supplied({f"task {i}": 1.0 for i in range(5)}), "'task 4' is not a task"),
        (tp.Supplied({f"task {i}": np.nan for i in range(4)}), "task 'task 0' is not finite"),
        (tp.HeldoutGain({"nobody": 1.0}), "'nobody'"),
        (tp.HeldoutGain({"task 0": -1.0}), "not negative"),
    ],
)
def test_utilities_that_do_not_fit_are_refused(utility: Utility, message: str) -> None:
    with pytest.raises(tp.InputError, match=message):
        tp.estimate_affinity(make_predictions(5), utility=utility)


def test_predictions_with_nan_are_refused() -> None:
    predictions = make_predictions(6)
    broken = predictions.log_probs.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(tp.InputError, match=r"the expert of task 'task 1', on context 2, a probe of task"):
        tp.estimate_affinity(replace(predictions, log_probs=broken))


def test_a_bad_kappa_is_refused() -> None:
    with pytest.raises(tp.InputError, match="kappa"):
        tp.ExponentialSimilarity(0.0)
