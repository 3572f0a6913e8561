"""Sums over tokens for all pairs of experts that are no matrix product, in numba.

Threads share out the blocks of contexts; a context's distributions are used for all its pairs while they are in the
cache. Each sum is made by one thread in the same order every time, split into lanes (hence "reassoc").
"""

from __future__ import annotations

import math

import numba
import numpy as np

from taskpgm.types import FloatArray, IntArray


@numba.njit(parallel=True, cache=True, error_model="numpy")
def total_variation(probabilities: FloatArray, weights: FloatArray, members: IntArray, blocks: int) -> FloatArray:
    """(blocks, n, n) from normalised (n, C, V) float64 probabilities; weights and members: (C,)."""
    n, contexts, _ = probabilities.shape
    result = np.zeros((blocks, n, n))
    for b in numba.prange(blocks):
        for c in range(contexts):
            if members[c] != b or weights[c] == 0.0:
                continue
            for i in range(n):
                for j in range(i):
                    result[b, i, j] += weights[c] * 0.5 * _difference(probabilities[i, c], probabilities[j, c])
        _mirror(result[b])
    return result


@numba.njit(parallel=True, cache=True, error_model="numpy")
def renyi_jensen(
    probabilities: FloatArray, weights: FloatArray, members: IntArray, blocks: int, order: float
) -> FloatArray:
    """(blocks, n, n) from normalised (n, C, V) float64 probabilities; weights and members: (C,)."""
    n, contexts, _ = probabilities.shape
    result = np.zeros((blocks, n, n))
    for b in numba.prange(blocks):
        own = np.zeros(n)
        for c in range(contexts):
            if members[c] != b or weights[c] == 0.0:
                continue
            for i in range(n):
                own[i] = math.log(_power_of_mean(probabilities[i, c], probabilities[i, c], order))
                for j in range(i):
                    mixed = math.log(_power_of_mean(probabilities[i, c], probabilities[j, c], order))
                    gap = (mixed - 0.5 * (own[i] + own[j])) / (1.0 - order)
                    result[b, i, j] += weights[c] * max(gap, 0.0)
        _mirror(result[b])
    return result


@numba.njit(cache=True, fastmath={"reassoc"})
def _difference(p: FloatArray, q: FloatArray) -> float:
    total = 0.0
    for v in range(len(p)):
        total += math.fabs(p[v] - q[v])
    return total


@numba.njit(cache=True, fastmath={"reassoc"})
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


@numba.njit(cache=True)
def _mirror(lower: FloatArray) -> None:
    for i in range(len(lower)):
        for j in range(i):
            lower[j, i] = lower[i, j]
