"""Which part of the couplings a selection's bound should keep: the dual of the doubly nonnegative relaxation.

In a selection x_i x_j is never negative, so any R >= 0 may be taken off the couplings C before the energy is relaxed to
mixtures: what is left, C - R - diag(d), only has to be positive semidefinite on the sum-zero subspace, and a clever R
buys a larger diagonal d, which whole levels do not feel but mixtures do. The best (R, d) are dual to

    minimise <C, X> / 2 + linear'x   over   Y = [1 x'; x X] positive semidefinite, Y >= 0, diag X = x, X 1 = budget x

whose bound on random experts is within 0.1-0.5 % of the best selection, 20 times nearer than the least eigenvalue's.
It is approached by the alternating direction method of multipliers: a projection onto semidefinite matrices, one onto
the entries' ranges, and a multiplier between the two. Nothing here has to be accurate: (R, d) are turned into a true
bound elsewhere, whatever they are. So it runs in float32.

The relaxation: Burer (2009), with a diagonal only Billionnet, Elloumi & Plateau (2009). The method: Oliveira, Wolkowicz
& Xu (2018), who also confine Y to the face that the budget leaves, here by a reflection.

    splitter = Splitter(coupling, linear, budget=10, point=relaxed, shift=least_eigenvalue)
    splitter.improve(50)
    remainder, diagonal = splitter.split()
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.inference.method import Deadline
from taskpgm.types import FloatArray, IntArray

Matrix = NDArray[np.floating[Any]]

OVERSHOOT = 1.6
BALANCE_EVERY = 5
LARGEST_CHANGE = 2.0
CALM_AFTER, CALM = 100, 40.0  # steps: then the weight changes less and less, for it may swing for ever
RESIDUALS = 0.15  # of the primal to the dual: as many steps bring a better split than with both of one size


class Splitter:
    """The matrices of the method, for selecting `budget` of n tasks; all in units of the couplings' spread.

    coupling: (n, n) symmetric, zero diagonal. linear: (n,). point: (n,) a relaxed selection, where the method starts
    together with the diagonal `shift`, the least eigenvalue of the coupling on the sum-zero subspace.
    """

    def __init__(self, coupling: FloatArray, linear: FloatArray, budget: int, point: FloatArray, shift: float) -> None:
        n = len(linear)
        self.budget, self.face = budget, face_of_budget(n, budget)
        pull = coupling @ point - shift * point
        convex = coupling - shift * np.eye(n)
        objective = self.face.orthogonal_part(_bordered(0.0, 0.5 * linear, 0.5 * coupling))
        multiplier = self.face.orthogonal_part(-_bordered(0.5 * float(point @ pull), -0.5 * pull, 0.5 * convex))
        self.unit = float(objective[1:, 1:].std()) or 1.0
        self.objective: Matrix = (objective / self.unit).astype(np.float32)
        self.multiplier: Matrix = (multiplier / self.unit).astype(np.float32)
        pairs = np.outer(point, point) * (budget - 1) / budget
        np.fill_diagonal(pairs, point)
        self.moments: Matrix = _bordered(1.0, point, pairs).astype(np.float32)
        self.weight = np.float32(n * budget**2 / 30.0)
        self.rank = n
        self.iterations = 0

    def improve(self, steps: int, deadline: Deadline) -> None:
        """Steps of the method; the weight of the distance between the two sets keeps the residuals in proportion."""
        for _ in range(steps):
            if deadline.passed():
                return
            self.iterations += 1
            shifted = self.moments + self.multiplier / self.weight
            nearest, self.rank = semidefinite_part(shifted, self.face, self.rank)
            before = self.moments
            self.moments = _in_range(nearest - (self.objective + self.multiplier) / self.weight)
            apart = self.moments - nearest
            self.multiplier += np.float32(OVERSHOOT) * self.weight * apart
            if self.iterations % BALANCE_EVERY == 0:
                primal = np.linalg.norm(apart) / np.linalg.norm(self.moments)
                dual = self.weight * np.linalg.norm(self.moments - before) / np.linalg.norm(self.multiplier)
                ratio = RESIDUALS * np.sqrt(primal / max(float(dual), 1e-30))
                largest = LARGEST_CHANGE ** (1.0 / (1.0 + max(0, self.iterations - CALM_AFTER) / CALM))
                self.weight *= np.float32(min(max(ratio, 1.0 / largest), largest))

    def split(self) -> tuple[FloatArray, FloatArray]:
        """(R, d): (n, n) not negative with zero diagonal, and (n,), both in the units of the couplings."""
        rest = 2.0 * self.unit * (self.objective + self.multiplier).astype(np.float64)[1:, 1:]
        diagonal = np.diag(rest).copy()
        remainder = np.maximum(0.5 * (rest + rest.T), 0.0)
        np.fill_diagonal(remainder, 0.0)
        return remainder, diagonal

    def keep(self, tasks: IntArray) -> None:
        """Forget all tasks but these: no selection worth having contains the others."""
        kept = np.concatenate([[0], 1 + tasks])
        self.face, self.rank = face_of_budget(len(tasks), self.budget), min(self.rank, len(tasks))
        for name in ("objective", "multiplier", "moments"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[np.ix_(kept, kept)]))


class Reflection:
    """The reflection that turns `vector` into the first axis; the other axes span what is orthogonal to it."""

    def __init__(self, vector: FloatArray) -> None:
        mirror = vector / np.linalg.norm(vector)
        mirror[0] += np.copysign(1.0, mirror[0])
        self.mirror = mirror / np.linalg.norm(mirror)

    def of(self, matrix: Matrix) -> Matrix:
        """H A H of a symmetric matrix."""
        u = self.mirror.astype(matrix.dtype)
        v = 2.0 * (matrix @ u)
        v -= (u @ v) * u
        return np.asarray(matrix - np.outer(u, v) - np.outer(v, u))

    def orthogonal_part(self, matrix: Matrix) -> Matrix:
        """The matrix projected, on both sides, onto what is orthogonal to the vector."""
        turned = self.of(matrix)
        turned[0] = turned[:, 0] = 0.0
        return self.of(turned)


def face_of_budget(tasks: int, budget: int) -> Reflection:
    """Where the matrices Y = (1, x)(1, x)' of selections live: Y (budget, -1, ..., -1) = 0."""
    return Reflection(np.concatenate([[float(budget)], -np.ones(tasks)]))


