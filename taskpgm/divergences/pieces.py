"""Pieces of a batch's contexts, each added up by itself: the same sums for any number of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.types import FloatArray, IntArray

PIECES = 16


def piece_starts(members: IntArray, pieces: int) -> IntArray:
    """Where pieces begin, and where the last ends: parts of one block, of at most this fraction of the contexts."""
    edges = [0, *(np.flatnonzero(np.diff(members)) + 1).tolist(), len(members)]
    longest = -(-len(members) // pieces)
    return np.array([start for low, high in pairwise(edges) for start in range(low, high, longest)] + [len(members)])


@dataclass(frozen=True, eq=False)
class PieceWork:
    """A batch on its way through the kernel.

    logs: (n, C, V). contexts, weights: (k,) those to go through. totals: (n, k), which the kernel fills. dtype: of the
    arithmetic.
    """

    logs: NDArray[Any]
    contexts: IntArray
    weights: FloatArray
    totals: FloatArray
    dtype: np.dtype[Any]

    def run(self, starts: IntArray, threads: int) -> FloatArray:
        """(p, n, n) the divergences of the p pieces that begin at `starts`; the last start is their end."""
        from taskpgm.divergences.kernels import add_pieces, working_room

        n, _, vocabulary = self.logs.shape
        pieces = len(starts) - 1
        out = np.empty((pieces, n, n))
        cuts = np.unique(np.linspace(0, pieces, min(pieces, 8 * threads) + 1).astype(np.int64)).tolist()
        todo = deque(pairwise(cuts))

        def work() -> None:
            room = working_room(n, vocabulary, self.dtype)
            try:
                for low, high in _taken(todo):
                    part = starts[low : high + 1]
                    add_pieces(self.logs, self.contexts, self.weights, part, *room, self.totals, out[low:high])
            finally:
                todo.clear()  # nothing is left; or what ends this thread, an interrupt say, ends the others too

        helpers = min(threads, len(todo)) - 1
        if helpers == 0:
            work()
            return out
        with ThreadPoolExecutor(helpers) as pool:  # this thread works too: one less to start and to wait for
            others = [pool.submit(work) for _ in range(helpers)]
            work()
            for other in others:
                other.result()
        return out


def _taken(todo: deque[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """One after the other, from a list that several threads take from."""
    while True:
        try:
            item = todo.popleft()
        except IndexError:  # nothing is left
            return
        yield item
