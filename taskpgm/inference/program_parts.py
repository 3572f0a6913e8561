"""The terms of the energy and the kinds of constraints as cvxpy expressions, one small function for each.

Each is checked by itself: that it is convex (disciplined convex programming; Grant, Boyd & Ye 2006) and that its
numbers are parameters (disciplined parametrised programming; Agrawal et al. 2019), all but S in PARTS, S as well in
FACTORED_PARTS. A wrong sign is found in the term that has it.

    written = redundancy(p, network)
    check(part, written.expression)

Another term of an energy is another function like `utility`, and a line in a tuple like ENERGY.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.energy import MixtureEnergy
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError

CONVEXITY_TOLERANCE = 1e-9
LEAST_CENTRE = 1e-300


@dataclass(frozen=True, eq=False)
class Written:
    """A part of the program over a cvxpy variable p.

    expression: a number to add to the objective, or a vector of numbers to keep at or below 0. settings: its
    parameters, each with what a network gives it. constants: arrays that are in the expression for good, each with
    where a network has its own: another array needs another program.
    """

    expression: Any
    settings: Sequence[tuple[Any, Callable[[Any], ArrayLike]]] = ()
    constants: Sequence[tuple[FloatArray, Callable[[Any], FloatArray]]] = ()


@dataclass(frozen=True)
class Part:
    """A kind of term or constraint: how many of it a network has, how they are written, and what a wrong sign is.

    role: "energy" terms are added up and must be convex, "limit" must be convex and at most 0, "equation" affine and 0.
    """

    name: str
    role: Literal["energy", "limit", "equation"]
    count: Callable[[Any], int]
    write: Callable[[Any, Any], Written]
    mistake: str


def check(part: Part, expression: Any) -> None:
    """Raise an InputError that names the part, if its expression breaks a rule of its role."""
    right = expression.is_affine() if part.role == "equation" else expression.is_convex()
    if not right:
        wanted = "affine" if part.role == "equation" else "convex"
        raise InputError(f"convex program: {part.name} is not {wanted}. Look at its sign: {part.mistake}.")
    if not expression.is_dpp():
        raise InputError(f"convex program: {part.name} is not affine in its parameters: multiply no two of them.")


# ------------------------------------------------------------------------------------------------- terms of the energy


def utility(p: Any, network: TaskNetwork) -> Written:
    """-beta u'p."""
    import cvxpy as cp

    worth = cp.Parameter(len(network))
    return Written(-worth @ p, [(worth, lambda network: network.beta * network.utility)])


def redundancy(p: Any, network: TaskNetwork) -> Written:
    """1/2 lam p'Sp where sum p = 1, with the quadratic form of S's part on the directions that add up to 0.

    That form is positive semidefinite exactly when the energy is convex where it matters; S itself need not be.
    """
    import cvxpy as cp

    lam, s = cp.Parameter(nonneg=True), network.similarity
    form, slope = _centred(s)
    if network.curvature >= -CONVEXITY_TOLERANCE * float(np.abs(s).max()):
        form = cp.psd_wrap(form)  # known: cvxpy would compute it again, and trip over roundings
    expression = lam * (0.5 * cp.quad_form(p, form) + slope @ p + 0.5 * float(s.mean()))
    return Written(expression, [(lam, lambda network: network.lam)], [(s, lambda network: network.similarity)])


def redundancy_by_factor(p: Any, network: TaskNetwork) -> Written:
    """The same with S as a parameter, 1/2 |F p|^2 with F'F its form: for few tasks cheaper than a new translation.

    An S that is not positive semidefinite on those directions is not told from one that is: ask the curvature first.
    """
    import cvxpy as cp

    n = len(network)
    factor, slope, constant = cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter()
    return Written(
        0.5 * cp.sum_squares(factor @ p) + slope @ p + constant,
        [
            (factor, lambda network: np.sqrt(network.lam) * _factor(_centred(network.similarity)[0])),
            (slope, lambda network: network.lam * _centred(network.similarity)[1]),
            (constant, lambda network: 0.5 * network.lam * network.similarity.mean()),
        ],
    )