def least_eigenvalue(matrix: FloatArray) -> float:
    """Of a symmetric matrix on the subspace of vectors with sum zero; 0 where that is empty."""
    if len(matrix) < 2:
        return 0.0
    return float(np.linalg.eigvalsh(Reflection(np.ones(len(matrix))).of(matrix)[1:, 1:])[0])


def semidefinite_part(matrix: Matrix, face: Reflection, rank: int) -> tuple[Matrix, int]:
    """(nearest positive semidefinite matrix of the face, its rank); `rank` guesses which eigenvalues are fewer."""
    from scipy.linalg import eigh

    turned = face.of(matrix)
    inner = turned[1:, 1:]
    few = 2 * rank <= len(inner)
    within = (0.0, np.inf) if few else (-np.inf, 0.0)
    values, vectors = eigh(inner, driver="evr", subset_by_value=within, check_finite=False)
    part = (vectors * np.abs(values)) @ vectors.T
    turned[1:, 1:] = part if few else inner + part
    turned[0] = turned[:, 0] = 0.0
    return face.of(turned), len(values) if few else len(inner) - len(values)


def _bordered(corner: float, border: FloatArray, matrix: FloatArray) -> FloatArray:
    n = len(border)
    whole = np.empty((n + 1, n + 1))
    whole[0, 0], whole[0, 1:], whole[1:, 0], whole[1:, 1:] = corner, border, border, matrix
    return whole


def _in_range(matrix: Matrix) -> Matrix:
    """The nearest Y with entries in [0, 1], a 1 in the corner, and the diagonal equal to the border."""
    chosen = np.clip((2.0 * matrix[0] + np.diag(matrix)) / np.float32(3.0), 0.0, 1.0)
    chosen[0] = 1.0
    nearest = np.clip(matrix, 0.0, 1.0)
    nearest[0] = nearest[:, 0] = chosen
    np.fill_diagonal(nearest, chosen)
    return np.asarray(nearest)
