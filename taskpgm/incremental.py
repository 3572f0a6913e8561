"""Tasks that come and go: the divergences of predictions, computing only what is not known from earlier ones.

    table = DivergenceTable.of(predictions)
    table = table.updated(more_predictions)             # one task more: one row of J, and its own probes
    table = table.updated(without_task(more, "sort"))   # one task less: nothing to compute
    affinity = table.affinity()                         # as estimate_affinity gives it

What one more task costs: its expert has to be compared with the n others on the probes of all tasks (one row), and its
own probes are contexts on which all experts have to be compared (a share 1 / n of the contexts, for all pairs). Both
are of the order of n pairs on all contexts, against n^2 / 2 from scratch. The models pay likewise: the new expert reads
all probes, and every expert reads the new ones.

A pair's part on a task's probes is taken over if both experts' distributions there, and the probes they belong to, have
the SHA-256 that they had. Names say where to look; positions say nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from taskpgm.affinity import Similarity, affinity_of
from taskpgm.blocks import BlockMembers, block_members, blocks_of, evidence_blocks
from taskpgm.divergences import DEFAULT_DIVERGENCE, Divergence
from taskpgm.divergences.streaming import of_negative_type
from taskpgm.stored import selected
from taskpgm.types import Affinity, Blocks, BoolArray, FloatArray, InputError, IntArray, Predictions, Reported, readonly
from taskpgm.utilities import Utility


@dataclass(frozen=True, eq=False)
class DivergenceTable:
    """The divergences of some predictions by blocks of probes, and what they were computed from.

    fingerprints: by (expert, task), the SHA-256 of the expert's distributions on the task's probes.
    """

    predictions: Predictions
    measure: Divergence
    blocks: Blocks
    fingerprints: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, predictions: Predictions, divergence: Divergence | None = None) -> DivergenceTable:
        """Everything from scratch.

        Raises:
            InputError: predictions with NaN or rows that are not distributions.
        """
        measure = DEFAULT_DIVERGENCE if divergence is None else divergence
        return cls(predictions, measure, evidence_blocks(predictions, measure), _fingerprints(predictions))

    def updated(self, predictions: Predictions) -> DivergenceTable:
        """The table of other predictions, from this one's entries as far as they are about the same.

        Everything is computed again where groups of tasks share blocks, before or now (more than 251 tasks: see
        `taskpgm.blocks`), since then a block is about several tasks; and where parts computed in float32, put together,
        no longer show that similarities are positive semidefinite, as when two experts are nearly equal.

        Raises:
            InputError: as for `of`, about what had to be computed.
        """
        cut, prints = block_members(predictions), _fingerprints(predictions)
        blocks = None if cut.note or self.blocks.note else self._put_together(predictions, cut, prints)
        if blocks is None or not _sure_of_type(blocks, self.measure):
            blocks = evidence_blocks(predictions, self.measure)
        return DivergenceTable(predictions, self.measure, blocks, prints)

    def affinity(self, *, utility: Utility | None = None, similarity: Similarity | None = None) -> Affinity:
        """What `estimate_affinity` gives for these predictions, with its arguments and errors."""
        return affinity_of(self.blocks, self.predictions, self.measure, utility, similarity)

    def _put_together(
        self, predictions: Predictions, cut: BlockMembers, prints: Mapping[tuple[str, str], str]
    ) -> Blocks:
        """What is known, and what is not computed now."""
        n = len(predictions.names)
        divergence = np.zeros((len(cut.stratum), n, n))
        fresh = np.ones((n, n), dtype=bool)  # [expert, task]: whether it has to be compared there with all others
        for t in range(n):
            fresh[:, t] = self._taken_over(predictions, cut, prints, t, divergence)
        _compute(predictions, self.measure, cut.members, fresh, divergence)
        return blocks_of(predictions, cut, divergence)

    def _taken_over(
        self,
        predictions: Predictions,
        cut: BlockMembers,
        prints: Mapping[tuple[str, str], str],
        t: int,
        divergence: FloatArray,
    ) -> BoolArray:
        """(n,) which experts are new on task t; the pairs of all others are written into (B, n, n) divergence."""
        names, name = predictions.names, predictions.names[t]
        old = np.array([prints[i, name] == self.fingerprints.get((i, name)) for i in names])
        if old.sum() < 2:
            return ~old
        before, there, here = self.predictions, self.predictions.names.index(name), np.flatnonzero(cut.stratum == t)
        their_blocks = np.flatnonzero(self.blocks.stratum == there)
        mine, theirs = cut.members[predictions.context_task == t], self.blocks.members[before.context_task == there]
        if not np.array_equal(mine - here[0], theirs - their_blocks[0]):  # cut into other blocks: more tasks, less room
            return np.ones(len(names), dtype=bool)
        places = np.array([before.names.index(i) for i in np.array(names, dtype=object)[old]])
        mass = predictions.weights[predictions.context_task == t].sum() / self.blocks.mass[their_blocks].sum()
        kept = np.flatnonzero(old)
        divergence[np.ix_(here, kept, kept)] = mass * self.blocks.divergence[np.ix_(their_blocks, places, places)]
        return ~old


def without_task(predictions: Predictions, name: str) -> Predictions:
    """The predictions without a task's expert and its probes; the other tasks have equal mass again.

    Raises:
        InputError: no such task, or none that would be left to compare.
    """
    if name not in predictions.names:
        raise InputError(f"{name!r} is not a task; the tasks are {', '.join(predictions.names)}.")
    if len(predictions.names) < 3:
        raise InputError(f"without {name!r} a single task is left, with nothing to compare it to.")
    gone = predictions.names.index(name)
    experts = np.delete(np.arange(len(predictions.names)), gone)
    kept = predictions.context_task != gone
    weights, reported = predictions.weights[kept], predictions.reported
    return replace(
        predictions,
        names=tuple(predictions.names[i] for i in experts),
        log_probs=selected(predictions.log_probs, experts, kept),
        target_log_probs=readonly(predictions.target_log_probs[experts][:, kept], np.float32),
        base_target_log_probs=readonly(predictions.base_target_log_probs[kept], np.float32),
        marginal_log_probs=readonly(predictions.marginal_log_probs[kept], np.float32),
        context_task=readonly(np.searchsorted(experts, predictions.context_task[kept]), np.int64),
        context_probe=readonly(predictions.context_probe[kept], np.int64),
        weights=readonly(weights / weights.sum(), np.float64),
        reported=None if reported is None else _part(reported, experts, kept),
    )


def _part(reported: Reported, experts: IntArray, kept: BoolArray) -> Reported:
    return Reported(
        readonly(reported.known[experts][:, kept], np.bool_), readonly(reported.caps[experts][:, kept], np.float64)
    )


def _compute(
    predictions: Predictions, measure: Divergence, members: IntArray, fresh: BoolArray, divergence: FloatArray
) -> None:
    """Write what the fresh experts need into (B, n, n) divergence: whole tasks at once, else pair by pair."""
    n, task = len(predictions.names), predictions.context_task
    whole = 2 * fresh.sum(axis=0) >= n  # a pair by itself costs twice what it costs among many
    some = np.isin(task, np.flatnonzero(whole))
    if some.any():
        mine = np.unique(members[some])
        divergence[mine] = _blocks(predictions, measure, members, np.arange(n), some)[mine]
    rows = fresh & ~whole
    for i in np.flatnonzero(rows.any(axis=1)):
        for j in range(n):
            there = rows[i] if j > i else rows[i] & ~rows[j]  # a pair of two fresh ones is computed once
            some = np.isin(task, np.flatnonzero(there))
            if j == i or not some.any():
                continue
            mine = np.unique(members[some])
            found = _blocks(predictions, measure, members, np.array([i, j]), some)[mine, 0, 1]
            divergence[mine, i, j] = divergence[mine, j, i] = found


def _blocks(
    predictions: Predictions, measure: Divergence, members: IntArray, experts: IntArray, contexts: BoolArray
) -> FloatArray:
    """(B', m, m) of some experts on some contexts, with the weights that these have among all; B' up to B."""
    weights = predictions.weights[contexts]
    logs = selected(predictions.log_probs, experts, contexts)
    scale = float(weights.sum() / predictions.weights.sum())
    return scale * measure.blocks(logs, weights, members[contexts])


def _sure_of_type(blocks: Blocks, measure: Divergence) -> bool:
    """Whether errors of float32 arithmetic cannot have made the divergences of another type; see `of_negative_type`."""
    error = measure.arithmetic_error
    return error == 0.0 or of_negative_type(blocks.divergence.sum(axis=0), error)


def _fingerprints(predictions: Predictions) -> dict[tuple[str, str], str]:
    """By (expert, task): of the distributions, which probe each context belongs to, and how contexts weigh there."""
    prints = {}
    for t, task in enumerate(predictions.names):
        contexts = np.flatnonzero(predictions.context_task == t)
        _, probe = np.unique(predictions.context_probe[contexts], return_inverse=True)
        weights = predictions.weights[contexts]
        about = probe.astype(np.int64).tobytes() + np.round(weights / weights.sum(), 12).tobytes()
        for i, expert in enumerate(predictions.names):
            logs = np.ascontiguousarray(predictions.log_probs[i, contexts])
            prints[expert, task] = hashlib.sha256(about + repr(logs.shape).encode() + logs.tobytes()).hexdigest()
    return prints
