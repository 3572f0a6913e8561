"""Mutual information as a second objective: how much a model's behaviour tells about the task that it comes from.

Let a task be drawn with probability p_i and a token from its expert's distribution. In nats, averaged over contexts,

    I(p) = sum_c w_c [ H(sum_i p_i P_i(.|c)) - sum_i p_i H(P_i(.|c)) ]

is concave in p, and its maximiser is the input of a channel's capacity (Shannon 1948). The energy -beta u'p - lam I(p)
is minimised over the mixtures within the bounds. Where all experts are close, I(p) is about 2 p'Jp: Rao's quadratic
entropy with the Jensen-Shannon divergences J is its pairwise surrogate; for two experts in equal parts, I is J itself.

    problem = CapacityMixture(predictions.log_probs, predictions.weights, names=predictions.names)
    solve(problem, MirrorDescent())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import (
    Bound,
    array,
    check_bounds_meet,
    checked_bound,
    checked_finite,
    checked_names,
    checked_scalar,
)
from taskpgm.divergences.jensen_shannon import normalised
from taskpgm.types import FloatArray, InputError, readonly


@dataclass(frozen=True, eq=False, init=False)
class CapacityMixture:
    """-beta u'p - lam I(p) over the mixtures within the bounds.

    Args:
        log_probs: (n, C, V) natural logarithms of the experts' distributions.
        weights: (C,) context weights that are not negative; equal where not given.
        utility: (n,) u; 0 where not given.
        names, beta, lam, lower, upper: as in TaskNetwork.

    Raises:
        InputError: wrong sizes, values that are not finite, rows that are no distributions, repeated names, or bounds
            that no mixture satisfies.
    """

    probabilities: FloatArray
    weights: FloatArray
    utility: FloatArray
    names: tuple[str, ...]
    beta: float
    lam: float
    lower: FloatArray
    upper: FloatArray

    def __init__(
        self,
        log_probs: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        utility: ArrayLike | None = None,
        names: Sequence[str] = (),
        beta: float = 1.0,
        lam: float = 1.0,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
    ) -> None:
        probabilities, w = normalised(log_probs, weights)
        n = len(probabilities)
        u = array(np.zeros(n) if utility is None else utility, "utility", ndim=1)
        if len(u) != n:
            raise InputError(f"utility: {len(u)} numbers, but there are {n} experts.")
        named = checked_names(names, n)
        fields = {
            "probabilities": readonly(probabilities.reshape(n, -1), np.float64),
            "weights": readonly(np.repeat(w, probabilities.shape[2]), np.float64),
            "utility": checked_finite(u, "utility", named),
            "names": named,
            "beta": checked_scalar(beta, "beta", -np.inf),
            "lam": checked_scalar(lam, "lam", 0.0),
            "lower": checked_bound(lower, named, "lower", 0.0),
            "upper": checked_bound(upper, named, "upper", 1.0),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        check_bounds_meet(self.names, self.lower, self.upper)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def relative_smoothness(self) -> float:
        """An L with E(q) <= E(p) + gradient'(q - p) + L KL(q || p): lam, by the chain rule of mutual information."""
        return self.lam

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

    def energy(self, mixture: ArrayLike) -> float:
        """-beta u'p - lam I(p) in float64."""
        p = np.asarray(mixture, dtype=np.float64)
        return float(-self.beta * (self.utility @ p) - self.lam * self.information(p))

    def gradient(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the gradient of the energy, up to a constant that is the same for all tasks."""
        slope = -self.beta * self.utility
        return np.asarray(slope if self.lam == 0.0 else slope - self.lam * self.divergences(mixture))

    def violation(self, mixture: ArrayLike) -> float:
        """The largest amount by which p breaks a bound or the sum; 0 where it breaks none."""
        p = np.asarray(mixture, dtype=np.float64)
        return float(max(abs(p.sum() - 1.0), (self.lower - p).max(), (p - self.upper).max(), 0.0))
