"""Executes notebooks, one after the other, in copies: a program of its own, since kernels take a core for a while.

    python tests/execute_notebooks.py FOLDER DEMO

FOLDER gets the repository's notebooks/ and what they read; DEMO is the folder of a finished or running demo, which the
quickstart goes on from. After each notebook NAME.json says how it ended: {"error": null} or what went wrong.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICKSTART = "01_quickstart"
CELL_SECONDS = 240
DEMO_SECONDS = 600


def main(folder: Path, demo: Path) -> None:
    place = folder / "notebooks"
    place.mkdir(parents=True)
    shutil.copytree(ROOT / "benchmarks" / "results", folder / "benchmarks" / "results")
    for path in [*(each for each in NOTEBOOKS if each.stem != QUICKSTART), ROOT / "notebooks" / f"{QUICKSTART}.ipynb"]:
        if path.stem == QUICKSTART:
            _wait_for(demo / "mixture.json")
            shutil.copytree(demo, place / "taskpgm-demo")
        result = folder / f"{path.stem}.json"
        partial = result.with_suffix(".partial")
        partial.write_text(json.dumps({"error": _executed(path, place)}))
        partial.rename(result)


def _executed(path: Path, place: Path) -> str | None:
    """What went wrong in a notebook; None if nothing did."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(place)}})
    try:
        client.execute()
    except CellExecutionError as error:
        return str(error)
    return None


def _wait_for(path: Path) -> None:
    end = time.monotonic() + DEMO_SECONDS
    while not path.is_file():
        if time.monotonic() > end:
            sys.exit(f"{path}: the demo has not finished")
        time.sleep(0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
