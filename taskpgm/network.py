"""The task network: tasks as the nodes of a Markov random field, its energy, and where a mixture may lie.

The energy of a mixture p (Hein & Bousquet 2005 for why S is positive semidefinite) is defined here and nowhere else:

    E(p) = -beta u'p + 1/2 lam p'Sp + tau KL(p || q),     lower <= p <= upper,  sum p = 1

and p keeps further constraints, if there are any (see `taskpgm.feasible`).

    network = TaskNetwork([1.0, 0.2], [[1.0, 0.5], [0.5, 1.0]], names=("copy", "sort"))
    network.energy([0.5, 0.5])
    network.levels(quanta=10)           # the same energy on whole tenths: a discrete pairwise network
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import (
    Bound,
    array,
    checked_finite,
    checked_names,
    checked_prior,
    checked_scalar,
    checked_similarity,
)
from taskpgm.constraints import Constraint
from taskpgm.energy import MixtureEnergy
from taskpgm.feasible import FeasibleSet
from taskpgm.types import Affinity, FloatArray, InputError

if TYPE_CHECKING:
    from taskpgm.levels import LevelsNetwork
    from taskpgm.pairwise import PairwiseNetwork

ENERGY_FIELDS = ("utility", "similarity", "beta", "lam", "tau", "prior")
FEASIBLE_FIELDS = ("lower", "upper", "constraints")
DEFAULT_FLOOR = 0.2
DEFAULT_RHO = 0.5


@dataclass(frozen=True, eq=False, init=False)
class TaskNetwork(MixtureEnergy):
    """A pairwise energy over the simplex, with bounds on every task's weight.

    Args:
        utility: (n,) u, the unary potentials.
        similarity: (n, n) symmetric S, the pairwise potentials.
        names: (n,) distinct task names; "task 0", "task 1", ... where not given.
        beta, lam, tau: the weights of the three terms; lam and tau are not negative.
        prior: (n,) positive mixture q of the KL term; uniform where not given.
        lower, upper: bounds on each weight: one number for all, or (n,), or a mapping from name to bound.
        constraints: on groups of tasks, epochs, cost, nearness to a mixture, diversity (see `taskpgm.feasible`).

    Raises:
        InputError: wrong sizes, values that are not finite, an asymmetric S, repeated names, or bounds and
            constraints that no mixture satisfies (a smallest set of clashing ones is named).
    """

    utility: FloatArray
    similarity: FloatArray
    beta: float
    lam: float
    tau: float
    prior: FloatArray
    feasible: FeasibleSet

    def __init__(
        self,
        utility: ArrayLike,
        similarity: ArrayLike,
        names: Sequence[str] = (),
        *,
        beta: float = 1.0,
        lam: float = 1.0,
        tau: float = 0.0,
        prior: ArrayLike | None = None,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        u = array(utility, "utility", ndim=1)
        named = checked_names(names, len(u))
        self._set(named, u, similarity, beta, lam, tau, prior)
        object.__setattr__(self, "feasible", FeasibleSet(named, lower, upper, constraints))

    def _set(
        self,
        names: tuple[str, ...],
        utility: FloatArray,
        similarity: ArrayLike,
        beta: float,
        lam: float,
        tau: float,
        prior: ArrayLike | None,
    ) -> None:
        fields = {
            "utility": checked_finite(utility, "utility", names),
            "similarity": checked_similarity(similarity, names),
            "beta": checked_scalar(beta, "beta", -np.inf),
            "lam": checked_scalar(lam, "lam", 0.0),
            "tau": checked_scalar(tau, "tau", 0.0),
            "prior": checked_prior(prior, len(names)),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @classmethod
    def from_affinity(
        cls,
        affinity: Affinity,
        *,
        rho: float = DEFAULT_RHO,
        lam: float = 1.0,
        floor: float = DEFAULT_FLOOR,
        upper: Bound = 1.0,
    ) -> TaskNetwork:
        """The network with the defaults of the command line: balanced beta, and a floor under every weight.

        floor is in shares of the uniform weight: every task gets at least floor / n.
        """
        beta = balanced_beta(affinity.utility, affinity.similarity, lam=lam, rho=rho)
        lower = floor / len(affinity.names)
        return cls(affinity.utility, affinity.similarity, affinity.names, beta=beta, lam=lam, lower=lower, upper=upper)

    def changed(self, **fields: Any) -> TaskNetwork:
        """This network with some of its constructor's arguments, or its feasible set, replaced."""
        kept = {name: getattr(self, name) for name in ENERGY_FIELDS}
        if "names" in fields:
            kept |= {name: getattr(self, name) for name in FEASIBLE_FIELDS}
            return TaskNetwork(**(kept | fields))
        within = {name: fields.pop(name) for name in FEASIBLE_FIELDS if name in fields}
        feasible = fields.pop("feasible", self.feasible).changed(**within)
        values = kept | fields
        made = object.__new__(TaskNetwork)  # the same mixtures are known to be feasible: not checked again
        utility = array(values.pop("utility"), "utility", ndim=1)
        checked_names(self.names, len(utility))
        made._set(self.names, utility, **values)
        object.__setattr__(made, "feasible", feasible)
        return made

    def smooth(self, p: FloatArray) -> float:
        """-beta u'p + 1/2 lam p'Sp."""
        return float(-self.beta * (self.utility @ p) + 0.5 * self.lam * (p @ self.similarity @ p))

    def smooth_gradient(self, p: FloatArray) -> FloatArray:
        """-beta u + lam Sp."""
        return np.asarray(-self.beta * self.utility + self.lam * (self.similarity @ p))

    def smooth_hessian(self, p: FloatArray) -> FloatArray:
        """lam S."""
        return np.asarray(self.lam * self.similarity)

    @cached_property
    def curvature(self) -> float:
        """The least eigenvalue of S on the sum-zero subspace: E is convex on the simplex where it is not negative."""
        from scipy.linalg import helmert

        basis = helmert(len(self))
        return float(np.linalg.eigvalsh(basis @ self.similarity @ basis.T)[0])

    @property
    def concavity(self) -> float:
        """lam times how far S is from positive semidefinite on the sum-zero subspace."""
        return self.lam * max(0.0, -self.curvature) if self.lam > 0.0 else 0.0

    @property
    def scale(self) -> float:
        """1, or the largest utility term where that is larger."""
        return max(1.0, abs(self.beta) * float(np.abs(self.utility).max()))

    @overload
    def levels(self, quanta: int, cap: int | None = None) -> LevelsNetwork: ...

    @overload
    def levels(self, quanta: None, cap: int = 1) -> PairwiseNetwork: ...

    def levels(self, quanta: int | None, cap: int | None = None) -> LevelsNetwork | PairwiseNetwork:
        """The discrete network with p = x / quanta, x in {0..cap}^n, sum x = quanta, within this network's bounds.

        With quanta = None the budget is free: any level 0..cap of every task, p = x / cap, with whatever sum.
        """
        from taskpgm.levels import LevelsNetwork, free_levels

        if not self.only_bounds:
            name = self.coupling_rows[0].name
            raise InputError(f"levels keep bounds on single tasks only, not {name!r}: leave the constraint out.")
        if quanta is None:
            return free_levels(self, 1 if cap is None else cap)
        return LevelsNetwork(self, quanta, quanta if cap is None else cap)


def balanced_beta(utility: ArrayLike, similarity: ArrayLike, *, lam: float = 1.0, rho: float = DEFAULT_RHO) -> float:
    """The utility weight at which utilities and redundancy move the uniform mixture comparably (rho = 1: equally).

    beta = lam rho (1 - mean off-diagonal S) / (n sd(u)); 0 where all utilities are equal, since then they say nothing.
    """
    u = np.asarray(utility, dtype=np.float64)
    s = np.asarray(similarity, dtype=np.float64)
    n = len(u)
    spread = float(np.std(u))
    if n < 2 or spread <= 1e-12 * max(1.0, float(np.abs(u).max())):
        return 0.0
    mean_similarity = (s.sum() - np.trace(s)) / (n * (n - 1))
    return float(max(0.0, lam * rho * (1.0 - mean_similarity) / (n * spread)))
