"""log.jsonl: what happened in a run's folder, a JSON object a line, without secrets, and never in the way."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.progress import notes_on_stderr, silent
from taskpgm.run_directory import run_directory
from taskpgm.run_log import LOG_FILE, RunLog
from taskpgm.stopping import Stopped


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / LOG_FILE).read_text(encoding="utf-8").split("\n")[:-1]]


def work(out: Path, error: BaseException | None = None) -> None:
    with run_directory(out, "run", silent) as progress:
        (out / "file").write_bytes(bytes(100))
        progress("experts", 0, 4, "copy")
        progress("experts", 1, 4, "copy")
        progress("experts", 2, 4, "upper")
        progress("predictions", 0, 1, "base")
        if error is not None:
            raise error


def test_stages_and_items_are_written_with_times_and_sizes(tmp_path: Path) -> None:
    work(tmp_path)
    found = events(tmp_path)
    kinds = ["began", "stage began", "item", "item", "stage ended", "stage began", "item", "stage ended", "ended"]
    assert [each["event"] for each in found] == kinds
    assert all(each["time"].endswith("Z") for each in found)
    assert [each["time"] for each in found] == sorted(each["time"] for each in found)
    assert found[3]["text"] == "upper"
    assert found[4]["stage"] == "experts"
    assert found[4]["seconds"] >= 0.0
    assert found[4]["bytes"] >= 100
    assert found[-1]["result"] == "finished"
    before = (tmp_path / LOG_FILE).read_bytes()
    work(tmp_path)
    assert (tmp_path / LOG_FILE).read_bytes().startswith(before)
    assert len(events(tmp_path)) == 2 * len(kinds)


@pytest.mark.parametrize(
    ("error", "result", "why"),
    [
        (tp.InputError("task 'a':\n diverged"), "failed", "InputError: task 'a':"),
        (Stopped(15), "stopped", "stopped by SIGTERM"),
        (KeyboardInterrupt(), "failed", "KeyboardInterrupt: KeyboardInterrupt"),
    ],
)
def test_how_a_command_ended_is_the_last_line(tmp_path: Path, error: BaseException, result: str, why: str) -> None:
    (tmp_path / ".partial-x").mkdir()
    with pytest.raises(type(error)):
        work(tmp_path, error)
    last = events(tmp_path)[-1]
    assert (last["event"], last["result"], last["why"]) == ("ended", result, why)
    assert not list(tmp_path.glob(".partial-*"))


def test_a_command_that_fails_before_it_does_anything_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(tp.InputError), run_directory(tmp_path / "out", "run", silent):
        raise tp.InputError("bad settings")
    assert not (tmp_path / "out").exists()


def test_notes_are_written_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with notes_on_stderr(), run_directory(tmp_path, "run", silent):
        logging.getLogger("taskpgm.integrity").warning("%s: damaged", "a\nb")
    assert events(tmp_path)[1] == {**events(tmp_path)[1], "event": "note", "level": "warning", "text": "a\nb: damaged"}
    assert capsys.readouterr().err == "note: a b: damaged\n"


def test_secrets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a secret of mine")
    log = RunLog(tmp_path, "run")
    log.write("item", text="https://user:hf_AbCdEfGhIjKlMnOp@hub, a secret of mine, sk-0123456789abc")
    text = (tmp_path / LOG_FILE).read_text()
    for secret in ("AbCdEf", "a secret of mine", "0123456789abc"):
        assert secret not in text
    assert events(tmp_path)[1]["text"] == "https://***@hub, ***, sk-***"


@given(st.text(st.characters()))
def test_any_name_stays_on_its_line(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    out = tmp_path_factory.mktemp("log")
    RunLog(out, "run").watching(silent)("experts", 0, 1, name)
    assert [each["event"] for each in events(out)] == ["began", "stage began", *(["item"] if name else [])]
    assert events(out)[-1].get("text", "") == name


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / LOG_FILE).mkdir()
    work(tmp_path)
    assert [message.split(": ")[1] for message in caplog.messages] == [
        "cannot be written (Is a directory); the run goes on without it."
    ]
