"""The Kullback-Leibler divergence, symmetrised (Jeffreys 1946): unbounded, and not a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.divergences.divergence import FLOAT32_ROUNDING, Divergence, add_up, unless_exact
from taskpgm.divergences.jensen_shannon import normalised
from taskpgm.progress import Progress, silent
from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True)
class KullbackLeibler(Divergence):
    """J = 1/2 [KL(p || q) + KL(q || p)] = 1/2 sum (p - q)(log p - log q), in nats; infinite where only one of the two
    gives a token probability 0.

    Not of negative type. The witness is p = (0.01, 0.99), (0.2, 0.8), (0.5, 0.5): sum z_i z_j J_ij = -sum over tokens
    of (sum z_i p_i)(sum z_i log p_i) is +0.2 for z = (1, -2, 1), since 0.2 lies between the geometric and the
    arithmetic mean of 0.01 and 0.5. So exp(-kappa J) has a negative eigenvalue for small kappa, and a network may need
    `taskpgm.shifted` or `taskpgm.projected`.
    Pooling lowers it, but no upper bound is left: tails that share no token are infinitely far apart.
    """

    name: ClassVar[str] = "kullback_leibler"
    definite: ClassVar[bool] = False

    @property
    def largest(self) -> float:
        return float("inf")

    def blocks(
        self, log_probs: ArrayLike, weights: ArrayLike, members: IntArray, progress: Progress = silent
    ) -> FloatArray:
        return add_up(lambda p, logs: _of_context(p, _log_space(logs)), log_probs, weights, members, progress)

    def reference(self, log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        probabilities, w = normalised(log_probs, weights)
        logs = _log_space(np.asarray(log_probs))
        n, used = len(logs), w > 0.0
        values = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                with np.errstate(invalid="ignore"):
                    ratio = np.where(logs[i] == logs[j], 0.0, np.abs(logs[i] - logs[j]))
                    terms = np.where(np.isfinite(ratio), np.abs(probabilities[i] - probabilities[j]) * ratio, np.inf)
                values[i, j] = w[used] @ (0.5 * terms.sum(axis=-1))[used]
        return values

    def interval(self, divergence: FloatArray, tails: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        return divergence, divergence + unless_exact(tails, weights)

    def rounding(self, largest_log: float) -> float:
        return FLOAT32_ROUNDING * largest_log * (largest_log + 2.0) + 1e-12


def _of_context(p: FloatArray, logs: FloatArray) -> FloatArray:
    """Two matrix products at most: sum p log q for all pairs, and how often q is 0 where p is not if there are zeros.

    Logarithms are those that were given, so a probability too small for float64 still counts with its logarithm.
    """
    zero = np.isneginf(logs)
    crossed = p @ np.where(zero, 0.0, logs).T
    own = np.diag(crossed)
    values = 0.5 * (own[:, None] + own[None, :] - (crossed + crossed.T))
    if zero.any():
        outside = (~zero).astype(np.float64) @ zero.T
        values[(outside > 0.0) | (outside.T > 0.0)] = np.inf
    return np.asarray(values)


def _log_space(log_probs: FloatArray) -> FloatArray:
    """Normalised logarithms in float64, without leaving log space."""
    logs = log_probs.astype(np.float64)
    largest = logs.max(axis=-1, keepdims=True)
    return np.asarray(logs - largest - np.log(np.exp(logs - largest).sum(axis=-1, keepdims=True)))
