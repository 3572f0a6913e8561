"""What a divergence between experts is, and how one that is known for a single context adds up over many.

measure = Hellinger()
measure.between(log_probs)              # (n, n), nats or a pure number
measure.interval(d, tails, weights)     # what is certain about the exact value where rare tokens were pooled
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.divergences.jensen_shannon import distributions, normalised, normalised_weights
from taskpgm.divergences.streaming import available_threads
from taskpgm.progress import Progress, silent
from taskpgm.stored import context_slices, sliceable
from taskpgm.types import FloatArray, IntArray

FLOAT32_ROUNDING = 2.0**-24
"""Relative error of a number stored as float32."""
REPORT_EVERY = 256
"""Contexts between two reports of progress."""
UNKNOWN = -1.0
"""In the place of a probability that nobody reported."""


class Divergence(abc.ABC):
    """One rule for how differently two experts predict: D_ij = sum_c w_c D(P_i(.|c), P_j(.|c)).

    name: what users write. definite: whether exp(-kappa D) is positive semidefinite for every set of models and every
    kappa > 0, which by Schoenberg (1938) is to say that D is of negative type; the class says why, or shows a witness.
    arithmetic_error: by how much arithmetic in float32 may move a divergence; 0 where all of it is in float64.
    """

    name: ClassVar[str]
    definite: ClassVar[bool]
    arithmetic_error: ClassVar[float] = 0.0

    @property
    @abc.abstractmethod
    def largest(self) -> float:
        """The largest value it can take, infinite where there is none."""

    @abc.abstractmethod
    def blocks(
        self, log_probs: ArrayLike, weights: ArrayLike, members: IntArray, progress: Progress = silent
    ) -> FloatArray:
        """(B, n, n) what each block of contexts adds to the divergences.

        Args:
            log_probs: (n, C, V) natural logarithms; -inf is probability 0. Each row is normalised in float64. In
                memory, memory-mapped, or in files of `taskpgm.stored`: no copy of all of them is made.
            weights: (C,) context weights that are not negative, scaled here to sum 1.
            members: (C,) the block of each context, from 0.
            progress: told how many contexts are done.

        Raises:
            InputError: wrong shapes, NaN, or rows whose probabilities are more than 0.1 % away from summing to 1.
        """

    @abc.abstractmethod
    def reference(self, log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        """(n, n) the same in plain numpy, pair by pair from the definition: the slow twin."""

    @abc.abstractmethod
    def interval(self, divergence: FloatArray, tails: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """((n, n) lower, (n, n) upper) bounds on the exact divergences.

        Args:
            divergence: (n, n) of distributions whose last entry pools the probability of any number of tokens.
            tails: (n, C) that pooled probability. weights: (C,) of sum 1.
        """

    def interval_of_reports(
        self, reported: FloatArray, rests: FloatArray, caps: FloatArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """((n, n) lower, (n, n) upper) bounds where each expert's probability is known of some tokens only.

        From 0 to the largest value where a divergence has nothing better to say.

        Args:
            reported: (n, C, k) probabilities, UNKNOWN where they are. rests: (n, C) what the known ones leave of 1.
            caps: (n, C) the most that one unknown token can have. weights: (C,) of sum 1.
        """
        return nothing_certain(len(reported), self.largest)

    @abc.abstractmethod
    def rounding(self, largest_log: float) -> float:
        """How far float32, stored or computed in, can move a divergence, given the largest finite |log p|."""

    def between(self, log_probs: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        """(n, n) divergences; arguments and errors as for `blocks`, equal weights where none are given."""
        logs = sliceable(log_probs)
        contexts = logs.shape[1] if logs.ndim == 3 else 0
        even = np.ones(contexts) if weights is None else weights
        return np.asarray(self.blocks(logs, even, np.zeros(contexts, dtype=np.int64))[0])


def add_up(
    of_context: Callable[[FloatArray, NDArray[Any]], FloatArray],
    log_probs: ArrayLike,
    weights: ArrayLike,
    members: IntArray,
    progress: Progress,
) -> FloatArray:
    """(B, n, n) from a context's (n, n) divergences, given its (n, V) normalised probabilities and what log_probs has.

    Beside the blocks it holds a slice of the contexts at a time (`context_slices`), twice in float64, and what one
    context takes: nothing of pairs x tokens.
    """
    logs = sliceable(log_probs)
    w = normalised_weights(weights, logs.shape)
    n, used, done = len(logs), int(np.count_nonzero(w)), 0
    total = np.zeros((int(members.max()) + 1, n, n))
    for part in context_slices(logs):
        given = logs[:, part]
        probabilities = distributions(given, part)
        for place, c in enumerate(part.tolist()):
            if w[c] == 0.0:
                continue
            own = np.ascontiguousarray(probabilities[:, place])
            values = np.maximum(of_context(own, given[:, place]), 0.0)
            np.fill_diagonal(values, 0.0)
            total[members[c]] += w[c] * values
            done += 1
            if done % REPORT_EVERY == 0 or done == used:
                progress("divergences", done, used, f"{done} contexts")
    return total


def add_up_in_threads(
    add: Callable[[FloatArray, FloatArray, IntArray, FloatArray], None],
    log_probs: ArrayLike,
    weights: ArrayLike,
    members: IntArray,
    progress: Progress,
) -> FloatArray:
    """(B, n, n) from a compiled function that releases the lock and adds some contexts to the (n, n) of their block.

    add: of normalised (n, k, V) probabilities, their (k,) weights, which of them, and (n, n) out. One thread does the
    part of a block that is in a slice of the contexts, so the number of threads changes nothing.
    """
    logs = sliceable(log_probs)
    w = normalised_weights(weights, logs.shape)
    total, done = np.zeros((int(members.max()) + 1, len(logs), len(logs))), 0
    used = int(np.count_nonzero(w))
    with ThreadPoolExecutor(available_threads()) as pool:
        for part in context_slices(logs):
            probabilities = distributions(logs[:, part], part)
            blocks = np.unique(members[part[w[part] > 0.0]])
            places = [np.flatnonzero((members[part] == b) & (w[part] > 0.0)) for b in blocks]
            work = pool.map(partial(add, probabilities, w[part]), places, [total[b] for b in blocks])
            for own, _ in zip(places, work, strict=True):
                done += len(own)
                progress("divergences", done, used, f"{done} contexts")
    return total


def pair_by_pair(
    of_pair: Callable[[FloatArray, FloatArray], FloatArray], log_probs: ArrayLike, weights: ArrayLike | None
) -> FloatArray:
    """(n, n) from the (C,) divergences of two experts' (C, V) probabilities: what the slow twins share."""
    probabilities, w = normalised(log_probs, weights)
    used = w > 0.0
    return np.array([[w[used] @ of_pair(p[used], q[used]) for q in probabilities] for p in probabilities])


def add_tails(of_tails: Callable[[FloatArray, FloatArray], FloatArray], tails: FloatArray, w: FloatArray) -> FloatArray:
    """(n, n) weighted sum over contexts of a function of two experts' tail masses, one context at a time."""
    n = len(tails)
    total = np.zeros((n, n))
    for c in np.flatnonzero(w > 0.0):
        total += w[c] * of_tails(tails[:, c, None], tails[None, :, c])
    return total


def nothing_certain(n: int, largest: float) -> tuple[FloatArray, FloatArray]:
    """The interval from 0 to the largest value, for all pairs."""
    return np.zeros((n, n)), np.full((n, n), largest)


def unless_exact(tails: FloatArray, weights: FloatArray) -> FloatArray:
    """(n, n) infinite where either of two experts has probability in its tails, 0 where neither has."""
    has = (tails @ weights) > 0.0
    return np.where(has[:, None] | has[None, :], np.inf, 0.0)
