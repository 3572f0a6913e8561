"""A disk that is full or read-only costs one line, and the folder goes on from there once there is room."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run_folders import call
from tiny import write_config

from taskpgm import workers
from taskpgm.base import save_parts
from taskpgm.config import load_config
from taskpgm.inventory import artefacts
from taskpgm.pipeline import run
from taskpgm.storage import atomic_directory, write_atomic


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tasks and configuration, and a run with room enough in `done`."""
    folder = tmp_path_factory.mktemp("project")
    run(load_config(write_config(folder)), folder / "done")
    return folder


def refused_line(error: str, out: Path) -> str:
    """The last line of what was printed, after it has been found to say what and where."""
    line = error.splitlines()[-1]
    assert line.startswith(f"error: {out}")
    assert line.endswith(". Nothing finished so far is lost.")
    assert ".partial-" not in error
    assert "Traceback" not in error
    return line


def assert_whole(out: Path) -> None:
    assert all(each.damage() is None for each in artefacts(out))
    assert not list(out.rglob(".partial-*"))
    assert not (out / ".lock").exists()


class Filling:
    """The system's calls that need room or permission in a folder, of which the k-th from now on fail."""

    CALLS = (
        (os, "fsync"),
        (os, "replace"),
        (os, "rename"),
        (os, "pwrite"),
        (tempfile, "mkstemp"),
        (tempfile, "mkdtemp"),
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch, allowed: int, number: int = errno.ENOSPC) -> None:
        self.left, self.number, self.patch = allowed, number, monkeypatch
        for module, name in self.CALLS:
            monkeypatch.setattr(module, name, self._counting(getattr(module, name)))

    def _counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise OSError(self.number, os.strerror(self.number))
            return real(*arguments, **more)

        return counted


def attempt(
    project: Path, out: Path, allowed: int, capsys: pytest.CaptureFixture[str], number: int = errno.ENOSPC
) -> bool:
    """Run with room for so many writes; whether that was enough."""
    with pytest.MonkeyPatch.context() as patch:
        Filling(patch, allowed, number)
        code = call(patch, "run", project / "run.yaml", "--out", out)
    error = capsys.readouterr().err
    if code == 0:
        return True
    assert code == 2
    line = error.splitlines()[-1]
    assert line.startswith("error: ")
    assert os.strerror(number) in line
    assert str(out) in line or "the system" in line
    assert ".partial-" not in line
    assert "Traceback" not in error
    if out.exists():
        assert_whole(out)
    return False


def test_with_a_little_more_room_each_time_a_run_ends_with_the_same_bytes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, attempts = project / "little", 0
    while not attempt(project, out, 31 + attempts, capsys):
        attempts += 1
        assert attempts < 20
    assert attempts > 2
    assert (out / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("number", "step"), [(errno.ENOSPC, 1), (errno.EACCES, 8)])
def test_whichever_write_fails_a_run_ends_with_the_same_bytes(
    project: Path, capsys: pytest.CaptureFixture[str], number: int, step: int
) -> None:
    allowed, done = 0, False
    while not done:
        out = project / f"k{number}-{allowed}"
        done = attempt(project, out, allowed, capsys, number)
        if not done:
            run(load_config(project / "run.yaml"), out)
        assert (out / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()
        assert_whole(out)
        allowed += step
    assert allowed > 50


# ------------------------------------------------------------------------------------------------------- a real disk


@pytest.fixture
def disk(project: Path) -> Iterator[Callable[[str], Path]]:
    """A file system in memory, next to the tasks; mounted again with other options by each call."""
    folder = project / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("this machine lets the tests mount no file system")

    def remount(options: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
        return folder

    yield remount
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


def test_a_real_disk_that_is_full_is_one_line_and_loses_nothing(
    project: Path, disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in (64, 96, 160, 256):
        out = disk(f"size={size}k")
        kept = {path: path.stat().st_mtime_ns for path in out.glob("experts/*")}
        assert call(monkeypatch, "run", project / "run.yaml", "--out", out) == 2
        assert "No space left on device" in refused_line(capsys.readouterr().err, out)
        assert_whole(out)
        assert kept.items() <= {path: path.stat().st_mtime_ns for path in out.glob("experts/*")}.items()
    out = disk("size=4m")
    assert len(list(out.glob("experts/*"))) == 3
    assert call(monkeypatch, "run", project / "run.yaml", "--out", out) == 0
    assert (out / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()


def test_a_read_only_disk_is_one_line(
    project: Path, disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = disk("ro")
    assert call(monkeypatch, "run", project / "run.yaml", "--out", out) == 2
    assert "Read-only file system" in refused_line(capsys.readouterr().err, out)


def test_a_file_where_a_folder_should_be_is_one_line(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experts").touch()
    assert call(monkeypatch, "run", project / "run.yaml", "--out", tmp_path) == 2
    assert "experts" in refused_line(capsys.readouterr().err, tmp_path)
    assert call(monkeypatch, "run", project / "run.yaml", "--out", tmp_path / "experts") == 2
    assert "experts" in refused_line(capsys.readouterr().err, tmp_path)


# ------------------------------------------------------------------------------------------------------- single parts


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_what_cannot_be_written_is_named_and_what_was_there_stays(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"before")
    monkeypatch.setattr(os, name, full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomic(path, b"after")
    assert raised.value.filename == str(path)
    with pytest.raises(OSError, match="No space left") as raised, atomic_directory(tmp_path / "d") as folder:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "inner"))
    assert raised.value.filename == str(tmp_path / "d")
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"before"


def full(*arguments: Any, **more: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class Part:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def save_pretrained(self, folder: Path) -> None:
        raise self.error


@pytest.mark.parametrize(
    "message",
    [
        "I/O error: No space left on device (os error 28)",
        'IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })',
    ],
)
def test_errors_of_the_system_inside_others_are_told_from_these(tmp_path: Path, message: str) -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        save_parts(tmp_path, Part(RuntimeError(message)))
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path))
    with pytest.raises(RuntimeError, match="something else"):
        save_parts(tmp_path, Part(RuntimeError("something else")))


def no_room(shared: list[str], item: int, report: Callable[[int], None]) -> None:
    """Fills a disk at the second item, and says which items were begun."""
    with Path(shared[0]).open("a") as stream:
        stream.write(f"{item}\n")
    if item == 1:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/a")


@pytest.mark.parametrize("count", [1, 2])
def test_a_full_disk_ends_all_work_and_not_one_item(tmp_path: Path, count: int) -> None:
    begun = tmp_path / "begun"
    with pytest.raises(OSError, match="No space left on device") as raised:
        workers.do_all(
            no_room, [str(begun)], [0, 1, 2, 3, 4, 5], workers=count, report=lambda *a: None, ended=lambda *a: None
        )
    assert raised.value.filename == "runs/a"
    if count == 1:
        assert begun.read_text().split() == ["0", "1"]