def _centred(similarity: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(CSC, CS1/n) with C the projection on what adds up to 0: p'Sp = p'CSCp + 2 p'CS1/n + 1'S1/n^2 where sum p = 1."""
    centring = np.eye(len(similarity)) - 1.0 / len(similarity)
    form = centring @ similarity @ centring
    return 0.5 * (form + form.T), np.asarray(centring @ similarity.mean(axis=0))


def _factor(form: FloatArray) -> FloatArray:
    """F with F'F = form, of a positive semidefinite form."""
    values, vectors = np.linalg.eigh(form)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))).T)


def prior(p: Any, network: MixtureEnergy) -> Written:
    """tau KL(p || q) = tau sum p log p - (tau log q)'p: linear in the parameters tau and tau log q."""
    import cvxpy as cp

    tau, pull = cp.Parameter(nonneg=True), cp.Parameter(len(network))
    expression = tau * cp.sum(-cp.entr(p)) - pull @ p
    return Written(
        expression, [(tau, lambda network: network.tau), (pull, lambda network: network.tau * np.log(network.prior))]
    )


# ---------------------------------------------------------------------------------------------------- the constraints


def total(p: Any, network: MixtureEnergy) -> Written:
    """sum p - 1."""
    import cvxpy as cp

    return Written(cp.sum(p) - 1.0)


def lower_bounds(p: Any, network: MixtureEnergy) -> Written:
    """lower - p."""
    import cvxpy as cp

    lower = cp.Parameter(len(network))
    return Written(lower - p, [(lower, lambda network: network.lower)])


def upper_bounds(p: Any, network: MixtureEnergy) -> Written:
    """p - upper."""
    import cvxpy as cp

    upper = cp.Parameter(len(network))
    return Written(p - upper, [(upper, lambda network: network.upper)])


def halfspaces(p: Any, network: MixtureEnergy) -> Written:
    """A p - b, one row for each a'p <= b."""
    import cvxpy as cp

    rows = len(network.halfspaces)
    matrix, limits = cp.Parameter((rows, len(network))), cp.Parameter(rows)
    return Written(
        matrix @ p - limits,
        [
            (matrix, lambda network: [row.coefficients for row in network.halfspaces]),
            (limits, lambda network: [row.limit for row in network.halfspaces]),
        ],
    )


def balls(p: Any, network: MixtureEnergy) -> Written:
    """sum p log p - (log centre)'p - r, one row for each KL(p || centre) <= r."""
    import cvxpy as cp

    rows = len(network.balls)
    centres, limits = cp.Parameter((rows, len(network))), cp.Parameter(rows)
    return Written(
        cp.sum(-cp.entr(p)) - centres @ p - limits,
        [
            (centres, lambda network: [np.log(np.maximum(ball.centre, LEAST_CENTRE)) for ball in network.balls]),
            (limits, lambda network: [ball.limit for ball in network.balls]),
        ],
    )


def _one(network: Any) -> int:
    return 1


UTILITY = Part("the utility", "energy", _one, utility, "it is -beta u'p, linear in the mixture")
REDUNDANCY = Part(
    "the redundancy",
    "energy",
    lambda network: int(network.lam > 0.0),
    redundancy,
    "it is +1/2 lam p'Sp with similarities S, positive semidefinite; divergences in their place bend it downwards",
)
PRIOR = Part(
    "the prior's term",
    "energy",
    lambda network: int(network.tau > 0.0),
    prior,
    "it is +tau KL(p || q), and cp.entr(p) is -p log p",
)
ENERGY = (UTILITY, REDUNDANCY, PRIOR)
CONSTRAINTS = (
    Part("the sum", "equation", _one, total, "it is sum p - 1"),
    Part("the lower bounds", "limit", _one, lower_bounds, "they are lower - p <= 0"),
    Part("the upper bounds", "limit", _one, upper_bounds, "they are p - upper <= 0"),
    Part(
        "the half-spaces",
        "limit",
        lambda network: len(network.halfspaces),
        halfspaces,
        "they are a'p - b <= 0, linear in the mixture",
    ),
    Part(
        "the KL balls",
        "limit",
        lambda network: len(network.balls),
        balls,
        "they are KL(p || centre) - r <= 0: a least divergence, or a largest entropy, is no convex constraint",
    ),
)
PARTS = (*ENERGY, *CONSTRAINTS)
FACTORED_PARTS = tuple(
    replace(part, write=redundancy_by_factor) if part.write is redundancy else part for part in PARTS
)
