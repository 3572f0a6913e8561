"""The Jensen-Shannon divergence between all pairs of experts (Lin 1991), in nats.

    J_ij = sum_c w_c JSD(P_i(.|c), P_j(.|c)),   JSD(P, Q) = 1/2 sum_v [p log p + q log q - s log(s / 2)],  s = p + q

The numba kernel (`taskpgm.divergences.kernels`) needs one logarithm per pair, context and token, and no temporary of
that size. Small problems are computed in float64, to 1e-13; larger ones in float32, to 3e-7, where that is enough (see
`taskpgm.divergences.streaming`, which also takes predictions that do not fit in memory).

    jensen_shannon(np.log([[[0.5, 0.5]], [[1.0, 0.0]]]))        # two experts, one context, two tokens
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.divergences.arrays import settled
from taskpgm.divergences.streaming import (
    ContextSlices,
    check_shape,
    check_totals,
    checked_weights,
    streamed_divergences,
)
from taskpgm.progress import Progress, silent
from taskpgm.types import FloatArray, InputError, IntArray

LN2 = float(np.log(2.0))


def jensen_shannon(log_probs: ArrayLike, weights: ArrayLike | None = None, *, logits: bool = False) -> FloatArray:
    """(n, n) Jensen-Shannon divergences in nats, each in [0, ln 2], with a zero diagonal.

    Args:
        log_probs: (n, C, V) natural logarithms; -inf is probability 0. Each row is normalised. An array, or a torch
            tensor, which is not moved: one on a graphics card is computed there where triton is installed.
        weights: (C,) context weights that are not negative, scaled here to sum 1; equal where not given.
        logits: whether log_probs are a model's outputs before the softmax, of any sum.

    Raises:
        InputError: wrong shapes, NaN, or rows of log-probabilities whose probabilities are more than 0.1 % away from
            summing to 1 (in 16 bits: 0.1 % and what their rounding can do).
    """
    check_shape(np.shape(log_probs))
    contexts = np.shape(log_probs)[1]
    together = np.zeros(contexts, dtype=np.int64)
    return np.asarray(block_divergences(log_probs, _positive(weights, contexts), together, logits=logits)[0])


def block_divergences(
    log_probs: ArrayLike, weights: ArrayLike, members: IntArray, progress: Progress = silent, *, logits: bool = False
) -> FloatArray:
    """(B, n, n) what each block of contexts adds to the Jensen-Shannon divergences, in nats.

    Args:
        log_probs, weights, logits: as for `jensen_shannon`.
        members: (C,) the block of each context, from 0.
        progress: told after each slice of the contexts.
    """
    check_shape(np.shape(log_probs))
    contexts = np.shape(log_probs)[1]
    slices = ContextSlices(settled(log_probs), _positive(weights, contexts), members, logits)
    return streamed_divergences(slices, int(members.max()) + 1, contexts=contexts, progress=progress)


def jensen_shannon_reference(log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """The same in plain numpy, pair by pair from the definition: the slow twin of the kernel."""
    probabilities, w = normalised(log_probs, weights)
    n = len(probabilities)
    divergence = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            p, q = probabilities[i], probabilities[j]
            divergence[i, j] = w @ (0.5 * (_to_the_middle(p, q) + _to_the_middle(q, p)))
    return divergence


def _to_the_middle(p: FloatArray, q: FloatArray) -> FloatArray:
    """(C,) KL(p || (p + q) / 2). The quotient p / (p + q) cannot leave [0, 1], however small they are."""
    share = np.divide(p, p + q, out=np.ones_like(p), where=p > 0.0)
    return np.asarray((p * (np.log(share) + np.where(p > 0.0, LN2, 0.0))).sum(axis=-1))


def normalised(log_probs: ArrayLike, weights: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """((n, C, V) probabilities, (C,) weights), each of sum 1; see `jensen_shannon` for what is refused."""
    logs = np.asarray(log_probs)
    w = normalised_weights(weights, logs.shape)
    return distributions(logs, np.arange(logs.shape[1])), w


def normalised_weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> FloatArray:
    """(C,) weights of sum 1 for log-probabilities of this shape."""
    check_shape(shape)
    w = _positive(weights, shape[1])
    return np.asarray(w / w.sum())


def distributions(logs: NDArray[Any], contexts: IntArray) -> FloatArray:
    """(n, k, V) probabilities of sum 1 from the log-probabilities of these k contexts, which errors name."""
    probabilities: FloatArray = np.exp(logs, dtype=np.float64)
    totals = probabilities.sum(axis=-1)
    check_totals(totals, contexts)
    probabilities /= totals[:, :, None]
    return probabilities


def _positive(weights: ArrayLike | None, contexts: int) -> FloatArray:
    w = checked_weights(weights, contexts)
    if w.sum() <= 0.0:
        raise InputError(f"weights: expected {contexts} numbers that are not negative and not all 0.")
    return w
