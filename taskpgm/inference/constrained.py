"""Newton steps on the optimality conditions of a mixture under constraints: from a solver's eight digits to the last.

The tasks between their bounds, and multipliers of the sum and of the constraints that are met exactly, solve

    grad E(p) + nu + A'y + sum_k z_k grad KL(p || centre_k) = 0,   sum p = 1,   A p = b,   KL(p || centre_k) = r_k,

which is linear but for the divergences (Newton's method on it: sequential quadratic programming; Nocedal & Wright 2006,
chapter 18). A constraint whose multiplier turns negative is let go, one that is broken is taken in, and so with bounds.

    p = settle(network, start)          # its gap is no larger, if it keeps the constraints at all
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taskpgm.duals import multipliers, tangents
from taskpgm.energy import MixtureEnergy
from taskpgm.inference.active_set import SETTLED
from taskpgm.judge import certificate
from taskpgm.types import FloatArray

STEPS = 60
NEAR = 1e-6
FEASIBLE = 1e-10
LEAST_WEIGHT = 1e-300


def settle(network: MixtureEnergy, start: FloatArray) -> FloatArray:
    """The best of the mixtures on the way from a nearly optimal one: feasible, then of least certified gap."""
    p = np.clip(start, network.lower, network.upper)
    best, best_rank = p, _rank(network, p)
    solved = 1e-15 * network.scale
    matrix, limits = tangents(network, p)
    prices = multipliers(network, _finite(network.gradient(np.maximum(p, LEAST_WEIGHT))), matrix, limits)
    active = (limits - matrix @ p < NEAR) | (prices > NEAR)
    free = _inside(network, p, prices, NEAR / len(p))
    for _ in range(STEPS):
        p = np.where(free, p, np.where(p - network.lower < network.upper - p, network.lower, network.upper))
        p, free, total, prices, whole = _step(network, p, free, active, prices)
        rank = _rank(network, p)
        better = rank < best_rank
        if better:
            best, best_rank = p, rank
        if best_rank <= (0.0, solved) or (best_rank <= (0.0, SETTLED * network.scale) and not better):
            break
        if whole:
            active, free = _updated(network, p, free, active, total, prices)
    return best


def _rank(network: MixtureEnergy, p: FloatArray) -> tuple[float, float]:
    """By which mixtures are compared: how far they break constraints, where that matters, then their gap."""
    violation = network.violation(p)
    return (0.0 if violation <= FEASIBLE else violation, certificate(network, p).gap)


def _step(
    network: MixtureEnergy, p: FloatArray, free: Any, active: Any, prices: FloatArray
) -> tuple[FloatArray, Any, float, FloatArray, bool]:
    """(mixture, who is still free, price of the sum, prices of the rows, whether the step was taken whole).

    Variables are scaled by sqrt(p) where logarithms enter: the system stays well conditioned for the smallest weights.
    """
    matrix, limits = tangents(network, p)
    entropic = _entropy_weight(network, prices)
    count, rows = int(free.sum()), matrix[active][:, free]
    scale = np.sqrt(np.maximum(p[free], LEAST_WEIGHT)) if entropic > 0.0 else np.ones(count)
    border = np.vstack([np.ones(count), rows]) * scale
    system = np.zeros((count + len(border), count + len(border)))
    system[:count, :count] = network.smooth_hessian(p)[np.ix_(free, free)] * np.outer(scale, scale)
    system[:count, :count] += entropic * np.eye(count)
    system[count:, :count], system[:count, count:] = border, border.T
    slope = _finite(network.gradient(np.maximum(p, LEAST_WEIGHT)))
    right = np.concatenate([-slope[free] * scale, [1.0 - p.sum()], limits[active] - matrix[active] @ p])
    answer = np.linalg.lstsq(system, right, rcond=1e-14)[0]
    step, total = answer[:count] * scale, float(answer[count])
    prices = np.zeros(len(prices))
    prices[active] = answer[count + 1 :]
    low, high = network.lower[free], network.upper[free]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(step == 0.0, np.inf, np.where(step < 0.0, low - p[free], high - p[free]) / step)
    length = min(1.0, float(reach.min(initial=np.inf)))
    if entropic > 0.0 and length < 1.0:
        length *= 0.95  # a logarithm keeps weights off 0
    moved = p.copy()
    moved[free] = np.clip(p[free] + length * step, low, high)
    still = free.copy()
    if entropic == 0.0 and length < 1.0:
        still[np.flatnonzero(free)[int(reach.argmin())]] = False
    return moved, still, total, prices, length == 1.0


def _updated(
    network: MixtureEnergy, p: FloatArray, free: Any, active: Any, total: float, prices: FloatArray
) -> tuple[Any, Any]:
    """Take in rows that are broken, let go of those with negative prices, and free tasks held at a bound that costs."""
    matrix, limits = tangents(network, p)
    active = active & (prices >= 0.0) | (matrix @ p - limits > FEASIBLE)
    slope = _finite(network.gradient(np.maximum(p, LEAST_WEIGHT))) + total + matrix.T @ np.maximum(prices, 0.0)
    movable = network.lower < network.upper
    wrong = movable & ~free & np.where(p <= network.lower, slope < 0.0, slope > 0.0)
    return active, free | wrong


def _entropy_weight(network: MixtureEnergy, prices: FloatArray) -> float:
    """How much of sum p log p is in the Lagrangian."""
    return network.tau + float(np.maximum(prices[len(network.halfspaces) :], 0.0).sum())


def _inside(network: MixtureEnergy, p: FloatArray, prices: FloatArray, margin: float) -> Any:
    """Which weights lie between their bounds; logarithms keep them off 0 by themselves."""
    lower = network.lower
    if _entropy_weight(network, prices) > 0.0:
        lower = np.where(lower > 0.0, lower, -1.0)
    return (p > lower + margin) & (p < network.upper - margin)


def _finite(gradient: FloatArray) -> FloatArray:
    return np.nan_to_num(gradient, nan=0.0, posinf=1e6, neginf=-1e6)
