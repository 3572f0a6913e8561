"""taskpgm status and taskpgm clean: what a run's folder holds, and what of it can go."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import call, flipped
from tiny import write_config

import taskpgm as tp
from taskpgm.config import load_config
from taskpgm.evaluation_run import evaluate_config
from taskpgm.integrity import seal, sealed_damage
from taskpgm.pipeline import run
from taskpgm.run_cleaning import clean, seconds
from taskpgm.run_lock import locked
from taskpgm.run_status import run_status
from taskpgm.storage import size_of
from taskpgm.text_table import in_bytes

DAY = 86400.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and tasks, and in `done` a finished run and evaluation, and three experts of another run."""
    folder = tmp_path_factory.mktemp("project")
    evaluation = {"steps": 2, "mixtures": ["ours", "uniform"], "eval_per_task": 4}
    other = write_config(folder, training={"steps": 2, "batch_size": 2, "warmup_steps": 1})
    run(load_config(other), folder / "done")
    (folder / "done" / "mixture.json").unlink()
    evaluate_config(load_config(write_config(folder, evaluation=evaluation)), folder / "done", seeds=1)
    return folder


@pytest.fixture
def out(project: Path, tmp_path: Path) -> Path:
    """A copy of the folder, of which everything was written forty days ago."""
    shutil.copytree(project / "done", tmp_path / "done")
    age(tmp_path / "done", 40)
    return tmp_path / "done"


