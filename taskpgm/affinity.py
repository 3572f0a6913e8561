"""From predictions to the network's potentials: divergences, similarities, gains and utilities.

    affinity = estimate_affinity(predictions)
    affinity.similarity[0, 1]           # exp(-10 J): how alike tasks 0 and 1 make a model behave

Pooling a context's rare tokens into one bucket can only lower the Jensen-Shannon divergence (data processing), by at
most 1/2 (t_i + t_j) ln 2 with t the pooled masses: divergence_lower and divergence_upper enclose the exact value. What
is certain of another divergence its own file says (`taskpgm.divergences`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from taskpgm.blocks import evidence_blocks
from taskpgm.divergences import DEFAULT_DIVERGENCE, LN2, UNKNOWN, Divergence, JensenShannon
from taskpgm.executors import LOCAL, Executor
from taskpgm.progress import Progress, silent
from taskpgm.stored import context_slices
from taskpgm.types import Affinity, Blocks, FloatArray, InputError, Predictions, readonly
from taskpgm.utilities import Learnability, Utility, gain_matrix


@dataclass(frozen=True)
class LinearSimilarity:
    """S = 1 - J / ln 2, in [0, 1]; positive semidefinite (Hein & Bousquet 2005).

    largest: the largest value of the divergence, ln 2 for Jensen-Shannon; 1 for Hellinger and total variation.
    """

    largest: float = LN2

    def __post_init__(self) -> None:
        if not (np.isfinite(self.largest) and self.largest > 0.0):
            raise InputError(
                f"largest = {self.largest}: a linear similarity needs a bounded divergence; use an exponential one."
            )

    def __str__(self) -> str:
        return "linear"

    def of(self, divergence: FloatArray) -> FloatArray:
        return 1.0 - divergence / self.largest


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
    divergence: Divergence | None = None,
    progress: Progress = silent,
    executor: Executor = LOCAL,
) -> Affinity:
    """Utilities, divergences with certified intervals, similarities and gains of all tasks.

    Args:
        predictions: of every expert on the same contexts.
        utility: the rule for u; learnability where not given.
        similarity: the rule for S from J; exp(-10 J) where not given.
        divergence: the rule for J (see `taskpgm.divergences`); Jensen-Shannon where not given.
        progress: told how many contexts' divergences are done.
        executor: where divergences are computed: here, or, if they are much work, on a cluster.

    Raises:
        InputError: predictions with NaN or rows that are not distributions, utilities or divergences that are not
            finite, or a linear similarity for a divergence with another largest value.
    """
    measure = DEFAULT_DIVERGENCE if divergence is None else divergence
    blocks = evidence_blocks(predictions, measure, progress=progress, executor=executor)
    return affinity_of(blocks, predictions, measure, utility, similarity)


def affinity_of(
    blocks: Blocks,
    predictions: Predictions,
    measure: Divergence,
    utility: Utility | None,
    similarity: Similarity | None,
) -> Affinity:
    """`estimate_affinity` of predictions whose divergences are known."""
    utility = Learnability() if utility is None else utility
    similarity = ExponentialSimilarity() if similarity is None else similarity
    _check_linear(similarity, measure)
    divergence = blocks.divergence.sum(axis=0)
    _check_divergence(divergence, predictions.names, measure)
    lower, upper = certain_interval(divergence, predictions, measure)
    s = similarity.of(divergence)
    u = np.asarray(utility.evaluate(predictions, s), dtype=np.float64)
    if not np.all(np.isfinite(u)):
        name = predictions.names[int(np.argmin(np.isfinite(u)))]
        remedy = "" if predictions.reported is None else "; served ones have Representativeness() and Supplied() always"
        raise InputError(f"the {utility.name} of task {name!r} is not finite: its predictions are unusable{remedy}.")
    return Affinity(
        names=predictions.names,
        utility=readonly(u, np.float64),
        divergence=readonly(divergence, np.float64),
        divergence_lower=readonly(lower, np.float64),
        divergence_upper=readonly(upper, np.float64),
        similarity=readonly(s, np.float64),
        gain=readonly(gain_matrix(predictions), np.float64),
        utility_name=utility.name,
        similarity_name=f"{similarity}{'' if isinstance(measure, JensenShannon) else f' of {measure.name}'}",
        blocks=blocks,
    )


def certain_interval(
    divergence: FloatArray, predictions: Predictions, measure: Divergence
) -> tuple[FloatArray, FloatArray]:
    """((n, n) lower, (n, n) upper) around the divergences of predictions, whatever the pooled tokens are."""
    tails, largest_log = pooled_masses(predictions)
    lower, upper = _bounds(divergence, predictions, tails, measure)
    rounding = measure.rounding(largest_log)
    lower, upper = np.maximum(lower - rounding, 0.0), np.minimum(upper + rounding, measure.largest)
    np.fill_diagonal(lower, 0.0)
    np.fill_diagonal(upper, 0.0)
    return lower, upper


def pooled_masses(predictions: Predictions) -> tuple[FloatArray, float]:
    """((n, C) the probability in every context's last bucket, the largest finite |log p| of all), in one pass."""
    logs = predictions.log_probs
    tails, least = np.empty(logs.shape[:2]), 0.0
    for part in context_slices(logs, logs.dtype.itemsize):
        some = logs[:, part]
        tails[:, part] = np.exp(some[:, :, -1].astype(np.float64))
        least = min(least, float(np.min(some, where=np.isfinite(some), initial=0.0)))
    return tails, -least


def _bounds(
    divergence: FloatArray, predictions: Predictions, tails: FloatArray, measure: Divergence
) -> tuple[FloatArray, FloatArray]:
    if predictions.reported is None:
        return measure.interval(divergence, tails, predictions.weights)
    known, caps = predictions.reported.known, predictions.reported.caps
    reported = np.where(known, np.exp(predictions.log_probs[:, :, :-1].astype(np.float64)), UNKNOWN)
    rests = np.maximum(1.0 - reported.sum(axis=-1, where=known), 0.0)
    return measure.interval_of_reports(reported, rests, caps, predictions.weights)


def _check_linear(similarity: Similarity, measure: Divergence) -> None:
    if isinstance(similarity, LinearSimilarity) and similarity.largest != measure.largest:
        remedy = f"LinearSimilarity({measure.largest:g})" if np.isfinite(measure.largest) else "ExponentialSimilarity()"
        raise InputError(
            f"a linear similarity up to {similarity.largest:g} does not fit {measure.name}, whose largest value is"
            f" {measure.largest:g}: use {remedy}."
        )


def _check_divergence(divergence: FloatArray, names: tuple[str, ...], measure: Divergence) -> None:
    if not np.all(np.isfinite(divergence)):
        i, j = np.argwhere(~np.isfinite(divergence))[0]  # the first row of a symmetric matrix: i < j
        raise InputError(
            f"{measure.name} between tasks {names[i]!r} and {names[j]!r} is infinite: one expert gives a token"
            " probability 0 and the other does not; use a bounded divergence such as jensen_shannon or hellinger."
        )
