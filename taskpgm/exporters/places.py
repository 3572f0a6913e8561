"""Where a trainer finds each task's data: as the user says, as the mixture file knows, or a placeholder to fill in.

places = place_tasks(("copy", "sort"), origin=origin, data={"copy": "copy.jsonl"}, folder=None, ending=".jsonl")
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskpgm.settings import suggestion
from taskpgm.storage import is_there
from taskpgm.types import InputError

PLACEHOLDER = "data"
ROW_FILES = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
LONGEST_NAME = 80


@dataclass(frozen=True)
class Place:
    """Where one task's data lies: a path (of a file, a folder, or a prefix), or a hub data set.

    columns: role -> column, where a run has read the data. field: the key under which a JSON file has its rows.
    known: False for a placeholder. reshaped: the text that the experts saw is not what stands in the columns.
    """

    path: str | None = None
    hub: str | None = None
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    field: str | None = None
    known: bool = True
    reshaped: bool = False

    @property
    def text(self) -> str:
        """The path, or the hub name."""
        return str(self.path if self.hub is None else self.hub)

    def load_arguments(self) -> dict[str, Any]:
        """What datasets.load_dataset takes to read it."""
        if self.hub is not None:
            named = {"name": self.subset, "revision": self.revision}
            return {
                "path": self.hub,
                **{key: value for key, value in named.items() if value is not None},
                "split": self.split,
            }
        kind = ROW_FILES.get(Path(self.text).suffix.lower())
        if kind is None:
            return {"path": self.text, "split": self.split}
        return {
            "path": kind,
            "data_files": self.text,
            **({"field": self.field} if self.field else {}),
            "split": "train",
        }


def place_tasks(
    names: Sequence[str],
    *,
    origin: Mapping[str, Any],
    data: Mapping[str, str],
    folder: str | None,
    ending: str,
    prepared: bool = False,
) -> dict[str, Place]:
    """The place of every task.

    Args:
        names: the tasks.
        origin: {"tasks": {name: its source}} of a run, with paths that can be opened from here.
        data: paths by task name, which come first.
        folder: where the tasks without a path in `data` lie, named after the tasks.
        ending: of the files in that folder, and of placeholders.
        prepared: the trainer reads a format of its own, so that what the run read is of no use to it.
    """
    sources = {} if prepared else origin.get("tasks", {})
    places = {}
    for name in names:
        if name in data:
            places[name] = _of_source(sources.get(name, {}), data[name])
        elif folder is not None:
            places[name] = Place(str(_in_folder(Path(folder), name, ending, prepared)))
        elif name in sources:
            places[name] = _of_source(sources[name], None)
        else:
            places[name] = Place(str(Path(PLACEHOLDER) / (file_name(name) + ending)), known=False)
    return places


def split_assignments(items: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """{task: path} from texts NAME=PATH; names may contain any character.

    Raises:
        InputError: a text that starts with no task's name and an equals sign, or has no path behind it.
    """
    found: dict[str, str] = {}
    for item in items:
        fitting = [name for name in names if item.startswith(f"{name}=")]
        if not fitting:
            near = suggestion(item.split("=")[0], names)
            raise InputError(f"--data {item!r}: expected NAME=PATH with the name of a task{near}.")
        name = max(fitting, key=len)
        path = item[len(name) + 1 :]
        if not path or "\0" in path:
            raise InputError(f"--data {item!r}: no path behind the task's name.")
        found[name] = path
    return found


def file_name(name: str) -> str:
    """A task's name as part of a file's name: letters, digits, '.', '_' and '-'; a hash where that changes it."""
    plain = re.sub(r"[^\w.-]+", "_", name).lstrip(".")[:LONGEST_NAME]
    if plain == name and name:
        return name
    return f"{plain or 'task'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _of_source(source: Mapping[str, Any], path: str | None) -> Place:
    columns = source.get("columns", {})
    return Place(
        path=source.get("path") if path is None else path,
        hub=source.get("hub") if path is None else None,
        subset=source.get("subset"),
        split=source.get("split", "train"),
        revision=source.get("revision"),
        columns=columns,
        field=source.get("field"),
        reshaped=bool(source.get("field") or source.get("prompt_template") or source.get("completion_template")),
    )


def _in_folder(folder: Path, name: str, ending: str, prepared: bool) -> Path:
    """The file of a task in a folder: the one that is there, or the one that is expected."""
    endings = (ending,) if prepared else (ending, *ROW_FILES)
    plain = not set(name) & {"/", "\\", "\0"}  # else it would name a file elsewhere
    stems = dict.fromkeys((name, file_name(name)) if plain else (file_name(name),))
    candidates = [folder / (stem + each) for stem in stems for each in endings if stem + each not in ("", ".", "..")]
    there = (candidate for candidate in candidates if is_there(candidate))
    return next(there, folder / (file_name(name) + ending))
