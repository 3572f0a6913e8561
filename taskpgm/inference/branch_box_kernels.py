"""The numba kernels of branch and bound on one box of levels: its envelope, its bound, and moves of the relaxed levels.

Arrays: coupling (n, n) C, convex where levels add up to the budget; remainder (n, n) R >= 0 with zero diagonal; nodes
(n, top + 1) h_i at whole levels, any value outside the box; lower, upper (n,) box; p (n,) float64 levels with sum
`budget`; gradient (n,) C p. The energy is sum h_i(x_i) + 1/2 x'(C + R)x. See branch_and_bound for the mathematics.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

jit = numba.njit(cache=True, error_model="numpy")
EDGE = 1e-9


@jit
def certain_pairs(remainder: Any, lower: Any, extra: Any) -> float:
    """A constant, and (n,) extra, with 1/2 x'Rx >= extra'x + constant for all x >= lower, exact where x = lower."""
    n = len(lower)
    extra[:] = 0.0
    for j in range(n):
        if lower[j] != 0:
            for i in range(n):
                extra[i] += remainder[j, i] * lower[j]
    constant = 0.0
    for i in range(n):
        constant -= 0.5 * extra[i] * lower[i]
    return constant


@jit
def envelope(nodes: Any, extra: Any, lower: Any, upper: Any, values: Any, slopes: Any) -> None:
    """Lower convex envelope of each h_i(v) + extra_i v over its box.

    It fills in values at whole levels, and slopes[i, v] from level v to v + 1.
    """
    hull = np.empty(nodes.shape[1], np.int64)
    for i in range(nodes.shape[0]):
        size = 0
        for v in range(lower[i], upper[i] + 1):
            while size >= 2:
                a, b = hull[size - 2], hull[size - 1]
                if (nodes[i, b] - nodes[i, a]) * (v - a) >= (nodes[i, v] - nodes[i, a]) * (b - a):
                    size -= 1
                else:
                    break
            hull[size] = v
            size += 1
        values[i, lower[i]] = nodes[i, lower[i]] + extra[i] * lower[i]
        for k in range(size - 1):
            a, b = hull[k], hull[k + 1]
            slope = (nodes[i, b] - nodes[i, a]) / (b - a) + extra[i]
            for v in range(a, b):
                slopes[i, v] = slope
                values[i, v + 1] = values[i, a] + slope * (v + 1 - a)


@jit
def cheapest_quanta(gradient: Any, slopes: Any, lower: Any, upper: Any, free: Any, budget: int, taken: Any) -> Any:
    """Whole levels `taken` that minimise sum env_i(q_i) + gradient_i q_i; returns (dearest taken, cheapest left).

    free: the tasks whose box is wider than a point. Slopes rise along each task, so the cheapest quanta of all tasks
    together are always a whole number of each. They are selected, not sorted (Hoare 1961).
    """
    taken[:] = lower
    needed = budget - lower.sum()
    items = 0
    for i in free:
        items += upper[i] - lower[i]
    costs, k = np.empty(items), 0
    for i in free:
        for v in range(lower[i], upper[i]):
            costs[k] = slopes[i, v] + gradient[i]
            k += 1
    cheapest = np.inf
    if 0 < needed < items:
        parted = np.partition(costs, needed)
        cheapest, dearest = parted[needed], parted[:needed].max()
    elif needed > 0:
        dearest = costs.max()
    else:
        return -np.inf, costs.min() if items > 0 else np.inf
    tied = needed
    for cost in costs:
        tied -= cost < dearest
    k = 0
    for i in free:
        for _ in range(lower[i], upper[i]):
            if costs[k] < dearest:
                taken[i] += 1
            elif costs[k] == dearest and tied > 0:
                taken[i] += 1
                tied -= 1
            k += 1
    return dearest, cheapest


@jit
def true_energy(coupling: Any, remainder: Any, nodes: Any, levels: Any) -> float:
    """sum h_i(x_i) + 1/2 x'(C + R)x."""
    total = 0.0
    n = len(levels)
    for i in range(n):
        total += nodes[i, levels[i]]
        if levels[i] != 0:
            row = 0.0
            for j in range(n):
                if levels[j] != 0:
                    row += (coupling[i, j] + remainder[i, j]) * levels[j]
            total += 0.5 * levels[i] * row
    return total


@jit
def bound_at(
    p: Any, gradient: Any, values: Any, slopes: Any, lower: Any, upper: Any, free: Any, budget: int, taken: Any
) -> Any:
    """(bound of the box, dearest quantum taken, cheapest left); `taken` receives the minimising whole levels."""
    dearest, cheapest = cheapest_quanta(gradient, slopes, lower, upper, free, budget, taken)
    total = -0.5 * (p @ gradient)
    for i in range(len(p)):
        total += values[i, taken[i]] + gradient[i] * taken[i]
    return total, dearest, cheapest


