"""What a mixture rule may look at: sizes, a budget, what the user cares about, and whatever was measured.

    evidence = Evidence(("copy", "sort"), sizes=[1000, 200], budget=600, affinity=affinity)
    evidence.proportions                # size-proportional weights

All of it is checked here once, so that a rule can trust what it is given. What a rule needs and is not there, it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import array, checked_names
from taskpgm.interplay import Interplay
from taskpgm.types import Affinity, FloatArray, InputError, IntArray, LossCurves, Predictions, readonly

SUM_TOLERANCE = 1e-6

PARTS = {
    "predictions": "what every expert predicts (taskpgm.predict)",
    "affinity": "utilities, similarities and gains (taskpgm.estimate_affinity)",
    "curves": "the experts' losses while they were trained",
    "proxies": "short runs on known mixtures with their losses",
    "pilot": "one short run on the uniform mixture with its losses",
}


@dataclass(frozen=True, eq=False)
class ProxyRuns:
    """Short runs of the base model on known mixtures.

    mixtures: (R, n) each row on the simplex. losses: (R, n) nats per target token on each task's probes at the end of
    the run. budget: training examples of each run.

    Raises:
        InputError: shapes that do not fit, rows that are no mixtures, losses that are negative or not finite, or a
            budget that is not positive.
    """

    mixtures: FloatArray
    losses: FloatArray
    budget: int

    def __post_init__(self) -> None:
        mixtures = array(self.mixtures, "proxy mixtures", ndim=2)
        losses = array(self.losses, "proxy losses", ndim=2)
        if mixtures.shape != losses.shape or 0 in mixtures.shape:
            raise InputError(
                f"proxy runs: mixtures of shape {mixtures.shape} and losses of shape {losses.shape}; expected the same"
                " shape (runs, tasks), with at least one run."
            )
        off = ~((mixtures.min(axis=1) >= 0.0) & (np.abs(mixtures.sum(axis=1) - 1.0) <= SUM_TOLERANCE))
        if off.any():
            raise InputError(f"proxy run {int(off.argmax())}: its weights must not be negative and must add up to 1.")
        _check_losses(losses, "proxy run")
        _check_budget(self.budget, "proxy runs")
        object.__setattr__(self, "mixtures", mixtures)
        object.__setattr__(self, "losses", losses)

    def __len__(self) -> int:
        return len(self.mixtures)


@dataclass(frozen=True, eq=False)
class PilotRun:
    """One run of the base model on the uniform mixture, looked at several times.

    examples: (S,) training examples seen by then, of all tasks together, rising. losses: (S, n) nats per target token
    on each task's probes.

    Raises:
        InputError: shapes that do not fit, examples that do not rise, or losses that are negative or not finite.
    """

    examples: IntArray
    losses: FloatArray

    def __post_init__(self) -> None:
        examples = array(self.examples, "pilot examples", ndim=1)
        losses = array(self.losses, "pilot losses", ndim=2)
        if len(examples) != len(losses) or 0 in losses.shape:
            raise InputError(f"pilot run: {len(examples)} exposures, but losses of shape {losses.shape}; one row each.")
        if examples[0] < 0 or (np.diff(examples) <= 0).any():
            raise InputError("pilot run: the examples seen must rise from snapshot to snapshot.")
        _check_losses(losses, "pilot snapshot")
        object.__setattr__(self, "examples", readonly(examples, np.int64))
        object.__setattr__(self, "losses", losses)

    @property
    def trained(self) -> int:
        """How many snapshots come after some training."""
        return int((self.examples > 0).sum())


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Evidence:
    """What is known about the tasks before the final run.

    Args:
        names: (n,) the tasks.
        sizes: (n,) training examples that each task has.
        budget: training examples of the final run.
        target_weights: (n,) how much the user cares about each task's loss, sum 1; equal where not given.
        predictions, affinity, curves, proxies, pilot: what was measured, None where it was not; of the same tasks in
            the same order.
        interplay: what tasks do to each other in one run, for forecasts; no rule looks at it.

    Raises:
        InputError: wrong sizes or shapes, numbers that are not positive, weights that do not add up to 1, or parts that
            are of other tasks.
    """

    names: tuple[str, ...]
    sizes: IntArray
    budget: int
    target_weights: FloatArray
    predictions: Predictions | None
    affinity: Affinity | None
    curves: LossCurves | None
    proxies: ProxyRuns | None
    pilot: PilotRun | None
    interplay: Interplay | None

    def __init__(
        self,
        names: Sequence[str],
        sizes: ArrayLike,
        budget: int,
        *,
        target_weights: ArrayLike | None = None,
        predictions: Predictions | None = None,
        affinity: Affinity | None = None,
        curves: LossCurves | None = None,
        proxies: ProxyRuns | None = None,
        pilot: PilotRun | None = None,
        interplay: Interplay | None = None,
    ) -> None:
        counts = array(sizes, "sizes", ndim=1)
        named = checked_names(names, len(counts))
        _check_sizes(counts, named)
        _check_budget(budget, "final run")
        for label, part in (("predictions", predictions), ("affinity", affinity), ("loss curves", curves)):
            if part is not None and part.names != named:
                raise InputError(
                    f"{label} of {list(part.names)} do not belong to tasks {list(named)}: same order, too."
                )
        for label, losses in (("proxy runs", proxies), ("pilot run", pilot)):
            if losses is not None and losses.losses.shape[1] != len(named):
                raise InputError(f"{label}: losses of {losses.losses.shape[1]} tasks, but there are {len(named)}.")
        if curves is not None:
            _check_curves(curves)
        fields = {
            "names": named,
            "sizes": readonly(counts, np.int64),
            "budget": budget,
            "target_weights": _checked_targets(target_weights, named),
            "predictions": predictions,
            "affinity": affinity,
            "curves": curves,
            "proxies": proxies,
            "pilot": pilot,
            "interplay": interplay,
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (
            f"<Evidence: {len(self)} tasks, {self.budget} examples, {', '.join(sorted(self.measured)) or 'no parts'}>"
        )

    @property
    def proportions(self) -> FloatArray:
        """(n,) each task's share of all training examples."""
        return np.asarray(self.sizes / self.sizes.sum(), dtype=np.float64)

    @property
    def measured(self) -> frozenset[str]:
        """The names of the parts that are there."""
        parts = (self.predictions, self.affinity, self.curves, self.proxies, self.pilot)
        return frozenset(name for name, part in zip(PARTS, parts, strict=True) if part is not None)


