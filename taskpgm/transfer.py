"""Exposure transfer: how much an example of one task counts as an example of another, read off the experts' losses.

Expert i, after e examples of its own task, has some loss on task j. Task j's own curve says after how many of its own
examples that loss is reached. Over all snapshots together, the examples that were reached for each that was seen are
what an example of i is worth to j:

    transfer = exposure_transfer(curves)        # (n, n) in [0, 1], 1 on the diagonal

Early snapshots weigh little that way. They should: what every task teaches first (the form of an answer, say) does not
go on adding up, and experts that end far from a task's answers do not teach it.
"""

from __future__ import annotations

import numpy as np

from taskpgm.loss_noise import fell_at_all
from taskpgm.types import FloatArray, LossCurves, readonly


def exposure_transfer(curves: LossCurves) -> FloatArray:
    """(n, n) A: A[i, j] examples of task j are worth one of task i, as far as task j's loss can tell.

    0 for targets whose own loss never fell: nothing can be said of them.
    """
    n = len(curves.names)
    transfer = np.zeros((n, n))
    seen = np.asarray(curves.examples, dtype=np.float64)
    for j in np.flatnonzero(fell_at_all(curves)):
        worth = _exposure_reaching(curves.losses[:, :, j], seen[j], curves.losses[j, :, j])
        transfer[:, j] = np.minimum(worth, seen).sum(axis=1) / seen.sum(axis=1)
    np.fill_diagonal(transfer, 1.0)
    return readonly(transfer, np.float64)


def unrehearsed_losses(curves: LossCurves) -> FloatArray:
    """(n,) what experts of other tasks end with on each task, their median: the loss without any example of it."""
    n = len(curves.names)
    if n == 1:
        return np.asarray(curves.losses[:, 0, 0])
    final = curves.losses[:, -1].copy()
    np.fill_diagonal(final, np.nan)
    return np.asarray(np.nanmedian(final, axis=0))


def start_losses(curves: LossCurves, transfer: FloatArray) -> FloatArray:
    """(n,) each task's loss without any exposure to it: the base's, or what unrelated experts end with if that is more.

    Training on other tasks makes a model forget; the experts' final losses on task j, weighted by 1 - A_ij, show it.
    """
    unrelated = 1.0 - transfer
    total = unrelated.sum(axis=0)
    forgotten = (unrelated * curves.losses[:, -1]).sum(axis=0) / np.where(total > 0.0, total, 1.0)
    return np.asarray(np.maximum(curves.losses[:, 0].mean(axis=0), np.where(total > 0.0, forgotten, -np.inf)))


def convex_envelope(exposures: FloatArray, losses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corners of the greatest convex function that never rises and is nowhere above the points.

    exposures: (S,) rising. losses: (S,).
    """
    kept: list[int] = []
    for s in range(int(np.argmin(losses)) + 1):  # from its least point on the envelope is flat
        while len(kept) > 1 and _above(kept[-2], kept[-1], s, exposures, losses):
            kept.pop()
        kept.append(s)
    return exposures[kept], losses[kept]


def _above(a: int, b: int, c: int, x: FloatArray, y: FloatArray) -> bool:
    """Whether point b lies on or above the line from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))


def _exposure_reaching(losses: FloatArray, exposures: FloatArray, own: FloatArray) -> FloatArray:
    """The exposure at which the envelope of a task's own curve is down to each loss; its last one for losses below."""
    corners, heights = convex_envelope(np.asarray(exposures, dtype=np.float64), own)
    return np.asarray(np.interp(-losses, -heights, corners))