@jit
def relaxed_energy(p: Any, gradient: Any, values: Any, slopes: Any, upper: Any) -> float:
    """sum env_i(p_i) + 1/2 p'Cp."""
    total = 0.5 * (p @ gradient)
    for i in range(len(p)):
        v = min(int(np.floor(p[i] + EDGE)), upper[i])
        total += values[i, v]
        if p[i] - v > EDGE:
            total += (p[i] - v) * slopes[i, v]
    return total


@jit
def next_costs(slopes: Any, lower: Any, upper: Any, p: Any, i: int, rise: Any, fall: Any) -> None:
    """What the next bit more, or less, of task i costs along its envelope: infinite where it meets the box."""
    rise[i] = slopes[i, int(np.floor(p[i] + EDGE))] if p[i] < upper[i] - EDGE else np.inf
    fall[i] = slopes[i, int(np.ceil(p[i] - EDGE)) - 1] if p[i] > lower[i] + EDGE else -np.inf


@jit
def exchange(
    coupling: Any, slopes: Any, lower: Any, upper: Any, free: Any, p: Any, gradient: Any, rise: Any, fall: Any
) -> float:
    """Move mass from the task where it costs most to the one where it costs least, as far as pays; what was gained.

    Pairwise Frank-Wolfe over the quanta: the step ends at the minimum of the quadratic, at a kink, or at the box.
    """
    best_up, best_down, up, down = np.inf, -np.inf, -1, -1
    for i in free:
        more, less = gradient[i] + rise[i], gradient[i] + fall[i]
        if more < best_up:
            best_up, up = more, i
        if less > best_down:
            best_down, down = less, i
    if up < 0 or down < 0 or up == down or best_down - best_up <= 0.0:
        return 0.0
    force = best_down - best_up
    step = min(np.floor(p[up] + EDGE) + 1.0 - p[up], p[down] - (np.ceil(p[down] - EDGE) - 1.0))
    curvature = coupling[up, up] + coupling[down, down] - 2.0 * coupling[up, down]
    if curvature > 0.0 and force < curvature * step:
        step = force / curvature
    p[up] += step
    p[down] -= step
    next_costs(slopes, lower, upper, p, up, rise, fall)
    next_costs(slopes, lower, upper, p, down, rise, fall)
    toward, away = coupling[up], coupling[down]  # symmetric: rows are columns
    for k in range(len(p)):
        gradient[k] += step * (toward[k] - away[k])
    return step * (force - 0.5 * curvature * step)


@jit
def into_box(coupling: Any, slopes: Any, lower: Any, upper: Any, budget: int, p: Any, gradient: Any) -> None:
    """Clip p to the box, recompute its gradient, and make up the sum where that costs least."""
    n = len(p)
    for i in range(n):
        p[i] = min(max(p[i], float(lower[i])), float(upper[i]))
    gradient[:] = 0.0
    for j in range(n):
        if p[j] != 0.0:
            for k in range(n):
                gradient[k] += coupling[j, k] * p[j]
    missing = budget - p.sum()
    while abs(missing) > 1e-12 * budget:
        best, chosen = np.inf, -1
        for i in range(n):
            if missing > 0.0 and p[i] < upper[i]:
                cost = gradient[i] + slopes[i, min(int(np.floor(p[i] + EDGE)), upper[i] - 1)]
            elif missing < 0.0 and p[i] > lower[i]:
                cost = -gradient[i] - slopes[i, max(int(np.ceil(p[i] - EDGE)) - 1, lower[i])]
            else:
                continue
            if cost < best:
                best, chosen = cost, i
        if chosen < 0:
            return
        step = min(missing, upper[chosen] - p[chosen]) if missing > 0.0 else max(missing, lower[chosen] - p[chosen])
        p[chosen] += step
        missing -= step
        for k in range(n):
            gradient[k] += step * coupling[chosen, k]


@jit
def tighten(
    lower: Any,
    upper: Any,
    free: Any,
    p: Any,
    gradient: Any,
    slopes: Any,
    taken: Any,
    slack: float,
    dearest: float,
    cheapest: float,
) -> bool:
    """Rule out levels whose bound would exceed the incumbent, `slack` above this box's; whether p has to move for it.

    A lower end that rises moves p too, by what the remainder is then known to add.
    """
    moved = False
    for i in free:
        total, v = 0.0, taken[i]
        while v < upper[i]:
            total += slopes[i, v] + gradient[i] - dearest
            if total > slack:
                upper[i] = v
                moved = moved or p[i] > v
            v += 1
        total, v = 0.0, taken[i]
        while v > lower[i]:
            total += cheapest - slopes[i, v - 1] - gradient[i]
            if total > slack:
                lower[i] = v
                moved = True
            v -= 1
    return moved
