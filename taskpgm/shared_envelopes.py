"""The convex envelopes of losses over the shares that count as each task's own, as functions with slopes.

They are read off the points of a grid: straight bridges over the parts where a curve bends downwards, and elsewhere the
curve, by its slopes at the points and straight lines between these. So slopes never jump where points are close, which
Newton's method needs, and they are prices (`taskpgm.transfer_bound`), which need not be trusted. Beyond its ends an
envelope rises so steeply that nobody goes there.

    envelopes = Envelopes.of(network, points, steep=1e7)
    values, slopes, bends = envelopes.derivatives(shares)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Envelopes:
    """Of n tasks, with C corners at most: rows of those that have fewer repeat the last one.

    steep: the bend beyond the ends, nats. corners: (n, C) rising shares. heights: (n, C) losses there. starts, ends:
    (n, C - 1) slopes at both ends of the parts between them. bridges: (n, C - 1) whether points of the grid lie between
    them, above the envelope. last: (n,) the place of the last part.
    """

    steep: float
    corners: FloatArray
    heights: FloatArray
    starts: FloatArray
    ends: FloatArray
    bridges: NDArray[np.bool_]
    last: IntArray

    @classmethod
    def of(cls, network: TransferNetwork, points: FloatArray, steep: float) -> Envelopes:
        """On a grid of (n, G + 1) points."""
        from taskpgm.hull_kernels import lower_hulls

        losses, slopes, _ = network.derivatives(points.T)
        places, counts = lower_hulls(points, np.ascontiguousarray(losses.T))
        column = np.minimum(np.arange(max(int(counts.max()), 2)), counts[:, None] - 1)
        chosen = np.take_along_axis(places, column, axis=1)
        corners, heights, slope = (np.take_along_axis(v, chosen, axis=1) for v in (points, losses.T, slopes.T))
        width = np.diff(corners, axis=1)
        rates = np.divide(np.diff(heights, axis=1), width, out=slope[:, 1:].copy(), where=width > 0.0)
        distinct = np.cumsum(np.diff(points, axis=1, prepend=-np.inf) > 0.0, axis=1)
        bridges = np.diff(np.take_along_axis(distinct, chosen, axis=1), axis=1) > 1
        starts, ends = np.minimum(slope[:, :-1], rates), np.maximum(slope[:, 1:], rates)
        starts[:, 1:] = np.where(bridges[:, :-1], rates[:, :-1], np.maximum(starts[:, 1:], rates[:, :-1]))
        ends[:, :-1] = np.where(bridges[:, 1:], rates[:, 1:], np.minimum(ends[:, :-1], rates[:, 1:]))
        starts, ends = np.where(bridges, rates, starts), np.where(bridges, rates, ends)
        return cls(steep, corners, heights, starts, ends, bridges, np.maximum(counts - 2, 0))

    @cached_property
    def _widths(self) -> FloatArray:
        return np.diff(self.corners, axis=1)

    @cached_property
    def _sums(self) -> FloatArray:
        """(n, C - 1) the integral of the slopes up to each part."""
        gained = np.cumsum(0.5 * (self.starts + self.ends) * self._widths, axis=1)
        return self.heights[:, :1] + np.column_stack([np.zeros(len(gained)), gained[:, :-1]])

    def derivatives(self, shares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n,) envelopes at (n,) shares, up to constants that are the same everywhere, their slopes and their bends."""
        inside, tasks, k = self._places(shares)
        width = self._widths[tasks, k]
        bends = np.divide(self.ends[tasks, k] - self.starts[tasks, k], width, out=np.zeros(len(k)), where=width > 0.0)
        beyond, along = shares - inside, inside - self.corners[tasks, k]
        slopes = self.starts[tasks, k] + bends * along
        values = self._sums[tasks, k] + (self.starts[tasks, k] + 0.5 * bends * along) * along
        values = values + (slopes + 0.5 * self.steep * beyond) * beyond
        return values, slopes + self.steep * beyond, bends + self.steep * (beyond != 0.0)

    def excess(self, network: TransferNetwork, shares: FloatArray) -> FloatArray:
        """(n,) by how much losses at (n,) shares are above the bridges; 0 elsewhere."""
        inside, tasks, k = self._places(shares)
        rate = self.starts[tasks, k]
        bridge = self.heights[tasks, k] + rate * (inside - self.corners[tasks, k])
        above = network.derivatives(inside)[0] - bridge
        return np.where(self.bridges[tasks, k], np.maximum(above, 0.0), 0.0)

    def _places(self, shares: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
        """((n,) shares within the ends, (n,) tasks, (n,) the part in which each lies)."""
        inside = np.clip(shares, self.corners[:, 0], self.corners[:, -1])
        parts = np.clip((self.corners <= inside[:, None]).sum(axis=1) - 1, 0, self.last)
        return inside, np.arange(len(shares)), parts
