"""Couplings that are not positive semidefinite: found, proved, and what may be done about them.

The energy is convex on the simplex if S bends upwards along every direction that adds up to zero. Where it does not, a
direction shows it; then the choice is the user's: leave it (SimplexQP refuses), solve the whole problem on levels with
branch and bound, or solve a convex network nearby, whose answer's distance from the best is bounded.

    found = convexity(network)
    found.convex, found.witness         # a direction d, sum d = 0, along which d'Sd < 0
    near = shifted(network)             # or projected(network)
    near.network, near.error            # E_near - E_network lies in this interval, for every mixture
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from taskpgm.exact import curvature_deficit
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, Solution, readonly

ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Convexity:
    """Whether the energy is convex on the simplex, and the proof.

    deficit: a proved d with v'Sv >= -d |v|^2 for every v that adds up to 0, in exact arithmetic. convex: whether it is
    no more than rounding. witness: (n,) whole numbers that add up to 0 with witness'S witness < 0, checked in exact
    arithmetic; None where there is none. bend: that value over |witness|^2.
    """

    convex: bool
    deficit: float
    witness: FloatArray | None
    bend: float


@dataclass(frozen=True, eq=False)
class Nearby:
    """A convex network near another one. error: E_near(p) - E(p) lies between these for every mixture p."""

    network: TaskNetwork
    error: tuple[float, float]

    def least_energy_between(self, solution: Solution) -> tuple[float, float]:
        """Bounds on the least energy of the original network, from a judged solution of the nearby one."""
        return solution.bound - self.error[1], solution.energy - self.error[0]


def convexity(network: TaskNetwork) -> Convexity:
    """Certify that the energy is convex on the simplex, or refute it with a direction."""
    deficit = curvature_deficit(network.similarity)
    scale = float(np.abs(network.similarity).max())
    convex = network.lam == 0.0 or float(deficit) <= 1e-10 * scale
    values, vectors, basis = _spectrum(network)
    direction = np.rint(2.0**40 * (basis.T @ vectors[:, 0]))
    direction[int(np.argmax(np.abs(direction)))] -= direction.sum()
    bend = _exact_bend(network.similarity, direction)
    witness = readonly(direction, np.float64) if bend < 0 and values[0] < 0.0 and not convex else None
    return Convexity(convex, float(deficit), witness, float(bend) if witness is not None else float(values[0]))


def shifted(network: TaskNetwork) -> Nearby:
    """S plus a multiple of the identity that makes it convex: the shift favours even mixtures.

    E_near - E = 1/2 lam m sum p_i^2, and the sum is at least 1 / n and at most what the bounds allow.
    """
    values, _, _ = _spectrum(network)
    lift = max(0.0, -float(values[0]))
    if lift > 0.0:
        lift *= 1.0 + ROUNDING
        lift += ROUNDING * float(np.abs(network.similarity).max())
    half = 0.5 * network.lam * lift
    near = _with_similarity(network, network.similarity + lift * np.eye(len(network)))
    return Nearby(near, (half / len(network), half * _most_even_sum(network)))


def projected(network: TaskNetwork) -> Nearby:
    """S without its negative eigenvalues on the directions that add up to 0: the nearest convex one there.

    With d = p - 1/n the projection changes 1/2 lam d'Sd only, by the negative part N: E_near - E = 1/2 lam d'Nd.
    """
    values, vectors, basis = _spectrum(network)
    directions = basis.T @ vectors
    negative = np.maximum(-values, 0.0)
    lift = (directions * negative) @ directions.T
    longest = _most_even_sum(network) - 1.0 / len(network)  # the largest |d|^2
    rounding = 16.0 * np.finfo(np.float64).eps * len(network) * float(np.abs(network.similarity).max())
    margin = 0.5 * network.lam * rounding
    near = _with_similarity(network, network.similarity + lift)
    return Nearby(near, (-margin, 0.5 * network.lam * float(negative.max()) * longest + margin))


def _spectrum(network: TaskNetwork) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(eigenvalues rising, eigenvectors, basis (n - 1, n)) of S on the directions that add up to 0."""
    from scipy.linalg import helmert

    basis = helmert(len(network))
    values, vectors = np.linalg.eigh(basis @ network.similarity @ basis.T)
    return values, vectors, basis


def _exact_bend(similarity: FloatArray, direction: FloatArray) -> Fraction:
    """d'Sd / |d|^2 of whole numbers d, in exact arithmetic."""
    d = [Fraction(int(x)) for x in direction]
    total = Fraction(0)
    for x, row in zip(d, similarity, strict=True):
        if x:
            total += x * sum((y * Fraction(float(s)) for y, s in zip(d, row, strict=True)), Fraction(0))
    length = sum((x * x for x in d), Fraction(0))
    return total / length if length else Fraction(0)


def _most_even_sum(network: TaskNetwork) -> float:
    """An upper bound on sum p_i^2 over the mixtures within the bounds.

    A chord of the parabola is above it between the bounds: p_i^2 <= lower_i^2 + (lower_i + upper_i)(p_i - lower_i), and
    the sum of the chords is most where the steepest are filled first.
    """
    steepness = network.lower + network.upper
    total, left = float((network.lower**2).sum()), 1.0 - float(network.lower.sum())
    for i in np.argsort(-steepness, kind="stable").tolist():
        step = min(left, float(network.upper[i] - network.lower[i]))
        total, left = total + float(steepness[i]) * step, left - step
    return min(1.0, total)


def _with_similarity(network: TaskNetwork, similarity: FloatArray) -> TaskNetwork:
    return network.changed(similarity=0.5 * (similarity + similarity.T))
