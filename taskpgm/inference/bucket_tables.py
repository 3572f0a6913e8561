"""What elimination does to tables whose last axis is the sum of levels that has been used so far.

A factor is (nodes, values) with one axis for each node, in order of elimination, and then that axis. Two factors that
meet are convolved along it: in (max, +), with a note of how the sum is split, for the best assignment; in logarithms of
(+, x) for marginals. A table without a budget has a last axis of length 1, and convolving is adding.

    best, split = best_sums(a, b, most=10)
    total = convolved(a, b, most=10)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.types import FloatArray, IntArray

Factor = tuple[tuple[int, ...], FloatArray]


def aligned(factor: Factor, scope: tuple[int, ...]) -> FloatArray:
    """A factor's values with an axis for every node of a scope that includes its own, of length 1 for the others."""
    own, values = factor
    shape = iter(values.shape)
    sizes = [next(shape) if node in own else 1 for node in scope]
    return values.reshape(*sizes, values.shape[-1])


def best_sums(a: FloatArray, b: FloatArray, most: int) -> tuple[FloatArray, NDArray[Any] | None]:
    """The max-plus convolution along the last axis up to `most`, and the index in b that each entry comes from."""
    if b.shape[-1] == 1:
        return a + b, None
    length = max(1, min(a.shape[-1] + b.shape[-1] - 1, most + 1))
    shape = (*np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), length)
    best, split = np.full(shape, -np.inf), np.zeros(shape, dtype=np.min_scalar_type(b.shape[-1]))
    for k in range(min(b.shape[-1], length)):
        stop = min(length, k + a.shape[-1])
        part = a[..., : stop - k] + b[..., k : k + 1]
        better = part > best[..., k:stop]
        np.copyto(best[..., k:stop], part, where=better)
        np.copyto(split[..., k:stop], k, where=better)
    return best, split


def best_states(table: FloatArray, levels: IntArray, most: int) -> tuple[FloatArray, NDArray[Any]]:
    """The maximum over the first axis, a node's states, and where it is; a state moves its entries by its level."""
    length = max(1, min(table.shape[-1] + int(levels.max()), most + 1))
    shape = (*table.shape[1:-1], length)
    best, choices = np.full(shape, -np.inf), np.zeros(shape, dtype=np.min_scalar_type(len(levels)))
    for state, level in enumerate(levels.tolist()):
        stop = min(length, level + table.shape[-1])
        if stop <= level:
            continue
        part = table[state, ..., : stop - level]
        better = part > best[..., level:stop]
        np.copyto(best[..., level:stop], part, where=better)
        np.copyto(choices[..., level:stop], state, where=better)
    return best, choices


def convolved(a: FloatArray, b: FloatArray, most: int) -> FloatArray:
    """log of the convolution of exp(a) and exp(b) along the last axis, up to `most`."""
    if a.shape[-1] < b.shape[-1]:
        a, b = b, a
    if b.shape[-1] == 1:
        return a + b
    length = max(1, min(a.shape[-1] + b.shape[-1] - 1, most + 1))
    total = np.full((*np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), length), -np.inf)
    for k in range(min(b.shape[-1], length)):
        stop = min(length, k + a.shape[-1])
        np.logaddexp(total[..., k:stop], a[..., : stop - k] + b[..., k : k + 1], out=total[..., k:stop])
    return total


def met(a: FloatArray, b: FloatArray, total: int) -> FloatArray:
    """Entry `total` of `convolved(a, b)`."""
    low, high = max(0, total - a.shape[-1] + 1), min(total, b.shape[-1] - 1)
    reversed_a = a[..., total - high : total - low + 1][..., ::-1]
    return log_sum(reversed_a + b[..., low : high + 1], (-1,))


def moved(table: FloatArray, levels: IntArray, most: int) -> FloatArray:
    """The table with the entries of every state of the first axis moved by its level along the last one."""
    if not levels.any():
        return table
    length = max(1, min(table.shape[-1] + int(levels.max()), most + 1))
    result = np.full((*table.shape[:-1], length), -np.inf)
    for state, level in enumerate(levels.tolist()):
        stop = min(length, level + table.shape[-1])
        if stop > level:
            result[state, ..., level:stop] = table[state, ..., : stop - level]
    return result


def log_sum(table: FloatArray, axes: tuple[int, ...]) -> FloatArray:
    """log of the sum of exp along some axes; minus infinity where all terms are 0."""
    if not axes:
        return table
    peak = table.max(axis=axes, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        sums = np.log(np.exp(table - peak).sum(axis=axes))
    return np.asarray(sums + np.squeeze(peak, axis=axes))
