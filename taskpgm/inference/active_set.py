"""Newton steps on the tasks between their bounds: from a solver's eight digits to the last one.

An interior-point answer leaves every weight a little off its bound. Taking the tasks that are nearly on a bound as held
there, and solving one linear system for the others, gives weights on their bounds exactly and a duality gap near the
rounding error. What it costs to be wrong about a bound is read off the gradient, and the bound is then released.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taskpgm.energy import MixtureEnergy
from taskpgm.judge import certificate
from taskpgm.types import FloatArray

SMALLEST_START = 1e-9
LEAST_WEIGHT = 1e-300
NEWTON_STEPS = 60
SETTLED = 1e-13  # a gap, relative to the energy's scale, after which only steps that still lower it are taken


def into_bounds(point: FloatArray, network: MixtureEnergy, free: Any = True) -> FloatArray:
    """The nearest feasible mixture to a point: shift the free weights by a constant and clip, found by bisection.

    Weights that are not free stay as they are, unless the free ones cannot make up the sum.
    """
    lower, upper = np.where(free, network.lower, point), np.where(free, network.upper, point)
    if lower.sum() > 1.0 or upper.sum() < 1.0:
        lower, upper = network.lower, network.upper
    clipped = np.clip(point, lower, upper)
    if abs(clipped.sum() - 1.0) <= 1e-14:  # a shift of 1e-19 would lift every weight off its bound
        return _exact_sum(clipped, lower, upper)
    low, high = (lower - point).min(), (upper - point).max()
    for _ in range(200):
        shift = 0.5 * (low + high)
        total = np.clip(point + shift, lower, upper).sum()
        low, high = (shift, high) if total < 1.0 else (low, shift)
    return _exact_sum(np.clip(point + 0.5 * (low + high), lower, upper), lower, upper)


def _exact_sum(point: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Take the last rounding error of the sum out of the weight furthest inside its bounds: others may be on them."""
    excess = float(point.sum() - 1.0)
    room = np.minimum(point - lower, upper - point)
    if room.max() < abs(excess):
        room = point - lower if excess > 0.0 else upper - point
    point[int(room.argmax())] -= excess
    return point


def polish(network: MixtureEnergy, start: FloatArray) -> FloatArray:
    """Active-set Newton steps from a nearly optimal mixture, to a gap no larger than before but for rounding errors.

    Tasks strictly between their bounds are free. Each step minimises the energy's quadratic model over the free tasks
    with their sum fixed (one KKT system). A bound that is met holds its task; once the model on the free tasks is
    solved, the tasks whose bounds cost most are freed.
    """
    take_step = _entropic_step if network.tau > 0.0 else _quadratic_step
    best, best_gap, solved = start, certificate(network, start).gap, 1e-15 * network.scale
    p = start
    if network.tau > 0.0:
        p = _kl_projection(np.maximum(start, SMALLEST_START), network, np.full(len(p), True))
    free = _inside(network, p, margin=1e-6 / len(p))  # a solver's answer this near to a bound is taken to be on it
    p = _on_bounds(p, network, ~free)
    if network.tau > 0.0 and free.any():  # a descent step cannot make up a sum below 1
        p = _kl_projection(p, network, free)
    for _ in range(NEWTON_STEPS):
        p = take_step(network, p, free)
        gap = certificate(network, p).gap
        better = gap < max(best_gap, solved) and network.violation(p) <= 1e-13
        if better:
            best, best_gap = p, gap
        if gap <= solved or (best_gap <= SETTLED * network.scale and not better):
            break
        free = _update_free(network, p, free)
    return best


def _inside(network: MixtureEnergy, p: FloatArray, margin: float = 0.0) -> Any:
    """Which weights lie strictly between their bounds; a KL term keeps them off 0 and 1 by itself, rounding apart."""
    lower, upper = network.lower, network.upper
    if network.tau > 0.0:
        lower, upper = np.where(lower > 0.0, lower, -1.0), np.where(upper < 1.0, upper, 2.0)
    return (p > lower + margin) & (p < upper - margin)


def _on_bounds(p: FloatArray, network: MixtureEnergy, held: Any) -> FloatArray:
    """The held tasks moved onto the bound that they are nearest to."""
    nearer_lower = p - network.lower < network.upper - p
    return np.where(held, np.where(nearer_lower, network.lower, network.upper), p)


