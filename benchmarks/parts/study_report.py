"""Tables from the record of a study of mixtures: differences to uniform, and what was confirmed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parts.forecast_report import can_compare, print_forecasts

from taskpgm.storage import canonical_json, write_atomic

Array = NDArray[np.float64]
Record = dict[str, Any]


def report(arguments: argparse.Namespace) -> None:
    """Per suite and budget: the difference to a mixture in the mean loss over families, with corrected intervals."""
    reference = arguments.reference
    records = [json.loads(line) for line in arguments.record.read_text().splitlines()]
    cells = sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]})
    print(f"Differences to {reference}, mean held-out loss with equal weight per family, nats per target token.")
    print("95 % intervals: for each comparison alone, and for all of this page together (Bonferroni).\n")
    for suite, steps in cells:
        print_cell([record for record in records if record["suite"] == suite], suite, steps, len(cells), reference)
    if arguments.mean:
        print_over_cells(records, cells, reference)
    if can_compare(records):
        print_forecasts(records, cells)


def summary(arguments: argparse.Namespace) -> None:
    """What the package keeps of the study: for each suite and budget, every mixture's difference to uniform."""
    from taskpgm.paired import differences, views

    records = [json.loads(line) for line in arguments.record.read_text().splitlines()]
    cells = sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]})
    found = []
    for suite, steps in cells:
        own = [record for record in records if record["suite"] == suite]
        view = views(own[0]["names"], own[0]["families"])[0]
        losses = by_mixture(own, steps, "losses")
        for row in differences(losses, [view], confidence=1.0 - 0.05 / len(cells)):
            found.append(
                {"suite": suite, "steps": steps, **row.as_dict(), "interval": alone(losses, row.mixture, view)}
            )
    write_atomic(arguments.to, (canonical_json(found) + "\n").encode())


EVIDENCE: dict[str, tuple[str, int | None, bool | None, str]] = {
    "uniform-even": ("order", None, None, "inside"),
    "adaptive-families": ("adaptive", None, None, "inside"),
    "adaptive-families-once": ("pilot", None, None, "inside"),
    "coverage-families-experts-12": ("experts", 12, True, "ablations"),
    "coverage-families-experts-25": ("experts", 25, True, "ablations"),
    "coverage-families-experts-50": ("experts", 50, True, "ablations"),
    "coverage-families": ("experts", 100, True, "ablations"),
    "coverage-families-no-graph": ("experts", 100, False, "ablations"),
}
"""By mixture of the study: which evidence it is of, of how many steps of experts, with the graph or not; the record."""


def gains(arguments: argparse.Namespace) -> None:
    """What `taskpgm plan --evidence` knows of the study: by evidence, suite and budget, the difference to uniform.

    A record that is not in the folder is left out: what it would hold was not measured.
    """
    from taskpgm.paired import views

    found = []
    for record in ("ablations", "inside"):
        path = arguments.folder / f"{record}.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        for suite, steps in sorted({(each["suite"], run["steps"]) for each in records for run in each["runs"]}):
            own = [each for each in records if each["suite"] == suite]
            losses, view = by_mixture(own, steps, "losses"), views(own[0]["names"], own[0]["families"])[0]
            for name, (kind, expert_steps, graph, source) in EVIDENCE.items():
                if source == record and name in losses:
                    change = (losses[name] - losses["uniform"]) @ view.weights
                    change = change[np.isfinite(change)]
                    found.append(
                        {
                            **{"kind": kind, "expert_steps": expert_steps, "graph": graph, "mixture": name},
                            **{"suite": suite, "steps": steps, "record": record, "seeds": len(change)},
                            "mean": float(change.mean()) if len(change) else None,
                            "interval": alone(losses, name, view),
                        }
                    )
    found = [row for row in found if row["seeds"]]  # a budget that this mixture was not run at
    write_atomic(arguments.to, (canonical_json(found) + "\n").encode())


EXPERTS_OF = 14  # tasks of the suites that most gains are of
GAINED_AT = 125


def print_gains(arguments: argparse.Namespace) -> None:
    """The README's table of evidence, from what `gains` wrote."""
    print(readme_gains(json.loads(arguments.gains.read_text())))


