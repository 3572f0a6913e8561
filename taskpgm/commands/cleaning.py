"""taskpgm clean: room made in a run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from taskpgm.commands.options import Json


def clean(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")],
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Only what was last written so long ago: 30d, 12h, 45m, 2w.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Removes leftovers of killed runs, and artefacts that no finished mixture or evaluation in DIR rests on.

    Whatever goes can be computed again; nothing outside DIR is touched.
    """
    from taskpgm.run_cleaning import clean as clean_folder
    from taskpgm.run_cleaning import seconds
    from taskpgm.text_table import in_bytes

    removed = clean_folder(folder, older_than=seconds(older_than), dry_run=dry_run)
    total = sum(each.bytes for each in removed)
    if as_json:
        rows = [{**asdict(each), "path": str(each.path)} for each in removed]
        print(json.dumps({"dry_run": dry_run, "bytes": total, "removed": rows}))
        return
    for each in removed:
        print(f"{each.kind:<15} {in_bytes(each.bytes):>9} {each.age / 86400:7.1f} days  {each.path}")
    print(f"{'Would remove' if dry_run else 'Removed'} {len(removed)} in all, {in_bytes(total)}.")
