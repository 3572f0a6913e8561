"""Keeping as few tokens as an interval allows, and what the interval does to the mixture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence import make_predictions
from hypothesis import given, settings
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.divergences import Divergence
from taskpgm.types import Affinity, Predictions

OFF = ~np.eye(4, dtype=bool)


def widest(predictions: Predictions, measure: Divergence) -> float:
    affinity = tp.estimate_affinity(predictions, divergence=measure)
    return float((affinity.divergence_upper - affinity.divergence_lower).max())


def with_only(predictions: Predictions, k: int) -> Predictions:
    """The k tokens of each context that the experts find most probable on the average, one by one."""
    rows = np.exp(predictions.log_probs.astype(float))
    cut = np.zeros((*rows.shape[:2], k + 1))
    for c in range(rows.shape[1]):
        kept = np.argsort(-rows[:, c, :-1].mean(axis=0), kind="stable")[:k]
        cut[:, c, :k] = rows[:, c, kept]
        cut[:, c, k] = rows[:, c].sum(axis=-1) - rows[:, c, kept].sum(axis=-1)
    with np.errstate(divide="ignore"):
        return replace(predictions, log_probs=np.log(np.maximum(cut, 0.0)).astype(np.float32))


@pytest.mark.parametrize("measure", [tp.JensenShannon(), tp.Hellinger(), tp.TotalVariation()], ids=repr)
@given(seed=st.integers(0, 2**31), width=st.sampled_from([0.3, 0.1, 0.02, 1e-3]))
@settings(max_examples=8)
def test_the_fewest_tokens_are_found(measure: Divergence, seed: int, width: float) -> None:
    predictions = make_predictions(seed, vocabulary=25)
    k, fewer = tp.smallest_top_k(predictions, width, divergence=measure)
    assert fewer.log_probs.shape == (4, 12, k + 1)
    assert np.allclose(np.exp(fewer.log_probs.astype(float)).sum(axis=-1), 1.0, atol=1e-5)
    assert widest(fewer, measure) <= width
    assert k == 1 or widest(with_only(predictions, k - 1), measure) > width - 2e-5
    exact = measure.between(predictions.log_probs, predictions.weights)
    affinity = tp.estimate_affinity(fewer, divergence=measure)
    assert np.all(affinity.divergence_lower <= exact + 1e-12)
    assert np.all(exact <= affinity.divergence_upper + 1e-12)


def test_too_few_tokens_to_begin_with_are_refused() -> None:
    coarse = make_predictions(0, vocabulary=25, k=2)
    with pytest.raises(tp.InputError, match=r"width 0.001: with all 2 tokens.*larger top_k"):
        tp.smallest_top_k(coarse, 0.001)
    with pytest.raises(tp.InputError, match="renyi_jensen is still inf wide"):
        tp.smallest_top_k(coarse, 0.1, divergence=tp.RenyiJensen())
    for width in (0.0, -1.0, float("nan")):
        with pytest.raises(tp.InputError, match="width"):
            tp.smallest_top_k(coarse, width)
    models = {name: [{"a": -0.1}] * 2 for name in "pq"}
    served = tp.predictions_from_logprobs(models, tasks=["p", "q"], top_k=1)
    with pytest.raises(tp.InputError, match="server"):
        tp.smallest_top_k(served, 0.1)


# ------------------------------------------------------------------------------------------------------- the mixture


def truncated(seed: int, k: int, n: int = 4) -> Affinity:
    return tp.estimate_affinity(make_predictions(seed, n=n, vocabulary=25, k=k), utility=tp.HeldoutGain())


def in_between(affinity: Affinity, rng: np.random.Generator, corner: bool) -> np.ndarray:
    """Divergences within their intervals: anywhere, or at ends only."""
    n = len(affinity.names)
    where = rng.random((n, n))
    where = np.tril(np.rint(where) if corner else where, -1)
    where = where + where.T
    return affinity.divergence_lower + where * (affinity.divergence_upper - affinity.divergence_lower)


@given(seed=st.integers(0, 2**31), k=st.integers(1, 20), tau=st.sampled_from([0.0, 0.05]))
@settings(max_examples=25)
def test_no_divergence_in_the_interval_breaks_the_bounds(seed: int, k: int, tau: float) -> None:
    affinity = truncated(seed, k, n=3)
    network = tp.TaskNetwork.from_affinity(affinity, floor=0.0).changed(tau=tau)
    solution = tp.solve(network, tp.SimplexQP())
    effect = tp.interval_effect(network, solution, affinity, examples=4)
    rng = np.random.default_rng(seed)
    grid = np.array([(a, b, 40 - a - b) for a in range(41) for b in range(41 - a)]) / 40.0
    for trial in range(6):
        other = network.changed(
            similarity=tp.ExponentialSimilarity().of(in_between(affinity, rng, corner=trial % 2 == 0))
        )
        energy = other.energy(solution.point)
        assert energy - min(other.energy(p) for p in grid) <= effect.regret + 1e-12  # convex or not
        if other.curvature > 1e-6:
            best = tp.solve(other, tp.SimplexQP())
            assert energy - best.bound <= effect.regret + 1e-7
            assert np.abs(best.point - solution.point).max() <= effect.shift + 1e-6
    assert np.all(effect.seen[:, 0] <= solution.point)
    assert np.all(solution.point <= effect.seen[:, 1])
    assert np.abs(effect.seen - solution.point[:, None]).max() <= effect.shift + 1e-6


def test_bounds_vanish_with_the_interval_and_are_of_its_size() -> None:
    effects = []
    for k in (3, 8, 16, 25):
        affinity = truncated(1, k)
        network = tp.TaskNetwork.from_affinity(affinity)
        effects.append(tp.interval_effect(network, tp.solve(network, tp.SimplexQP()), affinity))
    regrets = [effect.regret for effect in effects]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[0] <= 0.5  # E is of order one half here: not an empty statement
    assert regrets[-1] <= 1e-4
    assert effects[-1].shift <= 1e-3
    assert 0.0 < float(np.ptp(effects[0].seen, axis=1).max()) <= effects[0].shift
    assert effects[0].examples == 16
    text = str(effects[0])
    assert text.startswith("proved for all divergences within their intervals")
    assert "Seen in 16 examples" in text
    assert "\n" not in text


def test_a_flat_energy_bounds_no_weight() -> None:
    """Two tasks alike: any split of their weight is as good."""
    affinity = truncated(1, 3)
    same = affinity.divergence.copy()
    same[0], same[:, 0] = same[1], same[:, 1]
    same[0, 0] = same[1, 0] = same[0, 1] = 0.0
    wide = replace(affinity, divergence=same, divergence_lower=0.9 * same, divergence_upper=1.1 * same)
    network = tp.TaskNetwork(np.zeros(4), tp.ExponentialSimilarity().of(same), affinity.names)
    effect = tp.interval_effect(network, tp.solve(network, tp.SimplexQP()), wide, examples=2)
    assert effect.shift > 1e3
    assert np.isfinite(effect.regret)


def test_another_network_or_no_mixture_is_refused() -> None:
    affinity = truncated(2, 3)
    network = tp.TaskNetwork.from_affinity(affinity)
    solution = tp.solve(network, tp.SimplexQP())
    with pytest.raises(tp.InputError, match=r"not linear of this affinity"):
        tp.interval_effect(network, solution, affinity, tp.LinearSimilarity())
    with pytest.raises(tp.InputError, match="no mixture to bound"):
        tp.interval_effect(network, replace(solution, point=None), affinity)
