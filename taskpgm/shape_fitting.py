"""Shapes of learning curves fitted to losses seen, and how much each is believed.

A shape is a fall from 1 towards 0. Its floor and its drop, loss = floor + drop * fall, have a closed form: weighted
least squares under a weak prior, neither of them negative. A shape is believed in proportion to exp(-cost / 2).

    fits = fit_shapes(falls, losses, deviations, start)
    kept, weights = believed(fits)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskpgm.loss_noise import LEAST_NOISE
from taskpgm.types import FloatArray, IntArray

FLOOR_PRIOR = (0.3, 0.4)
"""Mean and deviation of the floor, in the loss at the start."""
DROP_PRIOR = (0.7, 1.0)
KEPT_MASS = 0.999
SCALES = 15
SCALE_RANGE = (1.0 / 30.0, 10.0)
"""Of the shapes' scales, in the exposure that the curves will be asked about."""


@dataclass(frozen=True, eq=False)
class Fits:
    """Every shape fitted to every task: all (n, K) but covariance (n, K, 3); cost without the prior in misfit.

    covariance: variance of the floor, covariance of floor and drop, variance of the drop, given the shape.
    """

    floors: FloatArray
    drops: FloatArray
    covariance: FloatArray
    cost: FloatArray
    misfit: FloatArray


def scale_grid(reference: float) -> FloatArray:
    """(15,) scales of shapes around the exposure that curves will be asked about."""
    low, high = (end * reference for end in SCALE_RANGE)
    return np.geomspace(low, high, SCALES)


def fit_shapes(falls: FloatArray, losses: FloatArray, deviations: FloatArray, start: FloatArray) -> Fits:
    """Weighted least squares for floor and drop of every shape, under the prior, for all tasks at once.

    Args:
        falls: (n, K, S) every shape at the exposures where losses were seen.
        losses: (n, S) nats per target token.
        deviations: (n, S) their standard deviations; infinite where nothing was seen.
        start: (n,) losses before any exposure: the unit of the prior.
    """
    precision = 1.0 / deviations**2
    unit = np.maximum(np.abs(start), LEAST_NOISE)
    floor_prior = (FLOOR_PRIOR[0] * unit, FLOOR_PRIOR[1] * unit)
    drop_prior = (DROP_PRIOR[0] * unit, DROP_PRIOR[1] * unit)
    # normal equations [[aa, ab], [ab, bb]] (floor, drop) = (ya, yb)
    aa = (precision.sum(axis=1) + floor_prior[1] ** -2.0)[:, None]
    ab = np.einsum("ns,nks->nk", precision, falls)
    bb = np.einsum("ns,nks->nk", precision, falls**2) + (drop_prior[1] ** -2.0)[:, None]
    ya = ((precision * losses).sum(axis=1) + floor_prior[0] * floor_prior[1] ** -2.0)[:, None]
    yb = np.einsum("ns,nks->nk", precision * losses, falls) + (drop_prior[0] * drop_prior[1] ** -2.0)[:, None]
    determinant = aa * bb - ab**2
    floors, drops = (bb * ya - ab * yb) / determinant, (aa * yb - ab * ya) / determinant
    drops = np.where(floors < 0.0, np.maximum(yb / bb, 0.0), drops)  # the quadratic's minimum on the border
    floors = np.maximum(floors, 0.0)
    floors = np.where(drops < 0.0, np.maximum(ya / aa, 0.0), floors)
    drops = np.maximum(drops, 0.0)
    misses = losses[:, None, :] - floors[:, :, None] - drops[:, :, None] * falls
    misfit = np.einsum("ns,nks->nk", precision, misses**2)
    cost = misfit + ((floors - floor_prior[0][:, None]) / floor_prior[1][:, None]) ** 2
    cost = cost + ((drops - drop_prior[0][:, None]) / drop_prior[1][:, None]) ** 2
    covariance = np.stack([bb / determinant, -ab / determinant, np.broadcast_to(aa, bb.shape) / determinant], axis=-1)
    return Fits(floors, drops, covariance, cost, misfit)


def believed(fits: Fits) -> tuple[IntArray, FloatArray]:
    """((n, k) which shapes hold nearly all of the mass, the likeliest first; (n, k) their weights, sum 1)."""
    weights = np.exp(-0.5 * (fits.cost - fits.cost.min(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    order = np.argsort(-weights, axis=1, kind="stable")
    mass = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    kept = order[:, : int((mass < KEPT_MASS).sum(axis=1).max()) + 1]
    held = np.take_along_axis(weights, kept, axis=1)
    return kept, held / held.sum(axis=1, keepdims=True)


def likeliest(fits: Fits) -> tuple[IntArray, FloatArray]:
    """The same for the single shape that fits best, whatever the prior says."""
    kept = fits.misfit.argmin(axis=1)[:, None]
    return kept, np.ones(kept.shape)
