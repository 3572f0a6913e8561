"""The arrays that averages over shapes are made of: one row a task, one column a shape, checked in one place.

weights, floors = shape_arrays(("copy", "sort"), {"weights": 1.0, "floors": [[0.1], [0.2]]})
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.limits import LARGEST_NUMBER
from taskpgm.types import FloatArray, InputError, readonly

SUM_TOLERANCE = 1e-9


def shape_arrays(names: tuple[str, ...], values: Mapping[str, ArrayLike]) -> list[FloatArray]:
    """Every array broadcast to one (n, K), copied and read-only."""
    try:
        arrays = [np.asarray(value, dtype=np.float64) for value in values.values()]
        shape = np.broadcast_shapes((len(names), 1), *(array.shape for array in arrays))
        if len(shape) != 2 or shape[0] != len(names):
            raise ValueError(f"shape {shape}")
        return [readonly(np.broadcast_to(array, shape), np.float64) for array in arrays]
    except (TypeError, ValueError) as error:
        raise InputError(f"learning curves: expected arrays of {len(names)} tasks x shapes ({error}).") from error


def covariance_array(covariance: ArrayLike | None, shape: tuple[int, ...]) -> FloatArray:
    """(n, K, 3) variance of the floor, covariance of floor and drop, variance of the drop; 0 where not given."""
    known = np.zeros((*shape, 3)) if covariance is None else np.asarray(covariance, dtype=np.float64)
    if known.shape != (*shape, 3) or not np.all(np.isfinite(known)):
        raise InputError(f"learning curves: covariance of shape {known.shape}; expected finite numbers, {(*shape, 3)}.")
    return readonly(known, np.float64)


def check_shapes(
    names: tuple[str, ...], values: Mapping[str, FloatArray], good: Mapping[str, NDArray[np.bool_]], rule: str
) -> None:
    """Every number finite and as it must be, and the weights of each task adding up to 1.

    good: for each field the (n, K) entries that its own condition holds for; rule: all conditions in words.
    """
    for field, holds in good.items():
        holds = holds & (np.abs(values[field]) <= LARGEST_NUMBER)
        if not holds.all():
            task, k = np.argwhere(~holds)[0]
            one = field if field == "steepness" else field.removesuffix("s")
            raise InputError(f"learning curve of task {names[task]!r}: {one} {values[field][task, k]:g}; {rule}")
    sums = values["weights"].sum(axis=1)
    if np.abs(sums - 1.0).max() > SUM_TOLERANCE:
        task = int(np.abs(sums - 1.0).argmax())
        raise InputError(f"learning curve of task {names[task]!r}: its weights add up to {sums[task]:g}, not 1.")


def spread_of_shapes(covariance: FloatArray, falls: FloatArray) -> FloatArray:
    """(..., n, K) the standard deviation of the loss under each shape, from (..., n, K) its fall."""
    of_floor, of_both, of_drop = np.moveaxis(covariance, -1, 0)
    return np.asarray(np.sqrt(np.maximum(of_floor + 2.0 * falls * of_both + falls**2 * of_drop, 1e-24)))
