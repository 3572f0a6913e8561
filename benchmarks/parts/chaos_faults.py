"""What can happen to a run: each fault in a function, and what its meeting with the run came to."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from taskpgm.inventory import artefacts
from taskpgm.storage import file_hash

Sound = frozenset[tuple[str, str]]
PROGRAM = [sys.executable, "-m", "taskpgm"]
JUMPING = """
import random, sys, time
from taskpgm import cli
real, source = time.time, random.Random(int(sys.argv.pop(1)))
time.time = lambda: real() + source.choice((0.0, -1e9, 3e8, 1e5, -7200.0))
cli.main()
"""
YEARS = 3.0e8  # seconds, about ten of them
DISK = 64_000_000  # bytes of the small disk, many times what the run needs
LONGEST = 600.0  # seconds of a command
MOMENT = 1.0  # seconds at most between the file that a signal waits for and the signal
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's own processes: where one dies, Ray ends its whole node and the driver with it, before ours could say a word."""


@dataclass
class Ground:
    """Where it happens. out: the run's folder. files, size: what the undisturbed run writes: how many, and bytes."""

    config: Path
    out: Path
    random: random.Random
    files: int = 0
    size: int = 0


@dataclass(frozen=True)
class Attempt:
    """What came of a command.

    damaged: beginnings of the paths that the fault itself damaged, within the folder. met: the fault came while the
    command was at work.
    """

    what: str
    code: int
    errors: str
    damaged: tuple[str, ...] = ()
    met: bool = True


@dataclass(frozen=True)
class Fault:
    """codes: what a command that meets it may end with. at_work: only a run with work left can meet it."""

    happen: Callable[[Ground], Attempt]
    codes: tuple[int, ...]
    at_work: bool = False


def sound(out: Path) -> Sound:
    """Every artefact of a run's folder that is whole: its path within the folder, and the hash of all its bytes."""
    found = set()
    for each in artefacts(out):
        if each.damage() is None:
            files = sorted(path for path in each.path.rglob("*") if path.is_file()) or [each.path]
            found.add((str(each.path.relative_to(out)), "".join(map(file_hash, files))))
    return frozenset(found)


def sizes(out: Path) -> dict[Path, int]:
    """In bytes, of every file, also while a run writes: what vanishes meanwhile is left out."""
    found = {}
    for folder, _, names in os.walk(out):
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                found[path] = path.stat().st_size
    return found


def finish(ground: Ground) -> Attempt:
    """The command, undisturbed."""
    return ended(started(ground), "undisturbed")


def started(ground: Ground, *more: str, program: list[str] | None = None) -> subprocess.Popen[str]:
    command = [*(program or PROGRAM), "run", str(ground.config), "--out", str(ground.out), *more]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def ended(
    process: subprocess.Popen[str], what: str, damaged: tuple[str, ...] = (), *, met: bool | None = None
) -> Attempt:
    """Once it has. met: unless it is given, whether the command could not do its work."""
    try:
        _, errors = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return Attempt(what, -1, f"still running after {LONGEST:.0f} s", damaged)
    return Attempt(what, process.returncode, errors, damaged, process.returncode != 0 if met is None else met)


# ------------------------------------------------------------------------------------------------------- signals, time


def killed(ground: Ground) -> Attempt:
    return _signalled(ground, signal.SIGKILL)


def terminated(ground: Ground) -> Attempt:
    return _signalled(ground, signal.SIGTERM)


def interrupted(ground: Ground) -> Attempt:
    return _signalled(ground, signal.SIGINT)


def _signalled(ground: Ground, number: signal.Signals) -> Attempt:
    process, more = _at_work(ground)
    moment = ground.random.uniform(0.0, MOMENT)
    _wait(process, moment)
    met = process.poll() is None
    if met:
        os.killpg(process.pid, number)
    return ended(process, f"{number.name} {moment:.2f} s after {more} more files", met=met)


def _at_work(ground: Ground, *words: str) -> tuple[subprocess.Popen[str], int]:
    """A run, once it has written so many files more than were there."""
    there = len(_files(ground.out))
    more = ground.random.randrange(max(1, ground.files - there))
    process, end = started(ground, *words), time.monotonic() + LONGEST
    while process.poll() is None and len(_files(ground.out)) < there + more and time.monotonic() < end:
        time.sleep(0.01)
    return process, more


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def clock_jumps(ground: Ground) -> Attempt:
    """While it runs, the time is years off every other moment; and files are as old as the chance will have it."""
    for path in sorted(ground.out.rglob("*")):
        if path.is_file() and ground.random.random() < 0.5:
            then = time.time() + ground.random.uniform(-YEARS, YEARS)
            os.utime(path, (then, then))
    seed = str(ground.random.randrange(1000))
    return ended(started(ground, program=[sys.executable, "-c", JUMPING, seed]), "the clock jumps", met=True)


