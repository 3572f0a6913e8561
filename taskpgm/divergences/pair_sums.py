"""Sums over tokens for all pairs of experts that are no matrix product, in numba.

A context's distributions are used for all its pairs while they are in the cache. Sums are split into lanes (hence
"reassoc"); what they are made by is inlined, for the reason given in `taskpgm.divergences.kernels`.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from taskpgm.types import FloatArray, IntArray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def total_variation(probabilities: FloatArray, weights: FloatArray, contexts: IntArray, out: FloatArray) -> None:
    """Add some contexts to (n, n) out, from normalised (n, C, V) float64 probabilities; weights: (C,)."""
    n = len(probabilities)
    for c in contexts:
        for i in range(n):
            for j in range(i):
                out[i, j] += weights[c] * 0.5 * _difference(probabilities[i, c], probabilities[j, c])
    _mirror(out)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def renyi_jensen(
    probabilities: FloatArray, weights: FloatArray, contexts: IntArray, out: FloatArray, order: float
) -> None:
    """The same; order: of the entropy."""
    n = len(probabilities)
    own = np.zeros(n)
    for c in contexts:
        for i in range(n):
            own[i] = math.log(_power_of_mean(probabilities[i, c], probabilities[i, c], order))
            for j in range(i):
                mixed = math.log(_power_of_mean(probabilities[i, c], probabilities[j, c], order))
                gap = (mixed - 0.5 * (own[i] + own[j])) / (1.0 - order)
                out[i, j] += weights[c] * max(gap, 0.0)
    _mirror(out)


@numba.njit(cache=True, forceinline=True, fastmath={"reassoc"})
def _difference(p: FloatArray, q: FloatArray) -> float:
    total = 0.0
    for v in range(len(p)):
        total += math.fabs(p[v] - q[v])
    return total


@numba.njit(cache=True, forceinline=True, fastmath={"reassoc"})
def _power_of_mean(p: FloatArray, q: FloatArray, order: float) -> float:
    """The sum over tokens of ((p + q) / 2)^order; the square root is many times faster than another power."""
    total = 0.0
    if order == 0.5:
        for v in range(len(p)):
            total += math.sqrt(0.5 * (p[v] + q[v]))
    else:
        for v in range(len(p)):
            total += (0.5 * (p[v] + q[v])) ** order
    return total


@numba.njit(cache=True, forceinline=True)
def _mirror(lower: FloatArray) -> None:
    for i in range(len(lower)):
        for j in range(i):
            lower[j, i] = lower[i, j]
