"""The numba kernel of the Jensen-Shannon divergence. Imported on first use: compiling and importing numba takes time.

With r_v the largest probability that any expert gives to token v, and s_v = (P_i(v) + P_j(v)) / (2 r_v), in [0, 1],

    F_ij = sum_v (P_i(v) + P_j(v)) log2 s_v,      JSD(P_i, P_j) = ln 2 / 2 * (F_ii / 2 + F_jj / 2 - F_ij)

since r cancels. So a pair and token cost one logarithm, of a number near 1 wherever all experts agree: its rounding is
small there, and cancels exactly between equal experts. The same code serves float32 (logarithm and exponential are
polynomials, sums run in float32 over a tile of the vocabulary and in float64 over the tiles) and float64. What is
computed for a pair does not depend on the number of threads: `add_pieces` releases the lock and writes its own part.

Functions are forced into their caller. A function that stays apart is there twice, in its own library and in that of
its caller, where it was optimised once more; a process that has just compiled it runs the first, one that reads the
caller from the cache the second, and the order of sums, and so the last digits, differ between the two.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

from taskpgm.types import FloatArray, IntArray

TILE = 2048
"""Tokens summed in the precision of the arithmetic."""
EXPERTS = 16
"""Experts whose tiles are held against as many others' at a time: half a megabyte in float32."""
LINE = 64
"""Bytes of a line of the cache."""
PAD = 64
"""Rows are padded by zeros to a multiple of this, so that only whole vectors are computed."""
SMALLEST = -69.0
"""The logarithm of 1e-30: in float32 what is less probable counts as that, so that no product is a denormal number."""
NEGLIGIBLE = 1e-36
"""A token that no expert finds more probable is left out."""
LN2 = math.log(2.0)
SUMS = {"reassoc", "contract", "nsz"}
"""What vectorising a sum needs; kept from the functions that rely on the order of their operations."""

# where the octave [2/3, 4/3) begins, and the exponent's bits
_LOWEST_SINGLE, _EXPONENT_SINGLE = np.int32(0x3F2AAAAB), np.int32(-(1 << 23))
_LOWEST_DOUBLE, _EXPONENT_DOUBLE = np.int64(0x3FE5555555555555), np.int64(-(1 << 52))
_ONE, _SMALLEST = np.float32(1.0), np.float32(SMALLEST)
# log2(1 + f) / f on [-1/3, 1/3]: the least largest error of its product with f, 4.4e-8
_A0, _A1, _A2, _A3, _A4, _A5, _A6, _A7 = np.array(
    [1.44269409, -0.72134393, 0.48101971, -0.36092775, 0.28458815, -0.23467829, 0.25202547, -0.23198909], np.float32
)
# (e^f - 1 - f) / f^2 on [-ln 2 / 2, ln 2 / 2]: the least largest relative error of e^f
_B2, _B3, _B4, _B5, _B6 = np.array(
    [0.49999999918, 0.16666666182, 0.0416727979, 0.00835725025, 0.00134089429], np.float32
)
_C = tuple(2.0 / (LN2 * (2 * k + 1)) for k in range(12))  # log2((1 + z) / (1 - z)) in odd powers of z


@numba.njit(cache=True, forceinline=True, fastmath={"contract"}, error_model="numpy")
def log2_single(x: np.float32) -> np.float32:
    """log2 x in float32 for positive normal x, to 8e-8 + 6e-8 |log2 x|; finite at 0, so that 0 log 0 is 0."""
    bits = np.float32(x).view(np.int32)
    above = np.int32(bits - _LOWEST_SINGLE)
    f = np.int32(bits - np.int32(above & _EXPONENT_SINGLE)).view(np.float32) - _ONE
    p = ((((((_A7 * f + _A6) * f + _A5) * f + _A4) * f + _A3) * f + _A2) * f + _A1) * f + _A0
    return np.float32(np.int32(above >> np.int32(23))) + p * f