def _quadratic_step(network: MixtureEnergy, p: FloatArray, free: Any) -> FloatArray:
    """The Newton step without a KL term: exact unless a bound is in the way, and then up to that bound."""
    p = _on_bounds(p, network, ~free)
    if free.any():
        step, _ = _kkt_step(network, p, free)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(step < 0.0, network.lower[free] - p[free], network.upper[free] - p[free]) / step
        p[free] += min(1.0, float(np.where(step == 0.0, np.inf, reach).min())) * step
    return into_bounds(p, network, free)


def _entropic_step(network: MixtureEnergy, p: FloatArray, free: Any) -> FloatArray:
    """The Newton step with a KL term, taken in the logarithms of the weights and halved until the energy falls."""
    if not free.any():
        return into_bounds(p, network)
    step, price = _kkt_step(network, p, free)
    pull = network.smooth_hessian(p)[np.ix_(free, free)] @ step
    move = np.zeros(len(p))  # d log p from its own row of the KKT system: accurate for the smallest weights too
    move[free] = np.clip(-(network.gradient(p)[free] + price + pull) / network.tau, -300.0, 300.0)
    energy = network.energy(p)
    for halving in range(20):
        moved = _kl_projection(p * np.exp(move / 2.0**halving), network, free)
        if network.energy(moved) <= energy + 1e-15 * max(1.0, abs(energy)):
            return moved
    return p


def _kkt_step(network: MixtureEnergy, p: FloatArray, free: Any) -> tuple[FloatArray, float]:
    """The step on the free tasks that minimises the quadratic model with the sum brought to 1, and its multiplier.

    With a KL term the variables are scaled by sqrt(p), which turns its Hessian tau / p into tau: well conditioned
    however small the weights are.
    """
    count = int(free.sum())
    scale = np.sqrt(p[free]) if network.tau > 0.0 else np.ones(count)
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = network.smooth_hessian(p)[np.ix_(free, free)] * np.outer(scale, scale)
    system[:count, :count] += network.tau * np.eye(count)
    system[:count, count] = system[count, :count] = scale
    right = np.append(-network.gradient(p)[free] * scale, 1.0 - p.sum())
    answer = np.linalg.lstsq(system, right, rcond=1e-14)[0]
    return np.asarray(answer[:count] * scale), float(answer[count])


def _kl_projection(weights: FloatArray, network: MixtureEnergy, free: Any) -> FloatArray:
    """The feasible mixture of least KL divergence from positive weights, the others kept: scale and clip the free."""
    lower, upper = np.maximum(network.lower[free], LEAST_WEIGHT), network.upper[free]
    logs, mass = np.log(np.maximum(weights[free], LEAST_WEIGHT)), 1.0 - weights[~free].sum()
    logs -= logs.max()
    low, high = -750.0, 750.0
    for _ in range(80):
        factor = 0.5 * (low + high)
        total = np.clip(np.exp(np.minimum(logs + factor, 1.0)), lower, upper).sum()
        low, high = (factor, high) if total < mass else (low, factor)
    p = weights.copy()
    p[free] = np.clip(np.exp(np.minimum(logs + factor, 1.0)), lower, upper)
    if abs(p.sum() - 1.0) <= 1e-13:  # a shift would be larger than the smallest weights
        return _exact_sum(p, network.lower, network.upper)
    return into_bounds(p, network, free)


def _update_free(network: MixtureEnergy, p: FloatArray, free: Any) -> Any:
    """Hold what has met a bound; if nothing has, free the giver and the taker whose exchange lowers E fastest."""
    inside = _inside(network, p)
    if inside.any() and not np.array_equal(inside, free):
        return inside
    movable = network.lower < network.upper
    gradient = np.where(movable, network.gradient(p), 0.0)
    if network.tau > 0.0 and inside.any():  # every bound whose multiplier has the wrong sign, at the price of the sum
        price = float(p[inside] @ gradient[inside] / p[inside].sum())
        freed = ((p <= network.lower) & (gradient < price)) | ((p >= network.upper) & (gradient > price))
        return inside | (freed & movable)
    updated = inside.copy()
    updated[int(np.where(movable & (p > network.lower), gradient, -np.inf).argmax())] = True
    updated[int(np.where(movable & (p < network.upper), gradient, np.inf).argmin())] = True
    return updated
