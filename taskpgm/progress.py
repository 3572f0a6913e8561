"""How long work reports how far it is: a function that takes the stage, steps done, steps in all, and a word."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from taskpgm.discretion import without_secrets

Progress: TypeAlias = Callable[[str, int, int, str], None]


def silent(stage: str, done: int, total: int, text: str) -> None:
    """Report nothing."""


class _LogLines:
    """One line whenever the item changes, with the time left judged by the pace since the stage began."""

    def __init__(self) -> None:
        self.stage, self.text, self.start, self.first = "", "", 0.0, 0

    def __call__(self, stage: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.text, self.start, self.first = stage, "", now, done
        if text == self.text:
            return
        self.text = text
        left = (now - self.start) / (done - self.first) * (total - done) if done > self.first else None
        estimate = (
            "" if left is None else f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"
        )
        print(f"{stage}: {done}/{total} {text}{estimate}", file=sys.stderr, flush=True)


class _Notes(logging.Handler):
    """A line for each note, on standard error as it is now: bars are drawn around it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"note: {without_secrets(' '.join(record.getMessage().split()))}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Show what modules tell while they work (damaged files, say) as lines on standard error."""
    logger, handler = logging.getLogger("taskpgm"), _Notes(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def terminal_progress(quiet: bool = False) -> Iterator[Progress]:
    """Progress with the time left, on standard error: bars on a terminal, a line for each new item in a log."""
    if quiet:
        yield silent
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LogLines()
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console) as display:

        def report(stage: str, done: int, total: int, text: str) -> None:
            if stage not in bars:
                bars[stage] = display.add_task(stage, total=total, text=text)
            display.update(bars[stage], completed=done, total=total, text=text)

        yield report
