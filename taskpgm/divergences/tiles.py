"""The Jensen-Shannon divergences of stored predictions, shared out among the machines of a cluster.

    divergence = blocks_elsewhere(log_probs, weights, members, executor, progress)      # as `block_divergences`

Blocks of contexts are sums of their own, so a tile is some blocks with all their contexts; it travels once, and what
comes back is an (n, n) matrix a block. A block with more than TILE_MEMORY of contexts goes in rounds, each of which
adds to the last one's sum. Pairs stay together: what the kernel makes of a distribution serves all of them.

The pieces of contexts, their arithmetic and the order of all sums are those of `taskpgm.divergences.pieces` in one
process, so that the result is the same to the last bit. Less than LEAST_WORK is done there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeGuard

import numpy as np

from taskpgm.divergences.pieces import PIECES, piece_starts
from taskpgm.divergences.streaming import (
    ROUNDING,
    Arithmetic,
    check_totals,
    is_exact,
    normalisation_tolerance,
    of_negative_type,
)
from taskpgm.executors import Executor, Item, Job
from taskpgm.executors.executor import nothing
from taskpgm.progress import Progress
from taskpgm.stored import StoredLogProbs, context_slices
from taskpgm.types import BoolArray, Float32Array, FloatArray, IntArray

LEAST_WORK = 2**32
"""Logarithms below which nothing is sent anywhere: seconds of one processor."""
TILE_MEMORY = 64e6
"""Bytes of log-probabilities, and of sums, that a tile may have; at least a piece."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Contexts of one block that are added up before they are added to the block's sum. exact: in float64."""

    block: int
    contexts: IntArray
    exact: bool


@dataclass(frozen=True, eq=False)
class Tile:
    """What a machine gets: pieces of some blocks.

    log_probs: (n, k, W) of the contexts of all pieces. contexts: (k,) which they are. weights: (k,). starts: (p + 1,)
    where pieces begin, and the last one's end. block: (p,) the place of each one's sum. exact: (p,). sums: (b, n, n) of
    earlier rounds.
    """

    log_probs: Float32Array
    contexts: IntArray
    weights: FloatArray
    starts: IntArray
    block: IntArray
    exact: BoolArray
    sums: FloatArray


def worth_sending(log_probs: object) -> TypeGuard[StoredLogProbs]:
    """Whether it is work for a cluster."""
    if not isinstance(log_probs, StoredLogProbs):
        return False
    n, contexts, width = log_probs.shape
    return n * (n + 1) // 2 * contexts * width >= LEAST_WORK


def blocks_elsewhere(
    log_probs: StoredLogProbs, weights: FloatArray, members: IntArray, executor: Executor, progress: Progress
) -> FloatArray:
    """(B, n, n) what each block of contexts adds to the divergences, in nats.

    Args:
        log_probs, members: as for `block_divergences`.
        weights: (C,) not negative, of positive sum.
        executor: where tiles are computed.
        progress: told after each tile.
    """
    parts = list(context_slices(log_probs, log_probs.dtype.itemsize))
    weight = 0.0
    for part in parts:
        weight += float(weights[part].sum())
    pieces = _pieces(log_probs, parts, members, None)
    divergence = _summed(log_probs, weights, members, pieces, executor, progress)
    single = not all(piece.exact for piece in pieces)
    if single and not of_negative_type(divergence.sum(axis=0), weight * ROUNDING):
        pieces = _pieces(log_probs, parts, members, "float64")
        divergence = _summed(log_probs, weights, members, pieces, executor, progress)
    divergence /= weight
    return divergence


def _pieces(
    log_probs: StoredLogProbs, parts: Sequence[IntArray], members: IntArray, arithmetic: Arithmetic | None
) -> list[Piece]:
    """All pieces, in the order in which one process adds them up."""
    n, _, width = log_probs.shape
    work, pieces = 0, []
    for part in parts:
        work += n * (n + 1) // 2 * len(part) * width
        exact = is_exact(arithmetic, work)
        ordered = part[np.argsort(members[part], kind="stable")]
        for low, high in pairwise(piece_starts(members[ordered], PIECES).tolist()):
            pieces.append(Piece(int(members[ordered[low]]), ordered[low:high], exact))
    return pieces


