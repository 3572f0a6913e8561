"""A task network whose similarity is given by features: S = L L', for tens of thousands of tasks.

The energy is that of `TaskNetwork` without a KL term; S is never formed, and is positive semidefinite by construction.

    network = FactoredNetwork(utility, features)            # (n,), (n, r)
    solve(network, PairwiseFrankWolfe())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, IntArray


@dataclass(frozen=True, eq=False, init=False)
class FactoredNetwork:
    """-beta u'p + 1/2 lam |L'p|^2 over the mixtures within the bounds.

    Args:
        utility: (n,) u.
        features: (n, r) L, one row of features for each task; similarity is their inner product.
        names, beta, lam, lower, upper: as in TaskNetwork.

    Raises:
        InputError: wrong sizes, values that are not finite, repeated names, or bounds that no mixture satisfies.
    """

    utility: FloatArray
    features: FloatArray
    names: tuple[str, ...]
    beta: float
    lam: float
    lower: FloatArray
    upper: FloatArray

    def __init__(
        self,
        utility: ArrayLike,
        features: ArrayLike,
        names: Sequence[str] = (),
        *,
        beta: float = 1.0,
        lam: float = 1.0,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
    ) -> None:
        u, rows = array(utility, "utility", ndim=1), array(features, "features", ndim=2)
        named = checked_names(names, len(u))
        if len(rows) != len(u):
            raise InputError(f"features: {len(rows)} rows, but there are {len(u)} tasks.")
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise InputError(f"features of {named[bad[0]]!r}: every feature must be a finite number.")
        fields = {
            "utility": checked_finite(u, "utility", named),
            "features": rows,
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
    def concavity(self) -> float:
        """None: an inner product is never negative, and so the energy is convex."""
        return 0.0

    def energy(self, mixture: ArrayLike) -> float:
        """E(p) in float64."""
        p = np.asarray(mixture, dtype=np.float64)
        mean = p @ self.features
        return float(-self.beta * (self.utility @ p) + 0.5 * self.lam * (mean @ mean))

    def gradient(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the gradient of E at p."""
        mean = np.asarray(mixture, dtype=np.float64) @ self.features
        return np.asarray(-self.beta * self.utility + self.lam * (self.features @ mean))

    def gram(self, tasks: IntArray) -> FloatArray:
        """(m, m) the similarities among some tasks."""
        rows = self.features[tasks]
        return np.asarray(rows @ rows.T)

    def violation(self, mixture: ArrayLike) -> float:
        """The largest amount by which p breaks a bound or the sum; 0 where it breaks none."""
        p = np.asarray(mixture, dtype=np.float64)
        return float(max(abs(p.sum() - 1.0), (self.lower - p).max(), (p - self.upper).max(), 0.0))

    def dense(self) -> TaskNetwork:
        """The same network with S written out: (n, n) numbers."""
        return TaskNetwork(
            self.utility,
            self.features @ self.features.T,
            self.names,
            beta=self.beta,
            lam=self.lam,
            lower=self.lower,
            upper=self.upper,
        )
