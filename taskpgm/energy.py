"""What every smooth energy over mixtures has in common: where mixtures may lie, and the pull towards a prior mixture.

    E(p) = F(p) + tau KL(p || q),       p in the feasible set

with F convex and smooth: the pairwise energy of a `TaskNetwork`, the learning curves of a `CoverageNetwork`. The judge,
the solvers, prices and explanations ask for nothing else.
"""

from __future__ import annotations

import abc
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.constraints import Ball, Constraint, Halfspace, Rows
from taskpgm.feasible import FeasibleSet
from taskpgm.types import FloatArray


class MixtureEnergy(abc.ABC):
    """An energy over the mixtures of a feasible set.

    feasible: where mixtures lie. tau: the weight of KL(p || prior). prior: (n,) positive mixture q.
    """

    feasible: FeasibleSet
    tau: float
    prior: FloatArray

    @abc.abstractmethod
    def smooth(self, p: FloatArray) -> float:
        """F(p), the energy without its KL term."""

    @abc.abstractmethod
    def smooth_gradient(self, p: FloatArray) -> FloatArray:
        """(n,) the gradient of F at p."""

    @abc.abstractmethod
    def smooth_hessian(self, p: FloatArray) -> FloatArray:
        """(n, n) the second derivatives of F at p."""

    @property
    @abc.abstractmethod
    def concavity(self) -> float:
        """A d >= 0 with v'Hv >= -d |v|^2 for v that add up to 0 and H any Hessian of F: 0 where E is convex."""

    @property
    @abc.abstractmethod
    def scale(self) -> float:
        """What a gap is small against: 1, or the energy's largest linear term where that is larger."""

    @abc.abstractmethod
    def changed(self, **fields: Any) -> Self:
        """This network with some of its constructor's arguments replaced."""

    def energy(self, mixture: ArrayLike) -> float:
        """E(p) in float64."""
        p = np.asarray(mixture, dtype=np.float64)
        value = self.smooth(p)
        return float(value + self.tau * relative_entropy(p, self.prior).sum()) if self.tau > 0.0 else float(value)

    def gradient(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the gradient of E at p; -inf where tau > 0 and a weight is 0."""
        p = np.asarray(mixture, dtype=np.float64)
        gradient = self.smooth_gradient(p)
        if self.tau > 0.0:
            with np.errstate(divide="ignore", invalid="ignore"):  # a weight of -1e-12 has no logarithm: nan
                gradient = gradient + self.tau * (np.log(p / self.prior) + 1.0)
        return np.asarray(gradient, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        return self.feasible.names

    @property
    def lower(self) -> FloatArray:
        """(n,) least weights."""
        return self.feasible.lower

    @property
    def upper(self) -> FloatArray:
        """(n,) largest weights, epoch caps included."""
        return self.feasible.upper

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        return self.feasible.constraints

    @property
    def caps(self) -> tuple[Halfspace, ...]:
        """The constraints on single tasks, p_i <= limit, which `upper` holds already."""
        return self.feasible.caps

    @property
    def halfspaces(self) -> tuple[Halfspace, ...]:
        """The constraints a'p <= b on several tasks."""
        return self.feasible.halfspaces

    @property
    def balls(self) -> tuple[Ball, ...]:
        """The constraints KL(p || centre) <= r."""
        return self.feasible.balls

    @property
    def coupling_rows(self) -> Rows:
        """The constraints on several tasks: half-spaces, then balls."""
        return [*self.halfspaces, *self.balls]

    @property
    def only_bounds(self) -> bool:
        """Whether bounds on single tasks are all that mixtures must keep."""
        return not self.coupling_rows

    def violation(self, mixture: ArrayLike) -> float:
        """The largest amount by which p breaks a bound, the sum or a constraint; see `FeasibleSet.violation`."""
        return self.feasible.violation(mixture)


def relative_entropy(p: FloatArray, q: FloatArray) -> FloatArray:
    """p log(p / q) elementwise in nats, with 0 log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0.0, p * np.log(p / q), 0.0)
