"""A lower bound on a separable energy over all mixtures, whether it is convex or not.

For any price m of the budget and any prices y >= 0 of constraints A p <= b, every feasible p has

    E(p) >= m - y'b + sum_j min over p_j of (term_j(p_j) + (A'y - m 1)_j p_j),

so that prices need not be trusted, and the best of them give the sum of the terms' convex envelopes. Each minimum is
bounded from below on the cells of a grid (see `taskpgm.envelopes`), and cells where it may lie are cut again and again.

    bound = envelope_bound(network, point)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskpgm.duals import tangents
from taskpgm.envelopes import Cells, prices, start_points
from taskpgm.separable import SeparableNetwork
from taskpgm.types import FloatArray

ROUNDS = 12
CUT, PARTS = 4, 4
"""How many cells of a task are cut in a round, and into how many parts."""
ENOUGH = 1e-9
CUTS, WORK = 64, 1_500
"""How often mixtures are cut in two, at most, and times how many tasks."""
SUM_SLACK = 1e-12
PRICE_ROUNDING = 1e-14
"""Of everything that prices enter, relative: a few dozen units in the last place."""


@dataclass(frozen=True, eq=False)
class Box:
    """A part of the mixtures, low <= p <= high, with a lower bound on the energy in it.

    points: (n, G + 1) the grid so far. mixture: (n,) where the sum of the envelopes is least; envelope: (n,) what may
    be cut there, the weights themselves where tasks teach each other nothing. excess: (n,) by how much each term is
    above its envelope there.
    """

    low: FloatArray
    high: FloatArray
    points: FloatArray
    bound: float
    mixture: FloatArray
    envelope: FloatArray
    excess: FloatArray


Bounded: TypeAlias = Callable[[FloatArray, FloatArray, Box], Box | None]
"""A box with its bound, from its ends and the box that it is a part of; None where no mixture is in it."""


def envelope_bound(network: SeparableNetwork, mixture: FloatArray) -> float:
    """A number that no feasible mixture's energy is below.

    Where the envelopes leave a gap, the mixtures are cut in two at the weight whose term is highest above its own
    envelope, and the parts with the least bound again, up to a fixed number of times (spatial branch and bound; Falk &
    Soland 1969).

    Args:
        network: with bounds and any constraints; balls enter by their tangents at the mixture.
        mixture: (n,) around which the grid is finest: the bound holds whatever it is, and is best near a good one.
    """
    matrix, limits = tangents(network, mixture)
    energy = network.energy(np.clip(mixture, network.lower, network.upper))

    def bounded(low: FloatArray, high: FloatArray, whole: Box) -> Box | None:
        if low.sum() > 1.0 + SUM_SLACK or high.sum() < 1.0 - SUM_SLACK:
            return None
        points = np.clip(whole.points, low[:, None], high[:, None])
        return _bounded(network, (low, high), points, (matrix, limits), energy)

    ends = network.lower, network.upper
    root = _bounded(network, ends, start_points(network, mixture), (matrix, limits), energy)
    most = max(1, min(CUTS, WORK // len(network)))
    return [box.bound for box in cut_in_two(root, bounded, energy, most)][-1]


def cut_in_two(root: Box, bounded: Bounded, energy: float, most: int) -> Iterator[Box]:
    """The box of least bound, again and again after it was cut in two: the last one's bound holds for the root.

    Ends where that is within reach of the energy, where nothing is above its envelope, or after `most` cuts.
    """
    least, boxes, cuts = root, [root], 0
    yield least
    while energy - least.bound > ENOUGH and least.excess.max() > ENOUGH and cuts < most:
        boxes.remove(least)
        for low, high in _halves(least):
            part = bounded(low, high, least)
            boxes += [] if part is None else [part]
        if not boxes:
            yield replace(least, bound=energy)
            return
        least, cuts = min(boxes, key=_bound_of), cuts + 1
        yield least


def _bound_of(box: Box) -> float:
    return box.bound


def _halves(box: Box) -> list[tuple[FloatArray, FloatArray]]:
    """The bounds of two parts, cut at the envelope's weight of the task whose term is furthest above its envelope."""
    task = int(box.excess.argmax())
    low, high = box.low.copy(), box.high.copy()
    low[task] = high[task] = box.envelope[task]
    return [(box.low, high), (low, box.high)]


def _bounded(
    network: SeparableNetwork,
    sides: tuple[FloatArray, FloatArray],
    points: FloatArray,
    rows: tuple[FloatArray, FloatArray],
    energy: float,
) -> Box:
    """A box with its bound, its grid refined until that is within reach of the energy or rises no more."""
    (low, high), (matrix, limits) = sides, rows
    best = Box(low, high, points, -np.inf, low, low, np.zeros(len(low)))
    for _ in range(ROUNDS):
        price, dear, envelope, excess = prices(network, points, matrix, limits)
        cost = matrix.T @ dear - price
        minima = Cells.of(network, points).minima(network, cost)
        paid = abs(price) + float(np.abs(dear * limits).sum() + np.abs(cost) @ high)
        rounding = network.rounding + PRICE_ROUNDING * paid
        bound = price - float(dear @ limits) + float(minima.min(axis=1).sum()) - rounding
        gained = bound - best.bound
        best = Box(low, high, points, max(bound, best.bound), envelope, envelope, excess)
        if energy - best.bound <= ENOUGH or gained <= ENOUGH:
            break
        points = finer(points, minima)
    return best


def finer(points: FloatArray, minima: FloatArray) -> FloatArray:
    """The grid with the cells of each task that are lowest, of those that have any width, cut into parts."""
    a, b = points[:, :-1], points[:, 1:]
    rank = np.where(b - a > 1e-14, minima, np.inf)
    chosen: NDArray[np.intp] = np.argsort(rank, axis=1)[:, :CUT]
    first, last = np.take_along_axis(a, chosen, axis=1), np.take_along_axis(b, chosen, axis=1)
    shares = np.arange(1, PARTS) / PARTS
    new = (first[:, :, None] + (last - first)[:, :, None] * shares).reshape(len(points), -1)
    return np.sort(np.concatenate([points, new], axis=1), axis=1)
