"""What `taskpgm evaluate` prints for people: one table of differences a budget and measure, and what it cost."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskpgm.terminal import LOG_WIDTH

if TYPE_CHECKING:
    from taskpgm.agreement import Agreement
    from taskpgm.evaluation_report import Report
    from taskpgm.paired import Difference

TITLES = {
    "losses": "held-out loss minus that of {reference}, nats per target token: negative is better",
    "exact": "exact answers minus those of {reference}: positive is better",
    "harness": "lm_eval score minus that of {reference}: positive is better",
}


def print_report(report: Report) -> None:
    """Tables by budget and measure, then the cost and what to make of it."""
    found = report.evaluation
    for steps, by_measure in report.differences.items():
        for measure, rows in by_measure.items():
            title = TITLES[measure].format(reference=report.reference)
            _print_table(f"{steps} steps ({steps * found.batch_size} examples): {title}", rows, report.reference)
    _print_cost(report)
    if len(found.seeds) == 1:
        print("One seed: no interval, and no claim. Another order of the examples may turn every sign; use more seeds.")
    else:
        others = len(found.compared) - 1
        print(
            f"mean [95 % interval over {len(found.seeds)} paired seeds]; * where the interval corrected for comparing"
            f" {others} mixtures (Bonferroni) excludes 0."
        )
    for run, why in found.failed.items():
        print(f"FAILED: {run}: {why}")


def _print_table(title: str, rows: Sequence[Difference], reference: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    mixtures = list(dict.fromkeys(row.mixture for row in rows))
    cells = {(row.view, row.level, row.mixture): row for row in rows}
    table = Table(title=Text(title), title_justify="left")
    for heading in ("", "", reference, *mixtures):
        table.add_column(Text(heading), justify="left" if heading == "" else "right", overflow="fold")
    level = ""
    for view, kind in dict.fromkeys((row.view, row.level) for row in rows):
        if level not in ("", kind):
            table.add_section()
        level = kind
        found = [cells[view, kind, mixture] for mixture in mixtures]
        table.add_row(kind, Text(view), f"{found[0].reference_mean:.3f}", *(_cell(row) for row in found))
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)


def _cell(row: Difference) -> str:
    if row.seeds == 0:
        return "failed"
    if row.interval is None or row.corrected is None:
        return f"{row.mean:+.3f}"
    low, high = row.interval
    sure = row.corrected[0] > 0.0 or row.corrected[1] < 0.0
    return f"{row.mean:+.3f} [{low:+.3f}, {high:+.3f}]{'*' if sure else ' '}"


def _print_cost(report: Report) -> None:
    if report.evidence_examples == 0:
        return
    found = report.evaluation
    runs = ", ".join(
        f"{report.evidence_examples / (steps * found.batch_size):.1f} runs of {steps} steps" for steps in found.budgets
    )
    print(
        f"The experts behind all this were trained on {report.evidence_examples} examples in all, as much as {runs}: a"
        " gain has to be worth that."
    )
    for name, by_steps in report.short_runs.items():
        spent = ", ".join(f"{examples} for {steps} steps" for steps, examples in by_steps.items())
        print(f"{name} needed short runs as well, in examples: {spent}.")
    for steps, told in report.forecasts.items():
        square, rank, error = told.mean_r_squared, told.mean_rank_correlation, told.error.mean()
        print(
            f"Forecasts for {steps} steps, over {len(told.mixtures)} mixtures: r^2 {square:.2f} and rank correlation"
            f" {rank:.2f} within tasks, off by {error:.3f} nats on average.{_repeated(told)}"
        )


def _repeated(told: Agreement) -> str:
    if not math.isfinite(told.repeat_rank_correlation):
        return ""
    square, rank = told.repeat_r_squared, told.repeat_rank_correlation
    return f" The same runs in other orders would tell these losses with {square:.2f} and {rank:.2f}."
