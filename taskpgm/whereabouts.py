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

from taskpgm.limits import shown

Origin = Mapping[str, Any]


def relative_to(origin: Origin, folder: Path) -> dict[str, Any]:
    """The origin with paths relative to a folder; those that share no folder with it but the root stay absolute."""
    return _mapped(origin, lambda path: _relative(Path(path), folder))


def found_from(origin: Origin, folder: Path) -> dict[str, Any]:
    """The origin with paths that can be opened from the current folder, relative ones starting at `folder`."""
    return _mapped(origin, lambda path: _relative(folder / path, Path()))


def checked_origin(value: Any) -> Origin:
    """What a mixture file says of where its tasks' data lies.

    Raises:
        ValueError: it says it in no way of ours.
    """
    tasks = value.get("tasks", {}) if isinstance(value, dict) else None
    if not isinstance(tasks, dict) or not all(isinstance(source, dict) for source in tasks.values()):
        raise ValueError("data: expected the tasks' sources by name")
    for source in tasks.values():
        for key, said in source.items():
            texts = said.values() if key == "columns" and isinstance(said, dict) else [said]
            if not all(isinstance(text, str | None) for text in texts):
                raise ValueError(f"data: {key} of a task is {shown(said)}, which is no text")
    origin: Origin = value
    return origin


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
