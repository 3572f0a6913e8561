"""From predictions to the network's potentials: divergences, similarities, gains and utilities.

    affinity = estimate_affinity(predictions)
    affinity.similarity[0, 1]           # exp(-10 J): how alike tasks 0 and 1 make a model behave

Pooling a context's rare tokens into one bucket can only lower a divergence (data processing), and lowers it by at most
1/2 (t_i + t_j) ln 2 with t the pooled masses: divergence_lower and divergence_upper enclose the exact value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from taskpgm.blocks import evidence_blocks
from taskpgm.divergences import LN2
from taskpgm.divergences.streaming import ROUNDING
from taskpgm.progress import Progress, silent
from taskpgm.types import Affinity, FloatArray, InputError, Predictions, readonly
from taskpgm.utilities import Learnability, Utility, gain_matrix

STORAGE_ROUNDING = 1e-6
"""Nats by which storing log-probabilities as float32 can move a divergence, with room to spare."""
NUMERICAL_ERROR = STORAGE_ROUNDING + ROUNDING
"""The same with that of computing it in float32; the certified intervals are wider by this."""


@dataclass(frozen=True)
class LinearSimilarity:
    """S = 1 - J / ln 2, in [0, 1]; positive semidefinite (Hein & Bousquet 2005)."""

    def __str__(self) -> str:
        return "linear"

    def of(self, divergence: FloatArray) -> FloatArray:
        return 1.0 - divergence / LN2


@dataclass(frozen=True)
class ExponentialSimilarity:
    """S = exp(-kappa J), in (0, 1]; positive semidefinite, since J is of negative type (Vedaldi & Zisserman 2012)."""

    kappa: float = 10.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.kappa) and self.kappa > 0.0):
            raise InputError(f"kappa = {self.kappa}: expected a positive number.")

    def __str__(self) -> str:
        return f"exponential(kappa={self.kappa:g})"

    def of(self, divergence: FloatArray) -> FloatArray:
        return np.exp(-self.kappa * divergence)


Similarity: TypeAlias = LinearSimilarity | ExponentialSimilarity


def estimate_affinity(
    predictions: Predictions,
    *,
    utility: Utility | None = None,
    similarity: Similarity | None = None,
    progress: Progress = silent,
) -> Affinity:
    """Utilities, divergences with certified intervals, similarities and gains of all tasks.

    Args:
        predictions: of every expert on the same contexts.
        utility: the rule for u; learnability where not given.
        similarity: the rule for S from J; exp(-10 J) where not given.
        progress: told how many contexts' divergences are done.

    Raises:
        InputError: predictions with NaN or rows that are not distributions, or utilities that are not finite.
    """
    utility = Learnability() if utility is None else utility
    similarity = ExponentialSimilarity() if similarity is None else similarity
    blocks = evidence_blocks(predictions, progress=progress)
    divergence = blocks.divergence.sum(axis=0)
    lower, upper = _truncation_interval(divergence, predictions)
    s = similarity.of(divergence)
    u = np.asarray(utility.evaluate(predictions, s), dtype=np.float64)
    if not np.all(np.isfinite(u)):
        name = predictions.names[int(np.argmin(np.isfinite(u)))]
        raise InputError(f"the {utility.name} of task {name!r} is not finite: its predictions are unusable.")
    return Affinity(
        names=predictions.names,
        utility=readonly(u, np.float64),
        divergence=readonly(divergence, np.float64),
        divergence_lower=readonly(lower, np.float64),
        divergence_upper=readonly(upper, np.float64),
        similarity=readonly(s, np.float64),
        gain=readonly(gain_matrix(predictions), np.float64),
        utility_name=utility.name,
        similarity_name=str(similarity),
        blocks=blocks,
    )


def _truncation_interval(divergence: FloatArray, predictions: Predictions) -> tuple[FloatArray, FloatArray]:
    tail = np.exp(predictions.log_probs[:, :, -1].astype(np.float64)) @ predictions.weights
    lower = np.maximum(divergence - NUMERICAL_ERROR, 0.0)
    upper = np.minimum(divergence + 0.5 * (tail[:, None] + tail[None, :]) * LN2 + NUMERICAL_ERROR, LN2)
    np.fill_diagonal(lower, 0.0)
    np.fill_diagonal(upper, 0.0)
    return lower, upper
