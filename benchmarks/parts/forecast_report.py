"""Tables of forecasts against losses: how near they come, and how near any forecast could come to runs that differ."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from taskpgm.agreement import FEWEST, Agreement, agreement, between_runs, correlations, of_means
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

ORDERS_TITLE = "# Forecasts of what a mixture comes to"
ORDERS_INTRODUCTION = """\
Within each task over eight mixtures, averaged over tasks and seeds: squared correlation, and rank correlation, of
forecast and held-out loss. Every mixture was trained in five orders of its examples on one base ({plan}).
*Forecast*: with the mean over the orders, to which the goals of the plan, 0.7 and 0.85, belong. {kinds}
*Single orders*: the forecast with each order by itself. *Other orders*: each order told by the mean of the other four.
*A second mean*: what the mean of five other orders would tell of this one. *Inside*: single orders' losses in the 95 %
intervals of the forecast."""
KINDS = {
    "forecast_moved": (
        "with movement",
        "the same, for a transfer that also knows which experts changed the base model's attention alike.",
    ),
    "forecast_unmoved": (
        "without movement",
        "the same, from losses and prompts alone, not knowing which experts changed the base model's attention alike.",
    ),
    "forecast_energy": (
        "the energy's losses",
        "the same, for what tasks do to each other in one run left out but for transfer.",
    ),
}
"""Forecasts from more or less than `forecast`, which a record may have: (heading, what they are)."""


def can_compare(records: Sequence[Record]) -> bool:
    """Whether there are mixtures enough that coverage did not choose."""
    told = {run["mixture"] for record in records for run in record["runs"] if run.get("forecast")}
    return sum(not name.startswith("coverage") for name in told) >= FEWEST


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
        [means] = _of_single_runs([_mean(told)], [_mean(came)], names)
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
    _print_weak("in single runs", "single runs | a perfect forecast | means", tasks)


def several_orders(arguments: argparse.Namespace) -> None:
    """The comparisons that ORDERS_PLAN.md and TOGETHER_PLAN.md name."""
    records = [json.loads(line) for line in arguments.record.read_text().splitlines()]
    kinds = [key for key in KINDS if key in records[0]["runs"][0]]
    plan = "ORDERS_PLAN.md" if "forecast_moved" in kinds else "TOGETHER_PLAN.md"
    told_beside = " ".join(f"*{KINDS[key][0].capitalize()}*: {KINDS[key][1]}" for key in kinds)
    introduction = ORDERS_INTRODUCTION.format(plan=plan, kinds=told_beside)
    print(f"{ORDERS_TITLE}\n\n{textwrap.fill(introduction, 120)}\n")
    headings = ["forecast", *(KINDS[key][0] for key in kinds)]
    print(f"| suite | steps | seeds | {' | '.join(headings)} | single orders | other orders | a second mean | inside |")
    print("|" + "---|" * (7 + len(headings)))
    tasks, told = [], []
    for suite, steps in sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]}):
        own = [record for record in records if record["suite"] == suite]
        cell = _several_orders(own, steps, ("forecast", *kinds))
        told.append([_averages(each) for each in cell.told])
        others = [_averages(cell.singly), _averages(cell.others), (np.mean(cell.again[0] ** 2), np.mean(cell.again[1]))]
        columns = " | ".join(_pair(*column) for column in (*told[-1], *others))
        print(f"| {suite} | {steps} | {len(own)} | {columns} | {cell.inside:.0%} |")
        ranks = [np.nanmean([one.rank_correlation for one in each], axis=0) for each in cell.told]
        tasks += [
            f"| {suite} | {steps} | {name} | {' | '.join(f'{rank[i]:.2f}' for rank in (*ranks, cell.again[1]))} |"
            for i, name in enumerate(own[0]["names"])
            if ranks[0][i] < WEAK
        ]
    means = " | ".join(f"{square:.3f}, {rank:.3f}" for square, rank in np.mean(told, axis=0))
    print(f"| mean | | | {means} | | | | |")
    _print_weak("with the mean of the orders", f"{' | '.join(headings)} | a second mean", tasks)


@dataclass(frozen=True)
class _Cell:
    """Agreements in one suite and budget: told by each kind of forecast with the mean of the orders, by seed; singly
    with each order, and of each order with the others; again: (2, n) of a second mean. inside: the share of single
    orders' losses in the forecast's interval."""

    told: list[list[Agreement]]
    singly: list[Agreement]
    others: list[Agreement]
    again: Array
    inside: float


def _several_orders(records: Sequence[Record], steps: int, keys: Sequence[str]) -> _Cell:
    names, runs, intervals = records[0]["names"], *(_losses(records, steps, key) for key in ("orders", "interval"))
    told = [_losses(records, steps, key) for key in keys]
    singly, others, inside = [], [], []
    for said, by, ends in zip(told[0], runs, intervals, strict=True):
        for k in range(len(next(iter(by.values())))):
            alone = {name: losses[k : k + 1] for name, losses in by.items()}
            rest = {name: np.delete(losses, k, axis=0).mean(axis=0) for name, losses in by.items()}
            singly.append(agreement(said, alone, names))
            others.append(agreement(rest, alone, names))
        inside += [(ends[name][:, 0] <= losses) & (losses <= ends[name][:, 1]) for name, losses in by.items()]
    found = [[agreement(*pair, names) for pair in zip(said, runs, strict=True)] for said in told]
    return _Cell(found, singly, others, _second_mean(runs), float(np.mean(inside)))


def _print_weak(told: str, columns: str, rows: Sequence[str]) -> None:
    print(f"\nTasks whose rank correlation {told} is below {WEAK}:\n")
    print(f"| suite | steps | task | {columns} |")
    print("|---|---|---" + "|---" * (columns.count("|") + 1) + "|")
    print("\n".join(rows))


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
    return _losses(records, steps, "forecast"), _losses(records, steps, "losses"), records[0]["names"]


def _losses(records: Sequence[Record], steps: int, key: str) -> list[dict[str, Array]]:
    """For each record, by mixture, what its run has under a key."""
    return [{run["mixture"]: np.array(run[key]) for run in _forecast(record, steps)} for record in records]


def _second_mean(runs: Sequence[dict[str, Array]]) -> Array:
    """(2, n) correlations of two means over as many orders; those of two orders are averaged over the seeds before."""
    found = [between_runs(np.array(list(by.values()))) for by in runs]
    return of_means(np.mean([between for between, _ in found], axis=0), found[0][1])


def _of_single_runs(
    told: Sequence[dict[str, Array]], came: Sequence[dict[str, Array]], names: list[str]
) -> list[Agreement]:
    return [
        agreement(said, {name: losses[None] for name, losses in found.items()}, names)
        for said, found in zip(told, came, strict=True)
    ]


def _averages(found: Sequence[Agreement]) -> tuple[float, float]:
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
    found = correlations(*(np.moveaxis(each, -2, 0) for each in np.broadcast_arrays(true, runs)))
    return np.array([each.mean(axis=(0, 1)) for each in (found[0] ** 2, found[1])])


def _pair(square: float, rank: float) -> str:
    return f"{square:.2f}, {rank:.2f}"
