"""Mutual information as a second objective: how much a model's behaviour tells about the task that it comes from.

Let a task be drawn with probability p_i and a token from its expert's distribution. In nats, averaged over contexts,

    I(p) = sum_c w_c [ H(sum_i p_i P_i(.|c)) - sum_i p_i H(P_i(.|c)) ]

is concave in p, and its maximiser is the input of a channel's capacity (Shannon 1948). The energy -beta u'p - lam I(p)
is minimised over the mixtures of a feasible set. Where all experts are close, I(p) is about 2 p'Jp: Rao's quadratic
entropy with the Jensen-Shannon divergences J is its pairwise surrogate; for two experts in equal parts, I is J itself.

    problem = CapacityMixture(predictions.log_probs, predictions.weights, names=predictions.names)
    solve(problem, MirrorDescent())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import Bound, array, checked_finite, checked_names, checked_prior, checked_scalar
from taskpgm.constraints import Constraint
from taskpgm.divergences.jensen_shannon import normalised
from taskpgm.energy import MixtureEnergy
from taskpgm.feasible import FeasibleSet
from taskpgm.types import FloatArray, InputError, readonly

ENERGY_FIELDS = ("utility", "beta", "lam", "tau", "prior")
FEASIBLE_FIELDS = ("lower", "upper", "constraints")


@dataclass(frozen=True, eq=False, init=False)
class CapacityMixture(MixtureEnergy):
    """-beta u'p - lam I(p) + tau KL(p || q) over the mixtures of a feasible set.

    Args:
        log_probs: (n, C, V) natural logarithms of the experts' distributions.
        weights: (C,) context weights that are not negative; equal where not given.
        utility: (n,) u; 0 where not given.
        names, beta, lam, tau, prior, lower, upper, constraints: as in TaskNetwork.

    Raises:
        InputError: wrong sizes, values that are not finite, rows that are no distributions, repeated names, or bounds
            and constraints that no mixture satisfies.
    """

    probabilities: FloatArray
    weights: FloatArray
    utility: FloatArray
    beta: float
    lam: float
    tau: float
    prior: FloatArray
    feasible: FeasibleSet

    def __init__(
        self,
        log_probs: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        utility: ArrayLike | None = None,
        names: Sequence[str] = (),
        beta: float = 1.0,
        lam: float = 1.0,
        tau: float = 0.0,
        prior: ArrayLike | None = None,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        probabilities, w = normalised(log_probs, weights)
        n = len(probabilities)
        u = array(np.zeros(n) if utility is None else utility, "utility", ndim=1)
        if len(u) != n:
            raise InputError(f"utility: {len(u)} numbers, but there are {n} experts.")
        named = checked_names(names, n)
        object.__setattr__(self, "probabilities", readonly(probabilities.reshape(n, -1), np.float64))
        object.__setattr__(self, "weights", readonly(np.repeat(w, probabilities.shape[2]), np.float64))
        self._set(named, u, beta, lam, tau, prior)
        object.__setattr__(self, "feasible", FeasibleSet(named, lower, upper, constraints))

    def _set(
        self, names: tuple[str, ...], utility: FloatArray, beta: float, lam: float, tau: float, prior: ArrayLike | None
    ) -> None:
        fields = {
            "utility": checked_finite(utility, "utility", names),
            "beta": checked_scalar(beta, "beta", -np.inf),
            "lam": checked_scalar(lam, "lam", 0.0),
            "tau": checked_scalar(tau, "tau", 0.0),
            "prior": checked_prior(prior, len(names)),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def changed(self, **fields: Any) -> CapacityMixture:
        """This problem with some of its constructor's arguments replaced; names and distributions stay."""
        within = {name: fields.pop(name) for name in FEASIBLE_FIELDS if name in fields}
        values = {name: getattr(self, name) for name in ENERGY_FIELDS} | fields
        made = object.__new__(CapacityMixture)
        object.__setattr__(made, "probabilities", self.probabilities)
        object.__setattr__(made, "weights", self.weights)
        made._set(self.names, array(values.pop("utility"), "utility", ndim=1), **values)
        object.__setattr__(made, "feasible", self.feasible.changed(**within))
        return made

    @property
    def relative_smoothness(self) -> float:
        """An L with E(q) <= E(p) + gradient'(q - p) + L KL(q || p): lam + tau, by the chain rule of information."""
        return self.lam + self.tau

    @property
    def concavity(self) -> float:
        """None: mutual information is concave in the input distribution, and so the energy is convex."""
        return 0.0

    @cached_property
    def _negentropies(self) -> FloatArray:
        """(n,) the mean of sum P_i log P_i."""
        p = self.probabilities
        logs = np.log(np.where(p > 0.0, p, 1.0))
        return np.asarray((p * logs) @ self.weights)

    @cached_property
    def _weighted(self) -> FloatArray:
        return np.asarray(self.probabilities * self.weights)

    def divergences(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the mean KL(P_i || sum_j p_j P_j) in nats; infinite where the mixture lacks what expert i may say.

        I(p) is their mean under p, and no mixture q of the feasible set has I(q) above their mean under q.
        """
        mean = np.asarray(mixture, dtype=np.float64) @ self.probabilities
        missing = mean <= 0.0
        found = self._negentropies - self._weighted @ np.log(np.where(missing, 1.0, mean))
        if missing.any():
            found = np.where(self._weighted[:, missing].sum(axis=1) > 0.0, np.inf, found)
        return np.asarray(np.maximum(found, 0.0))

    def information(self, mixture: ArrayLike) -> float:
        """I(p) in nats."""
        p = np.asarray(mixture, dtype=np.float64)
        used = p > 0.0
        return float(p[used] @ self.divergences(p)[used])

    def smooth(self, p: FloatArray) -> float:
        """-beta u'p - lam I(p)."""
        return float(-self.beta * (self.utility @ p) - self.lam * self.information(p))

    def smooth_gradient(self, p: FloatArray) -> FloatArray:
        """(n,) -beta u - lam (divergences - 1); -inf for an expert that says what the mixture never does."""
        slope = -self.beta * self.utility
        return np.asarray(slope if self.lam == 0.0 else slope - self.lam * (self.divergences(p) - 1.0))

    def smooth_hessian(self, p: FloatArray) -> FloatArray:
        """(n, n) lam sum_c w_c P_i P_j / mean: positive semidefinite."""
        mean = p @ self.probabilities
        known = mean > 0.0
        return np.asarray(self.lam * (self._weighted[:, known] / mean[known]) @ self.probabilities[:, known].T)

    @property
    def scale(self) -> float:
        """1, or the largest utility term where that is larger."""
        return max(1.0, abs(self.beta) * float(np.abs(self.utility).max()))
