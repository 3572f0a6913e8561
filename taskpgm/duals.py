"""Multipliers of the constraints on several tasks: what each would cost at the margin. They prove, untrusted, a bound.

At a mixture p with gradient g, for any y >= 0 and every feasible q, with A q <= b the constraints,

    E(q) >= E(p) + g'(q - p) >= E(p) - g'p - y'b + min (g + A'y)'q    over the bounds and the sum alone,

and the last minimum is exact and cheap. The y that make the most of it are dual to one linear program. A ball enters by
its tangent at p, which every point of the ball keeps.

    matrix, limits = tangents(network, p)
    y = multipliers(network, gradient, matrix, limits)
"""

from __future__ import annotations

import numpy as np

from taskpgm.energy import MixtureEnergy
from taskpgm.types import FloatArray

LEAST_WEIGHT = 1e-15


def tangents(network: MixtureEnergy, mixture: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(m, n) A and (m,) b: the half-spaces of a network, then the tangents of its balls at the mixture."""
    x = tangent_point(mixture)
    rows = [(row.coefficients, row.limit) for row in network.halfspaces]
    rows += [ball.halfspace(x) for ball in network.balls]
    matrix = np.array([row for row, _ in rows]).reshape(len(rows), len(network))
    return matrix, np.array([limit for _, limit in rows])


def tangent_point(mixture: FloatArray) -> FloatArray:
    """The mixture with every weight positive: where the tangents of the balls are taken."""
    return np.maximum(mixture, LEAST_WEIGHT)


def multipliers(network: MixtureEnergy, gradient: FloatArray, matrix: FloatArray, limits: FloatArray) -> FloatArray:
    """(m,) y >= 0 of the rows A q <= b in min gradient'q; zeros where HiGHS finds none."""
    from scipy.optimize import linprog

    if not len(limits):
        return np.zeros(0)
    size = float(np.abs(gradient - gradient.mean()).max()) or 1.0
    found = linprog(
        (gradient - gradient.mean()) / size,
        A_ub=matrix,
        b_ub=limits,
        A_eq=np.ones((1, len(gradient))),
        b_eq=[1.0],
        bounds=np.column_stack([network.lower, network.upper]),
        method="highs-ds",
    )
    if found.status != 0 or found.ineqlin.get("marginals") is None:
        return np.zeros(len(limits))
    return np.asarray(np.maximum(-size * found.ineqlin.marginals, 0.0))
