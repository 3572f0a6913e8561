"""What taskpgm decisions prints for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

from taskpgm.decisions import Decision
from taskpgm.terminal import LOG_WIDTH

MOST_WEIGHTS = 3
COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("step", "right"),
    ("status", "left"),
    ("gap", "right"),
    ("followed", "left"),
    ("expected mean loss", "right"),
    ("largest weights", "left"),
    ("smallest weights", "left"),
)


def print_decisions(decisions: Sequence[Decision]) -> None:
    """One row for each decision of a run, then why forecasts were not followed, where they were not."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading, justify in COLUMNS:
        table.add_column(heading, justify=justify)
    for decision in decisions:
        table.add_row(*map(Text, _cells(decision)))
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)
    print(f"The run has {decisions[0].steps} steps. Losses are expected at its end, in nats per target token.")
    for decision in decisions:
        if not decision.followed:
            print(f"Step {decision.step}: {decision.reason}.")


def _cells(decision: Decision) -> tuple[str, ...]:
    mixture = decision.mixture
    weights = sorted(mixture.weights.items(), key=_weight, reverse=True)
    parts = weights[:MOST_WEIGHTS], weights[MOST_WEIGHTS:][-MOST_WEIGHTS:]
    return (
        f"{decision.step}",
        mixture.status,
        f"{mixture.gap:.1g}",
        "yes" if decision.followed else "no",
        f"{decision.mean:.4g} +- {decision.mean_spread:.2g}",
        *(", ".join(f"{' '.join(name.split())} {weight:.1%}" for name, weight in part) for part in parts),
    )


def _weight(item: tuple[str, float]) -> float:
    return item[1]
