"""The decisions of a run as files: read again, shown as a table, as JSON and as a picture, and refused when damaged."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from simulated_runs import save_decided, told_decisions

import taskpgm as tp
from taskpgm import cli
from taskpgm.decision_plots import decisions_figure, save_decisions
from taskpgm.decisions import Decision, read_decisions
from taskpgm.pictures import LABEL, plot_label

NAMES = ("$x$ \\frac", "_été\n😀", "</script>", "'\"", *(f"task {i}" for i in range(14)))

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def decided() -> tuple[Decision, ...]:
    return told_decisions(NAMES)


@pytest.fixture(scope="module")
def folder(decided: tuple[Decision, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trainer's output folder with them."""
    return save_decided(decided, tmp_path_factory.mktemp("run"))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`taskpgm decisions` in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["taskpgm", "decisions", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_they_are_read_in_the_order_of_their_steps(decided: tuple[Decision, ...], folder: Path) -> None:
    for place in (folder, folder / "mixtures"):
        read = read_decisions(place)
        assert [each.step for each in read] == [12, 24, 36, 48, 60, 72, 84, 96]
        assert [each.as_dict() for each in read] == [each.as_dict() for each in decided]


def test_the_table_tells_step_proof_and_whether_forecasts_were_followed(
    call: Call, folder: Path, decided: tuple[Decision, ...]
) -> None:
    code, printed, error = call(folder)
    assert (code, error) == (0, "")
    rows = [line for line in printed.splitlines() if "optimal" in line]
    assert len(rows) == 8
    lost = [decision for decision in decided if not decision.followed]
    assert 0 < len(lost) < 4
    assert sum("│ no " in row for row in rows) == len(lost)
    assert f"Step {lost[0].step}: forecasts missed" in printed
    assert "The run has 120 steps." in printed
    assert f"{decided[-1].mean:.4g}" in rows[-1]


def test_json_is_one_line_a_decision(call: Call, folder: Path, decided: tuple[Decision, ...]) -> None:
    code, printed, _ = call(folder, "--json")
    assert code == 0
    assert [json.loads(line) for line in printed.splitlines()] == [each.as_dict() for each in decided]
    last = json.loads(printed.splitlines()[-1])
    assert sum(last["weights"].values()) == pytest.approx(1.0)
    assert last["mean"] == pytest.approx(np.mean(list(last["expected"].values())))


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_any_name_can_be_drawn(call: Call, folder: Path, tmp_path: Path, ending: str) -> None:
    code, _, error = call(folder, "--plot", tmp_path / f"picture{ending}")
    assert (code, error) == (0, f"Drawn to {tmp_path / f'picture{ending}'}.\n")
    assert (tmp_path / f"picture{ending}").stat().st_size > 10_000


def test_the_picture_shows_every_weight_and_where_the_prior_was_taken(decided: tuple[Decision, ...]) -> None:
    figure = decisions_figure(decided)
    weights, losses, mean = figure.axes
    stairs = [patch for patch in weights.patches if hasattr(patch, "get_data")]
    assert len(stairs) == 17  # sixteen tasks with a colour of their own, and two others together
    np.testing.assert_allclose(stairs[-1].get_data().values, 1.0)
    hatched = [patch for patch in weights.patches if patch.get_hatch()]
    assert len(hatched) == sum(not each.followed for each in decided)
    assert len(losses.lines) == 32
    np.testing.assert_allclose(mean.lines[0].get_ydata(), [each.mean for each in decided])
    assert len(figure.legends[0].get_texts()) == 17


def test_labels_are_single_lines_and_no_formulas() -> None:
    assert plot_label("a\nb\t c") == "a b c"
    assert plot_label("$x$") == r"\$x\$"
    assert plot_label("_x").lstrip().startswith("_")
    assert not plot_label("_x").startswith("_")
    assert "\ud800" not in plot_label("\ud800")
    assert len(plot_label("y" * 300)) == LABEL


def test_what_is_no_run_with_decisions_is_refused_in_one_line(
    call: Call, folder: Path, tmp_path: Path, decided: tuple[Decision, ...]
) -> None:
    assert call(tmp_path)[2] == (
        f"error: {tmp_path}: no decisions (step-*.json); name the trainer's output folder, or mixtures in it.\n"
    )
    assert "plots are written as" in call(folder, "--plot", "picture.gif")[2]
    network = tp.TaskNetwork(np.zeros(2), np.eye(2), ("a", "b"))
    plain = tp.Mixture.from_solution(network, tp.solve(network, tp.SimplexQP()))
    plain.to_json(tmp_path / "step-4.json")
    assert "a mixture, but no decision of a run" in call(tmp_path)[2]
    told = decided[0].mixture.details["decision"]
    plain.with_details({"decision": told}).to_json(tmp_path / "step-4.json")
    assert "forecasts and weights name different tasks" in call(tmp_path)[2]
    rows = {"a": told["tasks"]["task 1"], "b": told["tasks"]["task 2"]}
    plain.with_details({"decision": told | {"tasks": rows}}).to_json(tmp_path / "step-4.json")
    decided[1].mixture.to_json(tmp_path / "step-24.json")
    assert "other tasks than in step-24.json" in call(tmp_path)[2]
    decided[0].mixture.with_details({"decision": told | {"steps": 99}}).to_json(tmp_path / "step-4.json")
    assert "decisions of runs of 99 and 120 steps" in call(tmp_path)[2]
    (tmp_path / "step-4.json").write_text("{")
    assert "not valid JSON" in call(tmp_path)[2]
    with pytest.raises(tp.InputError, match="plots are written as"):
        save_decisions(decided, tmp_path / "picture.txt")
