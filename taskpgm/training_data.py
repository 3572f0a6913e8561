"""The examples that a mixture is trained on: from where its file says they lie, or from files the user names.

data = TrainingData.read(["copy", "sort"], origin, {"copy": "moved/copy.jsonl"})
data.examples["copy"], data.notes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskpgm.config import SplitSettings, TaskSource
from taskpgm.settings import validated
from taskpgm.tasks import read_examples, training_part
from taskpgm.types import Example, InputError, TaskSet

ROWS_UNDER_A_KEY = "field"  # stated for trainers; files that have it are recognised when they are read


@dataclass(frozen=True)
class TrainingData:
    """Examples by task name, and what the user should know about them."""

    examples: Mapping[str, Sequence[Example]]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, tasks: TaskSet, names: Sequence[str]) -> TrainingData:
        """The training part of loaded tasks."""
        missing = [name for name in names if name not in tasks.names]
        if missing:
            raise InputError(f"task {missing[0]!r} of the mixture is not among the tasks {', '.join(tasks.names)}.")
        return cls({name: tasks[name].train for name in names})

    @classmethod
    def read(cls, names: Sequence[str], origin: Mapping[str, Any], data: Mapping[str, str]) -> TrainingData:
        """The tasks' training examples: without what a run held out, where the origin says what that was.

        Args:
            names: the tasks to read.
            origin: {"splits": shares held out, "tasks": {name: source}}, with paths that can be opened from here.
            data: paths by task name, instead of those.

        Raises:
            InputError: nobody says where a task lies, or it cannot be read.
        """
        splits = (
            validated(SplitSettings, origin["splits"], "data.splits of the mixture") if origin.get("splits") else None
        )
        examples: dict[str, Sequence[Example]] = {}
        for name in names:
            whole = read_examples(_source(name, origin.get("tasks", {}).get(name), data.get(name)))
            examples[name] = whole if splits is None else training_part(whole, splits)
            if not examples[name]:
                raise InputError(f"task {name!r}: all of its {len(whole)} examples are held out; add examples.")
        if splits is not None:
            return cls(examples)
        return cls(examples, ("nothing is known about held-out examples: whole files are used.",))


def _source(name: str, known: Mapping[str, Any] | None, path: str | None) -> TaskSource:
    if known is None:
        if path is None:
            raise InputError(f"task {name!r}: nobody says where its data lies; give --data {name}=PATH.")
        return TaskSource(path=path)
    settings = {key: value for key, value in known.items() if key != ROWS_UNDER_A_KEY}
    if path is None:
        return validated(TaskSource, settings, f"data of task {name!r} in the mixture")
    # the same data elsewhere: what the user once said about its columns still holds, what was guessed need not
    said = any(role != column for role, column in (known.get("columns") or {}).items())
    kept = {key: settings[key] for key in ("prompt_template", "completion_template") if key in settings}
    return TaskSource(path=path, columns=known["columns"] if said else None, **kept)
