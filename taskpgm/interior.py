"""Newton steps inside a feasible set, for expected losses with a pull towards a prior mixture.

    losses(p) + tau KL(p || prior),    p in the feasible set

Logarithms of what is left to every bound and constraint keep mixtures inside, and fade (Fiacco & McCormick 1968).
Losses may bend downwards: where their second derivatives are not positive definite, only what bends upwards is counted.
Every step lowers the energy with its logarithms, so the descent ends near a mixture that no small change improves.

    p = descended(SharedLosses(network, network.derivatives), Room.of(network.feasible), start)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskpgm.energy import relative_entropy
from taskpgm.room import Room
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray

Terms: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
"""(n,) losses at (n,) shares, their slopes and their bends."""
FIRST, LAST, FADING = 1e-5, 1e-12, 0.05
"""Weight of the logarithms at first and at last, nats, and by what it is multiplied."""
INWARDS = 1e3
"""How much of the way from a mixture to the centre a descent starts at, for each nat of that weight."""
STEPS, HALVINGS, SHARPENED = 25, 40, 6
ARMIJO, NEARLY = 1e-4, 0.95
RIDGES = (0.0, 1e-14, 1e-12, 1e-10)
"""What is added to a system that rounding keeps from being positive definite, in shares of its diagonal."""
LEAST_WEIGHT = 1e-300


class Derivatives(NamedTuple):
    """slopes: (k,) the first ones. form: (k, k) the second ones. upwards: makes those of what bends upwards alone, None
    where nothing bends downwards."""

    slopes: FloatArray
    form: FloatArray
    upwards: Callable[[], FloatArray] | None = None


class Pulled(Protocol):
    """A network with a pull: tau nats of loss per nat of divergence from the (n,) prior."""

    @property
    def tau(self) -> float: ...

    @property
    def prior(self) -> FloatArray: ...


class Losses(Protocol):
    """What is descended: losses of a network, whose pull comes in addition."""

    @property
    def network(self) -> Pulled: ...

    def value(self, p: FloatArray) -> float:
        """Of a mixture, without the pull."""
        ...

    def derivatives(self, p: FloatArray, moving: NDArray[np.intp]) -> Derivatives:
        """By the weights of some tasks."""
        ...


@dataclass(frozen=True, eq=False)
class SharedLosses:
    """The sum of terms_j(q_j), q = A'p, with a network's graph A, pull and prior."""

    network: TransferNetwork
    terms: Terms

    def value(self, p: FloatArray) -> float:
        return float(self.terms(self.network.shares(p))[0].sum())

    def derivatives(self, p: FloatArray, moving: NDArray[np.intp]) -> Derivatives:
        _, slopes, bends = self.terms(self.network.shares(p))
        graph = self.network.transfer[moving]

        def upwards() -> FloatArray:
            return np.asarray((graph * np.maximum(bends, 0.0)) @ graph.T)

        return Derivatives(graph @ slopes, (graph * bends) @ graph.T, upwards if (bends < 0.0).any() else None)


def descended(losses: Losses, room: Room, start: FloatArray, *, first: float = FIRST, last: float = LAST) -> FloatArray:
    """(n,) a mixture strictly inside the room, from where no small change lowers the energy.

    Args:
        losses: with the pull.
        start: (n,) mixture of the set.
        first, last: how much the logarithms weigh at first and at last, in nats.
    """
    p, weight = room.inwards(start, INWARDS * first), first
    while len(room.moving):
        barrier = Barrier(losses, room, weight)
        p = barrier.settled(p)
        if weight <= last:
            return barrier.sharpened(p)
        weight = max(last, FADING * weight)
    return p


@dataclass(frozen=True, eq=False)
class Barrier:
    """The energy with `weight` nats times the logarithms of what is left to bounds and constraints."""

    losses: Losses
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
        energy, network = self.losses.value(p), self.losses.network
        if network.tau > 0.0:
            energy += network.tau * float(relative_entropy(p, network.prior).sum())
        return energy - self.weight * float(sum(np.log(each).sum() for each in slacks))

    def step(self, p: FloatArray) -> tuple[FloatArray, float]:
        """((n,) a direction that adds up to 0, by how much the energy falls along it at first)."""
        moving, network = self.room.moving, self.losses.network
        gradient, form = self._logarithms(p)
        found = self.losses.derivatives(p, moving)
        gradient += found.slopes
        own = np.maximum(p[moving], LEAST_WEIGHT)
        if network.tau > 0.0:
            gradient += network.tau * (np.log(own / network.prior[moving]) + 1.0)
            form[np.diag_indices(len(moving))] += network.tau / own
        gradient -= gradient.mean()
        right = np.column_stack([gradient, np.ones(len(moving))])
        whole, solved = form + found.form, None
        if found.upwards is not None:
            solved = _solved(whole, right, 0.0)
            whole = form + found.upwards() if solved is None else whole
        if solved is None:
            tried = (_solved(whole, right, ridge) for ridge in RIDGES)
            solved = next((each for each in tried if each is not None), None)
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
