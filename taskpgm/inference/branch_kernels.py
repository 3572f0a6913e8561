"""The numba kernels of branch and bound that walk the tree: relax a box, choose where to split it, go on with the next.

Arrays are those of `taskpgm.inference.branch_box_kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taskpgm.inference.branch_box_kernels import (
    EDGE,
    bound_at,
    certain_pairs,
    envelope,
    exchange,
    into_box,
    jit,
    next_costs,
    relaxed_energy,
    tighten,
    true_energy,
)

FIRST_CHECK = 8  # steps, before a bound is looked at
ENOUGH = 0.25  # of what a box's relaxation lacks to the incumbent: when its bound is that near, the box is split


@jit
def exchange_curvatures(coupling: Any) -> Any:
    """(n,) how the relaxed energy curves when a task's quanta come from all tasks alike: never negative."""
    n = len(coupling)
    means = np.empty(n)
    for i in range(n):
        means[i] = coupling[i].mean()
    curvatures = np.empty(n)
    for i in range(n):
        curvatures[i] = coupling[i, i] - 2.0 * means[i] + means.mean()
    return curvatures


@jit
def branching_task(
    curvatures: Any, remainder: Any, nodes: Any, extra: Any, values: Any, lower: Any, upper: Any, p: Any
) -> int:
    """The task at which the relaxation leaves out most of the energy; else the widest box; -1 for a single point.

    Left out are the curvature between whole levels, what h is above its envelope there, and of the remainder all but
    what is certain (see `certain_pairs`).
    """
    most, chosen, widest = 1e-12, -1, -1
    for i in range(len(p)):
        if lower[i] == upper[i]:
            continue
        if widest < 0 or upper[i] - lower[i] > upper[widest] - lower[widest]:
            widest = i
        v = min(int(np.floor(p[i] + EDGE)), upper[i] - 1)
        part = p[i] - v
        below = nodes[i, v] + extra[i] * v - values[i, v]
        above = nodes[i, v + 1] + extra[i] * (v + 1) - values[i, v + 1]
        left_out = 0.5 * curvatures[i] * part * (1.0 - part) + (1.0 - part) * below + part * above
        if p[i] > EDGE:
            left_out += 0.5 * p[i] * (remainder[i] @ p - extra[i])
        if left_out > most:
            most, chosen = left_out, i
    return chosen if chosen >= 0 else widest


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
    gradient, rise, fall, taken = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
    moved = True
    while moved:
        moved = False
        if lower.sum() > budget or upper.sum() < budget:
            return np.inf, energy
        free = np.flatnonzero(lower < upper)
        constant = certain_pairs(remainder, lower, extra)
        envelope(nodes, extra, lower, upper, values, slopes)
        into_box(coupling, slopes, lower, upper, budget, p, gradient)
        for i in free:
            next_costs(slopes, lower, upper, p, i, rise, fall)
        value = constant + relaxed_energy(p, gradient, values, slopes, upper)
        check = FIRST_CHECK
        for step in range(1, 40 * n + 400):
            gained = exchange(coupling, slopes, lower, upper, free, p, gradient, rise, fall)
            value -= gained
            stalled = gained <= 1e-14 * (1.0 + abs(value))
            if step < check and not stalled:
                continue
            check = 2 * step
            here, dearest, cheapest = bound_at(p, gradient, values, slopes, lower, upper, free, budget, taken)
            here += constant
            bound = max(bound, here)
            whole = true_energy(coupling, remainder, nodes, taken)
            if whole < energy - 1e-13 * (1.0 + abs(energy)):
                energy = whole
                incumbent[:] = taken
            if bound >= energy - tolerance:
                return bound, energy
            if stalled or value - here <= ENOUGH * max(0.0, energy - tolerance - value):
                slack = energy - tolerance - here
                moved = tighten(lower, upper, free, p, gradient, slopes, taken, slack, dearest, cheapest)
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
    curvatures = exchange_curvatures(coupling)
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
        chosen = branching_task(curvatures, remainder, nodes, extra, values, lower, upper, p)
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
