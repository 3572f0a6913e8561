"""taskpgm decisions: what a run on its own mixture decided, and what it expected."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from taskpgm.commands.options import Json


def decisions(
    folder: Annotated[Path, typer.Argument(help="The trainer's output folder, or the folder mixtures in it.")],
    plot: Annotated[
        Path | None, typer.Option(help="Also draw weights, losses and forecasts: .png, .svg or .pdf.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a training run with an adaptive mixture decided on its way; JSON is one line per decision."""
    from taskpgm.decision_plots import save_decisions
    from taskpgm.decision_terminal import print_decisions
    from taskpgm.decisions import read_decisions
    from taskpgm.pictures import check_ending

    if plot is not None:
        check_ending(plot)
    found = read_decisions(folder)
    if as_json:
        for decision in found:
            print(json.dumps(decision.as_dict()))
    else:
        print_decisions(found)
    if plot is not None:
        save_decisions(found, plot)
        print(f"Drawn to {plot}.", file=sys.stderr)
