"""The task network: tasks as the nodes of a Markov random field, its energy, and where a mixture may lie.

The energy of a mixture p (Hein & Bousquet 2005 for why S is positive semidefinite) is defined here and nowhere else:

    E(p) = -beta u'p + 1/2 lam p'Sp + tau KL(p || q),     lower <= p <= upper,  sum p = 1

and p keeps further constraints, if there are any (see `taskpgm.constraints`).

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
    check_bounds_meet,
    checked_bound,
    checked_finite,
    checked_names,
    checked_prior,
    checked_scalar,
    checked_similarity,
)
from taskpgm.constraints import Ball, Constraint, Halfspace, Rows
from taskpgm.infeasible import check_feasible
from taskpgm.types import Affinity, FloatArray, InputError, readonly

if TYPE_CHECKING:
    from taskpgm.levels import LevelsNetwork
    from taskpgm.pairwise import PairwiseNetwork

ENERGY_FIELDS = {"utility", "similarity", "beta", "lam", "tau", "prior"}
DEFAULT_FLOOR = 0.2
DEFAULT_RHO = 0.5


@dataclass(frozen=True, eq=False, init=False)
class TaskNetwork:
    """A pairwise energy over the simplex, with bounds on every task's weight.

    Args:
        utility: (n,) u, the unary potentials.
        similarity: (n, n) symmetric S, the pairwise potentials.
        names: (n,) distinct task names; "task 0", "task 1", ... where not given.
        beta, lam, tau: the weights of the three terms; lam and tau are not negative.
        prior: (n,) positive mixture q of the KL term; uniform where not given.
        lower, upper: bounds on each weight: one number for all, or (n,), or a mapping from name to bound.
        constraints: on groups of tasks, epochs, cost, nearness to a mixture, diversity. Epoch caps are upper bounds,
            and `upper` says so afterwards.

    Raises:
        InputError: wrong sizes, values that are not finite, an asymmetric S, repeated names, or bounds and
            constraints that no mixture satisfies (a smallest set of clashing ones is named).
    """

    utility: FloatArray
    similarity: FloatArray
    names: tuple[str, ...]
    beta: float
    lam: float
    tau: float
    prior: FloatArray
    lower: FloatArray
    upper: FloatArray
    constraints: tuple[Constraint, ...]

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
        checked = checked_names(names, len(u))
        fields = {
            "utility": checked_finite(u, "utility", checked),
            "similarity": checked_similarity(similarity, checked),
            "names": checked,
            "beta": checked_scalar(beta, "beta", -np.inf),
            "lam": checked_scalar(lam, "lam", 0.0),
            "tau": checked_scalar(tau, "tau", 0.0),
            "prior": checked_prior(prior, len(u)),
            "lower": checked_bound(lower, checked, "lower", 0.0),
            "upper": checked_bound(upper, checked, "upper", 1.0),
            "constraints": tuple(constraints),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        check_bounds_meet(self.names, self.lower, self.upper)
        if self.constraints:
            check_feasible(self.names, self.lower, self.upper, self._rows)
            capped = self.upper.copy()
            for cap in self.caps:
                place = int(cap.coefficients.argmax())
                capped[place] = min(capped[place], cap.limit)
            object.__setattr__(self, "upper", readonly(np.maximum(capped, self.lower), np.float64))

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

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _rows(self) -> Rows:
        return [row for constraint in self.constraints for row in constraint.rows(self.names)]

    @cached_property
    def caps(self) -> tuple[Halfspace, ...]:
        """The constraints on single tasks, p_i <= limit, which `upper` holds already."""
        return tuple(row for row in self._rows if isinstance(row, Halfspace) and _is_cap(row))

    @cached_property
    def halfspaces(self) -> tuple[Halfspace, ...]:
        """The constraints a'p <= b on several tasks."""
        return tuple(row for row in self._rows if isinstance(row, Halfspace) and not _is_cap(row))

    @cached_property
    def balls(self) -> tuple[Ball, ...]:
        """The constraints KL(p || centre) <= r."""
        return tuple(row for row in self._rows if isinstance(row, Ball))

    @property
    def coupling_rows(self) -> Rows:
        """The constraints on several tasks: half-spaces, then balls."""
        return [*self.halfspaces, *self.balls]

    @property
    def only_bounds(self) -> bool:
        """Whether bounds on single tasks are all that mixtures must keep."""
        return not self.coupling_rows

    def changed(self, **fields: Any) -> TaskNetwork:
        """This network with some of its constructor's arguments replaced."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.constraints and set(fields) <= ENERGY_FIELDS:  # the same mixtures: known to be feasible
            made = TaskNetwork(**(kept | fields | {"constraints": ()}))
            object.__setattr__(made, "constraints", self.constraints)
            return made
        return TaskNetwork(**(kept | fields))

    def energy(self, mixture: ArrayLike) -> float:
        """E(p) in float64."""
        p = np.asarray(mixture, dtype=np.float64)
        value = -self.beta * (self.utility @ p) + 0.5 * self.lam * (p @ self.similarity @ p)
        if self.tau > 0.0:
            value += self.tau * relative_entropy(p, self.prior).sum()
        return float(value)

    def gradient(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the gradient of E at p; -inf where tau > 0 and a weight is 0."""
        p = np.asarray(mixture, dtype=np.float64)
        gradient = -self.beta * self.utility + self.lam * (self.similarity @ p)
        if self.tau > 0.0:
            with np.errstate(divide="ignore", invalid="ignore"):  # a weight of -1e-12 has no logarithm: nan
                gradient = gradient + self.tau * (np.log(p / self.prior) + 1.0)
        return np.asarray(gradient, dtype=np.float64)

    @cached_property
    def curvature(self) -> float:
        """The least eigenvalue of S on the sum-zero subspace: E is convex on the simplex where it is not negative."""
        from scipy.linalg import helmert

        basis = helmert(len(self))
        return float(np.linalg.eigvalsh(basis @ self.similarity @ basis.T)[0])

    def violation(self, mixture: ArrayLike) -> float:
        """The largest amount by which p breaks a bound, the sum or a constraint; 0 where it breaks none.

        For a constraint a'p <= b that is (a'p - b) / max |a|; for one on a divergence, nats.
        """
        p = np.asarray(mixture, dtype=np.float64)
        broken = [abs(p.sum() - 1.0), (self.lower - p).max(), (p - self.upper).max(), 0.0]
        broken += [(row.coefficients @ p - row.limit) / np.abs(row.coefficients).max() for row in self.halfspaces]
        broken += [ball.divergence(p) - ball.limit for ball in self.balls]
        return float(max(broken))

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


def _is_cap(row: Halfspace) -> bool:
    return int(np.count_nonzero(row.coefficients)) == 1 and float(row.coefficients.max()) == 1.0


def relative_entropy(p: FloatArray, q: FloatArray) -> FloatArray:
    """p log(p / q) elementwise in nats, with 0 log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0.0, p * np.log(p / q), 0.0)


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
