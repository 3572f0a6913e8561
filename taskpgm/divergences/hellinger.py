"""The squared Hellinger distance: all pairs of a context are one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.divergences.divergence import (
    FLOAT32_ROUNDING,
    Divergence,
    add_tails,
    add_up,
    pair_by_pair,
)
from taskpgm.progress import Progress, silent
from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True)
class Hellinger(Divergence):
    """H2 = 1 - sum sqrt(p) sqrt(q) = 1/2 sum (sqrt(p) - sqrt(q))^2, in [0, 1].

    1 - H2 is the Bhattacharyya coefficient, a Gram matrix of the vectors sqrt(p): positive semidefinite (Jebara, Kondor
    & Howard 2004). H2 is half a squared Euclidean distance, so it is of negative type (Schoenberg 1938).
    Pooling lowers it: tails of masses s and t count sqrt(st) in one bucket, and nothing where they share no token.
    """

    name: ClassVar[str] = "hellinger"
    definite: ClassVar[bool] = True

    @property
    def largest(self) -> float:
        return 1.0

    def blocks(
        self, log_probs: ArrayLike, weights: ArrayLike, members: IntArray, progress: Progress = silent
    ) -> FloatArray:
        return add_up(lambda p, _: _of_context(p), log_probs, weights, members, progress)

    def reference(self, log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        return pair_by_pair(lambda p, q: 0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=-1), log_probs, weights)

    def interval(self, divergence: FloatArray, tails: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        return divergence, divergence + add_tails(lambda s, t: np.sqrt(s * t), tails, weights)

    def rounding(self, largest_log: float) -> float:
        return 2.0 * FLOAT32_ROUNDING * (largest_log + 1.0)


def _of_context(probabilities: FloatArray) -> FloatArray:
    roots = np.sqrt(probabilities)
    return np.asarray(1.0 - roots @ roots.T)
