"""The Jensen-Shannon divergence as one of the divergences to choose from; its kernels are in `jensen_shannon`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.divergences.divergence import Divergence, add_tails
from taskpgm.divergences.jensen_shannon import LN2, block_divergences, jensen_shannon_reference
from taskpgm.divergences.streaming import ROUNDING
from taskpgm.progress import Progress, silent
from taskpgm.types import FloatArray, IntArray

STORAGE_ROUNDING = 1e-6
"""Nats by which storing log-probabilities as float32 can move a divergence, with room to spare."""
NUMERICAL_ERROR = STORAGE_ROUNDING + ROUNDING
"""The same with that of computing it in float32; the certified intervals are wider by this."""


@dataclass(frozen=True)
class JensenShannon(Divergence):
    """JSD = 1/2 sum [p log p + q log q - s log(s / 2)], s = p + q, in nats (Lin 1991): the default.

    Of negative type (Vedaldi & Zisserman 2012), and 1 - JSD / ln 2 is positive semidefinite (Hein & Bousquet 2005).
    Pooling lowers it; tails of masses s and t that share no token are worth 1/2 [s log((s + t) / s) + t log((s + t) /
    t)] more than in one bucket, and no tails are worth more.
    """

    name: ClassVar[str] = "jensen_shannon"
    definite: ClassVar[bool] = True
    arithmetic_error: ClassVar[float] = ROUNDING

    @property
    def largest(self) -> float:
        return LN2

    def blocks(
        self, log_probs: ArrayLike, weights: ArrayLike, members: IntArray, progress: Progress = silent
    ) -> FloatArray:
        return block_divergences(log_probs, weights, members, progress)

    def reference(self, log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        return jensen_shannon_reference(log_probs, weights)

    def interval(self, divergence: FloatArray, tails: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        return divergence, divergence + add_tails(_apart, tails, weights)

    def interval_of_reports(
        self, reported: FloatArray, rests: FloatArray, caps: FloatArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        from taskpgm.divergences.completion_kernels import completion_interval

        least, most = completion_interval(reported, rests, caps, weights)
        return np.asarray(least), np.asarray(most)

    def rounding(self, largest_log: float) -> float:
        return NUMERICAL_ERROR


def _apart(s: FloatArray, t: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (_times_log(s + t) - _times_log(s) - _times_log(t)))


def _times_log(x: FloatArray) -> FloatArray:
    return x * np.log(np.where(x > 0.0, x, 1.0))
