"""Predictions from top-k log-probabilities: the interval holds for every completion, and no narrower one does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from evidence import random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.divergences import LN2
from taskpgm.types import Affinity, Predictions

NAMES = ("copy", "sort", "echo")
TASKS = ("copy", "sort", "echo", "copy")
ROUNDING = 2e-6  # of what is stored as float32


def top(row: np.ndarray, k: int, extra: int | None = None) -> dict[str, float]:
    """A server's answer: the k most probable tokens, and perhaps the one that was drawn."""
    chosen = {*np.argsort(-row)[:k].tolist(), *([] if extra is None else [extra])}
    return {f"t{v}": float(row[v]) for v in chosen}


def served(full: np.ndarray, k: int, extra: int | None = None) -> Predictions:
    models = {name: [top(row, k, extra) for row in rows] for name, rows in zip(NAMES, full, strict=True)}
    return tp.predictions_from_logprobs(models, tasks=TASKS, top_k=k)


def estimated(predictions: Predictions) -> Affinity:
    return tp.estimate_affinity(predictions, utility=tp.Representativeness())


@given(
    seed=st.integers(0, 2**31),
    k=st.integers(1, 12),
    sharpness=st.sampled_from([0.1, 2.0, 10.0]),
    extra=st.sampled_from([None, 3]),
)
@settings(max_examples=40)
def test_the_interval_holds_the_exact_divergence(seed: int, k: int, sharpness: float, extra: int | None) -> None:
    full = random_log_probs(seed, 3, 4, 12, sharpness, 0.0)
    predictions = served(full, k, extra)
    exact = tp.jensen_shannon(full, predictions.weights)
    found = estimated(predictions)
    assert np.all(found.divergence_lower <= exact + 1e-12)
    assert np.all(exact <= found.divergence_upper + 1e-12)
    assert np.all(found.divergence_lower <= found.divergence + 1e-12)
    assert np.all(found.divergence <= found.divergence_upper + 1e-12)
    assert np.linalg.eigvalsh(found.similarity)[0] >= -1e-12
    assert np.allclose(np.exp(predictions.log_probs.astype(float)).sum(axis=-1), 1.0, atol=1e-5)
    if k == 12:
        assert np.all(found.divergence_upper - found.divergence_lower <= 2 * ROUNDING)
        assert np.allclose(found.divergence, exact, atol=ROUNDING)


@given(seed=st.integers(0, 2**31), sharpness=st.sampled_from([0.1, 2.0, 10.0]))
@settings(max_examples=10)
def test_intervals_shrink_as_more_tokens_are_reported(seed: int, sharpness: float) -> None:
    full = random_log_probs(seed, 3, 4, 12, sharpness, 0.0)
    found = [estimated(served(full, k)) for k in (1, 2, 4, 8, 12)]
    for fewer, more in itertools.pairwise(found):
        assert np.all(fewer.divergence_lower <= more.divergence_lower + ROUNDING)
        assert np.all(more.divergence_upper <= fewer.divergence_upper + ROUNDING)


def completed(rng: np.random.Generator, row: np.ndarray, k: int, vocabulary: int) -> np.ndarray:
    """Another distribution over more tokens with the same k most probable ones; the rest is dealt out at random."""
    known = np.argsort(-row)[:k]
    result = np.zeros(vocabulary)
    result[known] = np.exp(row[known])
    cap, left = float(result[known].min()), 1.0 - float(result.sum())
    others = rng.permutation(np.setdiff1d(np.arange(vocabulary), known))
    for v in others:
        result[v] = min(cap, left) * (1.0 if rng.random() < 0.5 else rng.random())
        left -= result[v]
    for v in others:
        more = min(cap - result[v], left)
        result[v], left = result[v] + more, left - more
    assert left <= 1e-12
    return result


