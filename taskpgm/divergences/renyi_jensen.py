"""The Jensen-Renyi divergence: Jensen-Shannon with Renyi's entropy, in which rare tokens count more at lower orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.divergences.divergence import (
    FLOAT32_ROUNDING,
    Divergence,
    add_up_in_threads,
    pair_by_pair,
    unless_exact,
)
from taskpgm.progress import Progress, silent
from taskpgm.types import FloatArray, InputError, IntArray


@dataclass(frozen=True)
class RenyiJensen(Divergence):
    """JR = H((p + q) / 2) - 1/2 [H(p) + H(q)], H(p) = log(sum p^order) / (1 - order), in nats; 0 < order < 1.

    Not negative, since H is concave for these orders; its limit for order 1 is Jensen-Shannon (He, Hamza & Krim 2003).
    It has no largest value: one token against V equal ones grows like 1/2 log V.
    Of negative type (Martins et al. 2009): (p + q)^order is, as a power of a sum; so is the sum over tokens, so is the
    logarithm of a positive function of negative type (Berg, Christensen & Ressel 1984), and H(p) + H(q) changes
    nothing.
    Pooling may lower it or raise it, and how many tokens share a tail decides what that tail weighs: where something
    was pooled, nothing but 0 <= JR is certain.

    Raises:
        InputError: an order that is not between 0 and 1.
    """

    order: float = 0.5

    name: ClassVar[str] = "renyi_jensen"
    definite: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 < self.order < 1.0:
            raise InputError(f"order = {self.order}: expected a number between 0 and 1 (1 is jensen_shannon).")

    @property
    def largest(self) -> float:
        return float("inf")

    def blocks(
        self, log_probs: ArrayLike, weights: ArrayLike, members: IntArray, progress: Progress = silent
    ) -> FloatArray:
        from taskpgm.divergences import pair_sums

        def add(probabilities: FloatArray, w: FloatArray, contexts: IntArray, out: FloatArray) -> None:
            pair_sums.renyi_jensen(probabilities, w, contexts, out, self.order)

        return add_up_in_threads(add, log_probs, weights, members, progress)

    def reference(self, log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        def entropy(p: FloatArray) -> FloatArray:
            return np.asarray(np.log((p**self.order).sum(axis=-1)) / (1.0 - self.order))

        return pair_by_pair(lambda p, q: entropy(0.5 * (p + q)) - 0.5 * (entropy(p) + entropy(q)), log_probs, weights)

    def interval(self, divergence: FloatArray, tails: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        unknown = unless_exact(tails, weights)
        return np.where(unknown > 0.0, 0.0, divergence), divergence + unknown

    def rounding(self, largest_log: float) -> float:
        return 4.0 * FLOAT32_ROUNDING * (largest_log + 1.0) / (1.0 - self.order)