def readme_gains(rows: Sequence[Record]) -> str:
    """A row for each kind of evidence, with what its experts were trained on in final runs, and its gains."""
    shown = [row for row in rows if row["steps"] == GAINED_AT]
    suites = sorted({row["suite"] for row in shown})
    lines = ["| evidence | cost in final runs | " + " | ".join(suites) + " |", "|---" * (len(suites) + 2) + "|"]
    for kind, steps, graph, _ in EVIDENCE.values():
        found = {
            row["suite"]: row
            for row in shown
            if (row["kind"], row["expert_steps"], row["graph"]) == (kind, steps, graph)
        }
        title = GAIN_TITLES.get(kind, f"{steps}-step experts, {'with' if graph else 'without'} the graph")
        cost = f"{EXPERTS_OF * steps / GAINED_AT:.1f}" if steps else "0"
        lines.append(f"| {title} | {cost} | " + " | ".join(gain_cell(found.get(suite)) for suite in suites) + " |")
    return "\n".join(lines)


GAIN_TITLES = {"order": "none: uniform, in an even order", "adaptive": "none: adaptive in the run"}
GAIN_TITLES["pilot"] = "pilot: the run's own first 30 %"


def gain_cell(row: Record | None) -> str:
    if row is None:
        return "not measured"
    low, high = row["interval"]
    return f"{row['mean']:+.3f} ({low:+.3f} to {high:+.3f})"


SHOWN = {
    "coverage-families": "coverage energy (the default)",
    "pairwise-careful": "pairwise energy",
    "pairwise-pmi": "pairwise, gain as similarity",
    "capacity": "capacity",
    "temperature-2": "square root of size",
    "proportional": "size-proportional",
    "mixmin": "MixMin",
    "pairwise-literal": "raw similarities, no floor",
}


CONFIRMED = ("coverage-families", "pairwise-careful")
AGAINST = ("uniform", "temperature-2", "proportional")


def confirmation(arguments: argparse.Namespace) -> None:
    """The primary comparisons of CONFIRMATION.md, corrected for all of them, and whether its rule holds."""
    from taskpgm.paired import t_interval, views

    records = [json.loads(line) for line in arguments.record.read_text().splitlines()]
    cells = sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]})
    cells = [cell for cell in cells if cell[1] in arguments.steps]
    confidence = 1.0 - 0.05 / (len(CONFIRMED) * len(AGAINST) * len(cells))
    print(f"Differences in the mean held-out loss over families, {confidence:.2%} intervals (95 % for all together).\n")
    print("| mixture | suite | steps | seeds | " + " | ".join(f"to {other}" for other in AGAINST) + " |")
    print("|---" * (4 + len(AGAINST)) + "|")
    below, means = dict.fromkeys(CONFIRMED, 0), {}
    for name in CONFIRMED:
        for suite, steps in cells:
            own = [record for record in records if record["suite"] == suite]
            weights = views(own[0]["names"], own[0]["families"])[0].weights
            losses = {key: values @ weights for key, values in by_mixture(own, steps, "losses").items()}
            means[name, suite, steps] = float(losses[name].mean())
            shown = []
            for other in AGAINST:
                change = losses[name] - losses[other]
                ends = t_interval(change, confidence)
                assert ends is not None
                below[name] += ends[1] < 0.0
                shown.append(f"{change.mean():+.4f} ({interval(ends)})")
            print(f"| {name} | {suite} | {steps} | {len(own)} | " + " | ".join(shown) + " |")
    first, second = CONFIRMED
    lower = sum(means[first, *cell] < means[second, *cell] for cell in cells)
    print(f"\nBelow zero, of {len(cells) * len(AGAINST)} intervals: {first} {below[first]}, {second} {below[second]}.")
    print(f"{first} has the lower mean in {lower} of {len(cells)} cells.")


def print_table(arguments: argparse.Namespace) -> None:
    """The README's table: differences to uniform with 95 % intervals, * where the corrected one excludes 0."""
    print(readme_table(json.loads(arguments.summary.read_text())))


def readme_table(rows: Sequence[Record]) -> str:
    cells = sorted({(row["suite"], row["steps"]) for row in rows})
    heads = [f"{suite}, {steps} steps" for suite, steps in cells]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, title in SHOWN.items():
        found = {(row["suite"], row["steps"]): row for row in rows if row["mixture"] == name}
        lines.append(f"| {title} | " + " | ".join(table_cell(found[cell]) for cell in cells) + " |")
    return "\n".join(lines)


