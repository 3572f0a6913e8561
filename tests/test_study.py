"""The stored study: what the package quotes is what its record says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from scripts import benchmark

from taskpgm.study import DEFAULT_MIXTURE, STUDIED_STEPS, STUDY_FILE, studied, study_line
from taskpgm.suite import SUITES

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "mixtures"


@pytest.fixture
def study_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `python benchmarks/mixtures.py` prints for these arguments."""

    def printed(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["mixtures.py", *map(str, arguments)])
        benchmark("mixtures").main()
        return capsys.readouterr().out

    return printed


def test_the_summary_is_what_the_record_says(tmp_path: Path, study_prints: Callable[..., str]) -> None:
    made = tmp_path / "study.json"
    study_prints("summary", RESULTS / "confirmation.jsonl", "--to", made)
    kept = json.loads((resources.files("taskpgm") / STUDY_FILE).read_text(encoding="utf-8"))
    again = json.loads(made.read_text())
    assert [(row["suite"], row["steps"], row["mixture"]) for row in kept] == [
        (row["suite"], row["steps"], row["mixture"]) for row in again
    ]
    for row, other in zip(kept, again, strict=True):
        assert row["mean"] == pytest.approx(other["mean"], abs=1e-12)
        assert row["seeds"] == other["seeds"]


def test_a_run_in_fewer_orders_than_asked_for_is_missing(tmp_path: Path, study_prints: Callable[..., str]) -> None:
    script = benchmark("mixtures")
    path = script.record_path(tmp_path, "interacting", 1, 125)
    path.parent.mkdir()
    runs = [{"mixture": "a"}, {"mixture": "b", "orders": [[1.0]] * 5}, {"mixture": "c", "error": "diverged"}]
    path.write_text(json.dumps({"runs": runs}))
    for orders, missing in ((1, ["b", "d"]), (5, ["a", "d"])):
        assert script.missing(tmp_path, "interacting", 1, 125, list("abcd"), orders) == missing
    with pytest.raises(SystemExit, match="adaptive is decided inside its run, in one order"):
        study_prints("run", "--out", tmp_path, "--orders", "2", "--mixtures", "uniform", "adaptive")


@pytest.mark.parametrize(
    ("name", "seeds", "mixtures"), [("study", 10, 15), ("confirmation", 15, 9), ("orders", 8, 8), ("moved", 15, 3)]
)
def test_the_record_is_whole_and_paired(name: str, seeds: int, mixtures: int) -> None:
    records = [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text().splitlines()]
    assert {record["suite"] for record in records} == set(SUITES)
    assert len(records) == 3 * seeds
    for record in records:
        for steps in (125, 250):
            found = [run["mixture"] for run in record["runs"] if run["steps"] == steps]
            assert len(set(found)) == len(found) == mixtures
            assert "uniform" in found
        assert all("error" not in run for run in record["runs"])


@pytest.mark.parametrize(
    ("command", "record", "shown", "cells"),
    [
        ("report", "study", "REPORT.md", 6),
        ("report", "confirmation", "CONFIRMATION_REPORT.md", 6),
        ("confirmation", "confirmation", "CONFIRMED.md", 6),
        ("report", "long", "LONG.md", 3),
        ("report", "ablations", "ABLATIONS.md", 3),
        ("report", "rules", "RULES.md", 6),
    ],
)
def test_reports_are_what_the_records_say(
    study_prints: Callable[..., str],
    command: str,
    record: str,
    shown: str,
    cells: int,
) -> None:
    printed = study_prints(command, RESULTS / f"{record}.jsonl")
    assert printed.count("| pairwise-careful |") == cells
    assert printed == (RESULTS / shown).read_text()


@pytest.mark.parametrize(
    ("record", "shown", "beyond_doubt"), [("inside", "INSIDE.md", 5), ("inside_long", "INSIDE_LONG.md", 1)]
)
def test_the_report_of_mixtures_decided_inside_their_run_is_what_the_record_says(
    study_prints: Callable[..., str], record: str, shown: str, beyond_doubt: int
) -> None:
    printed = study_prints("inside", RESULTS / f"{record}.jsonl")
    assert printed == (RESULTS / shown).read_text()
    planned = printed.split("| adaptive-families to uniform |")[1].splitlines()[0].split("|")
    assert sum("*" in cell for cell in planned) == beyond_doubt  # what README and FINDINGS say


