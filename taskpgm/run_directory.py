"""A command at work in a run's folder: it alone, its steps in the log, and what it leaves unfinished cleared away.

with run_directory(Path("runs/a"), "run", progress) as progress:
    ...                                 # report to this progress
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from taskpgm.one_process import check_one_process
from taskpgm.progress import Progress
from taskpgm.run_lock import locked
from taskpgm.run_log import RunLog
from taskpgm.storage import remove_partial


@contextlib.contextmanager
def run_directory(out: Path, command: str, progress: Progress, *, wait: bool = False) -> Iterator[Progress]:
    """Work in a run's folder.

    Args:
        out: the folder; made where it is not there.
        command: its name, for the log.
        progress: told everything that the progress in the block is told.
        wait: for another process that is at work there, instead of an error.

    Raises:
        InputError: another process is at work there, or a launcher has started several of us.
    """
    check_one_process()
    with locked(out, wait=wait):
        log = RunLog(out, command)
        try:
            with log.command():
                yield log.watching(progress)
        except BaseException:
            remove_partial(out)
            raise
