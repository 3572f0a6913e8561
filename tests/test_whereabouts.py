"""Places of data in a mixture file: they come back from any folder, and move with the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskpgm.whereabouts import found_from, relative_to


@pytest.mark.parametrize("place", ["run/tasks/a.jsonl", "tasks/été 😀.jsonl", "a.jsonl", "../a.jsonl"])
def test_paths_come_back_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    project = tmp_path / "project"
    for folder in ("run/out", "elsewhere"):
        (project / folder).mkdir(parents=True)
    monkeypatch.chdir(project)
    stored = relative_to({"splits": {}, "tasks": {"a": {"path": place, "columns": {"input": "x"}}}}, Path("run/out"))
    project.rename(tmp_path / "moved")
    for folder in ("", "run", "elsewhere", ".."):
        monkeypatch.chdir(tmp_path / "moved" / folder)
        source = found_from(stored, tmp_path / "moved" / "run" / "out")["tasks"]["a"]
        expected = os.path.normpath(tmp_path / "moved" / place)
        assert os.path.normpath(Path.cwd() / source["path"]) == expected
        assert source["columns"] == {"input": "x"}


def test_what_lies_under_another_root_stays_absolute_and_hub_names_stay() -> None:
    origin = {"tasks": {"a": {"path": "/elsewhere/a.jsonl"}, "b": {"hub": "owner/name", "split": "train"}}}
    stored = relative_to(origin, Path("/home/me/runs/a"))
    assert stored == origin
    assert found_from(stored, Path("/home/me/runs/a")) == origin
    assert relative_to({}, Path()) == found_from({}, Path()) == {}