@numba.njit(cache=True, forceinline=True, fastmath={"contract"}, error_model="numpy")
def log2_double(x: float) -> float:
    """log2 x in float64 for positive normal x, to rounding (|z| <= 1/5: the next term is 1e-18 of the first)."""
    bits = np.float64(x).view(np.int64)
    above = np.int64(bits - _LOWEST_DOUBLE)
    f = np.int64(bits - np.int64(above & _EXPONENT_DOUBLE)).view(np.float64) - 1.0
    z = f / (2.0 + f)
    y = z * z
    p = (((((_C[11] * y + _C[10]) * y + _C[9]) * y + _C[8]) * y + _C[7]) * y + _C[6]) * y + _C[5]
    p = ((((p * y + _C[4]) * y + _C[3]) * y + _C[2]) * y + _C[1]) * y + _C[0]
    return np.float64(above >> 52) + p * z


@numba.njit(cache=True, forceinline=True, fastmath={"contract"}, error_model="numpy")
def exp_single(x: np.float32) -> np.float32:
    """e^x in float32 for x clipped to [SMALLEST, 1]; ln 2 in two parts, the first of few digits."""
    x = _SMALLEST if x < _SMALLEST else x
    x = _ONE if x > _ONE else x
    k = (x * np.float32(1.0 / LN2) + np.float32(1.5 * 2**23)) - np.float32(1.5 * 2**23)  # the nearest whole number
    f = (x - k * np.float32(355.0 / 512.0)) - k * np.float32(LN2 - 355.0 / 512.0)
    p = (((((_B6 * f + _B5) * f + _B4) * f + _B3) * f + _B2) * f + _ONE) * f + _ONE
    return np.int32(np.int32(np.int32(k) << np.int32(23)) + np.int32(127 << 23)).view(np.float32) * p


def _log2(x: Any) -> Any:
    raise NotImplementedError("numba puts the logarithm for the type of x in its place")


@overload(_log2)
def _log2_for(x: Any) -> Any:
    def single(x: Any) -> Any:
        return log2_single(x)

    def double(x: Any) -> Any:
        return log2_double(x)

    return single if x == numba.float32 else double


def _exp(x: Any, like: Any) -> Any:
    raise NotImplementedError("numba puts the exponential for the type of `like` in its place")


@overload(_exp)
def _exp_for(x: Any, like: Any) -> Any:
    def single(x: Any, like: Any) -> Any:
        return exp_single(np.float32(x))

    def double(x: Any, like: Any) -> Any:
        return math.exp(np.float64(x))

    return single if like == numba.float32 else double


