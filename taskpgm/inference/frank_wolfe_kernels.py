"""Exchanges of weight between two tasks of a small working set, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from taskpgm.types import FloatArray


@njit(cache=True)
def exchange(
    gram: FloatArray,
    slope: FloatArray,
    weights: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    tolerance: float,
    most: int,
) -> int:
    """Exchange weight between pairs of tasks until no pair's slopes differ by more than `tolerance`; returns how often.

    gram: (m, m) the Hessian. slope: (m,) the gradient, kept up to date; weights: (m,), changed in place. The taker has
    the least slope of those with room; the giver is where the exact step gains most (Fan, Chen & Lin 2005).
    """
    m = len(slope)
    for count in range(most):
        taker, least = -1, np.inf
        for i in range(m):
            if weights[i] < upper[i] and slope[i] < least:
                taker, least = i, slope[i]
        if taker < 0:
            return count
        giver, best, widest = -1, 0.0, 0.0
        for j in range(m):
            apart = slope[j] - least
            if weights[j] > lower[j] and apart > 0.0:
                widest = max(widest, apart)
                bend = gram[taker, taker] + gram[j, j] - 2.0 * gram[taker, j]
                gain = apart * apart / max(bend, 1e-300)
                if gain > best:
                    giver, best = j, gain
        if giver < 0 or widest <= tolerance:
            return count
        bend = gram[taker, taker] + gram[giver, giver] - 2.0 * gram[taker, giver]
        room = min(upper[taker] - weights[taker], weights[giver] - lower[giver])
        wanted = (slope[giver] - slope[taker]) / bend if bend > 0.0 else np.inf
        step = min(room, wanted)
        weights[taker] += step
        weights[giver] -= step
        if step >= room:  # exactly at the bound, so that it counts as full or empty
            if upper[taker] - weights[taker] < weights[giver] - lower[giver]:
                weights[taker] = upper[taker]
            else:
                weights[giver] = lower[giver]
        for k in range(m):
            slope[k] += step * (gram[k, taker] - gram[k, giver])
    return most
