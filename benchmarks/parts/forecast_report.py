"""Tables of forecasts against losses: how near they come, and how near any forecast could come to runs that differ."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from taskpgm.agreement import agreement
from taskpgm.families import family_weights

Array = NDArray[np.float64]
Record = dict[str, Any]

REPEATED = ("uniform", "uniform-again")
"""The same mixture, model and data in another order of examples: what no forecast can tell apart."""
DRAWS = 500
WEAK = 0.75  # a rank correlation below which a task is listed
HEADER = """\
## Forecasts against losses, mixtures not chosen by coverage

| suite | steps | within-task r^2 | rank correlation | of the means | mean absolute error | in the interval |
|---|---|---|---|---|---|---|"""
INTRODUCTION = """\
# Forecasts, and what any forecast could reach

Within each task over the mixtures that coverage did not choose, averaged over tasks: squared correlation, and rank
correlation, of forecast and held-out loss. *Single runs*: each seed's forecasts against its own runs, averaged over
seeds. *A perfect forecast*: one that knows every mean loss, against single runs that scatter about it as uniform does
when it is trained again with the examples in another order (simulated; the spread of the mixtures without that scatter
is what is left of the record's). *Other seeds*: the losses that the same mixtures came to on the other seeds, averaged,
taken as the forecast. *Means*: forecasts and losses both averaged over the seeds, each of which has a base model, data
and experts of its own: more than the one forecast that a user has.

| suite | steps | seeds | single runs | a perfect forecast | other seeds | means |
|---|---|---|---|---|---|---|"""


def print_forecasts(records: Sequence[Record], cells: Sequence[tuple[str, int]]) -> None:
    """Within each task over the mixtures, averaged over tasks and seeds; and of the mean losses over the mixtures."""
    print(HEADER)
    for suite, steps in cells:
        own = [record for record in records if record["suite"] == suite]
        told, came, names = _compared(own, steps)
        singly = _of_single_runs(told, came, names)
        inside = [
            low <= loss <= high
            for record in own
            for run in _forecast(record, steps)
            if "interval" in run
            for (low, high), loss in zip(run["interval"], run["losses"], strict=True)
        ]
        of_means = []
        for record, said, found in zip(own, told, came, strict=True):
            weights = family_weights(record["names"], record["families"])
            means = [[values[name] @ weights for name in said] for values in (said, found)]
            of_means.append(spearmanr(*means).statistic)
        held = f"{np.mean(inside):.0%}" if inside else "not kept"
        error = np.mean([one.error for one in singly])
        square, rank = _averages(singly)
        print(f"| {suite} | {steps} | {square:.2f} | {rank:.2f} | {np.mean(of_means):.2f} | {error:.3f} | {held} |")


def forecasts(arguments: argparse.Namespace) -> None:
    """Of single runs, beside what is possible there; of means over seeds; and the tasks where they fail."""
    records, repeated = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (arguments.record, arguments.record.with_name(arguments.repeats))
    )
    print(INTRODUCTION)
    tasks = []
    for suite, steps in sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]}):
        own = [record for record in records if record["suite"] == suite]
        told, came, names = _compared(own, steps)
        scatter = _scatter([record for record in repeated if record["suite"] == suite], steps)
        singly, perfect = _of_single_runs(told, came, names), _perfect(came, scatter)
        others = _of_single_runs([_mean(came[:k] + came[k + 1 :]) for k in range(len(came))], came, names)
        means = agreement(_mean(told), _mean(came), names)
        print(
            f"| {suite} | {steps} | {len(own)} | {_pair(*_averages(singly))} | {_pair(*perfect.mean(axis=1))}", end=""
        )
        print(f" | {_pair(*_averages(others))} | {_pair(means.mean_r_squared, means.mean_rank_correlation)} |")
        ranks = np.nanmean([one.rank_correlation for one in singly], axis=0)
        tasks += [
            f"| {suite} | {steps} | {name} | {ranks[i]:.2f} | {perfect[1, i]:.2f} | {means.rank_correlation[i]:.2f} |"
            for i, name in enumerate(names)
            if ranks[i] < WEAK
        ]
    print(f"\nTasks whose rank correlation in single runs is below {WEAK}:\n")
    print("| suite | steps | task | single runs | a perfect forecast | means |")
    print("|---|---|---|---|---|---|")
    print("\n".join(tasks))


def _forecast(record: Record, steps: int) -> list[Record]:
    """The runs with a forecast of a mixture that coverage did not choose."""
    return [
        run
        for run in record["runs"]
        if run["steps"] == steps and run.get("forecast") and not run["mixture"].startswith("coverage")
    ]


def _compared(
    records: Sequence[Record], steps: int
) -> tuple[list[dict[str, Array]], list[dict[str, Array]], list[str]]:
    """For each record (a seed), by mixture the (n,) forecasts and losses; and the tasks."""
    runs = [{run["mixture"]: run for run in _forecast(record, steps)} for record in records]
    told, came = (
        [{name: np.array(run[key]) for name, run in each.items()} for each in runs] for key in ("forecast", "losses")
    )
    return told, came, records[0]["names"]


def _of_single_runs(told: Sequence[dict[str, Array]], came: Sequence[dict[str, Array]], names: list[str]) -> list[Any]:
    return [agreement(said, found, names) for said, found in zip(told, came, strict=True)]


def _averages(found: Sequence[Any]) -> tuple[float, float]:
    return (
        float(np.mean([one.mean_r_squared for one in found])),
        float(np.mean([one.mean_rank_correlation for one in found])),
    )


def _mean(values: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """By mixture, over the seeds."""
    return {name: np.mean([each[name] for each in values], axis=0) for name in values[0]}


def _scatter(records: Sequence[Record], steps: int) -> Array:
    """(n,) standard deviation of a single run's loss about its mean, from pairs of runs of one mixture."""
    squares = []
    for record in records:
        one, two = (
            np.array(run["losses"])
            for name in REPEATED
            for run in record["runs"]
            if run["steps"] == steps and run["mixture"] == name
        )
        squares.append((one - two) ** 2 / 2.0)
    return np.asarray(np.sqrt(np.mean(squares, axis=0)), dtype=np.float64)


def _perfect(came: Sequence[dict[str, Array]], scatter: Array) -> Array:
    """(2, n) squared and rank correlation of true mean losses with single runs about them.

    Losses as they came scatter already; their deviations from each seed's mean are drawn together until their variance
    is the observed one less the scatter's.
    """
    rng = np.random.default_rng(0)
    losses = np.array([list(each.values()) for each in came])  # (seeds, mixtures, n)
    centred = losses - losses.mean(axis=1, keepdims=True)
    observed = (centred**2).sum(axis=1).mean(axis=0) / (losses.shape[1] - 1)
    true = centred * np.sqrt(np.clip(1.0 - scatter**2 / observed, 0.0, None))
    runs = true + scatter * rng.standard_normal((DRAWS, *true.shape))
    square = _correlation(true, runs) ** 2
    rank = _correlation(rankdata(true, axis=-2), rankdata(runs, axis=-2))
    return np.array([each.mean(axis=(0, 1)) for each in (square, rank)])


def _correlation(one: Array, two: Array) -> Array:
    """Over the mixtures, the last axis but one."""
    a, b = (values - values.mean(axis=-2, keepdims=True) for values in (one, two))
    return np.asarray((a * b).sum(axis=-2) / np.sqrt((a**2).sum(axis=-2) * (b**2).sum(axis=-2)), dtype=np.float64)


def _pair(square: float, rank: float) -> str:
    return f"{square:.2f}, {rank:.2f}"
