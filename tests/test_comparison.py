"""Comparisons: known answers are right, wrong methods are found out before they are ranked, best answers come first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from oracles import least_energy, level_energies

import taskpgm as tp
from taskpgm.comparison import compare, failed_check, known_problems
from taskpgm.inference import METHODS, Answer, Deadline, Method
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork


@pytest.mark.parametrize(("name", "problem", "least"), known_problems(), ids=lambda value: str(value)[:30])
def test_the_known_answers_are_right(name: str, problem: Problem, least: float) -> None:
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


def test_the_command_compares_on_csv_and_on_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "S.csv").write_text("task,copy,echo,sort\ncopy,1,0.9,0.1\necho,0.9,1,0.1\nsort,0.1,0.1,1\n")
    (tmp_path / "u.csv").write_text("task,utility\ncopy,0.5\necho,0.5\nsort,0.4\n")
    inputs = ["--similarity", tmp_path / "S.csv", "--utility", tmp_path / "u.csv", "--floor", "0"]
    assert run_cli(monkeypatch, "compare", *inputs, "--quanta", "6") == 0
    table = capsys.readouterr().out
    assert "exhaustive" in table
    assert "branch-and-bound" in table
    assert run_cli(monkeypatch, "compare", *inputs, "--quanta", "6", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["method"] for row in rows} == {method.name for method in METHODS}
    best = [row["energy"] for row in rows if row["proved"] and row["method"] != "simplex-qp"]
    assert len(best) >= 2
    assert best == pytest.approx([best[0]] * len(best))
    assert run_cli(monkeypatch, "solve", *inputs, "--out", tmp_path / "m.json") == 0
    assert run_cli(monkeypatch, "compare", "--mixture", tmp_path / "m.json", "--quanta", "2", "--cap", "1") == 0
    capsys.readouterr()
    assert run_cli(monkeypatch, "compare", "--quanta", "2") == 2
    assert "give either --mixture" in capsys.readouterr().err
    assert run_cli(monkeypatch, "compare", *inputs, "--quanta", "9", "--cap", "1") == 2
    assert capsys.readouterr().err.startswith("error: levels: at most 3 of 9 quanta fit")
