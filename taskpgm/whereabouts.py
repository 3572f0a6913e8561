"""Where tasks' data lies, in a mixture file: hub names, and paths relative to the file's own folder.

A project that moves as a whole keeps its paths, and the same project elsewhere gives the same bytes.

    stored = relative_to(tasks.origin, Path("runs/a"))       # {"tasks": {"copy": {"path": "../../copy.jsonl"}}, ...}
    origin = found_from(stored, Path("runs/a"))              # paths that can be opened from here
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Origin = Mapping[str, Any]


def relative_to(origin: Origin, folder: Path) -> dict[str, Any]:
    """The origin with paths relative to a folder; those that share no folder with it but the root stay absolute."""
    return _mapped(origin, lambda path: _relative(Path(path), folder))


def found_from(origin: Origin, folder: Path) -> dict[str, Any]:
    """The origin with paths that can be opened from the current folder, relative ones starting at `folder`."""
    return _mapped(origin, lambda path: _relative(folder / path, Path()))


def _mapped(origin: Origin, change: Callable[[str], str]) -> dict[str, Any]:
    tasks = {
        name: {**source, "path": change(source["path"])} if "path" in source else dict(source)
        for name, source in origin.get("tasks", {}).items()
    }
    return {**origin, "tasks": tasks} if origin else {}


def _relative(path: Path, folder: Path) -> str:
    whole, start = path.absolute(), folder.absolute()
    if whole.anchor != start.anchor or os.path.commonpath([whole, start]) == whole.anchor:
        return os.path.normpath(whole)
    return os.path.relpath(whole, start)
