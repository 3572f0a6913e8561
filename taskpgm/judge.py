"""The judge: energy, feasibility and certificate of any answer, computed here and believed from nobody else.

For example:

    verdict = judge(network, solve(network, SimplexQP()))
    verdict.proved                      # the gap is within the tolerance
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.capacity import CapacityMixture
from taskpgm.duals import multipliers, tangents
from taskpgm.energy import MixtureEnergy
from taskpgm.exact import minimize_linear
from taskpgm.expected_bound import expected_bound
from taskpgm.expected_energy import ExpectedEnergy
from taskpgm.factored import FactoredNetwork
from taskpgm.levels import LevelsNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import Solution, Status

Mixtures: TypeAlias = MixtureEnergy | FactoredNetwork | CapacityMixture
Problem: TypeAlias = Mixtures | LevelsNetwork | PairwiseNetwork

GAP_TOLERANCE = 1e-7
FEASIBILITY_TOLERANCE = 1e-9
ENERGY_TOLERANCE = 1e-9


def gap_tolerance(problem: Problem, energy: float) -> float:
    """The gap up to which an energy counts as proved: 1e-7, times the energy where an integer problem's exceeds 1.

    Models of others come in units of their own; a mixture's energy does not.
    """
    return GAP_TOLERANCE if isinstance(problem, Mixtures) else GAP_TOLERANCE * max(1.0, abs(energy))


@dataclass(frozen=True)
class Certificate:
    """energy of a mixture, bound <= the least feasible energy, and gap = energy - bound, all in float64."""

    energy: float
    bound: float
    gap: float
    violation: float


@dataclass(frozen=True)
class Verdict:
    """One row of a comparison: what a method claims, after it was checked.

    excess: energy above the reference's energy; nan where no reference was given.
    """

    method: str
    status: Status
    energy: float
    bound: float
    gap: float
    excess: float
    proved: bool
    message: str

    @property
    def relative_gap(self) -> float:
        """gap / |energy|, infinite where there is no bound; the gap itself where the energy is 0."""
        return self.gap / abs(self.energy) if self.energy != 0.0 and np.isfinite(self.gap) else self.gap

    def __str__(self) -> str:
        if self.status in (Status.refused, Status.failed):
            return f"{self.method}: {self.status.name}: {self.message}"
        excess = "" if np.isnan(self.excess) else f", {self.excess:+.3g} against the reference"
        return f"{self.method}: {self.status.name}: energy {self.energy:.9g}, gap {self.gap:.3g}{excess}"


def certificate(network: Mixtures, mixture: ArrayLike) -> Certificate:
    """The Frank-Wolfe gap as a lower bound on the energy (Jaggi 2013), in float64.

    Constraints on several tasks enter by multipliers (see `taskpgm.duals`), for which the bound holds whatever they
    are. Expected losses, which need not be convex, have the bound of `taskpgm.expected_bound` instead. Where another
    energy is concave by d along some direction that adds up to zero the bound is lowered by d, the most that the energy
    can curve downwards over the simplex: it stays a bound, only a weaker one. `taskpgm.exact` does the same without
    rounding.
    """
    p = np.asarray(mixture, dtype=np.float64)
    energy = network.energy(p)
    if isinstance(network, ExpectedEnergy):
        bound = min(expected_bound(network, p), energy)
        return Certificate(energy, bound, energy - bound, network.violation(p))
    gradient = np.where(
        network.lower < network.upper, network.gradient(p), 0.0
    )  # a fixed weight has no slope to follow
    if not np.all(np.isfinite(gradient)):
        return Certificate(energy, -np.inf, np.inf, network.violation(p))
    priced, relief = gradient, 0.0
    if isinstance(network, MixtureEnergy) and not network.only_bounds:
        matrix, limits = tangents(network, p)
        y = multipliers(network, gradient, matrix, limits)
        priced, relief = gradient + matrix.T @ y, float(y @ (limits - matrix @ p))
    vertex = np.array(minimize_linear(priced.tolist(), network.lower.tolist(), network.upper.tolist()))
    gap = max(0.0, float(priced @ (p - vertex)) + relief)
    gap += network.concavity
    return Certificate(energy, energy - gap, gap, network.violation(p))


def judge(problem: Problem, solution: Solution, reference: Solution | None = None) -> Verdict:
    """Recompute what can be recomputed about a solution, and compare it with a reference's energy."""
    energy, bound, status, message = np.inf, -np.inf, solution.status, solution.message
    if solution.point is not None:
        energy, bound = problem.energy(solution.point), solution.bound
        if isinstance(problem, Mixtures):
            bound = certificate(problem, solution.point).bound
        violation = problem.violation(solution.point)
        if not violation <= FEASIBILITY_TOLERANCE:
            status, message = Status.failed, f"the point breaks the feasible set by {violation:.3g}"
    gap = energy - bound if np.isfinite(energy) else np.inf
    excess = np.nan if reference is None else energy - reference.energy
    proved = status is Status.optimal and gap <= gap_tolerance(problem, energy)
    return Verdict(solution.method, status, energy, bound, gap, excess, proved, message)
