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

from dataclasses import replace

import numpy as np

from taskpgm.divergences import block_divergences
from taskpgm.progress import Progress, silent
from taskpgm.types import Blocks, FloatArray, IntArray, Predictions, readonly

BLOCKS_PER_TASK = 32
BLOCKS_PER_GROUP = 8
BLOCK_MEMORY = 256e6
"""Bytes that the blocks' divergences may take."""


def evidence_blocks(predictions: Predictions, *, memory: float = BLOCK_MEMORY, progress: Progress = silent) -> Blocks:
    """The predictions' divergences by blocks of probes: a few for each task, or for each group of tasks.

    Args:
        predictions: of every expert on the same contexts, some of every task.
        memory: bytes that the blocks may take; 8 blocks are kept whatever it is.
        progress: told how many contexts are done.
    """
    groups, note = _groups(_probe_counts(predictions), memory)
    members = np.empty(len(predictions.context_task), dtype=np.int64)
    stratum: list[int] = []
    for place, (tasks, count) in enumerate(groups):
        for offset, task in enumerate(tasks.tolist()):
            contexts = np.flatnonzero(predictions.context_task == task)
            _, probe = np.unique(predictions.context_probe[contexts], return_inverse=True)
            members[contexts] = len(stratum) + (probe + offset) % count
        stratum += [place] * count
    divergence = block_divergences(predictions.log_probs, predictions.weights, members, progress)
    if note:
        progress("divergences", len(members), len(members), note)
    return Blocks(
        stratum=readonly(stratum, np.int64),
        mass=readonly(np.bincount(members, predictions.weights, minlength=len(stratum)), np.float64),
        divergence=_locked(divergence),
        members=readonly(members, np.int64),
        scores=replace(predictions, log_probs=predictions.log_probs[:, :, :0].copy()),
        note=note,
    )


def _probe_counts(predictions: Predictions) -> IntArray:
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
