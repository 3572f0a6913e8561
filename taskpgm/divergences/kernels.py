"""The numba kernels of the divergences. Imported on first use, since compiling and importing numba takes time."""

from __future__ import annotations

import math

import numba
import numpy as np

from taskpgm.types import FloatArray, IntArray


@numba.njit(parallel=True, cache=True, error_model="numpy")
def pairwise_divergence(probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    """(n, n) from normalised (n, C, V) float64 probabilities and (C,) weights of sum 1; see jensen_shannon."""
    n, contexts, vocabulary = probabilities.shape
    negentropy = np.zeros((n, contexts))
    for i in numba.prange(n):
        for c in range(contexts):
            negentropy[i, c] = _negentropy(probabilities[i, c])
    divergence = np.zeros((n, n))
    for pair in numba.prange(n * (n - 1) // 2):
        i, j = _pair(pair)
        mean = 0.0
        for c in range(contexts):
            if weights[c] == 0.0:
                continue
            total = 0.0
            for v in range(vocabulary):
                s = probabilities[i, c, v] + probabilities[j, c, v]
                if s > 0.0:
                    total += s * math.log(s)
            # sum of s is 2, so that sum s log(s / 2) = total - 2 log 2
            jsd = 0.5 * (negentropy[i, c] + negentropy[j, c] - total) + math.log(2.0)
            mean += weights[c] * min(max(jsd, 0.0), math.log(2.0))
        divergence[i, j] = mean
        divergence[j, i] = mean
    return divergence


@numba.njit(parallel=True, cache=True, error_model="numpy")
def block_divergences(probabilities: FloatArray, weights: FloatArray, members: IntArray, blocks: int) -> FloatArray:
    """(blocks, n, n) weighted sums over the contexts of each block; members: (C,) the block of each context."""
    n, contexts, vocabulary = probabilities.shape
    negentropy = np.zeros((n, contexts))
    for i in numba.prange(n):
        for c in range(contexts):
            negentropy[i, c] = _negentropy(probabilities[i, c])
    divergence = np.zeros((blocks, n, n))
    for pair in numba.prange(n * (n - 1) // 2):
        i, j = _pair(pair)
        for c in range(contexts):
            total = 0.0
            for v in range(vocabulary):
                s = probabilities[i, c, v] + probabilities[j, c, v]
                if s > 0.0:
                    total += s * math.log(s)
            jsd = 0.5 * (negentropy[i, c] + negentropy[j, c] - total) + math.log(2.0)
            divergence[members[c], i, j] += weights[c] * min(max(jsd, 0.0), math.log(2.0))
        for b in range(blocks):
            divergence[b, j, i] = divergence[b, i, j]
    return divergence


@numba.njit(cache=True, error_model="numpy")
def _negentropy(probabilities: FloatArray) -> float:
    total = 0.0
    for p in probabilities:
        if p > 0.0:
            total += p * math.log(p)
    return total


@numba.njit(cache=True, error_model="numpy")
def _pair(place: int) -> tuple[int, int]:
    """The place-th pair (i, j) with j < i."""
    i = int((1.0 + math.sqrt(1.0 + 8.0 * place)) // 2)
    while i * (i - 1) // 2 > place:
        i -= 1
    while (i + 1) * i // 2 <= place:
        i += 1
    return i, place - i * (i - 1) // 2
