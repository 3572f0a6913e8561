"""Newton steps inside a feasible set, for losses of shares that tasks give each other.

    sum_j f_j(q_j) + tau KL(p || prior),    q = A'p,    p in the feasible set

Logarithms of what is left to every bound and constraint keep mixtures inside, and fade (Fiacco & McCormick 1968). Each
f_j may bend downwards: where the second derivatives are not positive definite, only what bends upwards is counted.
Every step lowers the energy with its logarithms, so the descent ends near a mixture that no small change improves.

    p = descended(network, network.derivatives, Room.of(network.feasible), start)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from taskpgm.energy import relative_entropy
from taskpgm.room import Room
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray

Terms: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
FIRST, LAST, FADING = 1e-5, 1e-12, 0.05
"""Weight of the logarithms at first and at last, nats, and by what it is multiplied."""
INWARDS = 1e3
"""How much of the way from a mixture to the centre a descent starts at, for each nat of that weight."""
STEPS, HALVINGS, SHARPENED = 25, 40, 6
ARMIJO, NEARLY = 1e-4, 0.95
RIDGES = (0.0, 1e-14, 1e-12, 1e-10)
"""What is added to a system that rounding keeps from being positive definite, in shares of its diagonal."""
LEAST_WEIGHT = 1e-300


def descended(
    network: TransferNetwork, terms: Terms, room: Room, start: FloatArray, *, first: float = FIRST
) -> FloatArray:
    """(n,) a mixture strictly inside the room, from where no small change lowers the energy.

    Args:
        network: with the graph and the prior.
        terms: (n,) f_j at (n,) shares, their slopes and their bends.
        start: (n,) mixture of the set.
        first: how much the logarithms weigh at first, in nats.
    """
    p, weight = room.inwards(start, INWARDS * first), first
    while len(room.moving):
        barrier = Barrier(network, terms, room, weight)
        p = barrier.settled(p)
        if weight <= LAST:
            return barrier.sharpened(p)
        weight = max(LAST, FADING * weight)
    return p


@dataclass(frozen=True, eq=False)
class Barrier:
    """The energy with `weight` nats times the logarithms of what is left to bounds and constraints."""

    network: TransferNetwork
    terms: Terms
    room: Room
    weight: float

    def settled(self, p: FloatArray) -> FloatArray:
        """Newton steps from a mixture inside until they promise less than the logarithms weigh."""
        value = self.value(p)
        for _ in range(STEPS):
            step, promised = self.step(p)
            if promised <= self.weight:
                break
            length = min(1.0, NEARLY * self._reach(p, step))
            for _ in range(HALVINGS):
                moved = p + length * step
                there = self.value(moved)
                if there <= value - ARMIJO * length * promised:
                    break
                length *= 0.5
            else:
                return p
            p, value = moved, there
        return p

    def sharpened(self, p: FloatArray) -> FloatArray:
        """Whole Newton steps for as long as they promise less and less: energies are flat here, slopes are not."""
        step, promised = self.step(p)
        for _ in range(SHARPENED):
            moved = p + step
            if not self.room.inside(moved):
                break
            step, left = self.step(moved)
            if not 0.0 <= left < promised:
                break
            p, promised = moved, left
        return p

    def value(self, p: FloatArray) -> float:
        """Infinite outside."""
        slacks = self.room.slacks(p)
        if not all(bool((each > 0.0).all()) for each in slacks):
            return float("inf")
        energy = float(self.terms(self.network.shares(p))[0].sum())
        if self.network.tau > 0.0:
            energy += self.network.tau * float(relative_entropy(p, self.network.prior).sum())
        return energy - self.weight * float(sum(np.log(each).sum() for each in slacks))

    def step(self, p: FloatArray) -> tuple[FloatArray, float]:
        """((n,) a direction that adds up to 0, by how much the energy falls along it at first)."""
        moving = self.room.moving
        _, slopes, bends = self.terms(self.network.shares(p))
        gradient, form = self._logarithms(p)
        graph = self.network.transfer[moving]
        gradient += graph @ slopes
        own = np.maximum(p[moving], LEAST_WEIGHT)
        if self.network.tau > 0.0:
            gradient += self.network.tau * (np.log(own / self.network.prior[moving]) + 1.0)
            form[np.diag_indices(len(moving))] += self.network.tau / own
        gradient -= gradient.mean()
        right = np.column_stack([gradient, np.ones(len(moving))])
        solved = _solved(form + (graph * bends) @ graph.T, right, 0.0) if (bends < 0.0).any() else None
        if solved is None:
            upwards = form + (graph * np.maximum(bends, 0.0)) @ graph.T
            found = (_solved(upwards, right, ridge) for ridge in RIDGES)
            solved = next((each for each in found if each is not None), None)
        if solved is None:
            return np.zeros(len(p)), 0.0
        step = np.zeros(len(p))
        step[moving] = solved[:, 1] * (solved[:, 0].sum() / solved[:, 1].sum()) - solved[:, 0]
        step[moving] -= step[moving].mean()
        return step, -float(gradient @ step[moving])

    def _logarithms(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient and second derivatives of the logarithms, for the tasks that can move."""
        room, moving, weight = self.room, self.room.moving, self.weight
        below, above, rows, left = room.slacks(p)
        matrix = room.matrix[:, moving]
        gradient = weight * (1.0 / above - 1.0 / below + matrix.T @ (1.0 / rows))
        form = weight * (np.diag(1.0 / below**2 + 1.0 / above**2) + (matrix.T / rows**2) @ matrix)
        own = np.maximum(p[moving], LEAST_WEIGHT)
        for ball, slack in zip(room.balls, left.tolist(), strict=True):
            steep = np.log(own / ball.centre[moving]) + 1.0
            gradient += weight * steep / slack
            form += weight * (np.outer(steep, steep) / slack**2 + np.diag(1.0 / own) / slack)
        return gradient, form

    def _reach(self, p: FloatArray, step: FloatArray) -> float:
        """How many times the step leads to a bound or a row; divergences are left to whoever tries."""
        room, own = self.room, step[self.room.moving]
        below, above, rows, _ = room.slacks(p)
        towards = np.concatenate([-own / below, own / above, room.matrix @ step / rows])
        return 1.0 / max(float(towards.max()), 1e-12)


def _solved(form: FloatArray, right: FloatArray, ridge: float) -> FloatArray | None:
    """The solution of a positive definite system, scaled to 1 + ridge on the diagonal; None where it is not one."""
    from scipy.linalg import cho_factor, cho_solve

    diagonal = form.diagonal()
    if not (diagonal > 0.0).all():
        return None
    scale = 1.0 / np.sqrt(diagonal)
    scaled = form * np.outer(scale, scale)
    scaled[np.diag_indices(len(scaled))] += ridge
    try:
        factor = cho_factor(scaled, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    return np.asarray(cho_solve(factor, right * scale[:, None], check_finite=False) * scale[:, None])
