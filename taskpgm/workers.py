"""Items of work spread over processes of their own: a process that dies costs one attempt, not the rest.

    failed = do_all(work, shared, items, workers=2, report=print, ended=print)     # {index: why}

`work(shared, item, report)` is a function of a module; what it makes it leaves on disk. An item that raises is not
tried again; an item whose process dies is tried once more in a new one.
"""

from __future__ import annotations

import errno
import multiprocessing
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeAlias

from taskpgm.stopping import without_interrupts
from taskpgm.storage import first_line
from taskpgm.types import InputError

Work: TypeAlias = Callable[[Any, Any, Callable[[int], None]], None]
ATTEMPTS = 2
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def do_all(
    work: Work,
    shared: Any,
    items: Sequence[Any],
    *,
    workers: int,
    report: Callable[[int, int], None],
    ended: Callable[[int], None],
) -> dict[int, str]:
    """Do all items, in up to `workers` new processes at a time; with one worker, in this process.

    Args:
        work: does one item, and calls its third argument with how far it is.
        shared: what every item needs; sent to each process once.
        items: begun in this order.
        workers: at least 1.
        report: called with an item's index and what its work reported.
        ended: called with the index of each item that has ended, well or not.

    Returns:
        Why items failed, by index.

    Raises:
        OSError: a disk is full or read-only; no further item is begun.
    """
    if min(workers, len(items)) > 1:
        return _Crew(work, shared, items, report, ended).run(min(workers, len(items)))
    failed = {}
    for index, item in enumerate(items):
        error = _attempt(work, shared, item, partial(report, index))
        if error is not None:
            failed[index] = error
        ended(index)
    return failed


@dataclass
class _Worker:
    """A process, our end of its pipe, and the index of the item that it works on (None: idle)."""

    process: SpawnProcess
    pipe: Connection
    index: int | None = None


class _Crew:
    """Processes that take items until none is left."""

    def __init__(
        self,
        work: Work,
        shared: Any,
        items: Sequence[Any],
        report: Callable[[int, int], None],
        ended: Callable[[int], None],
    ) -> None:
        self.work, self.shared, self.items, self.report, self.ended = work, shared, items, report, ended
        self.todo = deque(range(len(items)))
        self.attempts = [0] * len(items)
        self.failed: dict[int, str] = {}
        self.workers: list[_Worker] = []

    def run(self, size: int) -> dict[int, str]:
        try:
            for _ in range(size):
                self._hire()
            while busy := [worker for worker in self.workers if worker.index is not None]:
                ready = wait([worker.pipe for worker in busy])
                for worker in (worker for worker in busy if worker.pipe in ready):
                    self._hear(worker)
        finally:
            for worker in self.workers:
                _dismiss(worker)
        return self.failed

    def _hire(self) -> None:
        """A new process with an item to do, if one is left."""
        if self.todo:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
            with without_interrupts():
                process.start()
            theirs.close()  # so that its death ends the pipe
            worker = _Worker(process, ours)
            self.workers.append(worker)
            self._send(worker, self.shared)
            self._give(worker)

    def _give(self, worker: _Worker) -> None:
        worker.index = self.todo.popleft() if self.todo else None
        if worker.index is not None:
            self.attempts[worker.index] += 1
            self._send(worker, self.items[worker.index])

    def _send(self, worker: _Worker, value: Any) -> None:
        try:
            worker.pipe.send(value)
        except OSError:  # it is dead, which reading from it will tell
            return

    def _hear(self, worker: _Worker) -> None:
        assert worker.index is not None
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):
            self._lose(worker, worker.index)
            return
        if kind == "report":
            self.report(worker.index, value)
            return
        if kind == "full":
            raise OSError(*value)
        if value is not None:
            self.failed[worker.index] = value
        self.ended(worker.index)
        self._give(worker)

    def _lose(self, worker: _Worker, index: int) -> None:
        """A process died: its item goes first, or is given up."""
        self.workers.remove(worker)
        _dismiss(worker)
        if self.attempts[index] < ATTEMPTS:
            self.todo.appendleft(index)
        else:
            code = worker.process.exitcode
            self.failed[index] = f"its process died {ATTEMPTS} times (exit code {code}); is there enough memory?"
            self.ended(index)
        self._hire()


def _dismiss(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join()


def _serve(pipe: Connection, work: Work) -> None:
    """The life of a process: what is shared, then items until the pipe ends."""
    try:
        shared = pipe.recv()
        while True:
            item = pipe.recv()
            try:
                error = _attempt(work, shared, item, lambda value: pipe.send(("report", value)))
            except OSError as full:
                pipe.send(("full", (full.errno, full.strerror, full.filename)))
                return
            pipe.send(("ended", error))
    except (EOFError, OSError, KeyboardInterrupt):  # the other side is gone, or the user stops both
        return


def _attempt(work: Work, shared: Any, item: Any, report: Callable[[int], None]) -> str | None:
    """Why the item failed, or None.

    Raises:
        OSError: there is no room for what it makes, nor for what the others make.
    """
    try:
        work(shared, item, report)
    except InputError as error:
        return str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        return f"{type(error).__name__}: {first_line(error)}"
    return None
