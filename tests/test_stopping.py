"""Signals end a command within seconds, with one line and a folder that the same command goes on from."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import write_config

from taskpgm.config import load_config
from taskpgm.inventory import artefacts
from taskpgm.pipeline import run
from taskpgm.run_log import RunLog
from taskpgm.stopping import Stopped, stop_if_asked, stopping_cleanly

LINE = "Stopped. The same command goes on from here."
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SECONDS = 10.0  # within which a command has ended, on a machine that is busy with other tests


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tasks and configuration, and one run in `done` that nobody interrupted."""
    folder = tmp_path_factory.mktemp("project")
    config = write_config(folder, evaluation={"steps": 60, "mixtures": ["ours", "uniform", "sqrt"], "eval_per_task": 4})
    run(load_config(config), folder / "done")
    return folder


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """The program as the leader of a session of its own."""
    command = [sys.executable, "-m", "taskpgm", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def signalled(number: signal.Signals) -> None:
    """Send this process a signal, and wait for it."""
    os.kill(os.getpid(), number)
    time.sleep(5.0)


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not there():
        time.sleep(0.02)


def stopped(process: subprocess.Popen[str], number: signal.Signals, whole_group: bool = False) -> str:
    """Send a signal; the text on standard error of the command that it ended."""
    started = time.monotonic()
    os.killpg(process.pid, number) if whole_group else process.send_signal(number)
    error = process.communicate()[1]
    assert process.returncode == CODES[number], error
    assert time.monotonic() - started < SECONDS
    assert "Traceback" not in error
    assert error.splitlines()[-1] == LINE
    assert error.count(LINE) == 1
    return error


def assert_resumable(out: Path) -> None:
    """Nothing that is there is half-written or held by anybody."""
    assert not list(out.rglob(".partial-*"))
    assert not (out / ".lock").exists()
    assert all(each.damage() is None for each in artefacts(out))


@pytest.mark.parametrize("number", CODES)
def test_a_signal_is_raised_in_the_block_and_nowhere_else(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as raised, stopping_cleanly():
        signalled(number)
    assert raised.value.exit_code == CODES[number]
    assert signal.getsignal(number) is before
    stop_if_asked()


def test_a_signal_whose_exception_is_lost_is_heard_at_the_next_report() -> None:
    with stopping_cleanly():
        stop_if_asked()
        with contextlib.suppress(BaseException):  # as destructors do
            signalled(signal.SIGTERM)
        with pytest.raises(Stopped):
            stop_if_asked()


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_cleanly():
            os.kill(os.getpid(), signal.SIGINT)
            stop_if_asked()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_is_terminated_goes_on_from_there(project: Path) -> None:
    out = project / "terminated"
    process = start("run", project / "run.yaml", "--out", out)
    wait_until(lambda: any(out.glob("experts/[!.]*")), process)
    stopped(process, signal.SIGTERM)
    assert_resumable(out)
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert (events[0]["event"], events[0]["command"]) == ("began", "run")
    assert (events[-1]["event"], events[-1]["result"], events[-1]["why"]) == ("ended", "stopped", "stopped by SIGTERM")
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("experts/*")}
    assert kept
    run(load_config(project / "run.yaml"), out)
    assert (out / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("experts/*") if path.name in kept} == kept


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_stopped_at_random_moments_a_run_ends_with_the_same_bytes(project: Path, number: signal.Signals) -> None:
    moments, out, stops = random.Random(int(number)), project / f"random{int(number)}", 0
    for _ in range(6):
        process = start("run", project / "run.yaml", "--out", out)
        wait_until(lambda: (out / ".lock").exists(), process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.0, 6.0))
        if process.poll() is None:
            stopped(process, number)
            stops += 1
        assert_resumable(out)
        if process.returncode == 0:
            (out / "mixture.json").unlink()
    assert stops >= 3
    ended = start("run", project / "run.yaml", "--out", out)
    assert ended.communicate()[1] is not None
    assert ended.returncode == 0
    assert (out / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
@pytest.mark.parametrize("after", [0.3, 4.0, 8.0])
def test_the_worker_processes_of_an_evaluation_end_with_it(
    project: Path, number: signal.Signals, whole_group: bool, after: float
) -> None:
    """A terminal sends its SIGINT to the workers as well, and they say nothing."""
    out = project / f"jobs{int(number)}-{after}"
    process = start("evaluate", project / "run.yaml", "--seeds", "4", "--jobs", "2", "--out", out)
    wait_until(lambda: len(in_session(process.pid)) >= 3, process)
    time.sleep(after)
    assert process.poll() is None
    stopped(process, number, whole_group)
    deadline = time.monotonic() + SECONDS
    while in_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert in_session(process.pid) == []
    assert_resumable(out)


def in_session(session: int) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, own, *_ = status.read_text().rpartition(")")[2].split()
            if int(own) == session and state != "Z":
                found.append(int(status.parent.name))
    return found


def _mistaken(number: signal.Signals | None, out: Path) -> None:
    """Libraries whose extensions are being imported turn whatever is raised there into an error of theirs."""
    out.mkdir()
    log = RunLog(out, "run")
    with stopping_cleanly(), log.command():
        log.write("stage began")
        try:
            if number is not None:
                signalled(number)
        finally:
            raise ImportError("initialization failed")


@pytest.mark.parametrize("number", CODES)
def test_a_signal_that_became_another_error_is_still_a_stop(number: signal.Signals, tmp_path: Path) -> None:
    with pytest.raises(Stopped) as stop:
        _mistaken(number, tmp_path / "stopped")
    assert stop.value.exit_code == CODES[number]
    with pytest.raises(ImportError):
        _mistaken(None, tmp_path / "failed")
    for ended in ("stopped", "failed"):
        assert json.loads((tmp_path / ended / "log.jsonl").read_text().splitlines()[-1])["result"] == ended
