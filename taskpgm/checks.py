"""What a network's numbers must be like, and the one line that says where they are not.

checked_names(["copy", "sort"], 2)
checked_bound({"copy": 0.5}, ("copy", "sort"), "upper", otherwise=1.0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from taskpgm.limits import LARGEST_NUMBER
from taskpgm.types import FloatArray, InputError, readonly

Bound: TypeAlias = float | FloatArray | Sequence[float] | Mapping[str, float]
Transfer: TypeAlias = FloatArray | Sequence[Sequence[float]] | Mapping[str, Mapping[str, float]]

SYMMETRY_TOLERANCE = 1e-8
SUM_TOLERANCE = 1e-12


def check_bounds_meet(names: tuple[str, ...], lower: FloatArray, upper: FloatArray) -> None:
    """Raise an InputError that names a smallest set of bounds which no mixture satisfies together."""
    for name, low, high in zip(names, lower, upper, strict=True):
        if low > high:
            raise InputError(f"task {name!r}: lower bound {low:.6g} is above its upper bound {high:.6g}.")
    if lower.sum() > 1.0 + SUM_TOLERANCE:
        order = np.argsort(-lower, kind="stable")
        needed = int(np.searchsorted(np.cumsum(lower[order]), 1.0 + SUM_TOLERANCE, side="right")) + 1
        raise InputError(_clash("lower", names, lower, order[:needed], "more than 1: lower them."))
    if upper.sum() < 1.0 - SUM_TOLERANCE:
        raise InputError(_clash("upper", names, upper, np.arange(len(names)), "less than 1: raise them."))


def _clash(side: str, names: Sequence[str], bound: FloatArray, members: Any, remedy: str) -> str:
    shown = ", ".join(f"{names[i]!r} ({bound[i]:.6g})" for i in members[:8])
    more = f" and {len(members) - 8} more" if len(members) > 8 else ""
    return f"no mixture is feasible: the {side} bounds of {shown}{more} add up to {bound[members].sum():.6g}, {remedy}"


def array(values: Any, label: str, ndim: int) -> FloatArray:
    """Numbers with so many axes, copied and read-only."""
    try:
        array = readonly(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{label}: not an array of numbers ({error}).") from error
    if array.ndim != ndim:
        raise InputError(f"{label}: expected {ndim} dimension(s), found shape {array.shape}.")
    finite = np.abs(array[np.isfinite(array)])
    if finite.size and finite.max() > LARGEST_NUMBER:
        raise InputError(f"{label}: numbers of size {finite.max():.3g} are too large to compute with; scale them.")
    return array


def checked_finite(values: FloatArray, label: str, names: tuple[str, ...]) -> FloatArray:
    """One finite number for each task."""
    for name, value in zip(names, values, strict=True):
        if not np.isfinite(value):
            raise InputError(f"{label} of task {name!r} is {value}: every {label} must be a finite number.")
    return values


def checked_names(names: Sequence[str], n: int) -> tuple[str, ...]:
    """n different names, "task 0", "task 1", ... where none are given."""
    named = tuple(str(name) for name in names) if len(names) else tuple(f"task {i}" for i in range(n))
    if len(named) != n:
        raise InputError(f"names: {len(named)} names for {n} utilities; give one name per task.")
    if n < 2:
        raise InputError("one task only: a mixture needs at least two tasks.")
    repeated = sorted({name for name in named if named.count(name) > 1}) if len(set(named)) < n else []
    if repeated:
        raise InputError(f"duplicate task name {repeated[0]!r}: every task needs a name of its own.")
    return named


def checked_similarity(similarity: Any, names: tuple[str, ...]) -> FloatArray:
    """A finite symmetric matrix; what rounding left of asymmetry is averaged away."""
    n = len(names)
    s = array(similarity, "similarity", ndim=2)
    if s.shape != (n, n):
        raise InputError(f"similarity: shape {s.shape[0]} x {s.shape[1]}, but there are {n} tasks.")
    bad = np.argwhere(~np.isfinite(s))
    if len(bad):
        i, j = bad[0]
        raise InputError(f"similarity of {names[i]!r} and {names[j]!r} is {s[i, j]}: every entry must be finite.")
    asymmetry = np.abs(s - s.T)
    if asymmetry.max() > SYMMETRY_TOLERANCE * max(1.0, float(np.abs(s).max())):
        i, j = np.unravel_index(int(asymmetry.argmax()), s.shape)
        raise InputError(
            f"similarity is not symmetric: {names[i]!r}, {names[j]!r} is {s[i, j]:.6g} one way and {s[j, i]:.6g} the"
            " other; average the two if that is what you mean."
        )
    return readonly(0.5 * (s + s.T), np.float64)


def checked_scalar(value: Any, label: str, least: float) -> float:
    """A finite number, at least `least`."""
    number = float(value)
    if not np.isfinite(number) or number < least:
        raise InputError(f"{label} = {number}: expected a finite number{'' if least < 0 else ' that is not negative'}.")
    if abs(number) > LARGEST_NUMBER:
        raise InputError(f"{label} = {number:g}: too large to compute with.")
    return number


def checked_prior(prior: Any, n: int) -> FloatArray:
    """A positive mixture; uniform where none is given."""
    if prior is None:
        return readonly(np.full(n, 1.0 / n), np.float64)
    q = array(prior, "prior", ndim=1)
    if len(q) != n or not np.all(np.isfinite(q)) or q.min() <= 0.0 or abs(q.sum() - 1.0) > 1e-9:
        raise InputError(f"prior: expected {n} positive numbers that add up to 1.")
    return q


def checked_bound(bound: Bound, names: tuple[str, ...], side: str, otherwise: float) -> FloatArray:
    """(n,) a bound for each task, from one number, an array, or a mapping from names."""
    if isinstance(bound, Mapping):
        unknown = [name for name in bound if name not in names]
        if unknown:
            raise InputError(f"{side} bound for {unknown[0]!r}: there is no task of that name.")
        values = np.array([bound.get(name, otherwise) for name in names], dtype=np.float64)
    else:
        values = np.asarray(bound, dtype=np.float64)
        if values.ndim > 0 and values.shape != (len(names),):
            raise InputError(f"{side} bounds: shape {values.shape}, but there are {len(names)} tasks.")
        values = np.broadcast_to(values, (len(names),))
    for name, value in zip(names, values, strict=True):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"task {name!r}: {side} bound {value} is not between 0 and 1.")
    return readonly(values, np.float64)


def checked_targets(weights: Any, names: Sequence[str]) -> FloatArray:
    """(n,) target weights scaled to add up to 1, from an array or a mapping from names (others 0); equal where None."""
    if isinstance(weights, Mapping):
        unknown = [name for name in weights if name not in names]
        if unknown:
            raise InputError(f"target weights: {unknown[0]!r} is not a task; the tasks are {', '.join(names)}.")
        weights = [weights.get(name, 0.0) for name in names]
    v = array(np.ones(len(names)) if weights is None else weights, "target weights", ndim=1)
    if len(v) != len(names):
        raise InputError(f"target weights: {len(v)} numbers for {len(names)} tasks.")
    if not np.all(np.isfinite(v)) or v.min() < 0.0 or v.sum() <= 0.0:
        raise InputError("target weights: expected finite numbers, not negative and not all 0.")
    return v if abs(v.sum() - 1.0) <= SUM_TOLERANCE else readonly(v / v.sum(), np.float64)


def checked_transfer(transfer: Any, names: Sequence[str]) -> FloatArray:
    """(n, n) finite numbers, none negative: row i says what task i is worth to the others."""
    a, n = array(transfer, "transfer", ndim=2), len(names)
    if a.shape != (n, n):
        raise InputError(f"transfer: shape {a.shape[0]} x {a.shape[1]}, but there are {n} tasks.")
    bad = np.argwhere(~(np.isfinite(a) & (a >= 0.0)))
    if len(bad):
        i, j = bad[0]
        raise InputError(f"transfer from {names[i]!r} to {names[j]!r} is {a[i, j]}: expected a number, 0 or more.")
    return a


def checked_graph(transfer: Transfer, names: Sequence[str]) -> FloatArray:
    """(n, n) a transfer graph: numbers from 0 to 1, and 1 on the diagonal.

    A mapping holds what it names, {task: {other: worth}}: others are worth nothing, and every task 1 to itself.
    """
    if isinstance(transfer, Mapping):
        order = {name: place for place, name in enumerate(names)}
        given, transfer = transfer, np.eye(len(names))
        for source, row in given.items():
            for target, worth in row.items():
                unknown = next((name for name in (source, target) if name not in order), None)
                if unknown is not None:
                    raise InputError(f"transfer: there is no task {unknown!r}.")
                transfer[order[source], order[target]] = worth
    a = checked_transfer(transfer, names)
    bad = np.argwhere((a > 1.0) | (np.eye(len(a), dtype=bool) & (a != 1.0)))
    if len(bad):
        i, j = bad[0]
        wanted = "exactly 1: an example of a task is one of it" if i == j else "at most 1"
        raise InputError(f"transfer from {names[i]!r} to {names[j]!r} is {a[i, j]:g}: expected {wanted}.")
    return a
