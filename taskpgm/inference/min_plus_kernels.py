"""The numba kernel of min-plus convolution. Imported on first use, since numba takes time.

values, choice = convolve(np.array([0.0, 3.0]), np.array([1.0, 2.0]), 3)    # [1, 2, 5], [0, 1, 1]
"""

from __future__ import annotations

import numba
import numpy as np

from taskpgm.types import FloatArray, IntArray

jit = numba.njit(cache=True, error_model="numpy")


@jit
def convolve(a: FloatArray, b: FloatArray, size: int) -> tuple[FloatArray, IntArray]:
    """values[s] = min over t of a[s - t] + b[t], and the t, for s < size; of equal ones the least t."""
    values, choice = np.full(size, np.inf), np.zeros(size, np.int64)
    for t in range(len(b)):
        for s in range(t, min(size, t + len(a))):
            value = a[s - t] + b[t]
            if value < values[s]:
                values[s] = value
                choice[s] = t
    return values, choice
