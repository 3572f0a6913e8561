"""Jensen-Shannon divergences of tensors on a graphics card, with the interface of `DivergenceSums`.

    sums = DeviceSums(experts=64)
    for batch in batches:               # Batch(tensor): (n, C_b, V) logits or log-probabilities, from the models
        sums.add(batch)
    sums.divergence                     # (1, n, n), fetched from the card

The kernels (`taskpgm.divergences.triton_kernels`) add up a matrix F on the card, of which the divergences are made in
float64 when they are asked for. Contexts go through in groups of which the scaled probabilities fit SCRATCH bytes, so
that they are read back from the card's cache. Memory on the card beyond the batch, in bytes, for n experts, B blocks,
C contexts in a batch, W = V rounded up to a multiple of 128 and a = 4 or 8 the bytes of the arithmetic, is about

    4 (n + 8)^2 (B + 1) + 8 n C + max(SCRATCH, a (n + 1) W) + 8 SIDE^2 PROGRAMS.

The first EXACT_WORK logarithms are computed in float64, as on the processor, and what follows in float32, here with an
error of at most DEVICE_ROUNDING: the card's logarithm is right to 2^-22 near 1 (PTX, lg2.approx), which can move F by
2^-21 and J by 3.3e-7; the exponential, the rounding of its argument and the sums make the rest.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.divergences.arrays import loaded_torch, on_device
from taskpgm.divergences.pieces import piece_starts
from taskpgm.divergences.streaming import (
    Arithmetic,
    Batch,
    check_shape,
    check_totals,
    checked_contexts,
    checked_members,
    checked_weights,
    is_exact,
    normalisation_tolerance,
)
from taskpgm.types import FloatArray, InputError, IntArray

DEVICE_ROUNDING = 1e-6
"""Nats by which the card's float32 arithmetic can move a divergence."""
SCRATCH = 48 * 2**20
"""Bytes of scaled probabilities at a time: what the cache of a large card (H100: 50 MB) can hold."""
PROGRAMS = 4096
"""About as many programs add up pairs at a time, several for each of a large card's processors."""
TOKENS = 128
STEPS = 128
"""A thread adds up so many tokens in the precision of the arithmetic."""
LN2 = float(np.log(2.0))


class DeviceSums:
    """Weighted sums of the divergences between all experts, by blocks of contexts, kept on the card.

    divergence: (blocks, n, n) nats on the host, not yet divided by the weight. weight, rounding, arithmetic: as in
    `taskpgm.divergences.streaming.DivergenceSums`. scratch: bytes, see SCRATCH.
    """

    def __init__(
        self, experts: int, blocks: int = 1, arithmetic: Arithmetic | None = None, scratch: int = SCRATCH
    ) -> None:
        self.weight = 0.0
        self.rounding = 0.0
        self.arithmetic = arithmetic
        self._scratch = scratch
        self._squares = _Squares(experts, 4 if experts <= 16 or arithmetic == "float64" else 8)
        self._block_weights = np.zeros(blocks)
        self._sums: Any = None
        self._work = 0

    def add(self, batch: Batch) -> None:
        """Add a batch's contexts; its log_probs are a tensor of any layout, in bfloat16, float16, float32 or float64.

        Raises:
            InputError: wrong shapes, weights or blocks, another device than before, whole numbers, NaN, or rows of
                log-probabilities more than 0.1 % (in 16 bits: and what their rounding can do) away from sum 1.
        """
        logs: Any = batch.log_probs
        contexts = self._checked(batch)
        blocks = len(self._block_weights)
        weights = checked_weights(batch.weights, len(contexts))
        members = checked_members(batch.members, len(contexts), blocks)
        self._work += self._squares.pairs * len(contexts) * logs.shape[2]
        exact = is_exact(self.arithmetic, self._work)
        self.rounding = self.rounding if exact else DEVICE_ROUNDING
        order = np.argsort(members, kind="stable")
        torch = loaded_torch()
        with torch.no_grad(), _on_its_device(logs):
            if self._sums is None:
                self._sums = logs.new_zeros((blocks, *self._squares.shape), dtype=torch.float64)
            work = _Work(logs, contexts[order], weights[order], members[order], exact, batch.logits, self._squares)
            totals = work.add_to(self._sums, self._scratch)
        check_totals(totals, contexts[order], normalisation_tolerance(batch.log_probs))
        self.weight += float(weights.sum())
        self._block_weights += np.bincount(members, weights, minlength=blocks)

    def _checked(self, batch: Batch) -> IntArray:
        logs: Any = batch.log_probs
        if not on_device(logs):
            raise InputError("log_probs: expected a torch tensor on a graphics card, and triton installed.")
        check_shape(tuple(logs.shape))
        if len(logs) != self._squares.experts:
            raise InputError(f"log_probs: a batch of {len(logs)} experts among batches of {self._squares.experts}.")
        if not logs.dtype.is_floating_point:
            raise InputError(f"log_probs: expected floating-point numbers, found {logs.dtype}.")
        if self._sums is not None and self._sums.device != logs.device:
            raise InputError(
                f"log_probs: a batch on {logs.device} among batches on {self._sums.device}; move it there."
            )
        return checked_contexts(batch.contexts, logs.shape[1])

    @property
    def divergence(self) -> FloatArray:
        n = self._squares.experts
        found = np.zeros((len(self._block_weights), n, n))
        if self._sums is not None:
            for block, weight in enumerate(self._block_weights):
                found[block] = _divergences(self._squares.matrix(self._sums[block].cpu().numpy()), float(weight))
        return found