def _summed(
    log_probs: StoredLogProbs,
    weights: FloatArray,
    members: IntArray,
    pieces: Sequence[Piece],
    executor: Executor,
    progress: Progress,
) -> FloatArray:
    """(B, n, n) sums, not yet divided by the weight."""
    n, contexts, width = log_probs.shape
    sums, done = np.zeros((int(members.max()) + 1, n, n)), 0
    most = max(1, int(TILE_MEMORY // (4 * n * width)))
    for tiles in _rounds(pieces, most, max(1, int(TILE_MEMORY // (8 * n * n)))):
        blocks = [np.unique([piece.block for piece in tile]) for tile in tiles]
        sizes = [sum(len(piece.contexts) for piece in tile) for tile in tiles]
        items = (
            Item(f"divergences of {size} contexts", _add_up, _tile(log_probs, weights, tile, own, sums[own]))
            for tile, own, size in zip(tiles, blocks, sizes, strict=True)
        )
        for index, found in executor.run(items, nothing):
            sums[blocks[index]] = found
            done += sizes[index]
            progress("divergences", done, contexts, f"{done} contexts")
    return sums


def _rounds(pieces: Sequence[Piece], contexts: int, blocks: int) -> Iterator[list[list[Piece]]]:
    """Tiles of up to so many contexts and blocks, in rounds; no block is in two tiles of a round."""
    by_block = sorted(pieces, key=lambda piece: piece.block)  # stable: the order within a block stays
    waiting = [list(own) for _, own in groupby(by_block, key=lambda piece: piece.block)]
    while waiting:
        tiles: list[list[Piece]] = []
        room, names = 0, 0
        for own in waiting:
            taken = _first(own, contexts)
            size = sum(len(piece.contexts) for piece in taken)
            if not tiles or size > room or names == blocks:
                tiles.append([])
                room, names = contexts, 0
            tiles[-1] += taken
            room, names = room - size, names + 1
            del own[: len(taken)]
        waiting = [own for own in waiting if own]
        yield tiles


def _first(pieces: Sequence[Piece], contexts: int) -> list[Piece]:
    """As many as have no more contexts than that; at least one."""
    ends = np.cumsum([len(piece.contexts) for piece in pieces])
    return list(pieces[: max(1, int(np.searchsorted(ends, contexts, side="right")))])


def _tile(
    log_probs: StoredLogProbs, weights: FloatArray, pieces: Sequence[Piece], blocks: IntArray, sums: FloatArray
) -> Tile:
    contexts = np.concatenate([piece.contexts for piece in pieces])
    return Tile(
        np.ascontiguousarray(log_probs[:, contexts]),  # the kernel for another order of bytes rounds in its own way
        contexts,
        weights[contexts],
        np.cumsum([0, *(len(piece.contexts) for piece in pieces)]),
        np.searchsorted(blocks, [piece.block for piece in pieces]),
        np.array([piece.exact for piece in pieces]),
        sums,
    )


def _add_up(job: Job) -> FloatArray:
    """(b, n, n) a tile's sums, from those that it came with."""
    tile: Tile = job.data
    n, contexts, width = tile.log_probs.shape
    sums, totals = tile.sums.copy(), np.empty((n, contexts))
    logs = tile.log_probs.view()
    logs.setflags(write=False)
    for p, block in enumerate(tile.block.tolist()):
        sums[block] += _divergence(tile, logs, p, totals, width)
    check_totals(totals, tile.contexts, normalisation_tolerance(tile.log_probs))
    return sums


def _divergence(tile: Tile, logs: Float32Array, piece: int, totals: FloatArray, width: int) -> FloatArray:
    """(n, n) the weighted divergences of one piece."""
    from taskpgm.divergences.kernels import add_pieces, working_room

    out = np.empty((1, len(logs), len(logs)))
    room = working_room(len(logs), width, np.dtype(np.float64 if tile.exact[piece] else np.float32))
    places = np.arange(len(tile.contexts))
    add_pieces(logs, places, tile.weights, tile.starts[piece : piece + 2], *room, totals, out)
    return np.asarray(out[0])
