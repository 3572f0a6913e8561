"""How long work reports how far it is: a function that takes the stage, steps done, steps in all, and a word."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int, str], None]


def silent(stage: str, done: int, total: int, text: str) -> None:
    """Report nothing."""


@contextlib.contextmanager
def terminal_progress(quiet: bool = False) -> Iterator[Progress]:
    """Progress bars with the time left, on standard error; every stage is one bar."""
    if quiet:
        yield silent
        return
    from rich.console import Console
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
    with Progress(*columns, console=Console(stderr=True)) as display:

        def report(stage: str, done: int, total: int, text: str) -> None:
            if stage not in bars:
                bars[stage] = display.add_task(stage, total=total, text=text)
            display.update(bars[stage], completed=done, total=total, text=text)

        yield report
