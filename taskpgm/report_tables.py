"""The tables of the page, which say in numbers what its charts show; the mixture's serves papers as well.

print(as_markdown(mixture_table(Portrait(mixture))))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from taskpgm.arrangement import strongest_pairs
from taskpgm.evaluation_file import StoredEvaluation
from taskpgm.explanation import AT_BOUND
from taskpgm.mixture import most_alike
from taskpgm.portrait import Portrait
from taskpgm.report_charts import edges_each
from taskpgm.text_table import Cell, Number, Table, number, range_of

PARTNERS = 3
PATH_ROWS = 20
PATH_TASKS = 5
MEASURES = {
    "losses": "held-out loss, nats per target token (negative is better)",
    "exact": "exact answers (positive is better)",
    "harness": "lm_eval score (positive is better)",
}


def mixture_table(portrait: Portrait) -> Table:
    """Weights with their error bars, next to uniform and to size-proportional ones."""
    sizes, interval, by_size = portrait.mixture.sizes, portrait.interval, portrait.by_size
    columns = ["task", "weight"]
    columns += ["95 %"] if interval is not None else []
    columns += ["× uniform"]
    columns += ["by size", "examples"] if sizes is not None else []
    rows = []
    for i, name in enumerate(portrait.names):
        weight = float(portrait.weights[i])
        row: list[Cell] = [name, number(weight, ".1%")]
        if interval is not None:
            row.append(range_of(interval[i].tolist(), ".1f", 100.0))
        times = weight * len(portrait.names)
        row.append(number(times, ".2f", "?" if name in portrait.undecided else ""))
        if sizes is not None and by_size is not None:
            row += [number(float(by_size[i]), ".1%"), number(sizes[name].examples, ",.0f")]
        rows.append(tuple(row))
    unit = portrait.mixture.unit.replace("_", " ")
    return Table("mixture", f"Mixture: shares of the budget in {unit}", tuple(columns), tuple(rows))


def couplings_table(portrait: Portrait) -> Table:
    """The strongest couplings of each task, pair by pair."""
    kind, coupling = portrait.couplings
    names, one_way = portrait.names, not np.array_equal(coupling, coupling.T)
    rows: list[tuple[Cell, ...]] = []
    each = edges_each(portrait)
    for i, j in strongest_pairs(coupling, each):
        back = (number(float(coupling[j, i])),) if one_way else ()
        distance = number(float(portrait.distances[1][i, j]))
        rows.append((names[i], names[j], number(float(coupling[i, j])), *back, distance))
    directions = (f"{kind}, first to second", f"{kind}, second to first") if one_way else (kind,)
    columns = ("task", "and", *directions, "distance on the map")
    return Table("couplings", f"Strongest couplings: {each} of each task", columns, tuple(rows))


def forecast_table(portrait: Portrait) -> Table | None:
    """Losses by learning curves: with no examples, under the mixture, under the uniform one; None without curves."""
    told, even, network = portrait.forecast, portrait.uniform_forecast, portrait.coverage
    if told is None or even is None or network is None:
        return None
    helpers = most_alike(portrait.names, network.transfer.T)
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            number(float(told.start[i])),
            number(float(told.losses[i])),
            range_of(told.interval[i].tolist()),
            number(float(even.losses[i])),
            number(float(told.doubling[i]), ".2g"),
            number(float(told.exposures[i]), ",.0f"),
            number(float(network.target_weights[i]), ".3f"),
            f"{helpers[i][0]} ({helpers[i][1]:.2f})" if helpers[i][1] >= 0.005 else "",
        )
        for i, name in enumerate(portrait.names)
    ]
    columns = (
        *("task", "left out", "forecast", "95 %", "with uniform", "twice the budget saves"),
        *("examples' worth", "target weight", "learns from"),
    )
    caption = "Forecast losses, nats per target token, by the experts' learning curves"
    return Table("forecast", caption, columns, tuple(rows))


def energy_table(portrait: Portrait) -> Table:
    """Each task's share of the energy, with whom it shares it, and the price of its bound."""
    shares, names = portrait.pair_shares, portrait.names
    own, total = np.diag(shares), shares.sum(axis=1)
    bounds = _bounds(portrait)
    rows: list[tuple[Cell, ...]] = []
    for i, name in enumerate(names):
        parts: list[Cell] = [number(float(own[i])), number(float(total[i] - own[i])), _partners(names, shares[i], i)]
        if portrait.coverage is None:
            parts.insert(0, number(float(portrait.utility_shares[i])))
        rows.append((name, *parts, bounds[i]))
    columns: tuple[str, ...] = ("task", "lowers its own loss by", "lowers others' losses by", "mostly that of", "bound")
    caption = "What each task's examples take off the mean loss, nats, times the target weights"
    if portrait.coverage is None:
        columns = ("task", "utility", "redundancy with itself", "redundancy with others", "mostly with", "bound")
        caption = "Energy of each task: utility lowers it, redundancy raises it"
    return Table("energy", caption, columns, tuple(rows))


