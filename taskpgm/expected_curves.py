"""Learning curves that need not be convex: the loss expected after an exposure, and how sure that is.

The curve of task j is an average over shapes, power laws and Hill curves, each of which falls from floor + drop
towards its floor:

    loss_j(e) = sum_k weight_jk (floor_jk + drop_jk fall_jk(e)),     fall_jk(e) = (1 + (e / scale_jk)^s_jk)^-power_jk

A power law has a steepness s of 1. A Hill curve has a power of 1, and with s > 1 it is late: it falls slowly at first,
so it is concave up to a bend and convex after it, and no average with one in it can be taken to be convex. A coverage
energy refuses these curves; `SeparableNetwork` takes them.

    curves = ExpectedCurves(("copy", "sort"), 1.0, 0.1, 2.0, [[50.0], [200.0]], [[1.0], [3.0]], 1.0)
    curves.mean([100.0, 100.0])         # (2,) nats per target token
    curves.spread([100.0, 100.0])       # (2,) standard deviations of what is believed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.learning_curves import LearningCurves
from taskpgm.shape_arrays import check_shapes, covariance_array, shape_arrays, spread_of_shapes
from taskpgm.types import FloatArray

FIELDS = ("weights", "floors", "drops", "scales", "steepness", "powers")


@dataclass(frozen=True, eq=False, init=False)
class ExpectedCurves:
    """The expected curves of n tasks, with K shapes each.

    Args:
        names: (n,) tasks.
        weights: (n, K) how much each shape is believed; not negative, every row adds up to 1.
        floors, drops: (n, K) nats per target token, neither negative.
        scales: (n, K) positive, in the unit of the exposures.
        steepness: (n, K) at least 1. powers: (n, K) positive.
        covariance: (n, K, 3) variance of the floor, covariance of floor and drop, variance of the drop, given the
            shape; 0 where not given.

    Everything but the names is broadcast to (n, K).

    Raises:
        InputError: sizes that do not fit, or numbers outside these ranges.
    """

    names: tuple[str, ...]
    weights: FloatArray
    floors: FloatArray
    drops: FloatArray
    scales: FloatArray
    steepness: FloatArray
    powers: FloatArray
    covariance: FloatArray

    def __init__(
        self,
        names: Sequence[str],
        weights: ArrayLike,
        floors: ArrayLike,
        drops: ArrayLike,
        scales: ArrayLike,
        steepness: ArrayLike,
        powers: ArrayLike,
        covariance: ArrayLike | None = None,
    ) -> None:
        object.__setattr__(self, "names", tuple(names))
        given = dict(zip(FIELDS, (weights, floors, drops, scales, steepness, powers), strict=True))
        for field, array in zip(FIELDS, shape_arrays(self.names, given), strict=True):
            object.__setattr__(self, field, array)
        object.__setattr__(self, "covariance", covariance_array(covariance, self.weights.shape))
        self._check()

    def _check(self) -> None:
        good = {
            "weights": self.weights >= 0.0,
            "floors": self.floors >= 0.0,
            "drops": self.drops >= 0.0,
            "scales": self.scales > 0.0,
            "steepness": self.steepness >= 1.0,
            "powers": self.powers > 0.0,
        }
        rule = (
            "weights, floors and drops must not be negative, scales and powers positive, steepness at least 1, all"
            " finite."
        )
        check_shapes(self.names, {field: getattr(self, field) for field in FIELDS}, good, rule)

    @classmethod
    def of(cls, curves: LearningCurves) -> ExpectedCurves:
        """The same curves, of experts say, where those that need not be convex are asked for."""
        arrays = (curves.weights, curves.floors, curves.drops, curves.scales)
        return cls(curves.names, *arrays, 1.0, curves.powers, curves.covariance)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def convex(self) -> NDArray[np.bool_]:
        """(n,) whether every shape that is believed is a power law: nothing else is known to be convex."""
        return np.asarray(((self.steepness == 1.0) | (self.weights * self.drops == 0.0)).all(axis=1))

    def mean(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) expected losses at (..., n) exposures."""
        return np.asarray((self.weights * (self.floors + self.drops * self.falls(exposures))).sum(axis=-1))

    def slopes(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) first derivatives of the expected losses: never positive."""
        return np.asarray((self.weights * self.drops * self.fall_slopes(exposures)).sum(axis=-1))

    def bends(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) second derivatives: negative where late shapes have yet to fall, -inf at 0 for steepness below 2."""
        x, s, k = self._scaled(exposures), self.steepness, self.powers
        amounts = self.weights * self.drops / self.scales**2
        with np.errstate(divide="ignore", invalid="ignore"):
            late = s * x ** (s - 2.0) * ((k * s + 1.0) * x**s - (s - 1.0))
            bend = k * np.where(s == 1.0, k + 1.0, late) * (1.0 + x**s) ** (-k - 2.0)
            return np.asarray(np.where(amounts > 0.0, amounts * bend, 0.0).sum(axis=-1))

    def spread(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) standard deviations of the losses: between the shapes that are believed, and within each."""
        falls = self.falls(exposures)
        means = self.floors + self.drops * falls
        centre = (self.weights * means).sum(axis=-1, keepdims=True)
        within = spread_of_shapes(self.covariance, falls) ** 2
        return np.asarray(np.sqrt((self.weights * (within + (means - centre) ** 2)).sum(axis=-1)))

    def falls(self, exposures: ArrayLike) -> FloatArray:
        """(..., n, K) every shape, from 1 at no exposure towards 0."""
        return np.asarray((1.0 + self._scaled(exposures) ** self.steepness) ** -self.powers)

    def fall_slopes(self, exposures: ArrayLike) -> FloatArray:
        """(..., n, K) the first derivative of every shape."""
        x, s, k = self._scaled(exposures), self.steepness, self.powers
        return np.asarray(-k * s / self.scales * x ** (s - 1.0) * (1.0 + x**s) ** (-k - 1.0))

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values; `from_dict` reads them."""
        return {field: getattr(self, field).tolist() for field in (*FIELDS, "covariance")}

    @classmethod
    def from_dict(cls, names: Sequence[str], values: Mapping[str, Any]) -> ExpectedCurves:
        """What `as_dict` wrote."""
        return cls(names, **values)

    def _scaled(self, exposures: ArrayLike) -> FloatArray:
        return np.asarray(np.asarray(exposures, dtype=np.float64)[..., None] / self.scales)
