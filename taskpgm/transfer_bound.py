"""A lower bound on expected losses over all mixtures where tasks teach each other, whether curves are convex or not.

With q = A'p the shares that count as each task's own, any prices x of them and any y >= 0 of constraints M p <= b,
every feasible p has

    E(p) >= sum_j min over q_j of (v_j loss_j(q_j) - x_j q_j) + min over p of (tau KL(p || q) + (A x + M'y)'p) - y'b,

so that prices need not be trusted. The first minima are bounded from below on the cells of a grid, as those of a
separable energy (see `taskpgm.envelopes`); the last is one too, for any price of the budget. Good prices are the slopes
of the curves' convex envelopes at the mixture where their sum is least: that is a convex problem. Where the envelopes
leave a gap, the range of the share that is furthest above its envelope is cut in two, and so on (Falk & Soland 1969).

    bound = transfer_bound(network, mixture)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from taskpgm.duals import multipliers, tangents
from taskpgm.envelope_bound import CUTS, ENOUGH, PRICE_ROUNDING, ROUNDS, Box, cut_in_two, finer
from taskpgm.envelopes import Cells, grid_points
from taskpgm.exact import minimize_linear
from taskpgm.interior import FIRST, LEAST_WEIGHT, SharedLosses, descended
from taskpgm.room import Room
from taskpgm.shared_envelopes import Envelopes
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray

WORK = 600
"""How often mixtures are cut in two, times how many tasks."""
WIDENED = 1e-6
"""Constraints that leave no room are loosened by so much where prices are looked for, and nowhere else."""
AGAIN = 1e-8
"""Weight of the logarithms where a descent goes on from the one before, nats."""
SOFT, STEEP = 1e4, 1e7
"""Bends of the envelopes beyond their ends, nats: in a box's first descent, which tells empty ones, and after it."""
WORTH = 0.02
"""Of the gap: grids are refined for as long as that gains so much, then mixtures are cut."""
BISECTIONS = 60
SLACK = 1e-12


def transfer_bound(network: TransferNetwork, mixture: FloatArray) -> float:
    """A number that no feasible mixture's energy is below.

    Args:
        network: with bounds and any constraints; balls enter by tangents.
        mixture: (n,) around which the grid is finest: the bound holds whatever it is, and is best near a good one.
    """
    return [box.bound for box in boxes(network, mixture)][-1]


