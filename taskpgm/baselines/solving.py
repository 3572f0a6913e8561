"""Mixtures that minimise an energy: solved by the methods of `taskpgm.inference`, which are judged there."""

from __future__ import annotations

import numpy as np

from taskpgm.inference import Method, solve
from taskpgm.judge import Mixtures
from taskpgm.types import FloatArray, InputError


def minimiser(problem: Mixtures, method: Method) -> FloatArray:
    """(n,) the method's mixture, on the simplex up to the last digit.

    Raises:
        InputError: the method gave none; the line says why.
    """
    solution = solve(problem, method)
    if solution.point is None:
        raise InputError(f"{method.name}: {solution.status.name}: {solution.message}.")
    return on_simplex(np.asarray(solution.point, dtype=np.float64))


def on_simplex(weights: FloatArray) -> FloatArray:
    """Weights without a solver's rounding: none negative, sum 1."""
    p = np.maximum(weights, 0.0)
    return np.asarray(p / p.sum())