def working_room(experts: int, vocabulary: int, dtype: np.dtype[Any]) -> tuple[Any, Any, FloatArray]:
    """What `add_pieces` works in: (t, n, w) rows, tile after tile; (n + 2, w) of a tile; and (n, n) sums.

    Whole tiles, since rows that lie a power of two apart push each other out of the cache.
    """
    width = min(TILE, -(-vocabulary // PAD) * PAD)
    rows = _aligned((-(-vocabulary // width), experts, width), dtype)
    return rows, _aligned((experts + 2, width), dtype), np.empty((experts, experts))


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Room that begins where a line of the cache does: a vector across two lines takes twice as long to read."""
    size = math.prod(shape)
    room = np.empty(size + LINE // dtype.itemsize, dtype)
    first = -room.ctypes.data % LINE // dtype.itemsize
    return room[first : first + size].reshape(shape)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_pieces(
    log_probs: Any,
    contexts: IntArray,
    weights: FloatArray,
    starts: IntArray,
    rows: Any,
    tiles: Any,
    sums: FloatArray,
    totals: FloatArray,
    out: FloatArray,
) -> None:
    """The weighted Jensen-Shannon divergences of some pieces of the contexts, in nats, one context after another.

    Args:
        log_probs: (n, C, V) float32 or float64.
        contexts, weights: (k,) the contexts to go through, and their weights.
        starts: (p + 1,) where each piece begins in them, and where the last one ends.
        rows, tiles, sums: room to work in, see `working_room`; its dtype is that of the arithmetic.
        totals: (n, k) float64, the sums of the probabilities are written here.
        out: (p, n, n) float64, the divergences are written here: both triangles, and a zero diagonal.
    """
    n = len(log_probs)
    for piece in range(len(out)):
        out[piece] = 0.0
        for k in range(starts[piece], starts[piece + 1]):
            for i in range(n):
                totals[i, k] = _exponentials(log_probs[i, contexts[k]], rows, i)
            sums[:] = 0.0
            for t in range(len(rows)):
                width = min(tiles.shape[1], -(-(log_probs.shape[2] - t * tiles.shape[1]) // PAD) * PAD)
                _scale(rows[t], width, totals[:, k], tiles)
                for top in range(0, n, EXPERTS):
                    for left in range(0, top + 1, EXPERTS):
                        _add_square(rows[t], tiles, width, top, left, sums)
            _add_divergences(sums, weights[k], out[piece])
        for i in range(n):
            for j in range(i):
                out[piece, j, i] = out[piece, i, j]


@numba.njit(cache=True, forceinline=True, error_model="numpy")
def _exponentials(logs: Any, out: Any, i: int) -> float:
    """Probabilities into out[:, i], followed by zeros, and their sum."""
    total, width = 0.0, out.shape[2]
    for t in range(len(out)):
        part = logs[t * width : (t + 1) * width]
        total += _tile_exponentials(part, out[t, i, : len(part)])
        out[t, i, len(part) :] = 0.0
    return total


@numba.njit(cache=True, forceinline=True, fastmath=SUMS, error_model="numpy")
def _tile_exponentials(logs: Any, out: Any) -> Any:
    total = out.dtype.type(0)
    for v in range(len(logs)):
        p = _exp(logs[v], total)
        out[v] = p
        total += p
    return total


@numba.njit(cache=True, forceinline=True, error_model="numpy")
def _scale(rows: Any, width: int, totals: Any, tiles: Any) -> None:
    """P_i into a tile's rows, which hold probabilities of these totals, and P_i / (2 r) into tiles."""
    n = len(rows)
    largest, inverse = tiles[n, :width], tiles[n + 1, :width]
    largest[:] = 0.0
    for i in range(n):
        _normalise(rows[i, :width], rows.dtype.type(1.0 / totals[i]), largest)
    half = rows.dtype.type(0.5)
    for v in range(width):
        inverse[v] = half / largest[v] if largest[v] > NEGLIGIBLE else rows.dtype.type(0)
    for i in range(n):
        _multiply(rows[i, :width], inverse, tiles[i, :width])


@numba.njit(cache=True, forceinline=True, error_model="numpy")
def _normalise(row: Any, factor: Any, largest: Any) -> None:
    for v in range(len(row)):
        p = row[v] * factor
        row[v] = p
        largest[v] = largest[v] if largest[v] > p else p


@numba.njit(cache=True, forceinline=True, error_model="numpy")
def _multiply(row: Any, by: Any, out: Any) -> None:
    for v in range(len(out)):
        out[v] = row[v] * by[v]


@numba.njit(cache=True, forceinline=True, error_model="numpy")
def _add_square(rows: Any, tiles: Any, width: int, top: int, left: int, sums: FloatArray) -> None:
    """Add a tile's F_ij between EXPERTS experts and EXPERTS others, on and below the diagonal."""
    n = len(sums)
    for i in range(top, min(top + EXPERTS, n)):
        for j in range(left, min(left + EXPERTS, i + 1)):
            sums[i, j] += _tile_sum(rows[i, :width], rows[j, :width], tiles[i, :width], tiles[j, :width])


@numba.njit(cache=True, forceinline=True, fastmath=SUMS, error_model="numpy")
def _tile_sum(p: Any, q: Any, first: Any, second: Any) -> Any:
    # 2 r s is p + q: an addition is free where the multiplications of the logarithm are what takes the time
    total = p.dtype.type(0)
    for v in range(len(p)):
        total += (p[v] + q[v]) * _log2(first[v] + second[v])
    return total


@numba.njit(cache=True, forceinline=True, error_model="numpy")
def _add_divergences(sums: FloatArray, weight: float, out: FloatArray) -> None:
    """Add the weighted divergences of one context, below the diagonal."""
    for i in range(len(sums)):
        for j in range(i):
            divergence = 0.5 * LN2 * (0.5 * (sums[i, i] + sums[j, j]) - sums[i, j])
            out[i, j] += weight * min(max(divergence, 0.0), LN2)
