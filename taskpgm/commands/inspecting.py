"""taskpgm status: what a run's folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskpgm.commands.options import Json

if TYPE_CHECKING:
    from taskpgm.run_status import RunStatus


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    as_json: Json = False,
) -> None:
    """What is in a run's folder: finished, damaged, missing, its size, and who is at work there.

    Every checksum is checked. Exit 1 if something is damaged.
    """
    from taskpgm.run_status import run_status

    found = run_status(folder)
    if as_json:
        print(json.dumps(found.as_dict()))
    else:
        _show(found)
    raise typer.Exit(1 if found.damaged else 0)


def _show(found: RunStatus) -> None:
    from taskpgm.text_table import in_bytes

    print(f"{'mixture':<15} {found.mixture}")
    print(f"{'evaluation':<15} {found.evaluation}")
    for kind in found.kinds:
        spare = f", {kind.spare} that nothing finished rests on" if kind.spare else ""
        print(f"{kind.name:<15} {kind.count} ({in_bytes(kind.bytes)}){spare}")
    if found.partial:
        print(f"{'unfinished':<15} {found.partial} ({in_bytes(found.partial_bytes)})")
    print(f"{'in all':<15} {in_bytes(found.bytes)}")
    print(f"{'at work':<15} {found.holder or 'nobody'}")
    for text in found.damaged:
        print(f"Damaged: {' '.join(text.split())}; it is made again when it is needed.")
    if found.missing:
        print(f"Not there any more: {', '.join(found.missing)}; made again when needed.")
