"""Constraints that no mixture keeps together: whether there are any, and a smallest set of them by name.

Each constraint may be missed by the same amount s; the least s is 0 exactly where a mixture keeps them all. If it is
not, constraints are left out one after the other for as long as the rest still clash: what remains clashes, and no part
of it does (the deletion filter; Chinneck & Dravnieks 1991).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from taskpgm.constraints import Ball, Halfspace, Rows
from taskpgm.types import FloatArray, InputError

TOLERANCE = 1e-7
SHOWN = 8


def check_feasible(names: Sequence[str], lower: FloatArray, upper: FloatArray, rows: Rows) -> None:
    """Raise an InputError that names a smallest set of clashing constraints, if there is one.

    rows: constraints on several tasks; bounds on single tasks are `lower` and `upper`, or rows under a name.
    """
    everything = [*bounds_as_rows(names, lower, upper), *rows]
    if least_miss(everything, len(names)) <= TOLERANCE:
        return
    clashing = [row.name for row in irreducible(everything, len(names))]
    more = f" and {len(clashing) - SHOWN} more" if len(clashing) > SHOWN else ""
    listed = "; ".join(clashing[:SHOWN])
    raise InputError(f"no mixture is feasible: these clash, loosen one of them: {listed}{more}.")


def bounds_as_rows(names: Sequence[str], lower: FloatArray, upper: FloatArray) -> list[Halfspace]:
    """The bounds that say something, each under its task's name."""
    found: list[Halfspace] = []
    identity = np.eye(len(names))
    for i, (name, low, high) in enumerate(zip(names, lower.tolist(), upper.tolist(), strict=True)):
        if low > 0.0:
            less = f"one percent less for {name!r}"
            found.append(Halfspace(f"at least {low:.4g} for {name!r}", -identity[i], -low, less, 0.01))
        if high < 1.0:
            more = f"one percent more for {name!r}"
            found.append(Halfspace(f"at most {high:.4g} for {name!r}", identity[i], high, more, 0.01))
    return found


def irreducible(rows: Rows, tasks: int) -> Rows:
    """A set of clashing constraints that no longer clash when any one of them is left out."""
    kept = list(rows)
    for row in rows:
        without = [other for other in kept if other is not row]
        if least_miss(without, tasks) > TOLERANCE:
            kept = without
    return kept


def least_miss(rows: Rows, tasks: int) -> float:
    """The least s >= 0 for which some p >= 0 with sum 1 keeps every constraint but for s, relative to its size."""
    halves = [row for row in rows if isinstance(row, Halfspace)]
    balls = [row for row in rows if isinstance(row, Ball)]
    if not rows:
        return 0.0
    return _by_cone(halves, balls, tasks) if balls else _by_linear_program(halves, tasks)


def _scaled(halves: Sequence[Halfspace]) -> tuple[FloatArray, FloatArray]:
    """(A, b) with each row's largest coefficient 1."""
    matrix = np.array([half.coefficients for half in halves])
    sizes = np.maximum(np.abs(matrix).max(axis=1), 1e-300)
    return matrix / sizes[:, None], np.array([half.limit for half in halves]) / sizes


def _by_linear_program(halves: Sequence[Halfspace], tasks: int) -> float:
    from scipy.optimize import linprog

    matrix, limits = _scaled(halves)
    rows = np.column_stack([matrix, -np.ones(len(matrix))])
    cost, total = np.append(np.zeros(tasks), 1.0), np.append(np.ones(tasks), 0.0)[None]
    found = linprog(cost, A_ub=rows, b_ub=limits, A_eq=total, b_eq=[1.0], bounds=(0.0, None), method="highs")
    return _told(found.fun)


def _by_cone(halves: Sequence[Halfspace], balls: Sequence[Ball], tasks: int) -> float:
    import cvxpy as cp

    p, miss = cp.Variable(tasks, nonneg=True), cp.Variable(nonneg=True)
    kept: list[Any] = [cp.sum(p) == 1.0]
    if halves:
        matrix, limits = _scaled(halves)
        kept.append(matrix @ p <= limits + miss)
    kept += [cp.sum(cp.rel_entr(p, ball.centre)) <= ball.limit + miss for ball in balls]
    program = cp.Problem(cp.Minimize(miss), kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an inaccurate answer, which is none
        try:
            program.solve(solver="CLARABEL")
        except cp.error.SolverError:
            return _told(None)
    return _told(program.value if program.status == cp.OPTIMAL else None)


def _told(miss: float | None) -> float:
    """What a solver found.

    Raises:
        InputError: nothing, which comes of numbers that lie too far apart.
    """
    if miss is None or not np.isfinite(miss):
        raise InputError(
            "whether a mixture keeps the constraints cannot be told: their numbers lie too far apart; scale costs, or"
            " loosen what is far from the others."
        )
    return float(miss)
