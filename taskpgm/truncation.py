"""How many tokens of each context to keep: as few as leave every divergence's interval narrower than asked for.

    k, fewer = smallest_top_k(predictions, width=0.01)          # of predictions that hold more than they need
    predictions = predict_within(experts, tasks, width=0.01)    # asks the models again with more tokens until it holds

What pooling can hide grows with the pooled masses alone, so the widths at every k are known without any divergence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from taskpgm.affinity import pooled_masses
from taskpgm.config import ProbeSettings
from taskpgm.divergences import DEFAULT_DIVERGENCE, Divergence
from taskpgm.experts import Experts
from taskpgm.predictive import predict
from taskpgm.progress import Progress, silent
from taskpgm.stored import context_slices
from taskpgm.types import Float32Array, FloatArray, InputError, IntArray, Predictions, TaskSet, readonly

GROWTH = 4  # times as many tokens when the models are asked again


def smallest_top_k(
    predictions: Predictions, width: float, *, divergence: Divergence | None = None
) -> tuple[int, Predictions]:
    """The fewest tokens a context with which no interval is wider than `width`, and the predictions cut to them.

    Tokens are kept in the order of the experts' mean probability in that context; the others join the last bucket.

    Args:
        predictions: of models, not of a server.
        width: in the divergence's unit (nats for Jensen-Shannon, the default).
        divergence: whose intervals are meant.

    Raises:
        InputError: a width that is not positive, predictions of a server, or even all tokens that were kept are not
            enough; the message says how wide the interval is then.
    """
    measure = DEFAULT_DIVERGENCE if divergence is None else divergence
    _check_width(width)
    if predictions.reported is not None:
        raise InputError("predictions of a server report other tokens for each model: there is no top k to cut.")
    stored, rounding = predictions.log_probs.shape[-1] - 1, 2.0 * measure.rounding(pooled_masses(predictions)[1])

    def widest(k: int) -> float:
        return rounding + _widest(_masses_behind(predictions, k), predictions.weights, measure)

    if widest(stored) > width:
        raise InputError(
            f"width {width:g}: with all {stored} tokens that were kept an interval of {measure.name} is still"
            f" {widest(stored):.3g} wide; predict with a larger top_k, or allow more."
        )
    low, high = 0, stored  # wide enough apart at 0 tokens, not at `stored`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if widest(middle) <= width else (middle, high)
    return high, _cut(predictions, high)


def predict_within(
    experts: Experts,
    tasks: TaskSet,
    width: float,
    probes: int | ProbeSettings = 32,
    *,
    progress: Progress = silent,
) -> Predictions:
    """`predict` with as many tokens a context as leave no interval of the divergences wider than `width` nats.

    Starts from the settings' top_k and asks all models again with four times as many until it holds (the whole
    vocabulary always does), then cuts what is not needed. What was asked before is read from disk.

    Raises:
        InputError: a width that is not positive or below what float32 allows, or what `predict` raises.
    """
    _check_width(width)
    settings = ProbeSettings(per_task=probes) if isinstance(probes, int) else probes
    while True:
        predictions = predict(experts, tasks, settings, progress=progress)
        stored = predictions.log_probs.shape[-1] - 1
        tails, largest_log = pooled_masses(predictions)
        rounding = 2.0 * DEFAULT_DIVERGENCE.rounding(largest_log)
        enough = rounding + _widest(tails, predictions.weights, DEFAULT_DIVERGENCE) <= width
        if enough or settings.top_k == "full" or stored < settings.top_k:  # no more tokens to ask for
            return smallest_top_k(predictions, width)[1]
        settings = settings.model_copy(update={"top_k": GROWTH * settings.top_k})


def _check_width(width: float) -> None:
    if not (math.isfinite(width) and width > 0.0):
        raise InputError(f"width = {width}: expected a positive number.")


def _widest(tails: FloatArray, weights: FloatArray, measure: Divergence) -> float:
    lower, upper = measure.interval(np.zeros((len(tails), len(tails))), tails, weights)
    return float((upper - lower)[~np.eye(len(tails), dtype=bool)].max(initial=0.0))


def _masses_behind(predictions: Predictions, k: int) -> FloatArray:
    """(n, C) the probability that is pooled if k tokens of each context are kept."""
    tails = np.empty(predictions.log_probs.shape[:2])
    for part, _, _, behind in _in_order(predictions, k):
        tails[:, part] = behind
    return tails


def _cut(predictions: Predictions, k: int) -> Predictions:
    """Only k tokens of each context, and one bucket for all others."""
    n, contexts, _ = predictions.log_probs.shape
    result = np.empty((n, contexts, k + 1), dtype=np.float32)
    for part, logs, kept, behind in _in_order(predictions, k):
        result[:, part, :k] = np.take_along_axis(logs, kept[None], axis=-1)
        with np.errstate(divide="ignore"):
            result[:, part, k] = np.log(behind)
    return replace(predictions, log_probs=readonly(result, np.float32))


def _in_order(predictions: Predictions, k: int) -> Iterator[tuple[IntArray, Float32Array, IntArray, FloatArray]]:
    """A few contexts at a time: (which, their logs, (c, k) places of the tokens kept, (n, c) masses of the others).

    Tokens are kept in the order of the experts' mean probability; the masses are added up from the rarest.
    """
    for part in context_slices(predictions.log_probs):
        logs = predictions.log_probs[:, part]
        probabilities = np.exp(logs, dtype=np.float64)
        order = np.argsort(-probabilities[:, :, :-1].mean(axis=0), axis=-1, kind="stable")
        others = np.take_along_axis(probabilities, order[None, :, k:], axis=-1)
        behind = np.cumsum(np.concatenate([others, probabilities[:, :, -1:]], axis=-1)[:, :, ::-1], axis=-1)[:, :, -1]
        yield part, logs, order[:, :k], behind
