"""Jensen-Shannon divergences of predictions that never need to be in memory together.

    sums = DivergenceSums(experts=1000, blocks=16)
    for batch in batches:               # (n, C_b, V) log-probabilities of a few contexts, from disk or from the models
        sums.add(batch)
    sums.divergence                     # (blocks, n, n)

Memory beyond the batch itself, in bytes, for n experts, B blocks and t threads:

    8 n^2 (B + t + max(5, t, min(P, 64e6 / (8 n^2)))) + t a (n W + (n + 2) w),      P <= 16 + B pieces of a batch,

with a = 4 or 8 the bytes of the arithmetic, tiles of w = V rounded up to a multiple of 64 tokens, at most 2,048, and W
= V rounded up to whole tiles. The first EXACT_WORK logarithms are computed in float64 (to 1e-13); a sum
with more work goes on in float32, with an error of at most ROUNDING. A matrix of divergences must be of negative type,
or similarities made from it are not positive semidefinite (Vedaldi & Zisserman 2012). Where float32 cannot show that
with a margin, as when experts are nearly equal, `streamed_divergences` reads the batches once more in float64.

Batches of tensors on a graphics card are added up there (`taskpgm.divergences.device`); `empty_sums` chooses.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.divergences.arrays import host_array, on_device, precision
from taskpgm.divergences.pieces import PIECES, PieceWork, piece_starts
from taskpgm.progress import Progress, silent
from taskpgm.stored import StoredLogProbs, context_slices
from taskpgm.types import FloatArray, InputError, IntArray

NORMALISATION_TOLERANCE = 1e-3
EXACT_WORK = 2**23
"""Logarithms that are computed in float64 whatever follows: a hundredth of a second's work."""
ROUNDING = 3e-7
"""Nats by which float32 arithmetic can move a divergence."""
WAVE_MEMORY = 64e6
SLICE_WORK = 2**33
Arithmetic: TypeAlias = Literal["float32", "float64"]


@dataclass(frozen=True, eq=False)
class Batch:
    """What all experts predict on some contexts.

    log_probs: (n, C, V) natural logarithms, rows of sum 1 in probability: an array, or a torch tensor of any device.
    contexts: which of the C are meant, all where None; k of them. weights: (k,) not negative, 1 each where None.
    members: (k,) the block of each, 0 where None. logits: whether log_probs are still to be normalised (softmax).
    """

    log_probs: ArrayLike
    weights: ArrayLike | None = None
    members: ArrayLike | None = None
    contexts: IntArray | None = None
    logits: bool = False


class Sums(Protocol):
    """Weighted sums of the divergences between all experts, to which batches are added, wherever they are computed."""

    weight: float
    rounding: float

    def add(self, batch: Batch) -> None: ...

    @property
    def divergence(self) -> FloatArray: ...


