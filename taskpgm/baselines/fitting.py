"""Least squares for laws that are a straight line once their exponents are fixed.

nonnegative_lines(np.array([[1.0, 2.0, 3.0]]), np.array([3.0, 5.0, 7.0]))       # a = 1, b = 2, no error
"""

from __future__ import annotations

import numpy as np

from taskpgm.types import FloatArray


def nonnegative_lines(z: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The best y = a + b z with a, b >= 0 for each of many z: (a, b, sum of squared errors), each (G,).

    z: (G, R), not negative. y: (R,), not negative: so at most one of the two can be held at 0.
    """
    mean_z, mean_y = z.mean(axis=1), float(y.mean())
    centred = z - mean_z[:, None]
    slope = np.maximum(_ratio(centred @ y, (centred**2).sum(axis=1)), 0.0)
    below = slope * mean_z > mean_y  # the line meets the axis below 0: hold it at the origin
    slope = np.where(below, _ratio(z @ y, (z**2).sum(axis=1)), slope)
    intercept = np.where(below, 0.0, mean_y - slope * mean_z)
    return intercept, slope, ((intercept[:, None] + slope[:, None] * z - y) ** 2).sum(axis=1)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0.0)
