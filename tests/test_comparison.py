"""Comparisons: known answers are right, wrong methods are found out before they are ranked, best answers come first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from oracles import least_energy, least_pairwise_energy, level_energies
from strategies import random_network

import taskpgm as tp
from taskpgm.comparison import compare, failed_check, known_problems
from taskpgm.inference import METHODS, Answer, Deadline, GreedySelection, Method
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.plots import agreement, comparison_figure, performance_ratios


@pytest.mark.parametrize(("name", "problem", "least"), known_problems(), ids=lambda value: str(value)[:30])
def test_the_known_answers_are_right(name: str, problem: Problem, least: float) -> None:
    if isinstance(problem, PairwiseNetwork):
        oracle = least_pairwise_energy(problem)
    else:
        oracle = least_energy(problem) if isinstance(problem, TaskNetwork) else min(level_energies(problem))
    assert least == pytest.approx(oracle, abs=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_passes_its_check(method: Method) -> None:
    assert failed_check(method) == ""


@dataclass(frozen=True)
class Wrong(Method):
    """Claims to be exact, and deals the quanta to the first tasks."""

    name: ClassVar[str] = "wrong"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        levels = np.minimum.accumulate(problem.maximum)
        while levels.sum() > problem.quanta:
            levels[np.flatnonzero(levels)[-1]] -= 1
        return Answer(levels, bound=problem.energy(levels))


def test_a_wrong_method_is_marked_and_is_no_reference() -> None:
    network = TaskNetwork([0.0, 0.1, 0.5], np.eye(3))
    rows = compare(network.levels(4), [Wrong(), tp.Exhaustive(), tp.SimplexQP()])
    assert [row.verdict.method for row in rows] == ["exhaustive", "wrong", "simplex-qp"]
    assert [row.trusted for row in rows] == [True, False, True]
    assert "above the least energy" in rows[1].reason
    assert not rows[1].as_dict()["proved"]
    assert rows[0].verdict.excess == 0.0
    assert rows[0].verdict.proved
    assert rows[1].verdict.excess > 0.0
    assert rows[2].verdict.status is tp.Status.refused
    for row in rows:
        json.dumps(row.as_dict(), allow_nan=False)


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int:
    from taskpgm import cli

    monkeypatch.setattr("sys.argv", ["taskpgm", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def inputs(folder: Path) -> list[Any]:
    (folder / "S.csv").write_text("task,copy,echo,sort\ncopy,1,0.9,0.1\necho,0.9,1,0.1\nsort,0.1,0.1,1\n")
    (folder / "u.csv").write_text("task,utility\ncopy,0.5\necho,0.5\nsort,0.4\n")
    return ["--similarity", folder / "S.csv", "--utility", folder / "u.csv", "--floor", "0"]


def test_the_command_compares_on_csv_and_on_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = inputs(tmp_path)
    assert run_cli(monkeypatch, "compare", *csv, "--quanta", "6", "--free", "--plot", tmp_path / "plot.png") == 0
    table = capsys.readouterr().out
    assert "6 quanta: methods, best energy first" in table
    assert "free budget, levels 0 to 1: methods" in table
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert run_cli(monkeypatch, "compare", *csv, "--quanta", "6", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["method"] for row in rows} == {method.name for method in METHODS}
    best = [row["energy"] for row in rows if row["proved"] and row["method"] != "simplex-qp"]
    assert len(best) >= 2
    assert best == pytest.approx([best[0]] * len(best))
    enumerated = next(row for row in rows if row["method"] == "exhaustive")
    assert enumerated["ties"] >= 1
    assert enumerated["relative_gap"] < 1e-6
    assert enumerated["memory_bytes"] is None or enumerated["memory_bytes"] >= 0
    (tmp_path / "run").mkdir()
    assert run_cli(monkeypatch, "solve", *csv, "--out", tmp_path / "run" / "mixture.json") == 0
    capsys.readouterr()
    assert run_cli(monkeypatch, "compare", tmp_path / "run", "--quanta", "2", "--cap", "1", "--neighbours", "1") == 0
    shown = capsys.readouterr()
    assert "2 quanta, at most 1 each" in shown.out
    assert "Without 1 weak couplings the energy of a mixture is off by" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quanta", "2"], "give either a run's folder or a file"),
        (["CSV", "--quanta", "9", "--cap", "1"], "levels: at most 3 of 9 quanta fit"),
        (["CSV"], "say into how many parts the budget is cut"),
        (["CSV", "--quanta", "2", "--plot", "picture.bmp"], "plots are written as .png, .svg, .pdf"),
        (["FOLDER", "--quanta", "2"], "holds no mixture.json"),
        (["MODEL", "--quanta", "2"], "is a discrete network already"),
        (["MODEL", "--neighbours", "2"], "--neighbours is for task networks"),
        (["missing.uai"], "missing.uai: no such file"),
    ],
)
def test_the_command_names_what_is_wrong(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "model.uai").write_text("MARKOV\n1\n2\n1\n1 0\n2\n0.5 0.25\n")
    places = {"CSV": inputs(tmp_path), "FOLDER": [tmp_path], "MODEL": [tmp_path / "model.uai"]}
    assert run_cli(monkeypatch, "compare", *(x for each in arguments for x in places.get(each, [each]))) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_model_file_of_others_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.uai").write_text("MARKOV\n2\n2 2\n2\n1 0\n2 0 1\n2\n0.5 0.25\n4\n1 0.5 0.25 0.125\n")
    assert run_cli(monkeypatch, "compare", tmp_path / "model.uai", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    proved = [row["point"] for row in rows if row["proved"]]
    assert len(proved) >= 3
    assert all(point == [0, 0] for point in proved)


def test_what_the_plots_show() -> None:
    problems = {name: random_network(5, seed).levels(4) for name, seed in (("one", 1), ("two", 2))}
    methods = [tp.Exhaustive(), tp.BranchAndBound(), GreedySelection(), tp.SimplexQP(), Wrong()]
    rows = [row for name, problem in problems.items() for row in compare(problem, methods, name=name)]
    fast = performance_ratios(rows, "exhaustive", list(problems))
    other = performance_ratios(rows, "branch-and-bound", list(problems))
    assert np.minimum(fast, other).tolist() == [1.0, 1.0]
    assert np.isinf(performance_ratios(rows, "greedy", list(problems))).all()
    assert np.isinf(performance_ratios(rows, "wrong", list(problems))).all()  # proves what nobody believes
    shares = agreement(rows, ["exhaustive", "branch-and-bound", "simplex-qp"])
    assert shares[0, 1] == shares[1, 0] == shares[0, 0] == 1.0
    assert np.isnan(shares[2]).all()
    figure = comparison_figure(rows)
    titles = [axes.get_title() for axes in figure.axes]
    assert any("Performance profile over 2 problems" in title for title in titles)
    labels = {text.get_text() for axes in figure.axes for text in axes.get_yticklabels()}
    assert {"exhaustive", "branch-and-bound", "greedy", "wrong"} <= labels
    with pytest.raises(tp.InputError, match="nothing to draw"):
        comparison_figure([row for row in rows if row.verdict.method == "simplex-qp"])
