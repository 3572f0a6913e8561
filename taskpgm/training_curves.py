"""Learning curves from the losses of a training run itself, while it goes on.

The loss of every task in a batch is known for nothing. Means over a dozen bins of them, with how many tokens each mean
is of, tell a curve much as held-out snapshots do, only noisier: that noise shrinks with the tokens. Power laws and Hill
curves over a grid of scales are fitted in closed form and averaged over what the bins leave open (see
`taskpgm.shape_fitting`), all tasks at once.

    exposures, losses, tokens = bin_losses(amounts, batch_losses, batch_tokens)
    curves = fit_training_curves(exposures, losses, tokens, start_losses, budget=1e6)
    curves.mean(exposure), curves.spread(exposure)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import array, checked_finite
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.loss_noise import START_NOISE, measured_noise, training_noise
from taskpgm.shape_fitting import KEPT_MASS, believed, fit_shapes, scale_grid
from taskpgm.types import FloatArray, InputError

BINS = 12
HILL_STEEPNESS = (1.0, 1.5, 2.0, 3.0)
POWERS = (0.5, 1.0, 2.0)
SHAPES = (*((s, 1.0) for s in HILL_STEEPNESS), *((1.0, k) for k in POWERS))
"""(steepness, power) of the Hill curves and of the power laws; 1 / (1 + e / c) is one of each, and counts for two."""


def fit_training_curves(
    exposures: ArrayLike,
    losses: ArrayLike,
    tokens: ArrayLike,
    start_losses: ArrayLike,
    budget: float,
    *,
    names: Sequence[str] = (),
) -> ExpectedCurves:
    """The expected curve of every task from bins of its training losses.

    Args:
        exposures: (n, B) training of each task up to the middle of a bin, in the unit of the budget.
        losses: (n, B) means of the training losses in a bin, nats per target token.
        tokens: (n, B) target tokens that a mean is of; 0 where a bin is empty, its other numbers then do not matter.
        start_losses: (n,) losses before any training, positive.
        budget: of the whole run; curves are asked about up to a few times the n-th part of it.
        names: (n,) tasks; "task 0", "task 1", ... where not given.

    Raises:
        InputError: sizes that do not fit, or a number of a bin with tokens that is negative or not finite.
    """
    at, seen, counts = (
        array(values, label, ndim=2)
        for values, label in ((exposures, "exposures"), (losses, "training losses"), (tokens, "tokens"))
    )
    start = array(start_losses, "start losses", ndim=1)
    named = tuple(names) if len(names) else tuple(f"task {i}" for i in range(len(start)))
    _check(named, at, seen, counts, start, budget)
    empty = counts == 0.0
    at, seen = np.where(empty, 0.0, at), np.where(empty, 0.0, seen)
    noise = np.column_stack([START_NOISE * measured_noise(start), training_noise(seen, counts)])
    at, seen = np.column_stack([np.zeros(len(start)), at]), np.column_stack([start, seen])
    grid = [(c, s, k) for s, k in SHAPES for c in scale_grid(budget / len(start))]
    scales, steepness, powers = (np.array(column) for column in zip(*grid, strict=True))
    falls = (1.0 + (at[:, None, :] / scales[:, None]) ** steepness[:, None]) ** -powers[:, None]  # (n, K, B + 1)
    fits = fit_shapes(falls, seen, noise, start)
    kept, weights = believed(fits)
    before = np.cumsum(weights, axis=1) - weights
    weights = np.where(before < KEPT_MASS, weights, 0.0)  # what other tasks need of the table is nothing to this one
    weights /= weights.sum(axis=1, keepdims=True)
    floors, drops = (np.take_along_axis(values, kept, axis=1) for values in (fits.floors, fits.drops))
    covariance = np.take_along_axis(fits.covariance, kept[:, :, None], axis=1)
    return ExpectedCurves(named, weights, floors, drops, scales[kept], steepness[kept], powers[kept], covariance)


def bin_losses(
    amounts: ArrayLike, losses: ArrayLike, tokens: ArrayLike, bins: int = BINS
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A run's record as bins of equal exposure, for each task by itself.

    Args:
        amounts: (T, n) what each step trained on of every task, in the unit of the budget; 0 where it was left out.
        losses: (T, n) the mean training loss of a task in a step, nats per target token; any number where left out.
        tokens: (T, n) target tokens that it is the mean of.
        bins: into how many equal parts each task's exposure is cut.

    Returns:
        (n, bins) exposures at the middle of each bin, mean losses by tokens, and tokens, as `fit_training_curves`
        takes them. A step belongs to the bin where its own middle lies; bins without one have no tokens.

    Raises:
        InputError: shapes that differ, fewer than one bin, or amounts or tokens that are negative or not finite.
    """
    given, loss, counts = (
        array(values, label, ndim=2)
        for values, label in ((amounts, "amounts"), (losses, "training losses"), (tokens, "tokens"))
    )
    if not given.shape == loss.shape == counts.shape or bins < 1:
        raise InputError(
            f"training losses: {given.shape}, {loss.shape} and {counts.shape} for {bins} bins; expected one shape and"
            " at least one bin."
        )
    for values, label in ((given, "an amount"), (counts, "a number of tokens")):
        if not (np.isfinite(values) & (values >= 0.0)).all():
            raise InputError(f"training losses: {label} is negative or not finite; expected numbers from 0.")
    after = np.cumsum(given, axis=0)
    total = after[-1] if len(after) else np.zeros(given.shape[1])
    width = np.where(total > 0.0, total, 1.0) / bins
    place = np.minimum((after - 0.5 * given) / width, bins - 1).astype(np.int64)  # (T, n)
    flat = (np.arange(given.shape[1]) * bins + place).ravel()
    size = given.shape[1] * bins
    summed = np.bincount(flat, np.where(counts > 0.0, loss * counts, 0.0).ravel(), size).reshape(-1, bins)
    count = np.asarray(np.bincount(flat, counts.ravel(), size).reshape(-1, bins), dtype=np.float64)
    means = np.divide(summed, count, out=np.zeros(summed.shape), where=count > 0.0)
    return (np.arange(bins) + 0.5) * width[:, None], means, count


def _check(
    names: tuple[str, ...], at: FloatArray, seen: FloatArray, tokens: FloatArray, start: FloatArray, budget: float
) -> None:
    """Raise an InputError that says which task's numbers cannot be used."""
    if not at.shape == seen.shape == tokens.shape or not len(at) == len(start) == len(names):
        raise InputError(
            f"training losses: exposures {at.shape}, losses {seen.shape}, tokens {tokens.shape}, {len(start)} start"
            f" losses and {len(names)} names; expected (tasks, bins) three times, and one of the others a task."
        )
    if not (np.isfinite(budget) and budget > 0.0):
        raise InputError(f"budget = {budget:g}: expected a positive number.")
    checked_finite(start, "start loss", names)
    if start.min() <= 0.0:
        raise InputError(f"start loss of task {names[int(start.argmin())]!r} is {start.min():g}: expected more than 0.")
    for values, label in ((tokens, "number of tokens"), (at, "exposure"), (seen, "loss")):
        bad = ~(np.isfinite(values) & (values >= 0.0)) & ((tokens != 0.0) | (values is tokens))
        if bad.any():
            task, place = np.argwhere(bad)[0]
            raise InputError(
                f"training losses of task {names[task]!r}: the {label} of bin {place} is {values[task, place]};"
                " expected a number, 0 or more."
            )
