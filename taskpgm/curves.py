"""From experts' losses to learning curves: fitted, averaged over what the evidence leaves open, and diagnosed.

A point fit to a short curve starves tasks that learn late and feeds noise: many shapes fit, and they disagree about
what comes next. So every shape on a grid of powers and scales is fitted (floor and drop in closed form, not negative,
under a weak prior), and the average is taken with weights exp(-cost / 2).

    transfer = exposure_transfer(losses)
    curves = fit_curves(losses, transfer)
    for finding in diagnose(losses): print(finding)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.learning_curves import LearningCurves
from taskpgm.loss_noise import fell_at_all, noise
from taskpgm.shape_fitting import Fits, believed, fit_shapes, likeliest, scale_grid
from taskpgm.transfer import convex_envelope, start_losses
from taskpgm.types import FloatArray, InputError, IntArray, LossCurves

Method: TypeAlias = Literal["posterior", "least_squares", "envelope"]
METHODS: tuple[Method, ...] = ("posterior", "least_squares", "envelope")

POWERS = (0.5, 1.0, 2.0)
DELAYED = 3.0
"""By how many times the noise a curve must bulge to be called delayed."""


@dataclass(frozen=True)
class Finding:
    """What is doubtful of a task: its curve ("flat", "delayed"), or what it wants ("contested")."""

    task: str
    kind: Literal["flat", "delayed", "contested"]
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
    return _fitted(losses.names, exposures, own, reference, believed if method == "posterior" else likeliest)


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


def _fitted(
    names: tuple[str, ...],
    exposures: FloatArray,
    losses: FloatArray,
    reference: float,
    choose: Callable[[Fits], tuple[IntArray, FloatArray]],
) -> LearningCurves:
    """The power laws that are chosen of all on the grid, fitted to (n, S) losses."""
    grid = [(c, k) for k in POWERS for c in scale_grid(reference)]
    scales, powers = (np.array(column) for column in zip(*grid, strict=True))
    falls = (1.0 + exposures[:, None, :] / scales[:, None]) ** -powers[:, None]  # (n, K, S)
    fits = fit_shapes(falls, losses, noise(losses), losses[:, 0])
    kept, weights = choose(fits)
    floors, drops = (np.take_along_axis(values, kept, axis=1) for values in (fits.floors, fits.drops))
    covariance = np.take_along_axis(fits.covariance, kept[:, :, None], axis=1)
    return LearningCurves(names, weights, floors, drops, scales[kept], powers[kept], covariance)
