"""Expected curves at many exposures, in numba: the exponents of the fitted shapes need no general power.

Imported on first use, since numba takes time. The slow twins are `ExpectedCurves.mean`, and its falls and slopes.

    means(exposures, *curve_arrays(curves))     # (m, n) as curves.mean(exposures)
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numba
import numpy as np

from taskpgm.expected_curves import ExpectedCurves
from taskpgm.types import FloatArray

jit = numba.njit(cache=True, error_model="numpy")
inlined = numba.njit(cache=True, error_model="numpy", inline="always")
Arrays: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]


def curve_arrays(curves: ExpectedCurves) -> Arrays:
    """((n,) expected floors, and (n, K) amounts, scales, steepness and powers) that the kernels take."""
    floors = (curves.weights * curves.floors).sum(axis=1)
    return floors, curves.weights * curves.drops, curves.scales, curves.steepness, curves.powers


@inlined
def _raised(x: float, s: float) -> float:
    """x^s."""
    if s == 1.0:
        return x
    if s == 2.0:
        return x * x
    if s == 3.0:
        return x * x * x
    if s == 1.5:
        return x * math.sqrt(x)
    return x**s


@inlined
def _fallen(y: float, k: float) -> float:
    """y^-k."""
    if k == 1.0:
        return 1.0 / y
    if k == 2.0:
        return 1.0 / (y * y)
    if k == 0.5:
        return 1.0 / math.sqrt(y)
    return y**-k


@jit
def means(
    exposures: FloatArray,
    floors: FloatArray,
    amounts: FloatArray,
    scales: FloatArray,
    steep: FloatArray,
    powers: FloatArray,
) -> FloatArray:
    """(m, n) expected losses at (m, n) exposures."""
    found = np.empty(exposures.shape)
    for j in range(exposures.shape[1]):
        for i in range(exposures.shape[0]):
            total = floors[j]
            for k in range(amounts.shape[1]):
                if amounts[j, k] > 0.0:
                    y = 1.0 + _raised(exposures[i, j] / scales[j, k], steep[j, k])
                    total += amounts[j, k] * _fallen(y, powers[j, k])
            found[i, j] = total
    return found


@jit
def derivatives(
    exposures: FloatArray,
    floors: FloatArray,
    amounts: FloatArray,
    scales: FloatArray,
    steep: FloatArray,
    powers: FloatArray,
) -> FloatArray:
    """(3, m, n) expected losses at (m, n) exposures, their first and second derivatives; 0 for the latter at 0."""
    found = np.zeros((3, *exposures.shape))
    for j in range(exposures.shape[1]):
        for i in range(exposures.shape[0]):
            e, loss, slope, bend = exposures[i, j], floors[j], 0.0, 0.0
            for k in range(amounts.shape[1]):
                if amounts[j, k] <= 0.0:
                    continue
                s, power = steep[j, k], powers[j, k]
                raised = _raised(e / scales[j, k], s)
                fall = amounts[j, k] * _fallen(1.0 + raised, power)
                loss += fall
                if e > 0.0:
                    rate = power * s * (raised / e) / (1.0 + raised)  # -d log fall / de
                    slope -= fall * rate
                    bend += fall * rate * (((power * s + 1.0) * raised - (s - 1.0)) / (e * (1.0 + raised)))
                elif s == 1.0:
                    slope -= fall * power / scales[j, k]
            found[0, i, j], found[1, i, j], found[2, i, j] = loss, slope, bend
    return found


@jit
def lines(
    exposures: FloatArray,
    floors: FloatArray,
    amounts: FloatArray,
    scales: FloatArray,
    steep: FloatArray,
    powers: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Ends, both (G, n), of lines below the losses between (G + 1, n) rising exposures.

    Of every shape it is the tangent at the right end where that is no higher than the shape at the left one, else the
    chord (see `taskpgm.envelopes`).
    """
    cells = exposures.shape[0] - 1
    left, right = np.empty((cells, exposures.shape[1])), np.empty((cells, exposures.shape[1]))
    for j in range(exposures.shape[1]):
        left[:, j] = floors[j]
        right[:, j] = floors[j]
        for k in range(amounts.shape[1]):
            if amounts[j, k] <= 0.0:
                continue
            before = _fallen(1.0 + _raised(exposures[0, j] / scales[j, k], steep[j, k]), powers[j, k])
            for g in range(cells):
                e, width = exposures[g + 1, j], exposures[g + 1, j] - exposures[g, j]
                raised = _raised(e / scales[j, k], steep[j, k])
                after = _fallen(1.0 + raised, powers[j, k])
                back = 0.0
                if width > 0.0:  # then e is positive too; the slope is -power steep (raised / e) fall / (1 + raised)
                    back = powers[j, k] * steep[j, k] * (raised / e) * (after / (1.0 + raised)) * width
                left[g, j] += amounts[j, k] * min(before, after + back)
                right[g, j] += amounts[j, k] * after
                before = after
    return left, right
