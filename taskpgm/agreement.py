"""Do predicted losses follow the realised ones? Within each task, over mixtures: pure functions.

    found = agreement(predicted, realised, names)       # {mixture: (n,) nats} each
    found.mean_r_squared, found.mean_rank_correlation

Tasks differ in loss far more than mixtures do, so a correlation over all pairs would say little: it is taken within
each task, over the mixtures, and then averaged over tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskpgm.types import FloatArray, InputError, readonly

FEWEST = 3  # two points always lie on a line


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well predictions follow what happened.

    mixtures: those that both have. r_squared, rank_correlation: (n,) squared Pearson and Spearman correlation over the
    mixtures, nan for a task whose predictions or losses do not vary. bias, error: (n,) mean of predicted minus
    realised, and of its absolute value, in nats per target token.
    """

    names: tuple[str, ...]
    mixtures: tuple[str, ...]
    r_squared: FloatArray
    rank_correlation: FloatArray
    bias: FloatArray
    error: FloatArray

    @property
    def mean_r_squared(self) -> float:
        """Over the tasks that have one; nan where none has."""
        return _mean(self.r_squared)

    @property
    def mean_rank_correlation(self) -> float:
        """Over the tasks that have one; nan where none has."""
        return _mean(self.rank_correlation)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None for what is not defined."""
        columns = {name: getattr(self, name) for name in ("r_squared", "rank_correlation", "bias", "error")}
        return {
            "mixtures": list(self.mixtures),
            "mean_r_squared": _plain(self.mean_r_squared),
            "mean_rank_correlation": _plain(self.mean_rank_correlation),
            "tasks": {
                task: {name: _plain(float(column[i])) for name, column in columns.items()}
                for i, task in enumerate(self.names)
            },
        }


def agreement(
    predicted: Mapping[str, FloatArray], realised: Mapping[str, FloatArray], names: Sequence[str]
) -> Agreement:
    """Compare predictions with outcomes over the mixtures that have both.

    Args:
        predicted: by mixture, (n,) losses in nats per target token.
        realised: the same, (n,) means over seeds.
        names: the tasks.

    Raises:
        InputError: fewer than three mixtures have both, or a prediction is not n finite numbers.
    """
    both = (predicted, realised)
    common = [name for name in predicted if name in realised]
    if len(common) < FEWEST:
        raise InputError(f"predicted and realised losses of {len(common)} mixture(s): at least {FEWEST} are needed.")
    for name in common:
        if any(values[name].shape != (len(names),) or not np.all(np.isfinite(values[name])) for values in both):
            raise InputError(f"losses of mixture {name!r}: expected {len(names)} finite numbers, one a task.")
    said, came = (np.array([values[name] for name in common]) for values in both)
    ranks = [np.apply_along_axis(_ranks, 0, values) for values in (said, came)]
    return Agreement(
        tuple(names),
        tuple(common),
        readonly([_correlation(said[:, i], came[:, i]) ** 2 for i in range(len(names))], np.float64),
        readonly([_correlation(ranks[0][:, i], ranks[1][:, i]) for i in range(len(names))], np.float64),
        readonly((said - came).mean(axis=0), np.float64),
        readonly(np.abs(said - came).mean(axis=0), np.float64),
    )


def _correlation(one: FloatArray, two: FloatArray) -> float:
    if np.ptp(one) == 0.0 or np.ptp(two) == 0.0:
        return float("nan")
    a, b = one - one.mean(), two - two.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1; equal values share the mean of theirs."""
    below = (values[:, None] > values[None, :]).sum(axis=1)
    equal = (values[:, None] == values[None, :]).sum(axis=1)
    return np.asarray(below + (equal + 1) / 2.0, dtype=np.float64)


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
