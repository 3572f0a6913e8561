"""The numba kernels of branch and bound: relaxing a box of levels, bounding it, and walking the tree.

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
def cheapest_quanta(gradient: Any, slopes: Any, lower: Any, upper: Any, budget: int, taken: Any) -> Any:
    """Whole levels `taken` that minimise sum env_i(q_i) + gradient_i q_i; returns (dearest taken, cheapest left).

    Slopes rise along each task, so the cheapest quanta of all tasks together are always a whole number of each.
    """
    n = len(gradient)
    items = 0
    for i in range(n):
        taken[i] = lower[i]
        items += upper[i] - lower[i]
    needed = budget - taken.sum()
    costs, owner = np.empty(items), np.empty(items, np.int64)
    k = 0
    for i in range(n):
        for v in range(lower[i], upper[i]):
            costs[k] = slopes[i, v] + gradient[i]
            owner[k] = i
            k += 1
    order = np.argsort(costs)
    for k in range(needed):
        taken[owner[order[k]]] += 1
    dearest = costs[order[needed - 1]] if needed > 0 else -np.inf
    cheapest = costs[order[needed]] if needed < items else np.inf
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
def bound_at(p: Any, gradient: Any, values: Any, slopes: Any, lower: Any, upper: Any, budget: int, taken: Any) -> Any:
    """(bound of the box, dearest quantum taken, cheapest left); `taken` receives the minimising whole levels."""
    dearest, cheapest = cheapest_quanta(gradient, slopes, lower, upper, budget, taken)
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
def exchange(coupling: Any, slopes: Any, lower: Any, upper: Any, p: Any, gradient: Any) -> float:
    """Move mass from the task where it costs most to the one where it costs least, as far as pays; what was gained.

    Pairwise Frank-Wolfe over the quanta: the step ends at the minimum of the quadratic, at a kink, or at the box.
    """
    n = len(p)
    best_up, best_down, up, down = np.inf, -np.inf, -1, -1
    for i in range(n):
        if p[i] < upper[i] - EDGE:
            cost = gradient[i] + slopes[i, int(np.floor(p[i] + EDGE))]
            if cost < best_up:
                best_up, up = cost, i
        if p[i] > lower[i] + EDGE:
            cost = gradient[i] + slopes[i, int(np.ceil(p[i] - EDGE)) - 1]
            if cost > best_down:
                best_down, down = cost, i
    if up < 0 or down < 0 or up == down or best_down - best_up <= 0.0:
        return 0.0
    force = best_down - best_up
    step = min(np.floor(p[up] + EDGE) + 1.0 - p[up], p[down] - (np.ceil(p[down] - EDGE) - 1.0))
    curvature = coupling[up, up] + coupling[down, down] - 2.0 * coupling[up, down]
    if curvature > 0.0 and force < curvature * step:
        step = force / curvature
    p[up] += step
    p[down] -= step
    for k in range(n):
        gradient[k] += step * (coupling[k, up] - coupling[k, down])
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
                gradient[k] += coupling[k, j] * p[j]
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
            gradient[k] += step * coupling[k, chosen]


@jit
def tighten(
    lower: Any, upper: Any, gradient: Any, slopes: Any, taken: Any, slack: float, dearest: float, cheapest: float
) -> bool:
    """Rule out levels whose bound would exceed the incumbent, `slack` above this box's; whether any was."""
    changed = False
    for i in range(len(taken)):
        total, v = 0.0, taken[i]
        while v < upper[i]:
            total += slopes[i, v] + gradient[i] - dearest
            if total > slack:
                upper[i] = v
                changed = True
            v += 1
        total, v = 0.0, taken[i]
        while v > lower[i]:
            total += cheapest - slopes[i, v - 1] - gradient[i]
            if total > slack:
                lower[i] = v
                changed = True
            v -= 1
    return changed


@jit
def branching_task(nodes: Any, extra: Any, values: Any, lower: Any, upper: Any, p: Any) -> int:
    """The task furthest from a whole level; else the one whose envelope is furthest below h; else the widest box."""
    best, chosen = 1e-6, -1
    for i in range(len(p)):
        away = abs(p[i] - np.rint(p[i]))
        if away > best:
            best, chosen = away, i
    if chosen >= 0:
        return chosen
    best = 1e-12
    for i in range(len(p)):
        v = int(np.rint(p[i]))
        below = nodes[i, v] + extra[i] * v - values[i, v]
        if below > best:
            best, chosen = below, i
    if chosen >= 0:
        return chosen
    widest = 0
    for i in range(len(p)):
        if upper[i] - lower[i] > widest:
            widest, chosen = upper[i] - lower[i], i
    return chosen