def test_the_forecasts_are_what_the_records_say(study_prints: Callable[..., str]) -> None:
    printed = study_prints("forecasts", RESULTS / "confirmation.jsonl", "--repeats", "study.jsonl")
    assert printed == (RESULTS / "FORECASTS.md").read_text()
    cells = [line.split("|") for line in printed.splitlines() if line.count("|") == 8][2:]
    of_means = [[float(figure) for figure in cell[7].split(",")] for cell in cells]
    assert len(of_means) == 6
    assert all(square >= 0.84 and rank >= 0.88 for square, rank in of_means)  # what FINDINGS says


def test_forecasts_of_the_mean_over_several_orders_are_what_the_record_says(study_prints: Callable[..., str]) -> None:
    printed = study_prints("orders", RESULTS / "orders.jsonl")
    assert printed == (RESULTS / "ORDERS.md").read_text()
    told, again = pairs_of(printed, 10, 4), pairs_of(printed, 10, 8)
    assert len(told) == 6
    assert sum(square >= 0.7 for square, _ in told) == 6  # what FINDINGS says
    assert sum(rank >= 0.85 for _, rank in told) == 3
    assert all(rank >= 0.96 for _, rank in again)


def test_forecasts_that_know_what_tasks_do_to_each_other_are_what_the_record_says(
    study_prints: Callable[..., str],
) -> None:
    printed = study_prints("orders", RESULTS / "together.jsonl")
    assert printed == (RESULTS / "TOGETHER.md").read_text()
    told, energy = pairs_of(printed, 11, 4), pairs_of(printed, 11, 6)
    assert len(told) == 6
    assert min(square for square, _ in told) >= 0.84  # what README and FINDINGS say
    assert [rank for _, rank in told] == [0.88, 0.88, 0.89, 0.91, 0.86, 0.84]
    assert sum(rank for _, rank in told) / 6 >= 0.85
    assert all(better >= worse for (_, better), (_, worse) in zip(told, energy, strict=True))
    [means] = [line.split("|") for line in printed.splitlines() if line.startswith("| mean")]
    assert [cell.split(",")[1].strip() for cell in means[4:7]] == ["0.878", "0.869", "0.856"]


def test_mixtures_of_least_forecast_are_a_little_better_on_average(study_prints: Callable[..., str]) -> None:
    printed = study_prints("report", RESULTS / "told.jsonl", "--reference", "coverage-families", "--mean")
    assert printed == (RESULTS / "TOLD.md").read_text()
    *cells, mean = [line.split("|") for line in printed.splitlines() if line.startswith("| forecast-families")]
    assert len(cells) == 6
    assert max(float(cell[2]) for cell in cells) <= 0.003  # what FINDINGS says
    assert sum(cell[4].split()[2].startswith("-") for cell in cells) == 1
    assert mean[2].strip() == "-0.0084"
    assert mean[3].split() == ["-0.0119", "to", "-0.0049"]
    assert "| uniform | +0.0996 | +0.0873 to +0.1120 |" in printed


def pairs_of(printed: str, bars: int, column: int) -> list[tuple[float, ...]]:
    """A column's pairs of figures, of the rows with so many bars that are about a suite."""
    rows = [line.split("|") for line in printed.splitlines() if line.count("|") == bars]
    return [tuple(map(float, row[column].split(","))) for row in rows if row[1].strip() in SUITES]


def test_a_transfer_that_knows_what_moved_alike_makes_worse_mixtures(study_prints: Callable[..., str]) -> None:
    printed = study_prints("report", RESULTS / "moved.jsonl", "--reference", "coverage-families")
    assert printed == (RESULTS / "MOVED.md").read_text()
    rows = [line.split("|") for line in printed.splitlines() if line.startswith("| coverage-families-moved")]
    assert sum(float(row[4].split(" to ")[0]) > 0.0 for row in rows) == 2  # where tasks interact, as FINDINGS says
    assert sum(float(row[4].split(" to ")[1]) < 0.0 for row in rows) == 0


def test_the_default_is_what_the_confirmation_s_rule_says() -> None:
    """CONFIRMATION.md: all 18 corrected intervals below zero, and the lower mean in at least four cells of six."""
    printed = (RESULTS / "CONFIRMED.md").read_text()
    assert f"intervals: {DEFAULT_MIXTURE} 18," in printed
    lower = int(printed.split(f"{DEFAULT_MIXTURE} has the lower mean in ")[1].split()[0])
    assert lower >= 4


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
