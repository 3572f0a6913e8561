"""The scripts in benchmarks/: they start, and what they measure keeps every run, refusals and failures too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import benchmark

from taskpgm.inference import METHODS

FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))
SCRIPTS = [path for path in FILES if "__main__" in path.read_text()]  # the others are their parts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_how_it_is_used(script: Path) -> None:
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script.name}" in done.stdout


@pytest.mark.slow
def test_the_record_keeps_every_method_refusals_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = benchmark("inference")
    monkeypatch.setattr(script, "SHAPES", ((5, 2, 1), (5, None, 1)))
    monkeypatch.setattr(script, "UTILITIES", ("random",))
    out = tmp_path / "runs.jsonl"
    monkeypatch.setattr(sys, "argv", ["inference.py", "methods", "--deadline", "5", "--out", str(out)])
    script.main()
    records: list[dict[str, Any]] = [json.loads(line) for line in out.read_text().splitlines()]
    problems = dict.fromkeys(record["problem"] for record in records)
    assert len(problems) == 4  # two shapes, with families and without
    expected = [method.name for method in METHODS if method.domain != "mixture"]
    for problem in problems:
        assert [record["method"] for record in records if record["problem"] == problem] == expected
    refused = [record for record in records if record["status"] == "refused"]
    assert refused
    assert all(record["message"] for record in refused)
    assert not [record for record in records if record["status"] == "failed"]
    shown = capsys.readouterr().out
    assert all(problem in shown for problem in problems)
    assert "branch-and-bound: refused" in shown  # a free budget
    assert "branch-and-bound*: proved" in shown