def _checked_targets(weights: ArrayLike | None, names: tuple[str, ...]) -> FloatArray:
    n = len(names)
    v = array(np.full(n, 1.0 / n) if weights is None else weights, "target weights", ndim=1)
    if len(v) != n or not np.isfinite(v).all() or v.min() < 0.0 or abs(v.sum() - 1.0) > SUM_TOLERANCE:
        raise InputError(f"target weights: expected {n} numbers that are not negative and add up to 1.")
    return readonly(v / v.sum(), np.float64)


def _check_sizes(sizes: FloatArray, names: tuple[str, ...]) -> None:
    for name, size in zip(names, sizes.tolist(), strict=True):
        if not (np.isfinite(size) and size >= 1 and size == int(size)):
            raise InputError(f"size of task {name!r} is {size}: expected a whole number of training examples.")


def _check_budget(budget: int, what: str) -> None:
    if not (np.isfinite(budget) and budget >= 1):
        raise InputError(f"{what}: a budget of {budget} examples; expected a positive number.")


def _check_losses(losses: FloatArray, what: str) -> None:
    bad = ~(np.isfinite(losses) & (losses >= 0.0))
    if bad.any():
        row, task = np.argwhere(bad)[0]
        raise InputError(f"{what} {row}: a loss of {losses[row, task]} nats on task {task}; expected 0 or more.")


def _check_curves(curves: LossCurves) -> None:
    n, snapshots = curves.examples.shape
    if curves.losses.shape != (n, snapshots, n) or curves.target_tokens.shape != (n, snapshots):
        raise InputError(f"loss curves: losses of shape {curves.losses.shape}; expected {(n, snapshots, n)}.")
    if n != len(curves.names):
        raise InputError(f"loss curves: {n} experts, but {len(curves.names)} names.")
    for i, name in enumerate(curves.names):
        _check_losses(curves.losses[i], f"loss curve of expert {name!r}, snapshot")
