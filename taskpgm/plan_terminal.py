"""What `taskpgm plan` prints for people: the costs by stage, what they rest on, and which evidence pays."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from taskpgm.evidence_costs import EvidenceRow
    from taskpgm.run_plan import RunPlan
    from taskpgm.stages import Stage

LOG_WIDTH = 200  # in a log: no folding
STAGE_COLUMNS = ("stage", "tokens", "FLOPs", "time", "memory", "disk")
UNMEASURED = "not measured"


def print_plan(plan: RunPlan) -> None:
    """The table of stages, what it assumes, what the evidence costs, and warnings."""
    from taskpgm.run_costs import STEP_OVERHEAD

    costing, device = plan.costing, plan.costing.hardware
    shape, training = costing.shape, costing.config.training
    _print_table("What it will cost", STAGE_COLUMNS, [_cells(stage) for stage in plan.stages])
    adapters = f", of which adapters train {shape.adapter:,}" if shape.adapter else ""
    bits = costing.config.model.load_in
    kept = "" if bits is None else f", the layers' matrices in {bits}"
    print(f"Model: {shape.parameters:,} parameters{adapters}; {training.precision}{kept}.")
    rates = ", ".join(f"{rate / 1e12:.3g} TFLOP/s in {precision}" for precision, rate in device.rates.items())
    count = f"{costing.devices} x " if costing.devices > 1 else ""
    print(f"Hardware: {count}{device.name}, {rates}, {device.memory / 1e9:.3g} GB ({device.source}).")
    scaling = " and perfect scaling over devices" if costing.devices > 1 else ""
    print(
        f"Time assumes {costing.utilisation:.0%} of that peak (--utilisation), {1e3 * STEP_OVERHEAD:g} ms of overhead a"
        f" batch{scaling}; solving for the mixture is not counted."
    )
    steps = costing.final_settings.steps
    runs = "run" if costing.seeds == 1 else "runs"
    print(f"Final run: {steps} steps of {training.batch_size} examples. Evaluation: {costing.seeds} {runs} a mixture.")
    print(
        f"{len(costing.tasks)} experts with all that is read of them cost {costing.share_of_final():.2f} times the"
        " final run; taskpgm plan --evidence shows what cheaper evidence costs, and what it was worth."
    )
    for remark in plan.remarks:
        print(f"Note: {remark}")
    for warning in plan.warnings:
        print(f"Warning: {warning}")


def print_evidence(rows: Sequence[EvidenceRow], suites: Sequence[str], steps: int) -> None:
    """Cost against measured gain, and how far that can be trusted."""
    columns = ("evidence", "FLOPs", "time", "final runs", *suites)
    cells = [(*_costs(row), *(_gain(row.gains.get(suite)) for suite in suites)) for row in rows]
    _print_table("What evidence costs, and what it gained in the study", columns, cells)
    print(
        "Gains are of the study's embedded suites, models of 90,000 parameters, 100-step experts looked at for so many"
        f" of their steps, and final runs of {steps} steps: mean held-out loss over families less uniform's, in"
        " nats per target token, below 0 is better (95 %). They say what is worth trying; yours will differ."
    )
    print(
        "Several names of one task are what the graph is for: adaptive evidence sees each task's own loss, and cannot"
        " see that two tasks are one. The study's target weights knew the families, so its rows without the graph did"
        " not have to find that out. taskpgm run always measures the graph; without it is what experts alone cost."
    )


def duration(seconds: float) -> str:
    """Seconds in the unit in which they read best."""
    if seconds < 90.0:
        return f"{seconds:.2g} s" if seconds < 10.0 else f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.3g} h"


def amount(size: float) -> str:
    """Bytes in the unit in which they read best."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def _cells(stage: Stage) -> tuple[str, ...]:
    tokens = f"{stage.tokens:,.0f}" if stage.tokens else ""
    flops = f"{stage.flops:.3g}" if stage.flops else ""
    disk = amount(stage.disk) if stage.disk else ""
    return stage.name, tokens, flops, duration(stage.seconds), amount(stage.memory), disk


def _costs(row: EvidenceRow) -> tuple[str, ...]:
    return row.kind, f"{row.flops:.2g}", duration(row.seconds), f"{row.share:.2f}"


def _gain(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return UNMEASURED
    if row["interval"] is None:
        return f"{row['mean']:+.3f}"
    low, high = row["interval"]
    return f"{row['mean']:+.3f} ({low:+.3f} to {high:+.3f})"


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for place, heading in enumerate(columns):
        justify: Literal["left", "right"] = "right" if place else "left"
        table.add_column(heading, justify=justify)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)
