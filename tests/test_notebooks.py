"""The notebooks run from top to bottom, and are kept without outputs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import nbformat
import pytest
from beside import Beside
from execute_notebooks import NOTEBOOKS

SECONDS = 540


def test_there_is_a_notebook_for_each_of_five_purposes() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    for cell in notebook.cells:
        assert cell.source.strip()
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", [*NOTEBOOKS[1:], NOTEBOOKS[0]], ids=lambda path: path.stem)  # as they are executed
def test_a_notebook_runs_to_its_end(path: Path, notebook_process: Beside) -> None:
    result, end = notebook_process.folder / f"{path.stem}.json", time.monotonic() + SECONDS
    while not result.is_file():
        assert notebook_process.code in (None, 0), notebook_process.errors
        assert time.monotonic() < end, f"{path.stem} does not end"
        time.sleep(0.2)
    assert json.loads(result.read_text())["error"] is None
