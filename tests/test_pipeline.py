"""The whole way on tiny models: the same bytes however often it is interrupted, and bad settings found before work."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import write_config

import taskpgm as tp
from taskpgm import cli, pipeline
from taskpgm.config import load_config
from taskpgm.pipeline import run
from taskpgm.problems import load_model


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, three tasks, a configuration, and one finished run in `done`."""
    folder = tmp_path_factory.mktemp("project")
    run(load_config(write_config(folder)), folder / "done")
    return folder


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "taskpgm", *map(str, arguments)]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["taskpgm", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_run_ends_with_a_proved_mixture(project: Path) -> None:
    mixture = tp.Mixture.from_json(project / "done" / "mixture.json")
    assert mixture.status == "optimal"
    assert all(check.passed for check in mixture.verify())
    assert set(mixture.weights) == {"copy", "upper", "reverse"}
    assert min(mixture.weights.values()) >= 0.2 / 3
    settings = mixture.details["settings"]
    assert settings["energy"]["kind"] == "coverage"
    assert settings["energy"]["curves"] == "posterior"
    assert settings["feasible"]["floor"] == 0.2
    assert mixture.sizes is not None
    assert mixture.sizes["copy"].target_tokens == 4 * mixture.sizes["copy"].examples


def test_a_second_start_says_that_nothing_is_left_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("taskpgm.experts.train_tokenised", lambda *a: pytest.fail("trained again"))
    before = (project / "done" / "mixture.json").read_bytes()
    assert call(monkeypatch, "run", project / "run.yaml", "--out", project / "done") == 0
    assert "Nothing left to do" in capsys.readouterr().out
    assert call(monkeypatch, "run", project / "run.yaml", "--out", project / "done", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["computed"] is False
    assert b"</html>" in (project / "done" / "report.html").read_bytes()
    assert (project / "done" / "mixture.json").read_bytes() == before


def test_the_mixture_says_where_its_data_lies_and_follows_it(project: Path, tmp_path: Path) -> None:
    finished = project / "done" / "mixture.json"
    before = finished.read_bytes()
    stored = tp.Mixture.from_json(finished).details["data"]
    assert stored["splits"] == {"probe": 0.15, "eval": 0.15}
    roles = {"prompt": "prompt", "completion": "completion"}
    assert stored["tasks"]["copy"] == {"path": "../tasks/copy.jsonl", "columns": roles}
    shutil.copytree(project, tmp_path / "moved")
    run(load_config(tmp_path / "moved" / "run.yaml"), tmp_path / "moved" / "done")
    assert (tmp_path / "moved" / "done" / "mixture.json").read_bytes() == before
    (tmp_path / "moved" / "tasks" / "copy.jsonl").rename(tmp_path / "copy.jsonl")
    config = load_config(tmp_path / "moved" / "run.yaml")
    source = config.tasks[0].model_copy(update={"path": str(tmp_path / "copy.jsonl")})
    elsewhere = config.model_copy(update={"tasks": (source, *config.tasks[1:])})
    mixture, fresh, _ = run(elsewhere, tmp_path / "moved" / "done")
    assert not fresh
    assert mixture.details["data"]["tasks"]["copy"]["path"] == "../../copy.jsonl"
    again = tp.Mixture.from_json(tmp_path / "moved" / "done" / "mixture.json")
    assert (again.details, again.weights) == (mixture.details, tp.Mixture.from_json(finished).weights)


def test_without_its_last_file_a_run_only_solves_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = project / "done" / "mixture.json"
    before = target.read_bytes()
    target.unlink()
    monkeypatch.setattr("taskpgm.expert_training.fine_tune", lambda *a: pytest.fail("trained again"))
    _, fresh, _ = run(load_config(project / "run.yaml"), project / "done")
    assert fresh
    assert target.read_bytes() == before


def test_a_run_knows_which_tasks_contradict_each_other_and_how_experts_moved(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "tasks" / "copy.jsonl").read_text().splitlines()]
    turned = [json.dumps({**row, "completion": row["completion"][::-1]}) for row in rows]
    (tmp_path / "tasks" / "reverse.jsonl").write_text("\n".join(turned) + "\n")
    mixture, _, _ = run(load_config(config), tmp_path / "run")
    network = tp.Mixture.from_json(tmp_path / "run" / "mixture.json").network
    assert isinstance(network, tp.CoverageNetwork)
    known = network.interplay
    assert known is not None
    assert known.contested is not None
    assert known.movement is not None
    copy, reverse, upper = (network.names.index(name) for name in ("copy", "reverse", "upper"))
    assert known.contested[copy, reverse] > 0.5
    assert known.contested[upper].sum() == known.contested[:, upper].sum() == 0.0
    assert (known.movement > 0.0).sum() > 3
    told = tp.forecast(network, list(mixture.weights.values()))
    assert [mixture.details["forecast"]["tasks"][name]["loss"] for name in network.names] == told.losses.tolist()
    said = [each for each in mixture.details["findings"] if each["kind"] == "contested"]
    assert [each["task"] for each in said] == [name for name in network.names if name != "upper"]
    assert "of its prompts are asked by reverse too, with another answer" in said[0]["text"]


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(project: Path) -> None:
    moments = random.Random(0)
    out = project / "killed"
    kills = 0
    for _ in range(2):
        process = subprocess.Popen(
            command("run", project / "run.yaml", "--out", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_output(out, process)
        time.sleep(moments.uniform(0.0, 1.5))
        if process.poll() is None:
            kills += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills > 0
    subprocess.run(command("run", project / "run.yaml", "--out", out), check=True, capture_output=True)
    assert (out / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()
    assert not list(out.rglob(".partial-*"))


def wait_for_output(out: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run has begun to write, or has ended."""
    before = len(list(out.rglob("*")))
    while process.poll() is None and len(list(out.rglob("*"))) <= before:
        time.sleep(0.05)


def test_the_order_of_the_tasks_does_not_matter(project: Path) -> None:
    config = load_config(project / "run.yaml")
    backwards = config.model_copy(update={"tasks": tuple(reversed(config.tasks))})
    mixture, fresh, _ = run(backwards, project / "done2")
    assert fresh
    original = tp.Mixture.from_json(project / "done" / "mixture.json")
    assert tuple(mixture.weights) == ("reverse", "upper", "copy")
    for name, weight in original.weights.items():
        assert mixture.weights[name] == pytest.approx(weight, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feasible": {"lower": {"nobody": 0.1}}}, "feasible.lower: 'nobody' is not a task"),
        ({"feasible": {"lower": {"copy": 0.7, "upper": 0.6}}}, "'copy' (0.7), 'upper' (0.6)"),
        ({"feasible": {"upper": {"copy": 0.1, "upper": 0.1, "reverse": 0.1}}}, "upper bounds"),
        ({"energy": {"prior": {"copy": 1.0}}}, "energy.prior: no share for task 'upper'"),
        (
            {"energy": {"kind": "pairwise", "utility": "supplied", "supplied": {"x": 1.0}}},
            "energy.supplied: 'x' is not a task",
        ),
        (
            {"energy": {"kind": "pairwise", "utility": "supplied", "supplied": {"copy": 1.0}}},
            "energy.supplied: no value for task 'upper'",
        ),
        ({"model": {"name": "./nowhere"}}, "no such folder"),
        ({"splits": {"probe": 0.001}}, "leave its probe part empty"),
    ],
)
def test_bad_settings_are_found_before_training(
    project: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.symlink(project / "model", tmp_path / "model")
    code = call(monkeypatch, "run", write_config(tmp_path, **changes), "--out", tmp_path / "out")
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_loses_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.symlink(project / "model", tmp_path / "model")
    config, out = write_config(tmp_path), tmp_path / "out"
    real = os.fsync
    written = 0

    def full_after_two_experts(handle: int) -> None:
        nonlocal written
        written += 1
        if len(list(out.glob("experts/[!.]*"))) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(out))
        real(handle)

    monkeypatch.setattr(os, "fsync", full_after_two_experts)
    assert call(monkeypatch, "run", config, "--out", out) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "No space left on device" in error
    assert written > 2
    monkeypatch.setattr(os, "fsync", real)
    assert len(list(out.glob("experts/[!.]*"))) == 2
    run(load_config(config), out)
    assert (out / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()


def test_supplied_utilities_and_bounds_reach_the_mixture(project: Path) -> None:
    changes = {
        "energy": {
            "kind": "pairwise",
            "utility": "supplied",
            "supplied": {"copy": 1.0, "upper": 0.0, "reverse": 0.0},
            "beta": 5.0,
        },
        "feasible": {"floor": 0.0, "upper": {"copy": 0.6}},
        "mixture": {"unit": "examples"},
    }
    config = load_config(write_config(project, **changes))
    write_config(project)
    mixture, _, _ = run(config, project / "done3")
    assert mixture.weights["copy"] == pytest.approx(0.6, abs=1e-12)
    assert mixture.unit == "examples"
    assert sum(mixture.counts(1000).values()) == 1000


def test_another_divergence_reaches_the_mixture_and_says_what_is_unbounded(project: Path) -> None:
    changes = {"energy": {"kind": "pairwise", "divergence": "renyi_jensen", "order": 0.3}, "probes": {"top_k": 8}}
    shutil.copytree(project / "done", project / "renyi")
    config = load_config(write_config(project, **changes))
    write_config(project)
    mixture, fresh, _ = run(config, project / "renyi")
    assert fresh
    assert mixture.status == "optimal"
    assert mixture.details["similarity"] == "exponential(kappa=10) of renyi_jensen"
    lower, upper = mixture.details["divergence_interval"]
    assert lower[0][1] == 0.0
    assert upper[0] == [0.0, None, None]  # nothing bounds it where tokens were pooled
    assert all(check.passed for check in tp.Mixture.from_json(project / "renyi" / "mixture.json").verify())


def test_constraints_of_a_run_reach_the_mixture_with_their_prices(project: Path) -> None:
    """Epochs are counted from the tasks' own sizes."""
    sizes = tp.Mixture.from_json(project / "done" / "mixture.json").sizes
    assert sizes is not None
    budget = 2 * sizes["copy"].tokens
    changes = {
        "energy": {
            "kind": "pairwise",
            "utility": "supplied",
            "supplied": {"copy": 1.0, "upper": 0.0, "reverse": 0.0},
            "beta": 5.0,
        },
        "feasible": {"max_epochs": 0.8, "trust_region": {"within": 0.5, "around": "proportional"}},
        "mixture": {"budget": budget},
    }
    config = load_config(write_config(project, **changes))
    write_config(project)
    mixture, _, _ = run(config, project / "done3")
    assert mixture.weights["copy"] == pytest.approx(0.4, abs=1e-9)
    assert mixture.epochs(budget)["copy"] == pytest.approx(0.8, abs=0.01)
    assert all(check.passed for check in tp.Mixture.from_json(project / "done3" / "mixture.json").verify())
    told = mixture.details["constraints"]
    assert told["binding"][0]["text"].startswith("at most 0.8 epochs of 'copy': one more epoch of 'copy' would lower")
    assert told["without"]["energy"] < mixture.energy


@pytest.mark.parametrize("choose", [{"utility_share": 0.5}, {"nearest_prior": 0.5}])
def test_a_rule_chooses_the_trade_off_of_a_run_and_is_reported(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, choose: dict[str, float]
) -> None:
    supplied = {"copy": 1.0, "upper": 0.0, "reverse": 0.4}
    energy = {"kind": "pairwise", "utility": "supplied", "supplied": supplied, "choose": choose}
    config = write_config(project, energy=energy)
    assert call(monkeypatch, "run", config, "--out", project / "done3") == 0
    write_config(project)
    printed = capsys.readouterr().out
    assert "Chosen by rule: " in printed
    assert "50% of the way" in printed
    mixture = tp.Mixture.from_json(project / "done3" / "mixture.json")
    assert all(check.passed for check in mixture.verify())
    assert mixture.details["choice"]["rule"] == choose
    # from what the rule starts from (diversity alone, or the uniform prior) half of the way to the most
    assert sum(supplied[name] * weight for name, weight in mixture.weights.items()) > 0.5
    with pytest.raises(tp.InputError, match=r"energy.choose.effective_tasks: 4 of 3 tasks"):
        run(
            load_config(write_config(project, energy={"kind": "pairwise", "choose": {"effective_tasks": 4}})),
            project / "done4",
        )
    write_config(project)
    assert not (project / "done4").exists()


def test_the_model_half_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PACKAGES", ("surely-not-installed",))
    from taskpgm.storage import versions

    with pytest.raises(tp.InputError, match=r"surely-not-installed is not installed.*taskpgm\[train\]"):
        versions(*pipeline.PACKAGES)


def test_a_mixture_file_of_another_version_is_made_again(project: Path) -> None:
    config, path = load_config(write_config(project)), project / "done3" / "mixture.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "format": "taskpgm-mixture/1"}))
    assert run(config, project / "done3")[1]
    assert path.read_bytes() == (project / "done" / "mixture.json").read_bytes()


@pytest.mark.parametrize("unit", ["tokens", "examples"])
def test_a_coverage_run_uses_the_same_experts_and_forecasts(
    project: Path, unit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("taskpgm.expert_training.fine_tune", lambda *a: pytest.fail("trained again"))
    config = load_config(project / "run.yaml")
    energy = config.energy.model_copy(update={"kind": "coverage", "target_weights": {"copy": 2.0, "upper": 1.0}})
    amounts = config.mixture.model_copy(update={"unit": unit, "budget": 4000})
    mixture, fresh, _ = run(config.model_copy(update={"energy": energy, "mixture": amounts}), project / "done")
    assert fresh
    assert all(check.passed for check in mixture.verify())
    network = mixture.network
    assert isinstance(network, tp.CoverageNetwork)
    assert network.tau == 0.05
    assert network.target_weights.tolist() == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert mixture.sizes is not None
    per_example = [getattr(mixture.sizes[name], unit) / mixture.sizes[name].examples for name in network.names]
    assert network.lengths.tolist() == pytest.approx(per_example)
    told = mixture.details["forecast"]["tasks"]
    assert all(told[name]["loss"] <= told[name]["start"] for name in network.names)
    assert mixture.details["forecast"]["uniform"] > 0.0
    near = load_model(project / "done")  # what taskpgm compare puts to discrete methods
    assert isinstance(near, tp.TaskNetwork)
    point = list(mixture.weights.values())
    assert near.gradient(point).tolist() == pytest.approx(network.gradient(point).tolist())
    assert call(monkeypatch, "verify", project / "done") == 2  # a folder is no mixture file
    assert call(monkeypatch, "verify", project / "done" / "mixture.json") == 0
    assert "Proved" in capsys.readouterr().out


def test_the_table_of_a_coverage_mixture_shows_forecasts(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from taskpgm.terminal import print_energy, print_mixture

    config = load_config(project / "run.yaml")
    energy = config.energy.model_copy(update={"kind": "coverage"})
    mixture, _, _ = run(config.model_copy(update={"energy": energy}), project / "done")
    print_mixture(mixture)
    print_energy(mixture)
    printed = capsys.readouterr().out
    assert "learns from" in printed
    assert "forecast" in printed
    assert "Forecast by the experts' learning curves for" in printed
    assert "uniform would do better" not in printed  # a forecast near the energy that chose
    worse = {**mixture.details, "forecast": {**mixture.details["forecast"], "uniform": 0.0}}
    print_energy(replace(mixture, details=worse))
    warned = " ".join(capsys.readouterr().out.split())
    assert "uniform would do better" in warned
    assert "It knows more than the energy that chose." in warned
    assert "Certified" in printed