def two_at_once(ground: Ground) -> Attempt:
    """A second command in the same folder while the first is at work: one of them says so, the other goes on."""
    first, second = started(ground), started(ground)
    attempts = [ended(first, "first"), ended(second, "second")]
    errors = "".join(each.errors for each in attempts)
    code = max(each.code for each in attempts)
    return Attempt("two at once", code, errors, met=code != 0)


# --------------------------------------------------------------------------------------------------------------- files


def flipped(ground: Ground) -> Attempt:
    def flip(data: bytes) -> bytes:
        place, bit = ground.random.randrange(len(data)), ground.random.randrange(8)
        return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]

    return _changed(ground, "a flipped bit", flip)


def cut(ground: Ground) -> Attempt:
    return _changed(ground, "cut off", lambda data: data[: ground.random.randrange(len(data))])


def gone(ground: Ground) -> Attempt:
    return _changed(ground, "gone", lambda data: None)


def _changed(ground: Ground, what: str, change: Callable[[bytes], bytes | None]) -> Attempt:
    """Something happens to one file between two runs, and the next run meets it."""
    if not _files(ground.out):
        finish(ground)
    path = ground.random.choice(_files(ground.out))
    data = change(path.read_bytes())
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    parts = path.relative_to(ground.out).parts
    damaged = "/".join(parts if parts[0] in ("predictions", "training_runs") else parts[:2])
    return ended(started(ground), f"{what}: {path.name}", (damaged,), met=True)


def _files(out: Path) -> list[Path]:
    return [path for path, size in sorted(sizes(out).items()) if size > 0]


# ---------------------------------------------------------------------------------------------------------------- disk


def full_disk(ground: Ground) -> Attempt:
    """A ballast leaves room for a part of what the run writes."""
    room = int(ground.random.uniform(0.0, 1.0) * ground.size)
    ballast = ground.out.parent / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(ground.out.parent)
        file.write(b"\0" * max(0, free.f_bavail * free.f_frsize - room))
    try:
        return ended(started(ground), f"room for {room // 1000} kB")
    finally:
        ballast.unlink()


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system in memory, where that may be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


# ----------------------------------------------------------------------------------------------------------------- Ray


def dead_worker(ground: Ground) -> Attempt:
    """One of Ray's workers is killed while it works for the run."""
    process, more = _at_work(ground, "--on", "ray")
    end, victim = time.monotonic() + LONGEST, None
    while process.poll() is None and victim is None and time.monotonic() < end:
        victim = _worker_of(process.pid)
    what = f"a Ray worker is killed after {more} more files"
    if victim is None:
        return ended(process, f"{what}: none was seen", met=False)
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return ended(process, f"{what}: it was done before", met=False)
    return ended(process, what, met=True)


def _worker_of(driver: int) -> int | None:
    """A process that descends from the driver and works on one of Ray's tasks."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    for pid, _, command in rows:
        if command.startswith("ray::") and not command.startswith(("ray::IDLE", *AGENTS)):
            above = int(pid)
            while above not in (driver, 0, 1):
                above = parents.get(above, 0)
            if above == driver:
                return int(pid)
    return None


FAULTS: dict[str, Fault] = {
    "killed": Fault(killed, (0, -signal.SIGKILL), at_work=True),
    "terminated": Fault(terminated, (0, 143, -signal.SIGTERM), at_work=True),
    "interrupted": Fault(interrupted, (0, 130, -signal.SIGINT), at_work=True),
    "flipped": Fault(flipped, (0,)),
    "cut": Fault(cut, (0,)),
    "gone": Fault(gone, (0,)),
    "full disk": Fault(full_disk, (0, 2), at_work=True),
    "clock": Fault(clock_jumps, (0,)),
    "two at once": Fault(two_at_once, (0, 2)),
    "dead worker": Fault(dead_worker, (0,), at_work=True),
}


def usable(say: Callable[[str], None]) -> list[str]:
    """The faults that can be made to happen here."""
    missing = {}
    if os.geteuid() != 0:
        missing["full disk"] = "mounting a small disk takes root"
    if importlib.util.find_spec("ray") is None:
        missing["dead worker"] = "Ray is not installed"
    for name, reason in missing.items():
        say(f"left out: {name} ({reason})")
    return [name for name in FAULTS if name not in missing]
