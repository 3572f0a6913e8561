"""Experts whose losses are not finite: they are no evidence, and are only noted, so that none is trained again for it.

    mark_diverged(out / "experts" / key)        # a sealed note in out/diverged
    has_diverged(out / "experts" / key)

A run that `training: {diverged: exclude}` lets go on does so as if the task were not in its list: the mixture is of the
others, gives it nothing, and says so wherever it is shown. Nothing is made up for a task of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from taskpgm.integrity import keep_sound, seal, sealed_damage
from taskpgm.storage import write_atomic
from taskpgm.types import InputError, TaskSet

FOLDER = "diverged"


class DivergedError(InputError):
    """The training of an expert ended with losses that are not finite; the text names its task."""


def mark_diverged(directory: Path) -> None:
    """Note that the expert that would be in a folder diverged."""
    write_atomic(_note(directory), seal({"expert": directory.name}))


def has_diverged(directory: Path) -> bool:
    """Whether that is noted."""
    note = _note(directory)
    return not directory.is_dir() and note.is_file() and keep_sound(note, sealed_damage)


def without(tasks: TaskSet, names: Collection[str]) -> TaskSet:
    """The tasks but for some."""
    return tasks if not names else replace(tasks, tasks=tuple(task for task in tasks if task.name not in names))


def said(names: Collection[str]) -> str:
    """What to say of tasks that are left out."""
    listed, several = ", ".join(map(repr, names)), len(names) > 1
    return (
        f"{listed} {'are' if several else 'is'} left out: training the expert{'s' if several else ''} diverged. The"
        " mixture is of the other tasks and gives nothing to what is left out; lower learning_rate to have it in."
    )


def _note(directory: Path) -> Path:
    return directory.parent.parent / FOLDER / f"{directory.name}.json"