def table_cell(row: Record) -> str:
    low, high = row["interval"]
    sure = "*" if row["corrected"][0] > 0.0 or row["corrected"][1] < 0.0 else ""
    return f"{row['mean']:+.3f}{sure} ({low:+.3f} to {high:+.3f})"


def alone(losses: dict[str, Array], name: str, view: Any, reference: str = "uniform") -> tuple[float, float] | None:
    """The 95 % interval of one comparison, without correction."""
    from taskpgm.paired import t_interval

    change = losses[name] - losses[reference]
    return t_interval((change @ view.weights)[np.isfinite(change).all(axis=1)])


def print_cell(records: Sequence[Record], suite: str, steps: int, cells: int, reference: str) -> None:
    """A table with a row for each mixture, best first."""
    from taskpgm.paired import differences, views

    names, families = records[0]["names"], records[0]["families"]
    losses, exact = (by_mixture(records, steps, field) for field in ("losses", "exact"))
    seen = views(names, families)
    family_mean = seen[0]
    each_family = [*(view for view in seen if view.level == "family"), *single_tasks(seen, families, names)]
    rows = differences(losses, [family_mean], confidence=1.0 - 0.05 / cells, reference=reference)
    print(f"## {suite}, {steps} steps, {len(records)} seeds ({len(rows)} mixtures, {cells} tables)\n")
    print("| mixture | difference | alone | all together | exact match | worst family |")
    print("|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row.mean):
        change = losses[row.mixture] - losses[reference]
        gained = np.nanmean((exact[row.mixture] - exact[reference]) @ family_mean.weights)
        worst, where = max((np.nanmean(change @ view.weights), view.name) for view in each_family)
        by_itself = interval(alone(losses, row.mixture, family_mean, reference))
        print(
            f"| {row.mixture} | {row.mean:+.4f} | {by_itself} | {interval(row.corrected)} | {gained:+.1%} |"
            f" {worst:+.3f} ({where}) |"
        )
    print()


def print_over_cells(records: Sequence[Record], cells: Sequence[tuple[str, int]], reference: str) -> None:
    """Each mixture's difference averaged over suites and budgets, by seed.

    Raises:
        ValueError: a suite without some of the seeds.
    """
    from taskpgm.paired import t_interval, views

    changes: dict[str, list[Array]] = {}
    for suite, steps in cells:
        own = sorted((record for record in records if record["suite"] == suite), key=lambda record: record["seed"])
        weights = views(own[0]["names"], own[0]["families"])[0].weights
        losses = by_mixture(own, steps, "losses")
        for name in losses.keys() - {reference}:
            changes.setdefault(name, []).append((losses[name] - losses[reference]) @ weights)
    print(f"## Mean over the {len(cells)} tables, by seed\n")
    print("| mixture | difference | 95 % |")
    print("|---|---|---|")
    for name, by_cell in sorted(changes.items()):
        by_seed = np.mean(by_cell, axis=0)
        print(f"| {name} | {by_seed.mean():+.4f} | {interval(t_interval(by_seed))} |")
    print()


def single_tasks(seen: Sequence[Any], families: Sequence[str], names: Sequence[str]) -> list[Any]:
    """The views of tasks that are a family of their own."""
    alone = {name for name, family in zip(names, families, strict=True) if families.count(family) == 1}
    return [view for view in seen if view.level == "task" and view.name in alone]


def interval(ends: tuple[float, float] | None) -> str:
    return "one seed" if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}"


def by_mixture(records: Sequence[Record], steps: int, field: str) -> dict[str, Array]:
    """By mixture (seeds, n), with rows of nan where it failed."""
    names = list(dict.fromkeys(run["mixture"] for record in records for run in record["runs"]))
    found: dict[str, Array] = {}
    for name in names:
        rows = []
        for record in records:
            runs = {run["mixture"]: run for run in record["runs"] if run["steps"] == steps}
            rows.append(runs.get(name, {}).get(field) or [np.nan] * len(record["names"]))
        found[name] = np.array(rows, dtype=np.float64)
    return found
