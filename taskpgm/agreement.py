"""Do predicted losses follow the realised ones? Within each task, over mixtures: pure functions.

    found = agreement(predicted, runs, names)           # {mixture: (n,) nats}, {mixture: (seeds, n) nats}
    found.mean_r_squared, found.mean_rank_correlation
    found.repeat_r_squared                              # what the same runs in other orders would reach

Tasks differ in loss far more than mixtures do, so a correlation over all pairs would say little: it is taken within
each task, over the mixtures, and then averaged over tasks. Runs of one mixture differ too, and no prediction can tell
them apart: what a second set of as many runs would tell of the first is reported beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from taskpgm.types import FloatArray, InputError, readonly

FEWEST = 3  # two points always lie on a line


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well predictions follow what happened.

    mixtures: those that both have. r_squared, rank_correlation: (n,) squared Pearson and Spearman correlation over the
    mixtures, nan for a task whose predictions or losses do not vary. bias, error: (n,) mean of predicted minus
    realised, and of its absolute value, in nats per target token. repeat: (2, n) the correlations that the means of a
    second set of runs would have with these, nan with fewer than two seeds that all mixtures have.
    """

    names: tuple[str, ...]
    mixtures: tuple[str, ...]
    r_squared: FloatArray
    rank_correlation: FloatArray
    bias: FloatArray
    error: FloatArray
    repeat: FloatArray

    @property
    def mean_r_squared(self) -> float:
        """Over the tasks that have one; nan where none has."""
        return _mean(self.r_squared)

    @property
    def mean_rank_correlation(self) -> float:
        """Over the tasks that have one; nan where none has."""
        return _mean(self.rank_correlation)

    @property
    def repeat_r_squared(self) -> float:
        """What the same runs in other orders would have for `mean_r_squared`; nan where it is not known."""
        return _mean(self.repeat[0] ** 2)

    @property
    def repeat_rank_correlation(self) -> float:
        """What they would have for `mean_rank_correlation`."""
        return _mean(self.repeat[1])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None for what is not defined."""
        columns = {name: getattr(self, name) for name in ("r_squared", "rank_correlation", "bias", "error")}
        return {
            "mixtures": list(self.mixtures),
            "mean_r_squared": _plain(self.mean_r_squared),
            "mean_rank_correlation": _plain(self.mean_rank_correlation),
            "repeat_r_squared": _plain(self.repeat_r_squared),
            "repeat_rank_correlation": _plain(self.repeat_rank_correlation),
            "tasks": {
                task: {name: _plain(float(column[i])) for name, column in columns.items()}
                for i, task in enumerate(self.names)
            },
        }


def agreement(predicted: Mapping[str, FloatArray], runs: Mapping[str, FloatArray], names: Sequence[str]) -> Agreement:
    """Compare predictions with outcomes over the mixtures that have both.

    Args:
        predicted: by mixture, (n,) losses in nats per target token.
        runs: by mixture, (seeds, n) losses of its runs, of at least one of them finite; the others failed.
        names: the tasks.

    Raises:
        InputError: fewer than three mixtures have both, or a prediction is not n finite numbers.
    """
    common = [name for name in predicted if name in runs]
    if len(common) < FEWEST:
        raise InputError(f"predicted and realised losses of {len(common)} mixture(s): at least {FEWEST} are needed.")
    whole = {name: np.isfinite(runs[name]).all(axis=-1) for name in common}
    for name in common:
        fits = predicted[name].shape == (len(names),) == runs[name].shape[1:]
        if not (fits and np.all(np.isfinite(predicted[name])) and whole[name].any()):
            raise InputError(f"losses of mixture {name!r}: expected {len(names)} finite numbers, one a task.")
    said, came = (
        np.array([predicted[name] for name in common]),
        np.array([runs[name][whole[name]].mean(axis=0) for name in common]),
    )
    paired = np.logical_and.reduce([whole[name] for name in common])
    square, rank = correlations(said, came)
    return Agreement(
        tuple(names),
        tuple(common),
        readonly(square**2, np.float64),
        readonly(rank, np.float64),
        readonly((said - came).mean(axis=0), np.float64),
        readonly(np.abs(said - came).mean(axis=0), np.float64),
        readonly(of_means(*between_runs(np.array([runs[name][paired] for name in common]))), np.float64),
    )


def correlations(one: FloatArray, two: FloatArray) -> FloatArray:
    """(2, ...) Pearson and Spearman correlation of (mixtures, ...) losses over mixtures; nan where some do not vary."""
    return np.array([_correlation(one, two), _correlation(rankdata(one, axis=0), rankdata(two, axis=0))])


def between_runs(losses: FloatArray) -> tuple[FloatArray, int]:
    """(2, n) correlations between two runs of every mixture, over all pairs of seeds, and how many seeds there are.

    losses: (mixtures, seeds, n), paired by seed.
    """
    _, seeds, n = losses.shape
    pairs = [correlations(losses[:, a], losses[:, b]) for a in range(seeds) for b in range(a)]
    return (np.mean(pairs, axis=0) if pairs else np.full((2, n), np.nan)), seeds


def of_means(between: FloatArray, seeds: int) -> FloatArray:
    """The correlation between two means over so many runs, from that between two runs (Spearman 1910, Brown 1910)."""
    r = np.maximum(between, 0.0)
    return np.asarray(seeds * r / (1.0 + (seeds - 1) * r))


def _correlation(one: FloatArray, two: FloatArray) -> FloatArray:
    a, b = one - one.mean(axis=0), two - two.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    varies = (np.ptp(one, axis=0) > 0.0) & (np.ptp(two, axis=0) > 0.0)
    return np.asarray(np.divide((a * b).sum(axis=0), size, out=np.full(size.shape, np.nan), where=varies))


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