def _on_its_device(tensor: Any) -> AbstractContextManager[Any]:
    """While it lasts, kernels start on the tensor's card."""
    return loaded_torch().cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _divergences(sums: FloatArray, weight: float) -> FloatArray:
    """(n, n) weighted divergences in nats from F, of which the lower triangle is read."""
    own = 0.5 * np.diag(sums)
    lower = np.tril(np.clip(0.5 * LN2 * (own[:, None] + own[None, :] - sums), 0.0, weight * LN2), -1)
    return np.asarray(lower + lower.T)


class _Squares:
    """The squares of SIDE x SIDE pairs that cover the lower triangle of all pairs of experts.

    A SIDE of 4 leaves less of the diagonal's squares unused; 8 reads less for each logarithm, but in float64 a thread
    has no room for so many sums.
    """

    def __init__(self, experts: int, side: int) -> None:
        self.experts = experts
        self.pairs = experts * (experts + 1) // 2
        self.side = side
        self.bands = -(-experts // side)
        self.rows, self.columns = np.tril_indices(self.bands)
        self.shape = (len(self.rows), side, side)

    def matrix(self, squares: FloatArray) -> FloatArray:
        """(n, n) from (squares, SIDE, SIDE); the upper triangle is left 0 or unfinished."""
        whole = np.zeros((self.bands, self.side, self.bands, self.side))
        whole[self.rows, :, self.columns, :] = squares
        size = self.bands * self.side
        return whole.reshape(size, size)[: self.experts, : self.experts]


@dataclass(frozen=True, eq=False)
class _Work:
    """A batch on its way through the kernels; its contexts are ordered by their block."""

    logs: Any
    contexts: IntArray
    weights: FloatArray
    members: IntArray
    exact: bool
    logits: bool
    squares: _Squares

    @property
    def dtype(self) -> Any:
        torch = loaded_torch()
        return torch.float64 if self.exact else torch.float32

    @property
    def width(self) -> int:
        return -(-int(self.logs.shape[2]) // TOKENS) * TOKENS

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What every kernel is compiled for. What it does not ask for is not fused: s_ij and s_ji are equal bits."""
        import triton.language as tl

        real = tl.float64 if self.exact else tl.float32
        return {"REAL": real, "TOKENS": TOKENS, "enable_fp_fusion": False}

    @cached_property
    def special(self) -> bool:
        """Whether the card's own logarithm is taken."""
        return bool(self.logs.is_cuda) and loaded_torch().version.hip is None and not self.exact

    def add_to(self, sums: Any, scratch: int) -> FloatArray:
        """Add F to (blocks, squares, SIDE, SIDE) sums; (n, k) the rows' sums of probabilities, on the host."""
        n, k = len(self.logs), len(self.contexts)
        totals = self._empty((k, n), loaded_torch().float64)
        size = max(1, scratch // (self.dtype.itemsize * (n + 1) * self.width))
        for low in range(0, k, size):
            some = slice(low, min(low + size, k))
            scaled, doubled = self._scale(self._logs_of(self.contexts[some]), totals[some])
            self._add_pairs(scaled, doubled, totals[some], some, sums)
        return np.asarray(totals.T.cpu().numpy())

    def _scale(self, logs: Any, totals: Any) -> tuple[Any, Any]:
        """(k, n, W) P / (2 r) and (k, W) 2 r of some contexts; the sums of probabilities go into (k, n) totals."""
        from taskpgm.divergences import triton_kernels as kernels

        n, k, vocabulary = logs.shape
        scaled, doubled = self._empty((k, n, self.width)), self._empty((k, self.width))
        parts = self._empty((k, self.width // TOKENS, n), loaded_torch().float64)
        shifts = self._empty((k, n) if self.logits else (1,))
        if self.logits:
            kernels.log_sums[(k, n)](logs, shifts, *logs.stride(), vocabulary, **{**self.meta, "TOKENS": 8 * TOKENS})
        together = min(32, 1 << (n - 1).bit_length())
        kernels.scale[(k, self.width // TOKENS)](
            *(logs, shifts, scaled, doubled, parts, *logs.stride(), n, vocabulary, self.width),
            **{**self.meta, "SHIFTED": self.logits, "EXPERTS": together},
        )
        loaded_torch().sum(parts, dim=1, out=totals)
        return scaled, doubled

    def _add_pairs(self, scaled: Any, doubled: Any, totals: Any, some: slice, sums: Any) -> None:
        from taskpgm.divergences import triton_kernels as kernels

        count, chunks = self.squares.shape[0], -(-self.width // (STEPS * TOKENS))
        members = np.repeat(self.members[some], chunks)
        starts = piece_starts(members, max(1, PROGRAMS // count))
        out = self._empty((len(starts) - 1, *self.squares.shape), sums.dtype)
        kernels.pair_sums[(count, len(out))](
            *(scaled, doubled, totals.reciprocal().to(self.dtype), self._sent_weights[some]),
            *(self._sent(starts.astype(np.int32)), *self._firsts, out, len(self.logs), self.width, chunks),
            **{**self.meta, "SPECIAL": self.special, "SIDE": self.squares.side, "CHUNK": STEPS * TOKENS},
        )
        blocks = members[starts[:-1]]
        for block in np.unique(blocks).tolist():
            first, last = np.searchsorted(blocks, [block, block + 1]).tolist()
            sums[block] += out[first:last].sum(dim=0)

    @cached_property
    def _sent_weights(self) -> Any:
        return self._sent(self.weights)

    @cached_property
    def _firsts(self) -> tuple[Any, Any]:
        """(squares,) the first experts of the squares' rows and columns."""
        side = self.squares.side
        rows, columns = (
            self._sent((side * bands).astype(np.int32)) for bands in (self.squares.rows, self.squares.columns)
        )
        return rows, columns

    def _logs_of(self, contexts: IntArray) -> Any:
        """(n, k, V): a view where the contexts follow each other."""
        if np.all(np.diff(contexts) == 1):
            return self.logs[:, contexts[0] : contexts[-1] + 1]
        return self.logs.index_select(1, self._sent(contexts))

    def _empty(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return loaded_torch().empty(shape, dtype=dtype or self.dtype, device=self.logs.device)

    def _sent(self, values: NDArray[Any]) -> Any:
        return loaded_torch().from_numpy(np.ascontiguousarray(values)).to(self.logs.device, non_blocking=True)
