"""Learning curves as convex piecewise-linear envelopes of the snapshots, with rounded corners.

The curve of task j goes through the corners of the greatest convex, never rising function that is nowhere above the
losses seen, and stays level after the last of them: it believes no more than was seen. Every corner is rounded over a
quarter of its shorter side, so that the curve has a slope everywhere and a certificate can close on it:

    loss_j(e) = floor_j + sum_k bend_jk hinge(knot_jk - e; width_jk)
    hinge(t; h) = 0 up to -h, (t + h)^2 / (4h) between -h and h, t from h on

    curves = EnvelopeCurves(("copy", "sort"), [[0, 100, 300], [0, 200, 400]], [[2.0, 0.5, 0.2], [1.8, 0.9, 0.4]])
    curves.losses([100.0, 100.0])       # (2,) nats per target token
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import array
from taskpgm.loss_noise import measured_noise, noise
from taskpgm.transfer import convex_envelope
from taskpgm.types import FloatArray, InputError

ROUNDING = 0.25


@dataclass(frozen=True, eq=False, init=False)
class EnvelopeCurves:
    """The curves of n tasks, each through S snapshots.

    Args:
        names: (n,) tasks.
        exposures: (n, S) in examples, starting at 0 and rising.
        losses: (n, S) nats per target token, as they were seen.

    Raises:
        InputError: sizes that do not fit, exposures that do not rise from 0, or numbers that are not finite.
    """

    names: tuple[str, ...]
    exposures: FloatArray
    seen: FloatArray

    def __init__(self, names: Sequence[str], exposures: ArrayLike, losses: ArrayLike) -> None:
        at, seen = array(exposures, "exposures", ndim=2), array(losses, "losses", ndim=2)
        if at.shape != seen.shape or len(at) != len(names) or at.shape[1] < 2:
            raise InputError(
                f"envelope curves: exposures of shape {at.shape} and losses of shape {seen.shape} for {len(names)}"
                " tasks; expected the same, with at least two snapshots of every task."
            )
        bad = ~np.isfinite(at).all(axis=1) | (at[:, 0] != 0.0) | (np.diff(at, axis=1) <= 0.0).any(axis=1)
        for wrong, what in ((bad, "its exposures must rise from 0"), (~np.isfinite(seen).all(axis=1), "a loss is nan")):
            if wrong.any():
                raise InputError(f"learning curve of task {names[int(wrong.argmax())]!r}: {what}.")
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "exposures", at)
        object.__setattr__(self, "seen", seen)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _hinges(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """(n,) floors, and (n, K) knots, bends and widths; tasks with fewer corners have bends of 0."""
        n, most = self.exposures.shape
        floors, knots, bends, widths = np.zeros(n), np.ones((n, most)), np.zeros((n, most)), np.ones((n, most))
        for j in range(n):
            corners, heights = convex_envelope(self.exposures[j], self.seen[j])
            sides = np.diff(corners)
            floors[j] = heights[-1]
            if len(sides):
                steep = -np.diff(heights) / sides
                inner = slice(0, len(sides))
                knots[j, inner] = corners[1:]
                bends[j, inner] = steep - np.append(steep[1:], 0.0)
                widths[j, inner] = ROUNDING * np.minimum(sides, np.append(sides[1:], np.inf))
        return floors, knots, np.maximum(bends, 0.0), widths

    @property
    def floors(self) -> FloatArray:
        """(n,) the least loss on each envelope."""
        return self._hinges[0]

    @property
    def knots(self) -> FloatArray:
        """(n, K) exposures of the corners."""
        return self._hinges[1]

    @property
    def bends_at_knots(self) -> FloatArray:
        """(n, K) by how much the slope rises at each corner, nats per example."""
        return self._hinges[2]

    @property
    def widths(self) -> FloatArray:
        """(n, K) examples to either side over which a corner is rounded."""
        return self._hinges[3]

    def losses(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) losses at (..., n) exposures in examples."""
        t, h = self._past(exposures), self.widths
        inside = np.clip(t, -h, h) + h
        rounded = inside**2 / (4.0 * h) + np.maximum(t - h, 0.0)
        return np.asarray(self.floors + (self.bends_at_knots * rounded).sum(axis=-1))

    def slopes(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) first derivatives of the losses: never positive."""
        t, h = self._past(exposures), self.widths
        return np.asarray(-(self.bends_at_knots * (np.clip(t, -h, h) + h) / (2.0 * h)).sum(axis=-1))

    def bends(self, exposures: ArrayLike) -> FloatArray:
        """(..., n) second derivatives of the losses: 0 but at the corners."""
        return np.asarray(
            (self.bends_at_knots / (2.0 * self.widths) * (np.abs(self._past(exposures)) < self.widths)).sum(axis=-1)
        )

    @property
    def parameters(self) -> tuple[FloatArray, ...]:
        """Every array that the losses depend on."""
        return self._hinges

    @property
    def most_bent(self) -> FloatArray:
        """(n,) the largest second derivative anywhere."""
        return np.asarray((self.bends_at_knots / (2.0 * self.widths)).max(axis=1))

    def intervals(self, exposures: ArrayLike, level: float = 0.95) -> FloatArray:
        """(n, 2) the loss at (n,) exposures, give or take the noise of one snapshot.

        After the last snapshot they tell nothing of how far the loss may yet fall: the posterior of shapes does.
        """
        from scipy.special import ndtri

        if not 0.0 < level < 1.0:
            raise InputError(f"level {level}: it must be between 0 and 1.")
        middle = self.losses(exposures)
        spread = float(ndtri(0.5 + 0.5 * level)) * measured_noise(middle)
        return np.column_stack([middle - spread, middle + spread])

    def drawn(self, rng: np.random.Generator) -> EnvelopeCurves:
        """The envelope of losses that were seen with other noise."""
        again = self.seen + noise(self.seen.copy()) * rng.standard_normal(self.seen.shape)
        return EnvelopeCurves(self.names, self.exposures, np.maximum(again, 0.0))

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values; `from_dict` reads them."""
        return {"exposures": self.exposures.tolist(), "losses": self.seen.tolist()}

    @classmethod
    def from_dict(cls, names: Sequence[str], values: Mapping[str, Any]) -> EnvelopeCurves:
        """What `as_dict` wrote."""
        return cls(names, **values)

    def _past(self, exposures: ArrayLike) -> FloatArray:
        """(..., n, K) how far every corner still is."""
        return np.asarray(self.knots - np.asarray(exposures, dtype=np.float64)[..., None])
