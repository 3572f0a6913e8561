"""What happened in a run's folder and when, in its log.jsonl: one JSON object a line, each run's after the last one's.

    {"event": "began", "time": "2026-01-01T10:00:00.000Z", "command": "run", "pid": 4711, ...}
    {"event": "stage ended", "time": ..., "stage": "experts", "seconds": 61.2, "bytes": 1048576}

Events are "began", "stage began", "item" (what a stage turned to, so many seconds after it began), "stage ended",
"note" and "ended", with "result" finished, stopped or failed. What looks like an access token is left out. Nothing
else rests on the log: where it cannot be written the run goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taskpgm import __version__
from taskpgm.discretion import without_secrets
from taskpgm.progress import Progress
from taskpgm.stopping import Stopped, lost_signals_heard, stop_if_asked
from taskpgm.storage import first_line, size_of

LOG_FILE = "log.jsonl"
PACKAGE = logging.getLogger("taskpgm")
_log = logging.getLogger(__name__)


class RunLog:
    """The log of one command in a run's folder. Nothing is written before there is something to tell."""

    def __init__(self, out: Path, command: str) -> None:
        self.out, self.path = out, out / LOG_FILE
        self.start = time.monotonic()
        self.opening: dict[str, Any] | None = {
            "event": "began",
            "time": _now(),
            "command": command,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "taskpgm": __version__,
        }
        self.broken = False
        self.stage, self.item, self.stage_start = "", "", self.start

    def watching(self, progress: Progress) -> Progress:
        """The same progress, its stages and items written down; and the place where a lost signal is heard."""

        def report(stage: str, done: int, total: int, text: str) -> None:
            stop_if_asked()
            self._follow(stage, done, total, text)
            progress(stage, done, total, text)

        return report

    @contextlib.contextmanager
    def command(self) -> Iterator[None]:
        """The time of the command: its notes are written down, and how it ends."""
        handler = _NoteHandler(self)
        unheard = logging.lastResort if not PACKAGE.hasHandlers() else None
        handlers = [each for each in (handler, unheard) if each is not None]  # else our own would silence the notes
        for each in handlers:
            PACKAGE.addHandler(each)
        try:
            with lost_signals_heard():
                yield
        except Stopped as stop:
            self._end("stopped", str(stop))
            raise
        except BaseException as error:
            self._end("failed", f"{type(error).__name__}: {first_line(error)}")
            raise
        finally:
            for each in handlers:
                PACKAGE.removeHandler(each)
        self._end("finished")

    def write(self, event: str, **fields: Any) -> None:
        """Add an event; the first one comes after the line that says what began."""
        lines = [] if self.opening is None else [self.opening]
        self.opening = None
        self._append([*lines, {"event": event, "time": _now(), **fields}])

    def _follow(self, stage: str, done: int, total: int, text: str) -> None:
        if stage != self.stage:
            self._end_stage()
            self.stage, self.item, self.stage_start = stage, "", time.monotonic()
            self.write("stage began", stage=stage, done=done, total=total)
        if text != self.item:
            self.item = text
            self.write("item", stage=stage, done=done, total=total, text=text, seconds=_since(self.stage_start))

    def _end_stage(self) -> None:
        if self.stage:
            self.write("stage ended", stage=self.stage, seconds=_since(self.stage_start), bytes=size_of(self.out))

    def _end(self, result: str, why: str | None = None) -> None:
        """A command that failed before it did anything leaves no log."""
        if result == "failed" and self.opening is not None:
            return
        if result == "finished":
            self._end_stage()
        told = {} if why is None else {"why": why}
        self.write("ended", result=result, seconds=_since(self.start), bytes=size_of(self.out), **told)

    def _append(self, events: list[dict[str, Any]]) -> None:
        """Add lines, each in one go. A log that cannot be written is said to be so once."""
        if self.broken:
            return
        data = "".join(f"{without_secrets(json.dumps(event))}\n" for event in events)
        try:
            with self.path.open("ab", buffering=0) as stream:
                stream.write(data.encode("ascii"))
        except OSError as error:
            self.broken = True
            _log.warning("%s: cannot be written (%s); the run goes on without it.", self.path, error.strerror)


class _NoteHandler(logging.Handler):
    """Our modules' warnings, as notes in the log."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.write("note", level=record.levelname.lower(), text=record.getMessage())


def _now() -> str:
    return f"{datetime.now(UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _since(start: float) -> float:
    """Seconds, to the millisecond."""
    return round(time.monotonic() - start, 3)
