"""One process at a time in a run's folder: the second says who is there, or waits; whoever dies lets go."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_folders import call

import taskpgm as tp
from taskpgm.base import Base
from taskpgm.run_lock import LOCK_FILE, holder, locked

HOLD = """
import sys, time
from pathlib import Path
from taskpgm.run_lock import locked
with locked(Path(sys.argv[1]), wait=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.readline()
"""


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A folder, and the process that is at work in it."""
    process = start(tmp_path / "out")
    assert said(process) == "held\n"
    yield tmp_path / "out", process
    process.kill()
    process.communicate()


def test_the_second_is_told_who_is_there(held: tuple[Path, subprocess.Popen[str]]) -> None:
    out, process = held
    with pytest.raises(tp.InputError, match=rf"out: in use by process {process.pid} on .+, since 2\d\d\d-.*Z; wait"):
        locked(out).__enter__()
    found = holder(out)
    assert found is not None
    assert found.pid == process.pid


def test_a_killed_process_lets_go(held: tuple[Path, subprocess.Popen[str]]) -> None:
    out, process = held
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / LOCK_FILE).is_file()
    assert holder(out) is None
    with locked(out):
        assert holder(out) is not None
        with locked(out / "." / ""):  # nests
            pass
        assert holder(out) is not None
    assert not out.exists() or not (out / LOCK_FILE).exists()


def test_who_waits_goes_on_when_the_other_has_ended(held: tuple[Path, subprocess.Popen[str]]) -> None:
    out, first = held
    second = start(out, "wait")
    assert second.stderr is not None
    assert f"waiting for process {first.pid} on" in second.stderr.readline()
    assert second.poll() is None
    first.communicate("\n")
    assert said(second) == "held\n"
    assert second.communicate("\n")[1] == ""
    assert second.returncode == 0


def test_of_many_at_once_one_at_a_time_is_inside(tmp_path: Path) -> None:
    """Each adds one to a number that only a lock keeps right; the lock file comes and goes meanwhile."""
    add = """
import sys, time
from pathlib import Path
from taskpgm.run_lock import locked
out = Path(sys.argv[1])
for _ in range(15):
    with locked(out / "run", wait=True):
        count = int((out / "count").read_text())
        time.sleep(0.002)
        (out / "count").write_text(str(count + 1))
"""
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", add, str(tmp_path)]
    several = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in several] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "45"
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_folder_that_was_there_stays_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with locked(tmp_path / "there"):
        assert [path.name for path in (tmp_path / "there").iterdir()] == [LOCK_FILE]
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "c").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "c", "there"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": null}'])
def test_who_holds_it_may_not_have_said_so_yet(tmp_path: Path, text: str) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK_FILE).write_text(text)
        assert holder(tmp_path) is None


@pytest.mark.parametrize("arguments", [["run", "run.yaml"], ["evaluate", "run.yaml"], ["demo"]])
def test_a_command_in_a_folder_that_is_in_use_is_one_line(
    held: tuple[Path, subprocess.Popen[str]],
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, process = held
    (tmp_path / "run.yaml").write_text("tasks: [a.jsonl, b.jsonl]\nmodel: {name: ./m}\n")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments, "--out", out) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {out}: in use by process {process.pid} on ")
    assert error.count("\n") == 1
    assert os.listdir(out) == [LOCK_FILE]


def test_training_from_python_takes_the_lock_as_well(
    held: tuple[Path, subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskpgm.experts.tokenize_for", lambda *a: ())
    started = time.monotonic()
    with pytest.raises(tp.InputError, match="in use by process"):
        tp.train_experts(tp.demo_suite(seed=0), Base(tmp_path, ""), held[0])
    assert time.monotonic() - started < 5.0


def test_where_there_are_no_locks_it_is_said_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with locked(tmp_path / "out"):
        assert holder(tmp_path / "out") is None
    assert caplog.messages == [
        f"{tmp_path / 'out'}: no lock here (No locks available); have one run at a time in this folder."
    ]
    assert not (tmp_path / "out").exists()


def test_a_lock_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left") as raised, locked(tmp_path / "a" / "out"):
        pass
    assert raised.value.filename == str(tmp_path / "a" / "out" / LOCK_FILE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wait", [False, True])
def test_a_file_or_a_link_to_nowhere_is_no_folder(tmp_path: Path, wait: bool) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "file/inner"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"), locked(tmp_path / name, wait=wait):
            pass
