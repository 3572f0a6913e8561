"""Total variation: the most that two experts' probabilities of any event differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.divergences.divergence import (
    FLOAT32_ROUNDING,
    Divergence,
    add_tails,
    add_up_in_threads,
    pair_by_pair,
)
from taskpgm.progress import Progress, silent
from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True)
class TotalVariation(Divergence):
    """TV = 1/2 sum |p - q|, in [0, 1].

    |a - b| is the measure of where the indicators of [0, a] and [0, b] differ, a squared Euclidean distance: so TV is
    of negative type (Schoenberg 1938; Deza & Laurent 1997 on L1), and 1 - TV = sum min(p, q), a sum of inner products
    of such indicators, is positive semidefinite (the histogram intersection kernel of Swain & Ballard 1991).
    Pooling lowers it: tails of masses s and t count 1/2 |s - t| in one bucket, and 1/2 (s + t) where they share no
    token.
    """

    name: ClassVar[str] = "total_variation"
    definite: ClassVar[bool] = True

    @property
    def largest(self) -> float:
        return 1.0

    def blocks(
        self, log_probs: ArrayLike, weights: ArrayLike, members: IntArray, progress: Progress = silent
    ) -> FloatArray:
        from taskpgm.divergences import pair_sums

        return add_up_in_threads(pair_sums.total_variation, log_probs, weights, members, progress)

    def reference(self, log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        return pair_by_pair(lambda p, q: 0.5 * np.abs(p - q).sum(axis=-1), log_probs, weights)

    def interval(self, divergence: FloatArray, tails: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        return divergence, divergence + add_tails(lambda s, t: np.minimum(s, t), tails, weights)

    def rounding(self, largest_log: float) -> float:
        return 2.0 * FLOAT32_ROUNDING * (largest_log + 1.0)