@given(seed=st.integers(0, 2**31), k=st.integers(1, 6), sharpness=st.sampled_from([0.1, 2.0]))
@settings(max_examples=15)
def test_the_interval_holds_other_completions(seed: int, k: int, sharpness: float) -> None:
    full = random_log_probs(seed, 3, 4, 12, sharpness, 0.0)
    predictions = served(full, k)
    found = estimated(predictions)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        with np.errstate(divide="ignore"):
            other = np.log([[completed(rng, row, k, 40) for row in rows] for rows in full])
        exact = tp.jensen_shannon(other, predictions.weights)
        assert np.all(found.divergence_lower <= exact + 1e-9)
        assert np.all(exact <= found.divergence_upper + 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_lower_end_is_the_least_of_a_convex_program(seed: int) -> None:
    """Solved by cvxpy: one unknown mass for each token known of one model, and one for all others of both."""
    import cvxpy as cp

    k = 1 + seed % 3
    full = random_log_probs(seed, 3, 4, 12, (0.3, 1.0, 3.0)[seed % 3], 0.0)
    lower = estimated(served(full, k)).divergence_lower[0, 1]
    total = 0.0
    for c, w in enumerate(served(full, k).weights):
        known = [np.argsort(-row)[:k] for row in full[:2, c]]
        mass = [np.exp(row) for row in full[:2, c]]
        rows = [cp.Variable(13, nonneg=True) for _ in range(2)]
        limits = [cp.sum(row) == 1.0 for row in rows]
        for row, tokens, p in zip(rows, known, mass, strict=True):
            limits += [row[v] == p[v] for v in tokens]
            limits += [row[v] <= p[tokens].min() for v in np.union1d(*known) if v not in tokens]
        middle = 0.5 * (rows[0] + rows[1])
        value = 0.5 * sum(cp.sum(cp.rel_entr(row, middle)) for row in rows)
        problem = cp.Problem(cp.Minimize(value), limits)
        problem.solve(solver=cp.CLARABEL)
        total += w * problem.value
    assert lower == pytest.approx(max(total, 0.0), abs=3e-6)


def test_the_upper_end_is_reached() -> None:
    """By models whose unreported tokens, many and rare, are all different."""
    known = np.log([[0.5, 0.2], [0.2, 0.4]])
    full = np.full((2, 1, 92), -np.inf)
    full[:, 0, :2] = known
    full[0, 0, 2:32] = np.log(0.3 / 30)
    full[1, 0, 32:] = np.log(0.4 / 60)
    models = {name: [{"a": row[0], "b": row[1]}, {"a": 0.0}] for name, row in zip("pq", known, strict=True)}
    found = estimated(tp.predictions_from_logprobs(models, tasks=["p", "q"], top_k=2))
    assert found.divergence_upper[0, 1] == pytest.approx(0.5 * tp.jensen_shannon(full)[0, 1], abs=ROUNDING)


def test_disjoint_reports_are_bounded_by_what_may_be_unreported() -> None:
    """Each model's only reported token may have 0.1 at most under the other: ln 2 is not certain, 0 is impossible."""
    models = {name: [{name: np.log(0.9)}] * 2 for name in "pq"}
    found = estimated(tp.predictions_from_logprobs(models, tasks=["p", "q"], top_k=1))
    least = tp.jensen_shannon(np.log([[[0.9, 0.1]], [[0.1, 0.9]]]))[0, 1]
    assert found.divergence_lower[0, 1] == pytest.approx(least, abs=ROUNDING)
    assert found.divergence_upper[0, 1] == pytest.approx(LN2, abs=ROUNDING)
    assert np.all(found.divergence_upper <= LN2)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_the_order_of_models_and_tokens_does_not_matter(seed: int) -> None:
    full = random_log_probs(seed, 3, 4, 12, 2.0, 0.0)
    rng = np.random.default_rng(seed)
    before = estimated(served(full, 4))
    order = rng.permutation(3)
    models: dict[str, Any] = {}
    for i in order:
        rows = [list(top(row, 4).items()) for row in full[i]]
        models[NAMES[i]] = [dict(rows[c][j] for j in rng.permutation(len(rows[c]))) for c in range(4)]
    after = estimated(tp.predictions_from_logprobs(models, tasks=TASKS, top_k=4))
    assert after.names == tuple(NAMES[i] for i in order)
    for name in ("divergence", "divergence_lower", "divergence_upper"):
        expected = getattr(before, name)[np.ix_(order, order)]
        assert np.allclose(getattr(after, name), expected, rtol=0.0, atol=1e-7), name


def test_what_servers_return_is_understood() -> None:
    plain = {"x": -0.1, "y": -2.5}
    vllm = {"x": {"logprob": -0.1, "rank": 1, "decoded_token": "x"}, "y": {"logprob": -2.5, "rank": 2}}
    listed = [{"token": "x", "logprob": -0.1, "bytes": [120]}, {"token": "y", "logprob": -2.5}]
    openai = {"token": "x", "logprob": -0.1, "top_logprobs": listed}
    completions = {"top_logprobs": plain}
    wanted = None
    for form in (plain, vllm, listed, openai, completions):
        made = tp.predictions_from_logprobs({"p": [form] * 2, "q": [plain] * 2}, tasks=["p", "q"], top_k=2)
        wanted = made.log_probs if wanted is None else wanted
        assert np.array_equal(made.log_probs, wanted)
    drawn = {"token": "z", "logprob": -5.0, "top_logprobs": listed}
    made = tp.predictions_from_logprobs({"p": [drawn] * 2, "q": [plain] * 2}, tasks=["p", "q"], top_k=2)
    assert made.log_probs[0, 0, 2] == pytest.approx(-5.0)
    assert made.reported is not None
    assert made.reported.caps[0, 0] == pytest.approx(1.0 - np.exp([-0.1, -2.5, -5.0]).sum())  # what is left, no more
    assert not made.reported.known[1, 0, 2]


def test_gains_need_targets_and_a_base() -> None:
    full = random_log_probs(5, 4, 4, 6, 1.0, 0.0)
    models = {name: [top(row, 6) for row in rows] for name, rows in zip(NAMES, full[:3], strict=True)}
    targets, base = ["t1", "t0", "t2", "t5"], [top(row, 6) for row in full[3]]
    made = tp.predictions_from_logprobs(models, tasks=TASKS, top_k=6, targets=targets, base=base, probes="abca")
    gains = tp.estimate_affinity(made, utility=tp.HeldoutGain()).gain
    difference = full[:3, range(4), [1, 0, 2, 5]] - full[3, range(4), [1, 0, 2, 5]]
    assert gains[:, 1] == pytest.approx(difference[:, 1], abs=1e-5)
    assert gains[:, 0] == pytest.approx(difference[:, [0, 3]].mean(axis=1), abs=1e-5)
    assert made.context_probe.tolist() == [0, 1, 2, 0]
    for utility in (tp.HeldoutGain(), tp.Learnability()):
        with pytest.raises(tp.InputError, match=r"task 'copy' is not finite.*Representativeness"):
            tp.estimate_affinity(served(full[:3], 6), utility=utility)


def test_nothing_is_claimed_of_other_divergences() -> None:
    found = tp.estimate_affinity(
        served(random_log_probs(1, 3, 4, 12, 2.0, 0.0), 3), utility=tp.Representativeness(), divergence=tp.Hellinger()
    )
    off = ~np.eye(3, dtype=bool)
    assert np.all(found.divergence_lower == 0.0)
    assert np.all(found.divergence_upper[off] == 1.0)


GOOD = {"p": [{"x": -0.1, "y": -3.0}, {"x": -0.1, "y": -3.0}], "q": [{"x": -0.2, "y": -2.0}, {"x": -0.1, "z": -3.0}]}


def changed(context: Any) -> dict[str, Any]:
    return {**GOOD, "q": [GOOD["q"][0], context]}


@pytest.mark.parametrize(
    ("models", "others", "message"),
    [
        (changed({"x": -0.1}), {}, "model 'q', context 1: 1 tokens, fewer than top_k = 2"),
        (changed({"x": -0.1, "y": -0.1}), {}, "model 'q', context 1: the probabilities add up to 1.8"),
        (changed({"x": 0.5, "y": -1.0}), {}, "model 'q', context 1: token 'x' has 0.5"),
        (changed({"x": float("nan"), "y": -1.0}), {}, "model 'q', context 1: token 'x' has nan"),
        (changed({"x": "likely", "y": -1.0}), {}, "model 'q', context 1: token 'x' has 'likely'"),
        (changed([{"token": "x", "logprob": -1.0}] * 2), {}, "model 'q', context 1: token 'x' is there twice"),
        (changed(None), {}, "model 'q', context 1: expected a map from token to log-probability.*NoneType"),
        (changed("x"), {}, "model 'q', context 1: expected a map"),
        ({**GOOD, "q": GOOD["q"][:1]}, {}, "model 'q': 1 contexts for 2"),
        ({"p": GOOD["p"]}, {"tasks": ["p", "p"]}, "1 models"),
        (GOOD, {"top_k": 0}, "top_k = 0"),
        (GOOD, {"tasks": ["p", "r"]}, "'r' has no model; the models are p, q"),
        (GOOD, {"tasks": ["p", "p"]}, "no context is a probe of 'q'"),
        (GOOD, {"probes": ["a"]}, "probes: 1 for 2 contexts"),
        (GOOD, {"targets": ["x"]}, "targets: 1 contexts for 2"),
        (GOOD, {"targets": ["x", "y"]}, "model 'q', context 1: the target 'y' is not among the tokens reported"),
        (GOOD, {"targets": ["x", "x"], "base": [{"x": -0.1, "y": -3.0}, {"y": -0.1, "z": -3.0}]}, "model 'base', con"),
    ],
)
def test_what_cannot_be_used_is_refused(models: Any, others: dict[str, Any], message: str) -> None:
    with pytest.raises(tp.InputError, match=message) as error:
        tp.predictions_from_logprobs(models, **{"tasks": ["p", "q"], "top_k": 2, **others})
    assert "\n" not in str(error.value)
