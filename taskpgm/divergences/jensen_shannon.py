"""The Jensen-Shannon divergence between all pairs of experts (Lin 1991), in nats.

    J_ij = sum_c w_c JSD(P_i(.|c), P_j(.|c)),   JSD(P, Q) = 1/2 sum_v [p log p + q log q - s log(s / 2)],  s = p + q

The numba kernel needs one logarithm per pair, context and token: the two entropies are shared by all pairs. Everything
is accumulated in float64, and no temporary grows with the number of pairs.

    jensen_shannon(np.log([[[0.5, 0.5]], [[1.0, 0.0]]]))        # two experts, one context, two tokens
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.types import FloatArray, InputError, IntArray

LN2 = float(np.log(2.0))
NORMALISATION_TOLERANCE = 1e-3


def jensen_shannon(log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """(n, n) Jensen-Shannon divergences in nats, each in [0, ln 2], with a zero diagonal.

    Args:
        log_probs: (n, C, V) natural logarithms; -inf is probability 0. Each row is normalised in float64.
        weights: (C,) context weights that are not negative, scaled here to sum 1; equal where not given.

    Raises:
        InputError: wrong shapes, NaN, or rows whose probabilities are more than 0.1 % away from summing to 1.
    """
    from taskpgm.divergences.kernels import pairwise_divergence

    probabilities, w = normalised(log_probs, weights)
    return np.asarray(pairwise_divergence(probabilities, w))


def block_divergences(log_probs: ArrayLike, weights: ArrayLike, members: IntArray) -> FloatArray:
    """(B, n, n) what each block of contexts adds to the Jensen-Shannon divergences, in nats.

    Args:
        log_probs, weights: as for `jensen_shannon`.
        members: (C,) the block of each context, from 0.
    """
    from taskpgm.divergences import kernels

    probabilities, w = normalised(log_probs, weights)
    return np.asarray(kernels.block_divergences(probabilities, w, members, int(members.max()) + 1))


def jensen_shannon_reference(log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """The same in plain numpy, pair by pair from the definition: the slow twin of the kernel."""
    probabilities, w = normalised(log_probs, weights)
    n = len(probabilities)
    divergence = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            p, q = probabilities[i], probabilities[j]
            middle = 0.5 * (p + q)
            with np.errstate(divide="ignore", invalid="ignore"):
                terms = np.where(p > 0, p * np.log(p / middle), 0.0) + np.where(q > 0, q * np.log(q / middle), 0.0)
            divergence[i, j] = w @ (0.5 * terms.sum(axis=-1))
    return divergence


def normalised(log_probs: ArrayLike, weights: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """((n, C, V) probabilities, (C,) weights), each of sum 1; see `jensen_shannon` for what is refused."""
    logs = np.asarray(log_probs)
    if logs.ndim != 3 or 0 in logs.shape:
        raise InputError(f"log_probs: expected (experts, contexts, tokens), none of them 0; found shape {logs.shape}.")
    contexts = logs.shape[1]
    w = np.full(contexts, 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (contexts,) or not np.all(np.isfinite(w)) or w.min() < 0.0 or w.sum() <= 0.0:
        raise InputError(f"weights: expected {contexts} numbers that are not negative and not all 0.")
    probabilities = np.exp(logs, dtype=np.float64)
    totals = probabilities.sum(axis=-1, keepdims=True)
    wrong = ~(np.abs(totals - 1.0) <= NORMALISATION_TOLERANCE)
    if wrong.any():
        expert, context, _ = np.argwhere(wrong)[0]
        total = totals[expert, context, 0]
        raise InputError(f"log_probs[{expert}, {context}]: the probabilities sum to {total:.6g}, not to 1.")
    return probabilities / totals, w / w.sum()
