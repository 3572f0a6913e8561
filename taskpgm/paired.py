"""Paired differences between mixtures, with intervals over seeds: pure statistics, no training.

    rows = differences(losses, views, reference="uniform")      # losses: {"uniform": (S, n), "ours": (S, n)}

A seed gives each mixture the same examples in the same order, so the difference of two runs of one seed is freed of
much of the noise that they share. Over S seeds its mean has a Student t interval with S - 1 degrees of freedom. Where
several mixtures are compared with one reference, Bonferroni's correction widens the intervals, so that all of them hold
together with the stated probability (Dunn 1961). One seed has no interval, nor have differences that are all equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from taskpgm.checks import checked_targets
from taskpgm.families import family_weights, owned_families
from taskpgm.types import FloatArray, InputError, readonly

Level: TypeAlias = Literal["average", "family", "task"]
Interval: TypeAlias = tuple[float, float]
CONFIDENCE = 0.95
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class View:
    """One number made of the tasks' numbers: their weighted mean. weights: (n,), sum 1."""

    name: str
    level: Level
    weights: FloatArray


@dataclass(frozen=True)
class Difference:
    """How far a mixture is from the reference in one view: negative losses and positive exact matches are better.

    mean: over the seeds that both have (nan without any). reference_mean: the reference's own mean over them. interval:
    95 % for this comparison alone; corrected: 95 % for all mixtures compared together; None with fewer than two seeds.
    """

    mixture: str
    view: str
    level: Level
    mean: float
    reference_mean: float
    seeds: int
    interval: Interval | None
    corrected: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "mixture": self.mixture,
            "view": self.view,
            "level": self.level,
            "mean": self.mean if self.seeds else None,
            "reference_mean": self.reference_mean if self.seeds else None,
            "seeds": self.seeds,
            "interval": self.interval,
            "corrected": self.corrected,
        }


def views(names: Sequence[str], families: Sequence[str], target: Mapping[str, float] | None = None) -> tuple[View, ...]:
    """The averages, then the families of more than one task, then the tasks.

    Args:
        names: the tasks.
        families: (n,) of each task; an empty one is a family of its own. Where tasks share families, one average gives
            every family the same weight.
        target: what the user cares about, by task; the average over tasks is weighted by it. Uniform where None.

    Raises:
        InputError: target weights of unknown tasks, or none positive.
    """
    n = len(names)
    owned = owned_families(names, families)
    groups = {family: np.array([float(other == family) for other in owned]) for family in dict.fromkeys(owned)}
    rows = [View("target-weighted" if target else "all tasks", "average", checked_targets(target, names))]
    if len(groups) < n:
        each = {name: readonly(group / group.sum(), np.float64) for name, group in groups.items()}
        mean = family_weights(names, families)
        shared = [View(name, "family", weights) for name, weights in each.items() if groups[name].sum() > 1.0]
        rows = [View("all families", "average", mean), *rows, *shared]
    return (*rows, *(View(name, "task", readonly(np.eye(n)[i], np.float64)) for i, name in enumerate(names)))


def differences(
    values: Mapping[str, FloatArray],
    seen: Sequence[View],
    *,
    reference: str = "uniform",
    confidence: float = CONFIDENCE,
) -> tuple[Difference, ...]:
    """Each other mixture minus the reference, paired by seed, in every view.

    Args:
        values: by mixture (S, n) losses or exact matches; row s is the same seed in all. A run that failed is nan.
        seen: the views (`views`).
        reference: the mixture that the others are compared with.
        confidence: of the intervals.

    Raises:
        InputError: the reference is not among the mixtures.
    """
    if reference not in values:
        raise InputError(f"reference mixture {reference!r}: not among those evaluated ({', '.join(values)}).")
    others = [name for name in values if name != reference]
    rows = []
    for name in others:
        together = np.all(np.isfinite(values[name]) & np.isfinite(values[reference]), axis=1)
        for view in seen:
            base = values[reference][together] @ view.weights
            change = values[name][together] @ view.weights - base
            rows.append(_difference(name, view, change, base, len(others), confidence))
    return tuple(rows)


def t_interval(sample: FloatArray, confidence: float = CONFIDENCE) -> Interval | None:
    """Student's interval for the mean of a (S,) sample; None with fewer than two values, or where all are equal.

    Shares of exact answers often change by the same few examples on all of two or three seeds: a spread of 0 is then no
    estimate, and an interval without width would claim certainty.
    """
    from scipy.special import stdtrit

    if len(sample) < 2 or np.ptp(sample) <= ROUNDING:
        return None
    error = float(sample.std(ddof=1)) / len(sample) ** 0.5
    half = float(stdtrit(len(sample) - 1, 0.5 + confidence / 2.0)) * error
    return float(sample.mean()) - half, float(sample.mean()) + half


def _difference(
    name: str, view: View, change: FloatArray, base: FloatArray, compared: int, confidence: float
) -> Difference:
    found = len(change) > 0
    return Difference(
        mixture=name,
        view=view.name,
        level=view.level,
        mean=float(change.mean()) if found else float("nan"),
        reference_mean=float(base.mean()) if found else float("nan"),
        seeds=len(change),
        interval=t_interval(change, confidence),
        corrected=t_interval(change, 1.0 - (1.0 - confidence) / compared),
    )
