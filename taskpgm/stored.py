"""Log-probabilities that stay in their files and are read a few contexts at a time.

    predictions.log_probs.shape             # (n, C, W), nothing is read
    predictions.log_probs[:, 10:20]         # (n, 10, W), what is asked for is read
    np.asarray(predictions.log_probs)       # everything, for those who have the memory

Indexing is numpy's, as with a data set of h5py. Each expert has a file (or a few: see `taskpgm.predictive`), in which
the contexts of each task follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from taskpgm.tensor_files import StoredTensor
from taskpgm.types import BoolArray, Float32Array, IntArray, readonly

SLICE_MEMORY = 64e6
"""Bytes of log-probabilities that are looked at together, unless a single context takes more."""


@dataclass(frozen=True, eq=False)
class StoredLogProbs:
    """(n, C, W) float32 natural logarithms, in files.

    parts: for each expert, its (R, W) tensors, one for each part of the contexts. width: W. part, row: (C,) in which of
    the parts a context is, and in which row of it.
    """

    parts: tuple[tuple[StoredTensor, ...], ...]
    width: int
    part: IntArray
    row: IntArray

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.parts), len(self.part), self.width

    @property
    def ndim(self) -> int:
        return 3

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.parts)

    @cached_property
    def file_order(self) -> IntArray:
        """(C,) the contexts in the order in which they are in the files."""
        return readonly(np.lexsort((self.row, self.part)), np.int64)

    def selected(self, experts: IntArray, contexts: IntArray) -> StoredLogProbs:
        """Some experts on some contexts; nothing is read."""
        return StoredLogProbs(
            tuple(self.parts[i] for i in experts.tolist()),
            self.width,
            readonly(self.part[contexts], np.int64),
            readonly(self.row[contexts], np.int64),
        )

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """What numpy gives for this key. Read are all tokens of the experts and contexts of the first two indices.

        Several arrays, which numpy takes as pairs, an ellipsis or a new axis read everything.
        """
        keys = key if isinstance(key, tuple) else (key,)
        first, second, *rest = (*keys, slice(None), slice(None))[: max(2, len(keys))]
        simple = all(isinstance(each, slice | int | np.integer | list | np.ndarray) for each in keys)
        if not simple or sum(isinstance(each, list | np.ndarray) for each in keys) > 1:
            return np.asarray(np.asarray(self)[key])
        experts, contexts = np.arange(len(self))[first], np.arange(len(self.part))[second]
        read = self.selected(np.atleast_1d(experts), np.atleast_1d(contexts))._read()
        return np.asarray(read[(*(slice(None) if each.ndim else 0 for each in (experts, contexts)), *rest)])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("log-probabilities in files cannot be an array without being read")
        return self._read().astype(self.dtype if dtype is None else dtype, copy=False)

    def astype(self, dtype: DTypeLike) -> NDArray[Any]:
        """Everything, as an array of another type."""
        return self.__array__(dtype)

    def _read(self) -> Float32Array:
        """(n, C, W) everything, run by run of rows that follow each other."""
        out = np.empty(self.shape, dtype=np.float32)
        order = self.file_order
        part, row = self.part[order], self.row[order]
        ends = np.flatnonzero((np.diff(part) != 0) | (np.diff(row) != 1)) + 1
        runs = list(zip([0, *ends.tolist()], [*ends.tolist(), len(order)], strict=True)) if len(order) else []
        for own, target in zip(self.parts, out, strict=True):
            for low, high in runs:
                own[part[low]].read_into(target[low:high], int(row[low]))
        if np.array_equal(order, np.arange(len(order))):
            return out
        return np.asarray(out[:, np.argsort(order)])


def sliceable(log_probs: ArrayLike) -> NDArray[Any] | StoredLogProbs:
    """What can be indexed by experts, contexts and tokens: an array, or what stays in its files."""
    return log_probs if isinstance(log_probs, StoredLogProbs) else np.asarray(log_probs)


def context_slices(log_probs: NDArray[Any] | StoredLogProbs, size: int = 8) -> Iterator[IntArray]:
    """The contexts, so many at a time that their numbers of `size` bytes take SLICE_MEMORY or are those of one context.

    In the order of the files where they are in files, else from the first to the last.
    """
    n, contexts, width = log_probs.shape
    order = log_probs.file_order if isinstance(log_probs, StoredLogProbs) else np.arange(contexts)
    each = max(1, int(SLICE_MEMORY // (size * n * width)))
    for low in range(0, contexts, each):
        yield order[low : low + each]


def selected(
    log_probs: Float32Array | StoredLogProbs, experts: IntArray, contexts: IntArray | BoolArray
) -> Float32Array | StoredLogProbs:
    """Some experts on some contexts (their places, or a mask), in files still if they are."""
    places = np.arange(log_probs.shape[1])[contexts]
    if isinstance(log_probs, StoredLogProbs):
        return log_probs.selected(experts, places)
    return readonly(log_probs[experts[:, None], places], np.float32)
