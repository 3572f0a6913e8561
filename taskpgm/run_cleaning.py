"""Makes room in a run's folder: leftovers of killed processes, and artefacts that nothing finished there rests on.

    clean(Path("runs/a"), older_than=seconds("30d"), dry_run=True)

Nothing outside the folder is touched: links are neither followed nor removed. Whatever goes can be computed again.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taskpgm.evaluation_file import EVALUATION_FILE
from taskpgm.inventory import artefacts
from taskpgm.problems import MIXTURE_FILE
from taskpgm.run_lock import locked
from taskpgm.run_status import FINISHED, MISSING, file_state, known_references
from taskpgm.storage import partial_paths, size_of
from taskpgm.types import InputError

LEFTOVER = "leftover"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True)
class Removal:
    """What goes. kind: "leftover", or the folder of its kind. age: seconds since anything in it was written."""

    kind: str
    path: Path
    bytes: int
    age: float


def seconds(duration: str) -> float:
    """A duration such as 30d, 12h or 1.5w in seconds.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])", duration)
    if found is None:
        raise InputError(f"--older-than {duration!r}: give a number and one of s, m, h, d, w, as in 30d.")
    return float(found[1]) * UNITS[found[2]]


def clean(out: Path, *, older_than: float, dry_run: bool = False) -> list[Removal]:
    """Remove what nothing needs and has not been written to for so many seconds; only tell, where dry_run is set.

    Raises:
        InputError: no such folder, a run is on there, or its mixture cannot be read: what it needs is not known.
    """
    if not out.is_dir():
        raise InputError(f"{out}: no such folder.")
    if dry_run:
        return list(_removable(out, older_than))
    with locked(out):
        found = list(_removable(out, older_than))
        for each in found:
            if each.path.is_dir():
                shutil.rmtree(each.path)
            else:
                each.path.unlink()
            if each.kind != LEFTOVER and not any(each.path.parent.iterdir()):
                each.path.parent.rmdir()
    return found


def _removable(out: Path, older_than: float) -> Iterator[Removal]:
    _check_known(out)
    needed, now = known_references(out), time.time()
    candidates = [(LEFTOVER, path) for path in partial_paths(out)]
    candidates += [(each.kind, each.path) for each in artefacts(out) if each.key not in needed.get(each.kind, ())]
    for kind, path in candidates:
        age = now - _written(path)
        if age >= older_than:
            yield Removal(kind, path, size_of(path), age)


def _check_known(out: Path) -> None:
    """Complain where it is not known what is needed."""
    for name in (MIXTURE_FILE, EVALUATION_FILE):
        state = file_state(out / name)
        if state not in (FINISHED, MISSING):
            raise InputError(
                f"{out / name}: {state}, so it is not known what it rests on; run the command that made it again, or"
                " take it away."
            )


def _written(path: Path) -> float:
    """When something in a folder, or a file, was last written."""
    inside = [Path(folder, name) for folder, inner, files in os.walk(path) for name in (*inner, *files)]
    return max(each.lstat().st_mtime for each in (path, *inside))
