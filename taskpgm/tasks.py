"""Loading tasks: from files or the hub, to examples in three parts that never depend on file order.

    tasks = load_tasks("tasks.yaml")                    # a run's configuration, or just its list of tasks
    tasks = load_tasks(["bbh/navigate.json", "mine.jsonl"])

An example's part (train, probe or eval) follows from a hash of its content alone: shuffling or renaming a file, or
adding examples to it, moves none, and a text that occurs in two tasks is on the same side in both.
"""

from __future__ import annotations

import csv
import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taskpgm.config import RunConfig, SplitSettings, TaskSource, as_sources, resolve_path
from taskpgm.limits import LONGEST_LINE, LONGEST_PATH, shown
from taskpgm.rows import example_of, roles_of, templates_of
from taskpgm.settings import explain
from taskpgm.storage import first_line, is_there, parse_json, read_json, versions
from taskpgm.task_notes import task_notes
from taskpgm.text_files import text_lines
from taskpgm.types import Example, InputError, Task, TaskSet
from taskpgm.yaml_files import read_yaml


def load_tasks(
    source: str | Path | Sequence[str | Path | TaskSource], *, splits: SplitSettings | None = None
) -> TaskSet:
    """Read, validate and split tasks.

    Args:
        source: a YAML file (a run's configuration, or a mapping with `tasks`, or a list), or a list of files and
            TaskSource. A file pattern such as bbh/*.json stands for one task per file.
        splits: the shares held out; those of the configuration, or 15 % for probes and 15 % for evaluation.

    Raises:
        InputError: a missing or malformed file, an empty task, duplicate names, or one task only.
    """
    if isinstance(source, str | Path):
        sources, configured = _sources_of(Path(source))
        splits = splits or configured
    else:
        sources = [item if isinstance(item, TaskSource) else TaskSource(path=str(item)) for item in source]
    expanded = [single for item in sources for single in _expand(item)]
    splits = splits or SplitSettings()
    read = [_read(item) for item in expanded]
    named = [(_name(item), found.examples, item.family) for item, found in zip(expanded, read, strict=True)]
    origin = {
        "splits": splits.model_dump(),
        "tasks": {_name(item): _whereabouts(item, found) for item, found in zip(expanded, read, strict=True)},
    }
    return replace(split_tasks(named, splits), origin=origin)


def split_tasks(named: Iterable[tuple[str, Sequence[Example], str]], splits: SplitSettings | None = None) -> TaskSet:
    """A TaskSet from (name, examples, family) triples: the examples divided, and repetitions noted."""
    splits = splits or SplitSettings()
    tasks = tuple(_split(name, examples, family, splits) for name, examples, family in named)
    names = Counter(task.name for task in tasks)
    unwritable = [name for name in names if name.encode("utf-8", "replace").decode() != name]
    if unwritable:
        raise InputError(f"task name {unwritable[0]!r}: not valid Unicode; give the task another name (name: ...).")
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise InputError(f"duplicate task name {repeated[0]!r}: give each task a name of its own (name: ...).")
    if len(tasks) < 2:
        raise InputError(f"{len(tasks)} task(s) only: a mixture needs at least two tasks.")
    return TaskSet(tasks, tuple(task_notes(tasks)))


def read_examples(source: TaskSource) -> list[Example]:
    """The examples of one source, in its own order.

    Raises:
        InputError: names the file, the row and the column.
    """
    return _read(source).examples


# ----------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class _Read:
    """What a source holds: its examples, role -> column, and the key under which a JSON file has its rows, if any."""

    examples: list[Example]
    roles: dict[str, str]
    field: str | None


def _read(source: TaskSource) -> _Read:
    place = source.path or f"hub data set {source.hub}"
    rows, kind = _read_hub(source) if source.hub else _read_file(Path(source.path or ""))
    if not rows:
        raise InputError(f"{place}: the task is empty; it needs examples.")
    columns = dict.fromkeys(column for row in rows for column in row)  # the first row may lack an optional one
    roles = roles_of(columns, source, place)
    templates = templates_of(source, roles, kind)
    examples = [example_of(row, roles, templates, f"{place}, row {i}") for i, row in enumerate(rows, start=1)]
    return _Read(examples, roles, "examples" if kind == "bbh" else None)


def _whereabouts(source: TaskSource, read: _Read) -> dict[str, Any]:
    """Where a task's data lies and what is what in it, for whoever trains on it later."""
    known = source.model_dump(exclude={"name", "family"}, exclude_none=True)
    return {**known, "columns": read.roles, **({} if read.field is None else {"field": read.field})}


