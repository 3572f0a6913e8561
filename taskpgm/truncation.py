"""How many tokens of each context to keep: as few as leave every divergence's interval narrower than asked for.

    k, fewer = smallest_top_k(predictions, width=0.01)          # of predictions that hold more than they need
    predictions = predict_within(experts, tasks, width=0.01)    # asks the models again with more tokens until it holds

What pooling can hide grows with the pooled masses alone, so the widths at every k are known without any divergence.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from taskpgm.affinity import numerical_error
from taskpgm.config import ProbeSettings
from taskpgm.divergences import DEFAULT_DIVERGENCE, Divergence
from taskpgm.experts import Experts
from taskpgm.predictive import predict
from taskpgm.progress import Progress, silent
from taskpgm.types import FloatArray, InputError, IntArray, Predictions, TaskSet, readonly

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
    probabilities = np.exp(predictions.log_probs.astype(np.float64))
    order = np.argsort(-probabilities[:, :, :-1].mean(axis=0), axis=-1, kind="stable")
    ordered = np.take_along_axis(probabilities[:, :, :-1], order[None], axis=-1)
    stored, rounding = ordered.shape[-1], 2.0 * numerical_error(predictions, measure)
    behind = np.concatenate([ordered[:, :, 1:], probabilities[:, :, -1:]], axis=-1)
    tails = np.cumsum(behind[:, :, ::-1], axis=-1)[:, :, ::-1]  # (n, C, k): what is pooled if a token is the last kept

    def widest(k: int) -> float:
        return rounding + _widest(tails[:, :, k - 1], predictions.weights, measure)

    if widest(stored) > width:
        raise InputError(
            f"width {width:g}: with all {stored} tokens that were kept an interval of {measure.name} is still"
            f" {widest(stored):.3g} wide; predict with a larger top_k, or allow more."
        )
    low, high = 0, stored  # wide enough apart at 0 tokens, not at `stored`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if widest(middle) <= width else (middle, high)
    return high, _cut(predictions, order[:, :high], tails[:, :, high - 1])


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
        tails = np.exp(predictions.log_probs[:, :, -1].astype(np.float64))
        rounding = 2.0 * numerical_error(predictions, DEFAULT_DIVERGENCE)
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


def _cut(predictions: Predictions, kept: IntArray, tails: FloatArray) -> Predictions:
    """Only the kept columns of each context, (C, k) places, and one for all others, of mass (n, C)."""
    logs = np.take_along_axis(predictions.log_probs, kept[None].repeat(len(tails), axis=0), axis=-1)
    with np.errstate(divide="ignore"):
        rest = np.log(tails)[:, :, None]
    return replace(predictions, log_probs=readonly(np.concatenate([logs, rest], axis=-1), np.float32))