@jit
def relax(
    coupling: Any,
    remainder: Any,
    nodes: Any,
    budget: int,
    lower: Any,
    upper: Any,
    p: Any,
    bound: float,
    incumbent: Any,
    energy: float,
    tolerance: float,
    extra: Any,
    values: Any,
    slopes: Any,
) -> Any:
    """Bound a box and rule out levels until neither helps: (bound, infinite where it is empty; incumbent's energy).

    lower, upper, p and incumbent change in place; extra, values and slopes are left as they belong to the box.
    """
    n = len(p)
    gradient, taken = np.empty(n), np.empty(n, np.int64)
    changed = True
    while changed:
        changed = False
        if lower.sum() > budget or upper.sum() < budget:
            return np.inf, energy
        constant = certain_pairs(remainder, lower, extra)
        envelope(nodes, extra, lower, upper, values, slopes)
        into_box(coupling, slopes, lower, upper, budget, p, gradient)
        value = constant + relaxed_energy(p, gradient, values, slopes, upper)
        check = 4
        for step in range(1, 40 * n + 400):
            gained = exchange(coupling, slopes, lower, upper, p, gradient)
            value -= gained
            stalled = gained <= 1e-14 * (1.0 + abs(value))
            if step < check and not stalled:
                continue
            check = step + max(4, step // 2)
            here, dearest, cheapest = bound_at(p, gradient, values, slopes, lower, upper, budget, taken)
            here += constant
            bound = max(bound, here)
            whole = true_energy(coupling, remainder, nodes, taken)
            if whole < energy - 1e-13 * (1.0 + abs(energy)):
                energy = whole
                incumbent[:] = taken
            if bound >= energy - tolerance:
                return bound, energy
            if stalled or value - here <= 0.1 * max(0.0, energy - tolerance - value):
                slack = energy - tolerance - here
                changed = tighten(lower, upper, gradient, slopes, taken, slack, dearest, cheapest)
                break
    return bound, energy


@jit
def search(
    coupling: Any,
    remainder: Any,
    nodes: Any,
    budget: int,
    boxes: Any,
    starts: Any,
    bounds: Any,
    waiting: int,
    incumbent: Any,
    energy: float,
    tolerance: float,
    ties: int,
    tie: float,
    limit: int,
) -> Any:
    """Take up to `limit` boxes off the stack: (boxes waiting, energy of the incumbent, boxes visited, ties).

    boxes: (capacity, 2, n) lower and upper levels. starts: (capacity, n) where to begin relaxing. bounds: (capacity,).
    incumbent: (n,) the best levels so far, changed in place. A box is dropped where its bound reaches the energy less
    `tolerance`. ties: the single points met whose energy is within `tie` of the incumbent's, counted anew whenever that
    falls by more; these are all minimisers where the tolerance is below -tie. It ends early where the stack is nearly
    full.
    """
    n = len(incumbent)
    extra, values, slopes = np.zeros(n), np.zeros(nodes.shape), np.zeros(nodes.shape)
    visited = 0
    while waiting > 0 and visited < limit and waiting + 2 <= len(bounds):
        waiting -= 1
        visited += 1
        if bounds[waiting] >= energy - tolerance:
            continue
        lower, upper, p = boxes[waiting, 0].copy(), boxes[waiting, 1].copy(), starts[waiting].copy()
        before = energy
        bound, energy = relax(
            coupling,
            remainder,
            nodes,
            budget,
            lower,
            upper,
            p,
            bounds[waiting],
            incumbent,
            energy,
            tolerance,
            extra,
            values,
            slopes,
        )
        if energy < before - tie:
            ties = 0
        if bound >= energy - tolerance:
            continue
        chosen = branching_task(nodes, extra, values, lower, upper, p)
        if chosen < 0:  # a single point
            whole = true_energy(coupling, remainder, nodes, lower)
            if whole < energy - tie:
                ties = 0
            if whole <= energy + tie:
                ties += 1
            if whole < energy:
                energy = whole
                incumbent[:] = lower
            continue
        split = min(int(np.floor(p[chosen] + EDGE)), upper[chosen] - 1)
        nearer_up = p[chosen] - split > 0.5
        for side in range(2):
            raised = (side == 1) == nearer_up  # the nearer side is put last and so searched first
            boxes[waiting, 0], boxes[waiting, 1] = lower, upper
            starts[waiting], bounds[waiting] = p, bound
            if raised:
                boxes[waiting, 0, chosen] = split + 1
            else:
                boxes[waiting, 1, chosen] = split
            waiting += 1
    return waiting, energy, visited, ties