class DivergenceSums:
    """Weighted sums of the divergences between all experts, by blocks of contexts, to which batches are added.

    divergence: (blocks, n, n) nats, not yet divided by the weight: the sum of the weights of all contexts so far.
    rounding: nats by which float32 may have moved a mean; 0 where all was computed in float64. arithmetic: of
    everything; chosen by the work where None.
    """

    def __init__(self, experts: int, blocks: int = 1, arithmetic: Arithmetic | None = None) -> None:
        self.divergence: FloatArray = np.zeros((blocks, experts, experts))
        self.weight = 0.0
        self.rounding = 0.0
        self.arithmetic = arithmetic
        self._work = 0

    def add(self, batch: Batch) -> None:
        """Add a batch's contexts.

        Raises:
            InputError: wrong shapes, weights or blocks, NaN, or rows that are more than 0.1 % away from sum 1.
        """
        blocks, n, _ = self.divergence.shape
        logs, contexts, named = _readable(batch, n)
        weights = checked_weights(batch.weights, len(contexts))
        members = checked_members(batch.members, len(contexts), blocks)
        self._work += n * (n + 1) // 2 * len(contexts) * logs.shape[2]
        exact = is_exact(self.arithmetic, self._work)
        self.rounding = self.rounding if exact else ROUNDING
        order = np.argsort(members, kind="stable")
        dtype = np.dtype(np.float64 if exact else np.float32)
        totals = self._add_sorted(logs, contexts[order], weights[order], members[order], dtype)
        check_totals(totals, named[order], normalisation_tolerance(batch.log_probs))
        self.weight += float(weights.sum())

    def _add_sorted(
        self, logs: NDArray[Any], contexts: IntArray, weights: FloatArray, members: IntArray, dtype: np.dtype[Any]
    ) -> FloatArray:
        """Piece after piece, in the same order for any number of threads; `members` rise. (n, k) sums of the rows."""
        n, threads = len(logs), available_threads()
        starts = piece_starts(members, PIECES)
        wave = max(threads, min(len(starts) - 1, int(WAVE_MEMORY // (8 * n * n))))
        work = PieceWork(logs, contexts, weights, np.empty((n, len(contexts))), dtype)
        for low in range(0, len(starts) - 1, wave):
            part = starts[low : low + wave + 1]
            for start, divergence in zip(part, work.run(part, threads), strict=False):
                self.divergence[members[start]] += divergence
        return work.totals


def streamed_divergences(
    batches: Iterable[Batch], blocks: int = 1, *, contexts: int = 0, progress: Progress = silent
) -> FloatArray:
    """(blocks, n, n) what each block of contexts adds to the weighted mean Jensen-Shannon divergences, in nats.

    Args:
        batches: of the same experts, at least one. What can be iterated over again (a list, say, or an object whose
            __iter__ opens files or runs the models anew) is read a second time where float32 is not precise enough; an
            iterator is not, and a warning tells that the similarities may be indefinite by ROUNDING.
        blocks: how many there are.
        contexts, progress: how many contexts there will be, for the progress that is reported after each batch.

    Raises:
        InputError: no batch, a batch that does not fit (see `DivergenceSums.add`), or no weight at all.
    """
    sums = _summed(batches, blocks, None, contexts, progress)
    divergence = sums.divergence
    if sums.rounding and not of_negative_type(divergence.sum(axis=0), sums.weight * sums.rounding):
        if iter(batches) is batches:
            warnings.warn(
                f"float32 leaves divergences with an error of {sums.rounding:g} nats, too much to show that"
                " similarities are positive semidefinite: give a list of batches, read again for float64.",
                stacklevel=2,
            )
        else:
            sums = _summed(batches, blocks, "float64", contexts, progress)
            divergence = sums.divergence
    divergence /= sums.weight
    return divergence


def _summed(
    batches: Iterable[Batch], blocks: int, arithmetic: Arithmetic | None, contexts: int, progress: Progress
) -> Sums:
    sums, done = None, 0
    for batch in batches:
        if sums is None:
            sums = empty_sums(batch, blocks, arithmetic)
        sums.add(batch)
        done += np.shape(batch.log_probs)[1] if batch.contexts is None else len(batch.contexts)
        progress("divergences", done, max(contexts, done), "in float64" if arithmetic else f"{done} contexts")
    if sums is None or sums.weight <= 0.0:
        raise InputError("no contexts with a positive weight: there is nothing to take divergences of.")
    return sums


def empty_sums(batch: Batch, blocks: int = 1, arithmetic: Arithmetic | None = None) -> Sums:
    """Where batches like this one are added up: on the card that its tensor is on, else on the processor."""
    from taskpgm.divergences.device import DeviceSums

    kind = DeviceSums if on_device(batch.log_probs) else DivergenceSums
    return kind(np.shape(batch.log_probs)[0], blocks, arithmetic)


@dataclass(frozen=True, eq=False)
class ContextSlices:
    """(n, C, V) log-probabilities, in memory, memory-mapped, in files or on a card, as batches of contexts."""

    log_probs: ArrayLike
    weights: FloatArray
    members: IntArray
    logits: bool = False

    def __iter__(self) -> Iterator[Batch]:
        for part in self._parts():
            yield Batch(self.log_probs, self.weights[part], self.members[part], part, self.logits)

    def _parts(self) -> Iterable[IntArray]:
        """From files as many as memory allows, in their order; else block after block, in a few parts for progress."""
        if isinstance(self.log_probs, StoredLogProbs):
            return context_slices(self.log_probs, self.log_probs.dtype.itemsize)
        n, contexts, vocabulary = np.shape(self.log_probs)
        order = np.argsort(self.members, kind="stable")
        return np.array_split(order, min(contexts, 1 + n * n * contexts * vocabulary // (2 * SLICE_WORK)))


def of_negative_type(divergence: FloatArray, error: float) -> bool:
    """Whether v'Jv <= 0 for all v of sum 0, for the true J when each entry of this one is wrong by at most `error`.

    The errors of different pairs are independent roundings, and a symmetric matrix of such has no eigenvalue beyond
    2 sqrt(n) times their size (Wigner 1958): -v'Jv must be that much above 0. In the basis e_i - e_n it is the form
    J_in + J_nj - J_ij, and |v|^2 is y'(I + 11')y.
    """
    last = divergence[:-1, -1]
    form = last[:, None] + last[None, :] - divergence[:-1, :-1]
    margin = 2.0 * np.sqrt(len(divergence)) * error
    try:
        np.linalg.cholesky(form - margin * (np.eye(len(last)) + 1.0))
    except np.linalg.LinAlgError:
        return False
    return True


def available_threads() -> int:
    """NUMBA_NUM_THREADS where it is set, else the processors that this process may use."""
    import numba

    return int(numba.config.NUMBA_NUM_THREADS)


def checked_weights(weights: ArrayLike | None, contexts: int) -> FloatArray:
    """(C,) float64 context weights; 1 each where None."""
    w = np.full(contexts, 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (contexts,) or not np.all(np.isfinite(w)) or w.min() < 0.0:
        raise InputError(f"weights: expected {contexts} numbers that are not negative and not all 0.")
    return w


def check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"log_probs: expected (experts, contexts, tokens), none of them 0; found shape {shape}.")


def is_exact(arithmetic: Arithmetic | None, work: int) -> bool:
    """Whether to compute in float64: as asked for, else where there are no more logarithms than EXACT_WORK so far."""
    return arithmetic == "float64" or (arithmetic is None and work <= EXACT_WORK)


def _readable(batch: Batch, experts: int) -> tuple[NDArray[Any], IntArray, IntArray]:
    """(log-probabilities as the kernel reads them, which contexts of theirs, which of the batch's); copied or not."""
    logs = batch.log_probs if isinstance(batch.log_probs, StoredLogProbs) else host_array(batch.log_probs)
    check_shape(logs.shape)
    if len(logs) != experts:
        raise InputError(f"log_probs: a batch of {len(logs)} experts among batches of {experts}.")
    named = contexts = checked_contexts(batch.contexts, logs.shape[1])
    if isinstance(logs, StoredLogProbs):
        logs, contexts = logs[:, contexts], np.arange(len(contexts))
    elif batch.logits or logs.dtype not in (np.float32, np.float64) or not logs.flags.c_contiguous:
        kept = logs[:, contexts]
        single = kept.dtype in (np.float16, np.float32)
        logs, contexts = np.ascontiguousarray(kept, np.float32 if single else np.float64), np.arange(len(contexts))
    logs = _log_softmax(logs) if batch.logits else logs
    view = logs.view()
    view.setflags(write=False)  # one type for the compiler
    return view, contexts, named


def _log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    # rows without a finite largest one become NaN, which is refused; differences beyond float32 are probability 0
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        totals = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
        shifted -= np.log(totals).astype(shifted.dtype)
    return np.asarray(shifted)


def checked_contexts(contexts: ArrayLike | None, available: int) -> IntArray:
    """(k,) the places that a batch means, all of them where None."""
    found = np.arange(available) if contexts is None else np.asarray(contexts, dtype=np.int64)
    if len(found) == 0 or found.min() < 0 or found.max() >= available:
        raise InputError(f"contexts: expected some of those of the batch's log_probs, 0 to {available - 1}.")
    return found


def checked_members(members: ArrayLike | None, contexts: int, blocks: int) -> IntArray:
    """(k,) the block of each context; 0 where None."""
    found = np.zeros(contexts, dtype=np.int64) if members is None else np.asarray(members, dtype=np.int64)
    if found.shape != (contexts,) or found.min() < 0 or found.max() >= blocks:
        raise InputError(f"members: expected {contexts} numbers of blocks, from 0 to {blocks - 1}.")
    return found


def normalisation_tolerance(log_probs: ArrayLike) -> float:
    """How far from 1 rows may sum: 0.1 %, and what rounding of logarithms down to -16 to their precision can do."""
    return NORMALISATION_TOLERANCE + 8.0 * precision(log_probs)


class DistributionError(InputError):
    """What an expert says of a context (both by their places) is no distribution: its probabilities sum to total."""

    def __init__(self, expert: int, context: int, total: float) -> None:
        super().__init__(f"log_probs[{expert}, {context}]: the probabilities sum to {total:.6g}, not to 1.")
        self.expert, self.context, self.total = expert, context, total


def check_totals(totals: FloatArray, contexts: IntArray, tolerance: float = NORMALISATION_TOLERANCE) -> None:
    """Refuse (n, k) sums of probabilities, of these contexts, that are not 1."""
    wrong = ~(np.abs(totals - 1.0) <= tolerance)
    if wrong.any():
        expert, place = np.argwhere(wrong)[0]
        raise DistributionError(int(expert), int(contexts[place]), float(totals[expert, place]))
