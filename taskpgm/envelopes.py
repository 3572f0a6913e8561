"""Lines below the terms of a separable energy, and the prices at which their convex envelopes meet the budget.

A cell is a part [a, b] of a weight's range. Every shape of a curve is concave up to a bend and convex after it: if its
tangent at b is no higher than it is at a, the tangent is below it on the whole cell; if not, the chord from a to b is.
The term of the prior is convex, so its tangent is below it too. Nothing is assumed between the points of a grid: wide
cells only give a poorer bound.

    points = start_points(network, mixture)
    price, rows, weights, excess = prices(network, points, *tangents(network, mixture))
    Cells.of(network, points).minima(network, np.full(len(network), -price))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskpgm.energy import MixtureEnergy, relative_entropy
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.separable import SeparableNetwork
from taskpgm.types import FloatArray

GRID = 33
NEAREST, RATIO = 1e-7, 2.0
"""Points around the mixture to be judged are this far off at first, and each so many times as far as the last."""
LEAST_WEIGHT = 1e-300


@dataclass(frozen=True, eq=False)
class Cells:
    """Lines below the losses of n tasks on G cells each.

    points: (n, G + 1) rising weights from lower to upper. left, right: (n, G) v_j loss_j is at least the line from
    `left` at a cell's first point to `right` at its last.
    """

    points: FloatArray
    left: FloatArray
    right: FloatArray

    @classmethod
    def of(cls, network: ExpectedEnergy, points: FloatArray) -> Cells:
        left, right = network.lines(points.T)
        return cls(points, left.T, right.T)

    def loss_minima(self, prices: FloatArray) -> FloatArray:
        """(n, G) lower bounds on v_j loss_j + prices_j p within each cell."""
        a, b = self.points[:, :-1], self.points[:, 1:]
        return np.minimum(self.left + prices[:, None] * a, self.right + prices[:, None] * b)

    def minima(self, network: MixtureEnergy, prices: FloatArray) -> FloatArray:
        """(n, G) lower bounds on v_j loss_j + tau p log(p / q) + prices_j p within each cell."""
        if network.tau == 0.0:
            return self.loss_minima(prices)
        a, b = self.points[:, :-1], self.points[:, 1:]
        width = b - a
        rate = np.divide(self.right - self.left, width, out=np.zeros_like(width), where=width > 0.0)
        tau, q = network.tau, network.prior[:, None]
        slope = rate + prices[:, None]
        with np.errstate(over="ignore"):
            best = np.clip(q * np.exp(np.minimum(-1.0 - slope / tau, 700.0)), a, b)
        at = np.maximum(best, LEAST_WEIGHT)
        value = self.left + rate * (best - a) + prices[:, None] * best + tau * relative_entropy(best, q)
        steep = slope + tau * (np.log(at / q) + 1.0)  # the tangent of a convex function, wherever it is taken
        return np.asarray(value + np.minimum(np.minimum(steep * (a - best), steep * (b - best)), 0.0))


def start_points(network: SeparableNetwork, mixture: FloatArray) -> FloatArray:
    """(n, G + 1) weights: closer together near the lower bounds, and ever closer towards the mixture."""
    return grid_points(network.lower[:, None], network.upper[:, None], mixture)


def grid_points(low: FloatArray, high: FloatArray, centre: FloatArray) -> FloatArray:
    """(n, G + 1) points from (n, 1) low to (n, 1) high: closer near the low end, ever closer towards a centre."""
    even = low + (high - low) * np.linspace(0.0, 1.0, GRID) ** 2
    steps = NEAREST * RATIO ** np.arange(int(np.log(1.0 / NEAREST) / np.log(RATIO)) + 1)
    near = centre[:, None] + np.concatenate([-steps, [0.0], steps])
    return np.sort(np.concatenate([even, np.clip(near, low, high)], axis=1), axis=1)


def prices(
    network: SeparableNetwork, points: FloatArray, matrix: FloatArray, limits: FloatArray
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """What makes the most of the envelopes of the terms at the points: prices, and where their sum is least.

    Returns:
        The price of the budget, (m,) prices of the rows, (n,) the weights, and (n,) how far each term is above its
        envelope there.
    """
    hulls = [lower_hull(x, y) for x, y in zip(points, network.terms(points.T).T, strict=True)]
    task = np.concatenate([np.full(len(x) - 1, j) for j, (x, _) in enumerate(hulls)])
    length = np.concatenate([np.diff(x) for x, _ in hulls])
    slope = np.concatenate([np.diff(y) / np.diff(x) for x, y in hulls])
    low = points[:, 0]
    left = max(1.0 - float(low.sum()), 0.0)
    if not len(length):
        return 0.0, np.zeros(len(limits)), low, np.zeros(len(low))
    if len(limits):
        price, dear, filled = _linear_prices(slope, length, matrix[:, task], limits - matrix @ low, left)
    else:
        price, filled = _cheapest_first(slope, length, left)
        dear = np.zeros(0)
    weights = np.clip(low + np.bincount(task, filled, len(low)), low, points[:, -1])
    beneath = np.array([np.interp(p, x, y) for p, (x, y) in zip(weights, hulls, strict=True)])
    return price, dear, weights, network.terms(weights[None, :])[0] - beneath


def _cheapest_first(slope: FloatArray, length: FloatArray, left: float) -> tuple[float, FloatArray]:
    """(the slope of the last segment that is filled, (S,) how much of each segment is)."""
    order = np.argsort(slope, kind="stable")
    before = np.cumsum(length[order]) - length[order]
    filled = np.zeros(len(length))
    filled[order] = np.clip(left - before, 0.0, length[order])
    return float(slope[order[max(int(np.searchsorted(before, left)) - 1, 0)]]), filled


def _linear_prices(
    slope: FloatArray, length: FloatArray, matrix: FloatArray, limits: FloatArray, left: float
) -> tuple[float, FloatArray, FloatArray]:
    """The same with rows that are kept, and their prices; the cheapest first where HiGHS finds none."""
    from scipy.optimize import linprog

    bounds = np.column_stack([np.zeros(len(length)), length])
    found = linprog(slope, A_ub=matrix, b_ub=limits, A_eq=np.ones((1, len(slope))), b_eq=[left], bounds=bounds)
    if found.status != 0:
        price, filled = _cheapest_first(slope, length, left)
        return price, np.zeros(len(limits)), filled
    return float(found.eqlin.marginals[0]), np.asarray(np.maximum(-found.ineqlin.marginals, 0.0)), found.x


def lower_hull(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The corners of the greatest convex function that is nowhere above points with rising x; equal x are one."""
    xs, ys = x.tolist(), y.tolist()
    kept: list[int] = []
    for c in range(len(xs)):
        if kept and xs[c] <= xs[kept[-1]]:
            continue
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (ys[b] - ys[a]) * (xs[c] - xs[a]) < (ys[c] - ys[a]) * (xs[b] - xs[a]):
                break
            kept.pop()
        kept.append(c)
    return x[kept], y[kept]
