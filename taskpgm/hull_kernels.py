"""Lower hulls of many functions at once, in numba. The slow twin is `taskpgm.envelopes.lower_hull`.

places, counts = lower_hulls(points, heights)
"""

from __future__ import annotations

import numba
import numpy as np

from taskpgm.types import FloatArray, IntArray

jit = numba.njit(cache=True, error_model="numpy")


@jit
def lower_hulls(points: FloatArray, heights: FloatArray) -> tuple[IntArray, IntArray]:
    """((n, G) places of the corners of each row's lower hull, from the first on, and (n,) how many they are).

    Args:
        points: (n, G) rising in every row; equal ones count as the first of them.
        heights: (n, G).
    """
    places = np.zeros(points.shape, dtype=np.int64)
    counts = np.zeros(len(points), dtype=np.int64)
    for j in range(len(points)):
        x, y, kept = points[j], heights[j], 0
        for c in range(points.shape[1]):
            if kept > 0 and x[c] <= x[places[j, kept - 1]]:
                continue
            while kept > 1:
                a, b = places[j, kept - 2], places[j, kept - 1]
                if (y[b] - y[a]) * (x[c] - x[a]) < (y[c] - y[a]) * (x[b] - x[a]):
                    break
                kept -= 1
            places[j, kept] = c
            kept += 1
        counts[j] = kept
    return places, counts
