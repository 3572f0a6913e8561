"""The stored study: what the package quotes is what its record says."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

import pytest
from scripts import benchmark

from taskpgm.study import STUDIED_STEPS, STUDY_FILE, studied, study_line
from taskpgm.suite import SUITES

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "mixtures"


def test_the_summary_is_what_the_record_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "study.json"
    monkeypatch.setattr(sys, "argv", ["mixtures.py", "summary", str(RESULTS / "study.jsonl"), "--to", str(made)])
    benchmark("mixtures").main()
    kept = json.loads((resources.files("taskpgm") / STUDY_FILE).read_text(encoding="utf-8"))
    again = json.loads(made.read_text())
    assert [(row["suite"], row["steps"], row["mixture"]) for row in kept] == [
        (row["suite"], row["steps"], row["mixture"]) for row in again
    ]
    for row, other in zip(kept, again, strict=True):
        assert row["mean"] == pytest.approx(other["mean"], abs=1e-12)
        assert row["seeds"] == other["seeds"]


def test_the_record_is_whole_and_paired() -> None:
    records = [json.loads(line) for line in (RESULTS / "study.jsonl").read_text().splitlines()]
    assert {record["suite"] for record in records} == set(SUITES)
    for record in records:
        for steps in (125, 250):
            mixtures = [run["mixture"] for run in record["runs"] if run["steps"] == steps]
            assert len(set(mixtures)) == len(mixtures) == 15
            assert "uniform" in mixtures
        assert all("error" not in run for run in record["runs"])


def test_the_report_has_a_row_for_every_mixture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mixtures.py", "report", str(RESULTS / "study.jsonl")])
    benchmark("mixtures").main()
    printed = capsys.readouterr().out
    assert printed.count("| coverage |") == printed.count("| pairwise-careful |") == 6
    assert printed == (RESULTS / "REPORT.md").read_text()


def test_the_readme_shows_the_summary() -> None:
    kept = json.loads((resources.files("taskpgm") / STUDY_FILE).read_text(encoding="utf-8"))
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert benchmark("parts/study_report").readme_table(kept) in readme


def test_what_the_demo_says_of_the_study() -> None:
    line = study_line("easy-redundant", STUDIED_STEPS)
    assert line is not None
    assert "proves nothing" in line
    assert studied("easy-redundant", "pairwise-careful", STUDIED_STEPS) is not None
    assert study_line("nobody's", STUDIED_STEPS) is None
