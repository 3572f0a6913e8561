"""From experts' losses to learning curves: fitted, averaged over what the evidence leaves open, and diagnosed.

A point fit to a short curve starves tasks that learn late and feeds noise: many shapes fit, and they disagree about
what comes next. So every shape on a grid of powers and scales is fitted (floor and drop in closed form, not negative,
under a weak prior), and the average is taken with weights exp(-cost / 2).

    transfer = exposure_transfer(losses)
    curves = fit_curves(losses, transfer)
    for finding in diagnose(losses): print(finding)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.learning_curves import LearningCurves
from taskpgm.loss_noise import LEAST_NOISE, fell_at_all, noise
from taskpgm.transfer import convex_envelope, start_losses
from taskpgm.types import FloatArray, InputError, LossCurves

Method: TypeAlias = Literal["posterior", "least_squares", "envelope"]
METHODS: tuple[Method, ...] = ("posterior", "least_squares", "envelope")

POWERS = (0.5, 1.0, 2.0)
SCALES = 15
SCALE_RANGE = (1.0 / 30.0, 10.0)
"""Of the shapes' scales, in the exposure that the curves will be asked about."""
FLOOR_PRIOR = (0.3, 0.4)
"""Mean and deviation of the floor, in the loss at the start."""
DROP_PRIOR = (0.7, 1.0)
KEPT_MASS = 0.999
DELAYED = 3.0
"""By how many times the noise a curve must bulge to be called delayed."""


@dataclass(frozen=True)
class Finding:
    """What a task's curve cannot tell. kind: "flat" or "delayed"."""

    task: str
    kind: Literal["flat", "delayed"]
    text: str

    def __str__(self) -> str:
        return self.text


def fit_curves(
    losses: LossCurves, transfer: FloatArray, *, method: Method = "posterior", horizon: float | None = None
) -> LearningCurves | EnvelopeCurves:
    """The learning curve of every task, from its own expert's snapshots.

    Args:
        losses: of every expert on every task.
        transfer: (n, n) from `exposure_transfer`; it tells which experts show what is forgotten.
        method: "posterior" averages over shapes; "least_squares" keeps the one that fits best, for long curves;
            "envelope" is piecewise linear through the losses seen, and level after the last of them.
        horizon: the exposure in examples around which the curves will be asked (a budget over n, say); the longest
            that an expert had where not given.

    Raises:
        InputError: an unknown method, fewer than two snapshots, or losses that are not finite and positive.
    """
    if method not in METHODS:
        raise InputError(f"curve fit {method!r}: use one of {', '.join(METHODS)}.")
    exposures, own = own_curves(losses, transfer)
    reference = float(exposures.max()) if horizon is None else float(horizon)
    if not reference > 0.0:
        raise InputError(f"horizon {reference:g}: expected a positive number of examples.")
    if method == "envelope":
        return EnvelopeCurves(losses.names, exposures, own)
    fits = _fit_grid(exposures, own, reference)
    if method == "least_squares":
        return _best_only(losses.names, fits)
    return _average(losses.names, fits)


def own_curves(losses: LossCurves, transfer: FloatArray) -> tuple[FloatArray, FloatArray]:
    """((n, S) exposures, (n, S) losses) of every expert on its own task, from what the task starts with."""
    n, snapshots = len(losses.names), losses.examples.shape[1]
    if snapshots < 2:
        raise InputError("learning curves: the experts kept one snapshot only; keep at least two.")
    own = losses.losses[np.arange(n), :, np.arange(n)].copy()
    bad = ~np.isfinite(own).all(axis=1)
    if bad.any():
        raise InputError(f"learning curve of task {losses.names[int(bad.argmax())]!r}: a loss is not a finite number.")
    own[:, 0] = start_losses(losses, transfer)
    return np.asarray(losses.examples, dtype=np.float64), own


def diagnose(losses: LossCurves) -> tuple[Finding, ...]:
    """The tasks whose own curve is flat so far, or fell late, in the order of the tasks."""
    found, fell = [], fell_at_all(losses)
    for j, name in enumerate(losses.names):
        own, exposures = losses.losses[j, :, j], np.asarray(losses.examples[j], dtype=np.float64)
        deviation = noise(own[None].copy())[0]
        corners, heights = convex_envelope(exposures, own)
        bulge = (own - np.interp(exposures, corners, heights)) / deviation
        if not fell[j]:
            text = (
                f"{name}: its loss fell from {own[0]:.3g} to {own.min():.3g} only: noise, or not learned yet; the two"
                " cannot be told apart. Longer experts would tell."
            )
            found.append(Finding(name, "flat", text))
        elif bulge.max() > DELAYED:
            late = exposures[int(bulge.argmax())]
            text = (
                f"{name}: its loss fell late (still {own[int(bulge.argmax())]:.3g} after {late:g} examples): its curve"
                " is not convex, and forecasts count on gains earlier than they come."
            )
            found.append(Finding(name, "delayed", text))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Fits:
    """Every shape fitted to every task: all (n, K) but covariance (n, K, 3); cost without the prior in misfit."""

    floors: FloatArray
    drops: FloatArray
    scales: FloatArray
    powers: FloatArray
    covariance: FloatArray
    cost: FloatArray
    misfit: FloatArray


def _fit_grid(exposures: FloatArray, losses: FloatArray, reference: float) -> _Fits:
    """Weighted least squares for floor and drop of every shape, under the prior, for all tasks at once."""
    low, high = (end * reference for end in SCALE_RANGE)
    grid = [(c, k) for k in POWERS for c in np.geomspace(low, high, SCALES)]
    scales, powers = (np.array(column) for column in zip(*grid, strict=True))
    falls = (1.0 + exposures[:, None, :] / scales[:, None]) ** -powers[:, None]  # (n, K, S)
    precision = 1.0 / noise(losses) ** 2
    start = np.maximum(np.abs(losses[:, 0]), LEAST_NOISE)
    floor_prior = (FLOOR_PRIOR[0] * start, FLOOR_PRIOR[1] * start)
    drop_prior = (DROP_PRIOR[0] * start, DROP_PRIOR[1] * start)
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
    shape = floors.shape
    return _Fits(
        floors, drops, np.broadcast_to(scales, shape), np.broadcast_to(powers, shape), covariance, cost, misfit
    )


def _average(names: tuple[str, ...], fits: _Fits) -> LearningCurves:
    """The posterior average, of the likeliest shapes that hold nearly all of the mass."""
    weights = np.exp(-0.5 * (fits.cost - fits.cost.min(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    order = np.argsort(-weights, axis=1, kind="stable")
    mass = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    kept = order[:, : int((mass < KEPT_MASS).sum(axis=1).max()) + 1]
    return _chosen(names, fits, kept, weights)


def _best_only(names: tuple[str, ...], fits: _Fits) -> LearningCurves:
    """The single shape that fits best."""
    return _chosen(names, fits, fits.misfit.argmin(axis=1)[:, None], np.ones_like(fits.misfit))


def _chosen(names: tuple[str, ...], fits: _Fits, kept: np.ndarray, weights: FloatArray) -> LearningCurves:
    believed = np.take_along_axis(weights, kept, axis=1)
    return LearningCurves(
        names,
        believed / believed.sum(axis=1, keepdims=True),
        np.take_along_axis(fits.floors, kept, axis=1),
        np.take_along_axis(fits.drops, kept, axis=1),
        np.take_along_axis(fits.scales, kept, axis=1),
        np.take_along_axis(fits.powers, kept, axis=1),
        np.take_along_axis(fits.covariance, kept[:, :, None], axis=1),
    )
