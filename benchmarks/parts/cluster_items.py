"""An item for measuring a cluster, in a module that its processes import, and that imports no torch."""

from __future__ import annotations

import os
import time

from taskpgm.executors import Job

NOISE = os.urandom(1 << 20)


def sleep_and_make(job: Job) -> None:
    """Sleep so many seconds, then make a file of so many bytes."""
    seconds, size = job.data
    time.sleep(seconds)
    if job.place is not None:
        with job.place.open("wb") as stream:
            for low in range(0, size, len(NOISE)):
                stream.write(NOISE[: size - low])
