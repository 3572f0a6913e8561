"""Work for the tests of processes: it has to be in a module that a new process can import."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def work(folder: Path, item: str, report: Callable[[int], None]) -> None:
    """Leave a line in a file of the item's name; die, once or always, or raise, where the name says so."""
    path = folder / item
    with path.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    attempts = len(path.read_text().splitlines())
    report(attempts)
    if item == "dies" or (item == "dies once" and attempts == 1):
        os._exit(7)
    if item == "raises":
        raise ZeroDivisionError("this item raises")
