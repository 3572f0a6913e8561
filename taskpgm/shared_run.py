"""One run on all tasks together, which cheaper experts start from.

    directories, point = from_shared_run(tasks, base, out, training, {"own": 10}, item, progress, executor)

The run takes `training` and equal shares, and its folder, the point, holds what an expert's does. It depends on the
tasks' data, not on their names or order; another task makes it another point, and all experts other experts. How an
expert is made from it is the item's business (`taskpgm.multi_task`, `taskpgm.linearised`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from taskpgm.adapters import settle_description, without_adapter
from taskpgm.base import Base, base_source, chosen_threads, save_parts, torch_threads
from taskpgm.config import TrainingSettings
from taskpgm.executors import Executor, Item, Job, Source
from taskpgm.executors.executor import nothing
from taskpgm.expert_curves import NO_CURVE, expert_damage, write_curve
from taskpgm.fine_tuning import fine_tune, load_start, trainable
from taskpgm.integrity import keep_sound
from taskpgm.progress import Progress
from taskpgm.sampling import mixed_sequence
from taskpgm.storage import atomic_directory, content_hash, remove_partial, versions
from taskpgm.tokens import TokenExample, TokenTask
from taskpgm.types import InputError

SCHEMA = 1
BASE = "base"  # what a base model that stays in memory is kept as
Memory: TypeAlias = dict[str, Any]
MakeItem: TypeAlias = Callable[[TokenTask, Path, Path, Memory], Item]
"""From a task, its expert's folder, that of the shared run, and what items share, the work of making the expert."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Examples in the order of their use, and the settings, as plain data. name: whose, for messages."""

    name: str
    sequence: tuple[TokenExample, ...]
    base: Base
    training: TrainingSettings


def from_shared_run(
    tasks: Sequence[TokenTask],
    base: Base,
    out: Path,
    training: TrainingSettings,
    how: Mapping[str, Any],
    item: MakeItem,
    progress: Progress,
    executor: Executor,
) -> tuple[list[Path], Path]:
    """(the folder of each expert, that of the shared run), made where they are missing.

    how: what, besides the shared run and its task, determines an expert; JSON values.

    Raises:
        InputError: training diverges.
    """
    named = [replace(task, name=content_hash(_rows(task)), probe=(), eval=()) for task in tasks]
    point = out / "experts" / _point_key(named, base, training)
    directories = [out / "experts" / content_hash({"from": point.name, "task": task.name, **how}) for task in named]
    todo = {path: task for path, task in zip(directories, tasks, strict=True) if not _there(path)}
    if not todo:
        return directories, point
    remove_partial(out)
    memory: Memory = {}
    if not _there(point):
        rows = mixed_sequence(named, [1.0] * len(named), training.steps, training.batch_size, training.seed)
        shared = Stretch("the run on all tasks", tuple(rows), base, training)
        first = [stretch_item(shared, train_stretch, point, None, memory)]
        for _ in executor.run(first, lambda _, step: progress("shared run", step, training.steps, "all tasks")):
            continue
    items = (item(task, path, point, memory) for path, task in todo.items())
    names, done = [task.name for task in todo.values()], len(tasks) - len(todo)
    for index, _ in executor.run(items, nothing):
        done += 1
        progress("experts", done, len(tasks), names[index])
    return directories, point


def stretch_item(
    data: Stretch, work: Callable[[Job], None], directory: Path, point: Path | None, memory: Memory
) -> Item:
    """Work that reads the base and, where it starts there, the end of the shared run."""
    sources = (base_source(data.base), *([] if point is None else [Source(point, shared=True)]))
    threads = chosen_threads(data.training.threads)
    return Item(data.name, work, data, sources, directory, threads, True, memory)


def train_stretch(job: Job) -> None:
    """Train on a stretch, from the base or from the shared run's end, and keep what comes out."""
    with started(job) as model:
        fine_tune(model, job.data.sequence, job.data.training, job.report)
        keep(model, job)


@contextmanager
def started(job: Job) -> Iterator[Any]:
    """A block with the model that a job's stretch starts from. With adapters one base in memory serves many jobs."""
    data: Stretch = job.data
    read = replace(data.base, path=job.sources[0])
    with torch_threads(job.threads):
        if data.training.lora is not None and BASE not in job.memory:
            job.memory[BASE] = load_start(read, data.training)
        start = job.sources[1] if len(job.sources) > 1 else None
        model = trainable(read, data.training, job.memory.get(BASE), start)
        try:
            yield model
        finally:
            without_adapter(model)


def keep(model: Any, job: Job) -> None:
    """A model in the job's place; it has no losses to keep with it.

    Raises:
        InputError: its weights are not finite.
    """
    import torch

    assert job.place is not None
    if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters() if weights.requires_grad):
        raise InputError(f"{job.data.name}: training diverged (its weights are not finite); lower learning_rate.")
    if job.data.training.lora is not None:
        settle_description(model, job.data.base.path)
    with atomic_directory(job.place) as folder:
        save_parts(folder, model)
        write_curve(folder, NO_CURVE, {})


def _there(directory: Path) -> bool:
    return directory.is_dir() and keep_sound(directory, expert_damage)


def _rows(task: TokenTask) -> list[Any]:
    return [[list(row.ids), row.target_start] for row in task.train]


def _point_key(named: Sequence[TokenTask], base: Base, training: TrainingSettings) -> str:
    return content_hash(
        {
            "schema": SCHEMA,
            "base": base.fingerprint,
            "all_tasks": sorted(task.name for task in named),
            "training": training.determining(),
            "versions": versions("torch", "transformers", "peft", "accelerate"),
        }
    )