def age(folder: Path, days: float) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2, follow_symlinks=False)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path, and what is in the files."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """(exit code, the JSON that the command printed)."""
    code = call(monkeypatch, *arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


# -------------------------------------------------------------------------------------------------------------- status


def test_a_finished_run_is_said_to_be_one(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(out)
    code, found = told(monkeypatch, capsys, "status", out)
    assert code == 0
    assert (found["mixture"], found["evaluation"], found["holder"]) == ("finished", "finished", None)
    assert [(each["name"], each["count"], each["spare"]) for each in found["kinds"]] == [
        ("experts", 6, 3),
        ("predictions", 7, 3),
        ("training_runs", 2, 0),
    ]
    assert found["damaged"] == found["missing"] == []
    assert found["bytes"] == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert call(monkeypatch, "status", out) == 0
    printed = capsys.readouterr().out
    assert "mixture         finished" in printed
    assert "experts         6 (" in printed
    assert ", 3 that nothing finished rests on" in printed
    assert "at work         nobody" in printed
    assert tree(out) == before


def test_what_is_damaged_or_gone_is_named_and_nothing_is_changed(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tp.Mixture.from_json(out / "mixture.json").details
    first, second, third = (out / "experts" / key for key in details["artefacts"]["experts"])
    (first / "config.json").write_bytes(flipped((first / "config.json").read_bytes(), 7))
    (second / "curve.json").unlink()
    shutil.rmtree(third)
    (out / "evaluation.json").write_bytes(b"{ }}")
    (out / ".partial-x").write_bytes(b"123")
    before = tree(out)
    code, found = told(monkeypatch, capsys, "status", out)
    assert code == 1
    assert [each.split(": ")[0] for each in found["damaged"]] == [
        str(out / "evaluation.json"),
        *sorted([str(first / "config.json"), str(second / "curve.json")]),
    ]
    assert found["missing"] == [f"experts/{third.name}"]
    assert (found["partial"], found["partial_bytes"], found["evaluation"]) == (1, 3, "damaged")
    assert call(monkeypatch, "status", out) == 1
    assert f"Damaged: {out / 'evaluation.json'}: damaged; it is made again" in capsys.readouterr().out
    assert tree(out) == before


def test_who_is_at_work_is_named_and_status_needs_no_lock(out: Path) -> None:
    with locked(out):
        found = run_status(out)
    assert found.holder is not None
    assert found.holder.pid == os.getpid()
    assert run_status(out).holder is None


def test_a_mixture_that_no_run_wrote_is_not_called_damaged(out: Path) -> None:
    tp.Mixture.from_json(out / "mixture.json").to_json(out / "mixture.json")
    found = run_status(out)
    assert (found.mixture, found.damaged) == ("without a checksum", ())
    with pytest.raises(tp.InputError, match="without a checksum, so it is not known what it rests on"):
        clean(out, older_than=0.0)


def test_a_folder_without_a_run_is_empty_and_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_status(tmp_path)
    assert (found.mixture, found.kinds, found.bytes) == ("missing", (), 0)
    for arguments in (["status"], ["clean", "--older-than", "1d"]):
        assert call(monkeypatch, *arguments, tmp_path / "none") == 2
        assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: no such folder.\n"


# --------------------------------------------------------------------------------------------------------------- clean


def test_what_nothing_rests_on_goes_and_the_run_is_still_finished(
    project: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "experts" / ".partial-1").mkdir()
    (out / "experts" / ".partial-1" / "half").write_bytes(bytes(10))
    (out / ".partial-2").write_bytes(bytes(5))
    age(out, 40)
    (out / ".partial-3").write_bytes(b"being written")
    before = tree(out)
    code, planned = told(monkeypatch, capsys, "clean", out, "--older-than", "30d", "--dry-run")
    assert code == 0
    assert tree(out) == before
    code, removed = told(monkeypatch, capsys, "clean", out, "--older-than", "30d")
    assert code == 0
    assert [row["path"] for row in removed["removed"]] == [row["path"] for row in planned["removed"]]
    kinds = [row["kind"] for row in removed["removed"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {"leftover": 2, "experts": 3, "predictions": 3}
    gone = set(before) - set(tree(out))
    assert removed["bytes"] == sum(len(before[path] or b"") for path in gone)
    assert (out / ".partial-3").is_file()
    assert [kind.spare for kind in run_status(out).kinds] == [0, 0, 0]
    assert len(list((out / "predictions").iterdir())) == 4
    monkeypatch.setattr("taskpgm.experts.train_tokenised", lambda *a: pytest.fail("trained again"))
    assert not run(load_config(project / "run.yaml"), out)[1]


def test_what_is_younger_stays(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(out)
    assert call(monkeypatch, "clean", out, "--older-than", "41d") == 0
    assert capsys.readouterr().out == "Removed 0 in all, 0 B.\n"
    assert tree(out) == before


def test_an_unfinished_run_keeps_what_is_young_and_nothing_else(out: Path) -> None:
    (out / "mixture.json").unlink()
    young = sorted((out / "experts").iterdir())[0]
    os.utime(young / "config.json")
    clean(out, older_than=30 * DAY)
    assert list((out / "experts").iterdir()) == [young]
    assert not (out / "predictions").exists() or not list((out / "predictions").iterdir())
    assert len(list((out / "training_runs").iterdir())) == 2  # the evaluation rests on them


def test_links_are_neither_followed_nor_removed(out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(out, outside)
    (outside / ".partial-theirs").mkdir()
    inside = next(path for path in (out / "experts").iterdir() if path.name not in kept(out))
    (inside / "link").symlink_to(outside / "experts")
    (out / "experts" / "linked").symlink_to(outside / "experts" / inside.name)
    (out / "predictions" / "linked").symlink_to(outside / "predictions")
    (out / ".partial-link").symlink_to(outside)
    shutil.rmtree(out / "training_runs")
    (out / "training_runs").symlink_to(outside / "training_runs")
    (out / "elsewhere").symlink_to(outside)
    (out / "notes.txt").write_text("mine")
    age(out, 40)
    before = tree(outside)
    removed = clean(out, older_than=30 * DAY)
    assert {each.path.resolve().is_relative_to(out.resolve()) for each in removed} == {True}
    assert inside in [each.path for each in removed]
    assert tree(outside) == before
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "experts" / "linked").is_symlink()
    assert (out / ".partial-link").is_symlink()


def kept(out: Path) -> list[str]:
    return list(tp.Mixture.from_json(out / "mixture.json").details["artefacts"]["experts"])


@pytest.mark.parametrize("name", ["mixture.json", "evaluation.json"])
def test_where_it_is_not_known_what_is_needed_nothing_goes(
    out: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / name).write_bytes(flipped((out / name).read_bytes(), 50))
    before = tree(out)
    assert call(monkeypatch, "clean", out, "--older-than", "0s") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {out / name}: damaged, so it is not known what it rests on")
    assert error.count("\n") == 1
    (out / "mixture.json").write_bytes(seal({"format": "taskpgm-mixture/1"}))
    assert sealed_damage(out / "mixture.json") is None
    assert call(monkeypatch, "clean", out, "--older-than", "0s") == 2
    assert tree(out).keys() == before.keys()


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 days", "1e3d", "d30", "٣d", "1" * 400 + "d"])
def test_an_age_that_is_none_is_one_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "clean", tmp_path, f"--older-than={text}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --older-than")
    assert error.endswith("as in 30d.\n")


@given(st.integers(0, 10**9 - 1), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)]))
def test_an_age_is_a_number_and_a_unit(number: int, unit: tuple[str, int]) -> None:
    assert seconds(f"{number}{unit[0]}") == number * unit[1]
    assert seconds(f"{number}.5{unit[0]}") == (number + 0.5) * unit[1]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB")]
)
def test_amounts_of_bytes_are_readable(count: int, text: str) -> None:
    assert in_bytes(count) == text


def test_the_size_of_a_folder_counts_no_link(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(7))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "file")
    assert size_of(tmp_path) == size_of(tmp_path / "a") == size_of(tmp_path / "a" / "file") == 7
    assert size_of(tmp_path / "link" / "none") == 0
