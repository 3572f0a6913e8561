"""Work for the tests of executors: in a module that a process on a cluster can import, and that imports no torch."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskpgm.executors import Job
from taskpgm.types import InputError


def times_two(job: Job) -> int:
    job.report(1)
    number: int = job.data
    return 2 * number


def times_common(job: Job) -> int:
    number: int = job.data * job.common["factor"]
    return number


def slowly(job: Job) -> float:
    """Sleep, and say when it was over."""
    time.sleep(job.data)
    return time.time()


def refuses(job: Job) -> None:
    raise InputError(f"task {job.data!r}: nothing can be done with this.")


def fills_the_disk(job: Job) -> None:
    raise OSError(28, "No space left on device", "/some/where")


def fails(job: Job) -> None:
    raise ZeroDivisionError("a mistake in the program")


def dies(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def copies(job: Job) -> list[str]:
    """Make a folder with a copy of every file of the sources; where these are."""
    assert job.place is not None
    for number, source in enumerate(job.sources):
        for file in source.rglob("*"):
            if file.is_file() and file.name != "SHA256SUMS":
                target = job.place / str(number) / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    return [str(source) for source in job.sources]


def adds(job: Job) -> int:
    """Change a file that is there."""
    assert job.place is not None
    job.place.write_bytes(job.place.read_bytes() + job.data)
    return os.getpid()


def threads(job: Job) -> tuple[int, int]:
    """(threads asked for, torch's)."""
    import torch

    from taskpgm.base import torch_threads

    with torch_threads(job.threads):
        return job.threads, torch.get_num_threads()


def dies_once(work: Any, marker: Path, step: int, job: Job) -> Any:
    """The work of another item, but that the process of the first attempt is killed when so many steps are done."""

    def report(done: int) -> None:
        if done >= step and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)

    return work(replace(job, report=report))
