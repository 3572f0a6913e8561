"""Learning curves: the loss of each task as a convex, decreasing function of the exposure to it.

The curve of task j is an average over shapes, each a power law that starts at floor + drop and falls towards its floor:

    loss_j(e) = sum_k weight_jk (floor_jk + drop_jk (1 + e / scale_jk)^-power_jk),      e in examples

The weights are how much each shape is believed (a posterior), so the average is the expected curve, and the spread of
the shapes says how sure it is.

    curves = LearningCurves(("copy", "sort"), 1.0, [[0.1], [0.2]], [[2.0], [1.5]], [[50.0], [200.0]], 1.0)
    curves.losses([100.0, 100.0])       # (2,) nats per target token
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.shape_arrays import check_shapes, covariance_array, shape_arrays, spread_of_shapes
from taskpgm.types import FloatArray, InputError

FIELDS = ("weights", "floors", "drops", "scales", "powers")


@dataclass(frozen=True, eq=False, init=False)
class LearningCurves:
    """The curves of n tasks, with K shapes each.

    Args:
        names: (n,) tasks.
        weights: (n, K) how much each shape is believed; not negative, every row adds up to 1.
        floors, drops: (n, K) nats per target token; drops are not negative.
        scales: (n, K) examples, positive. powers: (n, K) positive.
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
    powers: FloatArray
    covariance: FloatArray

    def __init__(
        self,
        names: Sequence[str],
        weights: ArrayLike,
        floors: ArrayLike,
        drops: ArrayLike,
        scales: ArrayLike,
        powers: ArrayLike,
        covariance: ArrayLike | None = None,
    ) -> None:
        object.__setattr__(self, "names", tuple(names))
        values = dict(zip(FIELDS, (weights, floors, drops, scales, powers), strict=True))
        for field, array in zip(FIELDS, shape_arrays(self.names, values), strict=True):
            object.__setattr__(self, field, array)
        object.__setattr__(self, "covariance", covariance_array(covariance, self.weights.shape))
        self._check()

    def _check(self) -> None:
        good = {
            "weights": self.weights >= 0.0,
            "floors": np.isfinite(self.floors),
            "drops": self.drops >= 0.0,
            "scales": self.scales > 0.0,
            "powers": self.powers > 0.0,
        }
        rule = "weights and drops must not be negative, scales and powers must be positive, all finite."
        check_shapes(self.names, {field: getattr(self, field) for field in FIELDS}, good, rule)

    def __len__(self) -> int:
        return len(self.names)

    def losses(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) expected losses at (..., n) exposures in examples."""
        return np.asarray((self.weights * self._shapes(exposures)).sum(axis=-1))

    def slopes(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) first derivatives of the losses: never positive."""
        grown = self._grown(exposures)
        rate = self.weights * self.drops * self.powers / self.scales
        return np.asarray(-(rate * grown ** (-self.powers - 1.0)).sum(axis=-1))

    def bends(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) second derivatives of the losses: never negative."""
        grown = self._grown(exposures)
        rate = self.weights * self.drops * self.powers * (self.powers + 1.0) / self.scales**2
        return np.asarray((rate * grown ** (-self.powers - 2.0)).sum(axis=-1))

    @property
    def parameters(self) -> tuple[FloatArray, ...]:
        """Every array that the losses depend on."""
        return self.weights, self.floors, self.drops, self.scales, self.powers

    @property
    def most_bent(self) -> FloatArray:
        """(n,) the largest second derivative anywhere, which is at no exposure."""
        return self.bends(np.zeros(len(self)))

    def intervals(self, exposures: ArrayLike, level: float = 0.95) -> FloatArray:
        """(n, 2) between which the loss at (n,) exposures lies with a probability of `level`, given the evidence.

        The loss is believed to be a mixture of normal distributions, one for each shape; the ends are its quantiles,
        found by bisection.
        """
        from scipy.special import ndtr

        if not 0.0 < level < 1.0:
            raise InputError(f"level {level}: it must be between 0 and 1.")
        means = self._shapes(exposures)
        falls = self._grown(exposures) ** -self.powers
        spread = spread_of_shapes(self.covariance, falls)
        ends = []
        for goal in (0.5 * (1.0 - level), 0.5 * (1.0 + level)):
            low = (means - 10.0 * spread).min(axis=1)
            high = (means + 10.0 * spread).max(axis=1)
            for _ in range(60):
                middle = 0.5 * (low + high)
                below = (self.weights * ndtr((middle[:, None] - means) / spread)).sum(axis=1) < goal
                low, high = np.where(below, middle, low), np.where(below, high, middle)
            ends.append(0.5 * (low + high))
        return np.column_stack(ends)

    def drawn(self, rng: np.random.Generator) -> LearningCurves:
        """One curve for each task from what is believed: a shape by its weight, then its floor and drop."""
        rows = np.arange(len(self))
        cumulative = np.cumsum(self.weights, axis=1)
        chosen = (rng.random(len(self))[:, None] * cumulative[:, -1:] > cumulative).sum(axis=1)
        of_floor, of_both, of_drop = self.covariance[rows, chosen].T
        root = np.sqrt(np.maximum(of_floor, 0.0))
        slope = np.divide(of_both, root, out=np.zeros_like(root), where=root > 0.0)
        rest = np.sqrt(np.maximum(of_drop - slope**2, 0.0))
        first, second = rng.standard_normal((2, len(self)))
        floors = self.floors[rows, chosen] + root * first
        drops = self.drops[rows, chosen] + slope * first + rest * second
        picked = (self.scales[rows, chosen], self.powers[rows, chosen])
        columns = [np.maximum(floors, 0.0), np.maximum(drops, 0.0), *picked]
        return LearningCurves(self.names, 1.0, *(column[:, None] for column in columns))

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values; `from_dict` reads them."""
        return {field: getattr(self, field).tolist() for field in (*FIELDS, "covariance")}

    @classmethod
    def from_dict(cls, names: Sequence[str], values: Mapping[str, Any]) -> LearningCurves:
        """What `as_dict` wrote."""
        return cls(names, **values)

    def _grown(self, exposures: ArrayLike) -> FloatArray:
        e = np.asarray(exposures, dtype=np.float64)
        return np.asarray(1.0 + e[..., None] / self.scales)

    def _shapes(self, exposures: ArrayLike) -> FloatArray:
        """(..., n, K) the loss under each shape."""
        return np.asarray(self.floors + self.drops * self._grown(exposures) ** -self.powers)
