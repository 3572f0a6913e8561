"""An affinity's evidence cut into blocks of whole probes, for error bars that draw the blocks again.

    blocks = evidence_blocks(predictions)
    blocks.divergence                   # (B, n, n), the sum of which is J
    blocks.note                         # not empty where memory allowed fewer blocks than wanted

A block keeps an (n, n) matrix, 8 n^2 bytes. While 2 n of them fit in BLOCK_MEMORY (n <= 251) every task has blocks of
its own, up to 32, and a draw replaces them by each other. Of more tasks, groups share their blocks: a block holds some
probes of every task of its group, so that any draw of blocks has all tasks in it, each with about its share. There
are at most max(8, BLOCK_MEMORY / (8 n^2)) blocks then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from taskpgm.divergences import DEFAULT_DIVERGENCE, Divergence, JensenShannon
from taskpgm.divergences.tiles import blocks_elsewhere, worth_sending
from taskpgm.executors import LOCAL, Executor
from taskpgm.progress import Progress, silent
from taskpgm.types import Blocks, FloatArray, IntArray, Predictions, readonly

BLOCKS_PER_TASK = 32
BLOCKS_PER_GROUP = 8
BLOCK_MEMORY = 256e6
"""Bytes that the blocks' divergences may take."""


@dataclass(frozen=True, eq=False)
class BlockMembers:
    """Which block each context is in, before any divergence is known.

    members: (C,) the block of each context. stratum, note: see `Blocks`; without a note, stratum t is task t.
    """

    members: IntArray
    stratum: IntArray
    note: str


def evidence_blocks(
    predictions: Predictions,
    measure: Divergence = DEFAULT_DIVERGENCE,
    *,
    memory: float = BLOCK_MEMORY,
    progress: Progress = silent,
    executor: Executor = LOCAL,
) -> Blocks:
    """The predictions' divergences by blocks of probes: a few for each task, or for each group of tasks.

    Args:
        predictions: of every expert on the same contexts, some of every task.
        measure: the divergence.
        memory: bytes that the blocks may take; 8 blocks are kept whatever it is.
        progress: told how many contexts are done.
        executor: where much work is done on predictions in files, for Jensen-Shannon.
    """
    cut = block_members(predictions, memory)
    logs = predictions.log_probs
    if executor.elsewhere and isinstance(measure, JensenShannon) and worth_sending(logs):
        divergence = blocks_elsewhere(logs, predictions.weights, cut.members, executor, progress)
    else:
        divergence = measure.blocks(logs, predictions.weights, cut.members, progress)
    if cut.note:
        progress("divergences", len(cut.members), len(cut.members), cut.note)
    return blocks_of(predictions, cut, divergence)


def block_members(predictions: Predictions, memory: float = BLOCK_MEMORY) -> BlockMembers:
    """Whole probes shared out among blocks: a few for each task, or for each group of tasks."""
    groups, note = _groups(probe_counts(predictions), memory)
    members = np.empty(len(predictions.context_task), dtype=np.int64)
    stratum: list[int] = []
    for place, (tasks, count) in enumerate(groups):
        for offset, task in enumerate(tasks.tolist()):
            contexts = np.flatnonzero(predictions.context_task == task)
            _, probe = np.unique(predictions.context_probe[contexts], return_inverse=True)
            members[contexts] = len(stratum) + (probe + offset) % count
        stratum += [place] * count
    return BlockMembers(readonly(members, np.int64), readonly(stratum, np.int64), note)


def blocks_of(predictions: Predictions, cut: BlockMembers, divergence: FloatArray) -> Blocks:
    """The blocks of some predictions from their (B, n, n) divergences, which are locked, not copied."""
    return Blocks(
        stratum=cut.stratum,
        mass=readonly(np.bincount(cut.members, predictions.weights, minlength=len(cut.stratum)), np.float64),
        divergence=_locked(divergence),
        members=cut.members,
        scores=replace(predictions, log_probs=readonly(np.empty((*predictions.log_probs.shape[:2], 0)), np.float32)),
        note=cut.note,
    )


def by_stratum(blocks: Blocks) -> list[IntArray]:
    """For each stratum, the places of its blocks."""
    return [np.flatnonzero(blocks.stratum == place) for place in range(int(blocks.stratum.max()) + 1)]


def probe_counts(predictions: Predictions) -> IntArray:
    """(n,) how many probes each task has."""
    _, first = np.unique(predictions.context_probe, return_index=True)
    return np.bincount(predictions.context_task[first], minlength=len(predictions.names))


def _groups(probes: IntArray, memory: float) -> tuple[list[tuple[IntArray, int]], str]:
    """([(the tasks of a group, its number of blocks)], what the user should know of it).

    No group has more blocks than its tasks have probes, so tasks of about as many probes go together.
    """
    n = len(probes)
    fits = max(BLOCKS_PER_GROUP, int(memory // (8 * n**2)))
    if fits >= 2 * n or n == 1:
        each = min(BLOCKS_PER_TASK, fits // n)
        return [(np.array([task]), int(min(each, probes[task]))) for task in range(n)], ""
    order = np.argsort(-probes, kind="stable")
    parts = np.array_split(order, fits // BLOCKS_PER_GROUP)
    groups = [(part, int(min(BLOCKS_PER_GROUP, probes[part].min()))) for part in parts]
    return groups, (
        f"error bars of {n} tasks draw {sum(count for _, count in groups)} blocks of probes, shared by groups of tasks:"
        f" blocks for every task would take more than {memory / 1e6:.0f} MB"
    )


def _locked(array: FloatArray) -> FloatArray:
    """The array itself, read-only: a copy would double the memory."""
    array.setflags(write=False)
    return array
