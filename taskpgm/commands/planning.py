"""taskpgm plan: what a run costs before it starts, and which evidence pays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from taskpgm.commands.options import Json, Out


def plan(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    hardware: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A device such as h100-sxm; without it what is here, measured in a second."),
    ] = None,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the device's peak that training reaches.")
    ] = 0.35,
    devices: Annotated[int, typer.Option(min=1, help="How many of them.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Training runs on each mixture in taskpgm evaluate.")] = 3,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Also what cheaper evidence costs, and what it gained in the study.")
    ] = False,
    out: Out = Path("runs/default"),
    as_json: Json = False,
) -> None:
    """What a run costs, stage by stage, before anything starts: FLOPs, time, memory and disk."""
    from taskpgm.config import load_config
    from taskpgm.evidence_costs import GAINED_AT, evidence_table, measured_suites
    from taskpgm.run_plan import plan_of

    found = plan_of(
        load_config(config), hardware=hardware, utilisation=utilisation, devices=devices, seeds=seeds, out=out
    )
    rows = evidence_table(found.costing) if evidence else []
    if as_json:
        told = {"evidence": [row.as_dict() for row in rows]} if evidence else {}
        print(json.dumps({**found.as_dict(), **told}, ensure_ascii=False))
        return
    from taskpgm.plan_terminal import print_evidence, print_plan

    print_plan(found)
    if evidence:
        print_evidence(rows, measured_suites(), GAINED_AT)