def boxes(network: TransferNetwork, mixture: FloatArray) -> Iterator[Box]:
    """The box of least bound as the mixtures are cut in two: the first holds all of them, and so does every bound."""
    relaxed = Relaxation.of(network, mixture)
    low, high = reachable(network, network.lower, network.upper)
    points = grid_points(low[:, None], high[:, None], network.shares(relaxed.mixture))
    nearby = relaxed.near(points)
    yield nearby
    if relaxed.energy - nearby.bound <= ENOUGH or relaxed.room is None:
        return
    root = relaxed.bounded(low, high, nearby)
    few = bool(network.balls) or len(network) > WORK  # beside divergences every box takes long
    most = 1 if few else min(CUTS, WORK // len(network))
    yield from cut_in_two(root, relaxed.bounded, relaxed.energy, most)


def reachable(network: TransferNetwork, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) the least and the largest share that can count as each task's own within bounds, and a little beyond."""
    sides = lower.tolist(), upper.tolist()
    low = [float(column @ minimize_linear(column.tolist(), *sides)) for column in network.transfer.T]
    high = [float(column @ minimize_linear((-column).tolist(), *sides)) for column in network.transfer.T]
    return np.maximum(np.array(low) - SLACK, 0.0), np.array(high) + SLACK


@dataclass(frozen=True, eq=False)
class Relaxation:
    """A network with envelopes in the place of its curves.

    mixture: (n,) whose energy is to be proved. room: of the feasible set, None where it has none.
    """

    network: TransferNetwork
    mixture: FloatArray
    energy: float
    room: Room | None

    @classmethod
    def of(cls, network: TransferNetwork, mixture: FloatArray) -> Relaxation:
        inside = np.clip(mixture, network.lower, network.upper)
        room = Room.of(network.feasible) or Room.of(network.feasible, WIDENED)
        return cls(network, inside, network.energy(inside), room)

    def near(self, points: FloatArray) -> Box:
        """All mixtures, by the slopes at the one to be proved: enough where its shares lie on their envelopes."""
        shares = self.network.shares(self.mixture)
        prices = self.network.derivatives(shares)[1]
        bound = self.bound(points, prices, self.mixture)[0]
        return Box(points[:, 0], points[:, -1], points, bound, self.mixture, shares, np.zeros(len(shares)))

    def bounded(self, low: FloatArray, high: FloatArray, whole: Box) -> Box:
        """The part of a box whose shares lie from low to high, with a bound; its grid is refined while that helps."""
        assert self.room is not None
        network = self.network
        points, mixture = np.clip(whole.points, low[:, None], high[:, None]), whole.mixture
        best = replace(whole, low=low, high=high)
        for turn in range(ROUNDS):
            first, steep = (FIRST, SOFT) if turn == 0 else (AGAIN, STEEP)
            envelopes = Envelopes.of(network, points, steep)
            mixture = descended(SharedLosses(network, envelopes.derivatives), self.room, mixture, first=first)
            shares = np.clip(network.shares(mixture), low, high)
            prices = envelopes.derivatives(network.shares(mixture))[1]
            excess = envelopes.excess(network, shares)
            bound, minima = self.bound(points, prices, mixture)
            gained = bound - best.bound
            best = Box(low, high, points, max(bound, best.bound), mixture, shares, excess)
            gap = self.energy - best.bound
            due = float(excess.sum()) > WORTH * gap  # to the envelopes, and not to the grid alone
            if gap <= ENOUGH or (turn > 0 and gained <= (max(ENOUGH, WORTH * gap) if due else ENOUGH)):
                break
            points = finer(points, minima)
        return best

    def bound(self, points: FloatArray, prices: FloatArray, mixture: FloatArray) -> tuple[float, FloatArray]:
        """(no energy is below it where shares lie within the points, (n, G) minima of the cells) by prices of shares.

        mixture: (n,) at which constraints are priced, and balls have their tangents.
        """
        network, graph = self.network, self.network.transfer
        slopes = graph @ prices
        pull = network.tau * (np.log(np.maximum(mixture, LEAST_WEIGHT) / network.prior) + 1.0)
        matrix, limits = tangents(network, mixture)
        dear = multipliers(network, slopes + pull, matrix, limits)
        cost = slopes + matrix.T @ dear
        price = budget_price(network, cost)
        ends, flat = np.column_stack([network.lower, network.upper]), np.zeros((len(network), 1))
        own = Cells(ends, flat, flat).minima(network, cost - price)
        minima = Cells.of(network, points).loss_minima(-prices)
        paid = np.abs(price) + np.abs(dear * limits).sum() + np.abs(prices) @ points[:, -1]
        paid += (np.abs(price) + graph @ np.abs(prices) + np.abs(matrix.T) @ dear) @ network.upper
        rounding = network.rounding + (PRICE_ROUNDING + len(network) * np.finfo(float).eps) * float(paid)
        total = price - float(dear @ limits) + float(own.sum()) + float(minima.min(axis=1).sum())
        return total - rounding, minima


def budget_price(network: TransferNetwork, cost: FloatArray) -> float:
    """A price of the budget at which mixtures of least tau KL(p || q) + cost'p use it up, nearly."""
    lower, upper, tau = network.lower, network.upper, network.tau
    if tau == 0.0:
        order = np.argsort(cost, kind="stable")
        filled = float(lower.sum()) + np.cumsum((upper - lower)[order])
        return float(cost[order[min(int(np.searchsorted(filled, 1.0)), len(cost) - 1)]])
    low, high = (cost + tau * (1.0 + np.log(np.maximum(side, LEAST_WEIGHT) / network.prior)) for side in (lower, upper))
    least, most = float(low.min()), float(high.max())
    for _ in range(BISECTIONS):
        price = 0.5 * (least + most)
        wanted = network.prior * np.exp(np.minimum((price - cost) / tau - 1.0, 700.0))
        least, most = (price, most) if np.clip(wanted, lower, upper).sum() < 1.0 else (least, price)
    return 0.5 * (least + most)
