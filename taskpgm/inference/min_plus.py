"""Sharing out whole quanta by dynamic programming: min-plus convolutions, exact for any tables.

A piece is the least energy that some tasks can have for every number of quanta they may get together. Two pieces are
joined by the convolution c(s) = min over t of a(s - t) + b(t) (Bellman 1957; for allocation Ibaraki & Katoh 1988), in
O(n K^2) for all tasks. A group that has bounds of its own is joined first and cut to them, so groups may be nested or
apart, but not overlap.

    levels = allocate([np.array([3.0, 1.0, 0.5]), np.array([2.0, 1.0])], [0, 0], quanta=2)      # [1, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True)
class QuantaGroup:
    """The tasks of a group get at least `low` and at most `high` quanta together."""

    tasks: frozenset[int]
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class _Piece:
    """values[s]: the least energy of these tasks with offset + s quanta. choice[s]: what of it the right part gets."""

    tasks: frozenset[int]
    offset: int
    values: FloatArray
    left: _Piece | None = None
    right: _Piece | None = None
    choice: IntArray | None = None

    def within(self, low: int, high: int) -> _Piece:
        """The same for totals from low to high only."""
        first = min(max(low - self.offset, 0), len(self.values))
        last = min(max(high - self.offset + 1, first), len(self.values))
        choice = None if self.choice is None else self.choice[first:last]
        return _Piece(self.tasks, self.offset + first, self.values[first:last], self.left, self.right, choice)


def crossing(groups: Sequence[QuantaGroup]) -> tuple[QuantaGroup, QuantaGroup] | None:
    """Two groups that overlap with neither holding the other, or None."""
    for k, one in enumerate(groups):
        for other in groups[:k]:
            common = one.tasks & other.tasks
            if common and common not in (one.tasks, other.tasks):
                return other, one
    return None


def allocate(
    tables: Sequence[FloatArray], low: Sequence[int], quanta: int, groups: Sequence[QuantaGroup] = ()
) -> IntArray | None:
    """(n,) quanta of each task, of all that add up to `quanta` one of least energy; None where there are none.

    Args:
        tables: for each task the energies of low, low + 1, ... quanta; infinite where it may not have them.
        low: (n,) the least quanta of each task; may be negative.
        quanta: what is shared out.
        groups: nested or apart (`crossing` finds none).
    """
    pieces = [_Piece(frozenset([i]), int(low[i]), np.asarray(table, float)) for i, table in enumerate(tables)]
    everyone = QuantaGroup(frozenset(range(len(tables))), quanta, quanta)
    for group in [*sorted(groups, key=lambda group: len(group.tasks)), everyone]:
        inside = [piece for piece in pieces if piece.tasks <= group.tasks]
        pieces = [piece for piece in pieces if not piece.tasks <= group.tasks]
        pieces.append(_joined(inside, group.high).within(group.low, group.high))
    whole = pieces[0]
    if not len(whole.values) or not np.isfinite(whole.values[0]):
        return None
    return _shared(whole, quanta, len(tables))


def _joined(pieces: Sequence[_Piece], high: int) -> _Piece:
    """All pieces as one, for totals up to `high`."""
    from taskpgm.inference.min_plus_kernels import convolve

    rest = sum(piece.offset for piece in pieces)
    joined = pieces[0].within(pieces[0].offset, high - (rest - pieces[0].offset))
    for piece in pieces[1:]:
        size = min(len(joined.values) + len(piece.values) - 1, high - rest + 1)
        if size < 1 or not len(joined.values) or not len(piece.values):
            return _Piece(frozenset().union(*(each.tasks for each in pieces)), rest, np.zeros(0))
        values, choice = convolve(joined.values, piece.values, size)
        tasks = joined.tasks | piece.tasks
        joined = _Piece(tasks, joined.offset + piece.offset, values, joined, piece, choice)
    return joined


def _shared(whole: _Piece, quanta: int, count: int) -> IntArray:
    """Who gets what, read back from the choices."""
    levels, todo = np.zeros(count, np.int64), [(whole, quanta)]
    while todo:
        piece, total = todo.pop()
        if piece.left is None or piece.right is None or piece.choice is None:
            levels[next(iter(piece.tasks))] = total
            continue
        taken = piece.right.offset + int(piece.choice[total - piece.offset])
        todo += [(piece.right, taken), (piece.left, total - taken)]
    return levels