def _partners(names: Sequence[str], shares: np.ndarray, own: int) -> str:
    """The other tasks with the largest shares, with their part of the whole."""
    total = float(np.abs(shares).sum())
    order = [j for j in np.argsort(-np.abs(shares), kind="stable").tolist() if j != own]
    told = [(j, abs(float(shares[j])) / total) for j in order[:PARTNERS] if total > 0.0]
    return ", ".join(f"{names[j]} ({part:.0%})" for j, part in told if part >= 0.005)


def _bounds(portrait: Portrait) -> list[str]:
    network, p = portrait.mixture.network, portrait.weights
    low, high = p <= network.lower + AT_BOUND, p >= network.upper - AT_BOUND
    fixed = network.lower >= network.upper
    return [
        "fixed" if still else "at its floor" if below else "at its ceiling" if above else ""
        for still, below, above in zip(fixed, low, high, strict=True)
    ]


def prices_table(portrait: Portrait) -> Table | None:
    """What binds and what loosening it a little saves; None where nothing is proved or nothing binds."""
    if not portrait.binding:
        return None
    rows = tuple(
        (constraint, number(saving, ".3g"), text.removeprefix(f"{constraint}: "))
        for constraint, saving, text in portrait.binding
    )
    columns = ("constraint", "saves", "in words")
    return Table("prices", "Constraints that bind, and what loosening each a little saves at first", columns, rows)


def path_table(portrait: Portrait) -> Table | None:
    """Some mixtures along the trade-off; None where there is no path."""
    path = portrait.path
    if isinstance(path, str):
        return None
    kept = np.unique(np.linspace(0, len(path.betas) - 1, PATH_ROWS).round().astype(np.intp))
    rows: list[tuple[Cell, ...]] = []
    for place in kept.tolist():
        mixture = path.mixtures[place]
        largest = np.argsort(-mixture, kind="stable")[:PATH_TASKS].tolist()
        shown = ", ".join(f"{portrait.names[i]} {mixture[i]:.0%}" for i in largest if mixture[i] >= 0.005)
        numbers = (float(path.betas[place]), float(path.effective_tasks[place]), float(path.utilities[place]))
        rows.append((*map(number, numbers), shown))
    columns = ("beta", "effective tasks", "mean utility", "largest tasks")
    return Table("path", "Trade-offs from diversity alone to utility alone", columns, tuple(rows))


def evaluation_table(found: StoredEvaluation) -> Table:
    """Every difference of the evaluation, averages first."""
    levels = ("average", "family", "task")
    ordered = sorted(found.differences, key=lambda row: levels.index(row.level) if row.level in levels else len(levels))
    rows = tuple(
        (
            row.mixture,
            row.view,
            row.level,
            Number(row.steps, f"{row.steps}"),
            MEASURES.get(row.measure, row.measure),
            number(row.reference_mean, ".3f"),
            number(row.mean, "+.3f", "*" if row.sure else ""),
            range_of(row.interval, "+.3f"),
        )
        for row in ordered
    )
    columns = ("mixture", "on", "level", "steps", "measure", found.reference, "difference", "95 %")
    return Table("evaluation", f"Each mixture minus {found.reference}, paired by seed", columns, rows)


def provenance_tables(details: Mapping[str, Any]) -> tuple[Table, ...]:
    """Versions and settings, as the mixture's file has them."""
    tables = []
    for key, caption in (("versions", "Versions"), ("settings", "Settings")):
        rows = tuple((name, value) for name, value in _flat(details.get(key)))
        if rows:
            tables.append(Table(key, caption, ("name", "value"), rows))
    return tuple(tables)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, value) of nested mappings."""
    if not isinstance(value, Mapping):
        if prefix:
            yield prefix, "not set" if value is None else f"{value}"
        return
    for name, inner in value.items():
        yield from _flat(inner, f"{prefix}.{name}" if prefix else f"{name}")