def _sources_of(path: Path) -> tuple[list[TaskSource], SplitSettings | None]:
    values = read_yaml(path)
    listed = values.get("tasks") if isinstance(values, dict) else values
    listed = as_sources(listed)
    if not isinstance(listed, list):
        raise InputError(f"{path}: expected a list of tasks, or a configuration with tasks: [...].")
    sources: list[TaskSource] = []
    for i, item in enumerate(listed):
        try:
            sources.append(resolve_path(TaskSource.model_validate(item), path.parent))
        except ValidationError as error:
            raise InputError(f"{path}: tasks.{i}: {explain(error, TaskSource)}") from error
    given = values.get("splits") if isinstance(values, dict) else None
    try:
        return sources, SplitSettings.model_validate(given) if given else None
    except ValidationError as error:
        raise InputError(f"{path}: splits: {explain(error, SplitSettings)}") from error


def _expand(source: TaskSource) -> Iterator[TaskSource]:
    if len(source.path or "") > LONGEST_PATH:
        raise InputError(f"{shown(source.path)}: no file has a name of {len(source.path or '')} characters.")
    if source.path is None or not glob.has_magic(source.path) or is_there(source.path):
        yield source
        return
    matches = sorted(glob.glob(source.path, recursive=True))
    if not matches:
        raise InputError(f"{source.path}: no file matches this pattern.")
    if source.name is not None and len(matches) > 1:
        raise InputError(f"{source.path}: {len(matches)} files match, but only one name ({source.name!r}) is given.")
    for match in matches:
        yield source.model_copy(update={"path": match})


def _name(source: TaskSource) -> str:
    if source.name:
        return source.name
    return Path(source.path).stem if source.path else str(source.subset or source.hub)


def _read_file(path: Path) -> tuple[list[Mapping[str, Any]], str]:
    """(rows, kind): kind is "bbh" for BIG-Bench-Hard files, which have a prompt layout of their own."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path), "table"
    if suffix == ".csv":
        csv.field_size_limit(LONGEST_LINE)
        reader = csv.DictReader(text_lines(path), strict=True)
        try:
            return [_whole_row(row, f"{path}, line {reader.line_num}") for row in reader], "table"
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.reader.line_num}: not valid CSV ({error}).") from error
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(path), "table"
    if suffix == ".json":
        value = read_json(path)
        bbh = isinstance(value, dict) and isinstance(value.get("examples"), list)
        rows = value["examples"] if bbh else value
        if not isinstance(rows, list):
            raise InputError(f"{path}: expected a list of examples, or an object with a list under 'examples'.")
        return [_mapping(row, f"{path}, row {i}") for i, row in enumerate(rows, start=1)], "bbh" if bbh else "table"
    raise InputError(f"{path}: unknown file type {suffix!r}; use .json, .jsonl, .csv or .parquet.")


def _whole_row(row: Mapping[Any, Any], place: str) -> Mapping[str, Any]:
    if None in row:  # where DictReader puts the cells beyond the header
        raise InputError(f"{place}: more cells than the header has; put text that contains commas in quotes.")
    return row


def _json_lines(path: Path) -> list[Mapping[str, Any]]:
    rows = []
    for i, line in enumerate(text_lines(path), start=1):
        if line.strip():
            place = f"{path}, line {i}"
            rows.append(_mapping(parse_json(line, place), place))
    return rows


def _read_parquet(path: Path) -> list[Mapping[str, Any]]:
    versions("pyarrow")
    from taskpgm.parquet_files import parquet_rows

    return list(parquet_rows(path))


def _read_hub(source: TaskSource) -> tuple[list[Mapping[str, Any]], str]:
    versions("datasets")
    import datasets

    try:
        rows = datasets.load_dataset(source.hub, source.subset, split=source.split, revision=source.revision)
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise InputError(f"hub data set {source.hub!r}: cannot be loaded ({first_line(error)}).") from error
    return [dict(row) for row in rows], "table"


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected an object with named fields, found {type(value).__name__}.")
    return value


# ----------------------------------------------------------------------------------------------------------- splitting


def _split(name: str, examples: Sequence[Example], family: str, splits: SplitSettings) -> Task:
    parts: dict[str, list[Example]] = {"train": [], "probe": [], "eval": []}
    for example in sorted(examples, key=lambda example: example.digest):
        parts[_part_of(example, splits)].append(example)
    for part in ("train", "probe"):
        if not parts[part]:
            raise InputError(f"task {name!r}: {len(examples)} example(s) leave its {part} part empty; add examples.")
    return Task(name, tuple(parts["train"]), tuple(parts["probe"]), tuple(parts["eval"]), family)


def _part_of(example: Example, splits: SplitSettings) -> str:
    share = int(example.digest[:13], 16) / 16**13
    return "probe" if share < splits.probe else "eval" if share < splits.probe + splits.eval else "train"


def training_part(examples: Iterable[Example], splits: SplitSettings) -> tuple[Example, ...]:
    """The examples that are not held out, in the order in which a run trains on them: sorted by content."""
    kept = [example for example in examples if _part_of(example, splits) == "train"]
    return tuple(sorted(kept, key=lambda example: example.digest))


def tasks_of(config: RunConfig) -> TaskSet:
    """The tasks of a run's configuration."""
    return load_tasks(config.tasks, splits=config.splits)
