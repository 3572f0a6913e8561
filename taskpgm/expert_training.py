"""Training the experts that are not on disk yet, each an item of work, looked at on the way.

    train_missing(tasks, directories, base, probes, training, settings, True, silent, LOCAL)

An expert is trained by `train_one`, from nothing but its own task, the base on disk and the settings. With adapters one
base stays in memory, which saves loading it; what comes out is the same.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from taskpgm.adapters import settle_description, without_adapter
from taskpgm.base import Base, base_source, chosen_threads, save_parts, torch_threads
from taskpgm.config import ProbeSettings, TrainingSettings
from taskpgm.diverged import DivergedError, has_diverged, mark_diverged
from taskpgm.executors import Executor, Item, Job
from taskpgm.executors.executor import nothing
from taskpgm.expert_curves import CURVE_FILE, add_to_curve, losses_on, unknown_probes, weights_hash, write_curve
from taskpgm.fine_tuning import as_in_training, fine_tune, load_start, looking_on, trainable, training_sequence
from taskpgm.progress import Progress
from taskpgm.storage import atomic_directory
from taskpgm.tokens import TokenExample, TokenTask
from taskpgm.types import FloatArray, InputError, Probes

_log = logging.getLogger(__name__)
BASE = "base"  # what a base model that stays in memory is kept as


def still_to_do(
    directory: Path, keys: Collection[str], curves: bool, diverged: Literal["refuse", "exclude"] = "refuse"
) -> list[str]:
    """On which probes an expert has to be looked at while it is trained; none: it need not be trained.

    diverged: "exclude" does not train again what is noted to have diverged.
    """
    if diverged == "exclude" and has_diverged(directory):
        return []
    return unknown_probes(directory, keys) if curves or not directory.is_dir() else []


@dataclass(frozen=True, eq=False)
class Training:
    """What it takes to train one expert, as plain data; all probes are the item's common data.

    start_losses: the base's, by key of the probes to look at.
    """

    task: TokenTask
    base: Base
    training: TrainingSettings
    start_losses: Mapping[str, float]
    batch_size: int


def train_missing(
    tasks: Sequence[TokenTask],
    directories: Sequence[Path],
    base: Base,
    probes: Mapping[str, Probes],
    training: TrainingSettings,
    settings: ProbeSettings,
    curves: bool,
    progress: Progress,
    executor: Executor,
) -> None:
    """Train, on whichever machines, the experts that are not there; two tasks with the same data share one."""
    wanted = {
        directory: keys
        for directory in directories
        if (keys := still_to_do(directory, probes, curves, training.diverged))
    }
    needed = {key for keys in wanted.values() for key in keys}
    seen = {key: own for key, own in probes.items() if key in needed}
    memory: dict[str, Any] = {}
    start = _start_losses(base, seen, training, settings.batch_size, memory, executor)
    start_losses = dict(zip(seen, start, strict=True))
    todo = {directory: task for task, directory in zip(tasks, directories, strict=True) if directory in wanted}
    tally = _Tally(tuple(task.name for task in todo.values()), len(tasks), training.steps, progress)
    items = (
        _item(
            Training(
                replace(task, probe=(), eval=()),
                base,
                training,
                {key: start_losses[key] for key in wanted[directory]},
                settings.batch_size,
            ),
            directory,
            seen,
            memory,
        )
        for directory, task in todo.items()
    )
    places = list(todo)
    for index, trouble in executor.run(items, tally.step):
        tally.step(index, training.steps)
        if trouble is not None:
            _log.warning("%s The task is left out.", trouble)
            mark_diverged(places[index])


def _start_losses(
    base: Base,
    probes: Mapping[str, Probes],
    training: TrainingSettings,
    batch_size: int,
    memory: dict[str, Any],
    executor: Executor,
) -> list[float]:
    """The base's loss on each task's probes."""
    data, threads = (probes, base, training, batch_size), chosen_threads(training.threads)
    item = Item("the base model", _read_base, data, (base_source(base),), None, threads, True, memory)
    [(_, losses)] = executor.run([item], nothing)
    found: list[float] = losses
    return found


def _read_base(job: Job) -> list[float]:
    probes, base, training, batch_size = job.data
    with torch_threads(job.threads), as_in_training(training):
        loaded = load_start(replace(base, path=job.sources[0]), training)
        losses: list[float] = losses_on(loaded, probes, batch_size).tolist()
    if training.lora is not None:  # what is trained whole is loaded for each expert anew
        job.memory[BASE] = loaded
    return losses


def _item(data: Training, directory: Path, probes: Mapping[str, Probes], memory: dict[str, Any]) -> Item:
    """An expert as a new folder; of one that is there, its curve alone changes."""
    return Item(
        f"the expert of task {data.task.name!r}",
        _train,
        data,
        (base_source(data.base),),
        directory / CURVE_FILE if directory.is_dir() else directory,
        chosen_threads(data.training.threads),
        True,
        memory,
        probes,
    )


def _train(job: Job) -> str | None:
    """Train an expert; of one that diverged and is to be excluded, why there is none."""
    data: Training = job.data
    assert job.place is not None
    directory = job.place.parent if job.place.name == CURVE_FILE else job.place
    read = replace(data.base, path=job.sources[0])
    probes = {key: job.common[key] for key in data.start_losses}
    look = partial(losses_on, probes=probes, batch_size=data.batch_size)
    try:
        with torch_threads(job.threads):
            train_one(
                data.task,
                directory,
                read,
                data.training,
                look,
                data.start_losses,
                job.report,
                job.memory.get(BASE),
                named=data.base.path,
            )
    except DivergedError as error:
        if data.training.diverged == "refuse":
            raise
        return str(error)
    return None


class _Tally:
    """Steps done over all experts, of which those that were found count as done."""

    def __init__(self, names: Sequence[str], experts: int, steps: int, progress: Progress) -> None:
        self.names, self.progress, self.total = names, progress, experts * steps
        self.found, self.done = (experts - len(names)) * steps, [0] * len(names)

    def step(self, index: int, step: int) -> None:
        self.done[index] = step
        self.progress("experts", self.found + sum(self.done), self.total, self.names[index])


def train_one(
    task: TokenTask,
    directory: Path,
    base: Base,
    training: TrainingSettings,
    look: Callable[[Any], FloatArray],
    start_losses: Mapping[str, float],
    on_step: Callable[[int], None],
    loaded: Any | None = None,
    named: Path | None = None,
) -> None:
    """Train an expert, or one that is there once more, for its losses on what `look` sees: the keys of start_losses.

    loaded: the base in memory, for an adapter; it is left as it was. None: the base is loaded. named: where the base
    lies for whoever reads what is saved; None: where it was loaded from.
    """
    sequence = training_sequence(task.train, training)
    snapshots, losses = training.snapshot_steps(), [np.array(list(start_losses.values()))]
    model = trainable(base, training, loaded)
    try:
        with _named(task):
            fine_tune(model, sequence, training, looking_on(model, snapshots, look, losses, on_step))
        if not np.all(np.isfinite(losses)):
            raise DivergedError(
                f"task {task.name!r}: training diverged (its losses are not finite); lower learning_rate."
            )
        if training.lora is not None:
            settle_description(model, named or base.path)
        by_key = dict(zip(start_losses, np.transpose(losses).tolist(), strict=True))
        _keep(model, directory, _exposure(sequence, snapshots, training.batch_size), by_key)
    finally:
        without_adapter(model)


@contextlib.contextmanager
def _named(task: TokenTask) -> Iterator[None]:
    """A block in which what is wrong is said of a task."""
    try:
        yield
    except InputError as error:
        raise InputError(f"task {task.name!r}: {error}") from error


def _exposure(sequence: Sequence[TokenExample], snapshots: list[int], batch_size: int) -> dict[str, list[int]]:
    """What had been trained on at each snapshot."""
    targets = np.cumsum([len(row.ids) - row.target_start for row in sequence])
    examples = [step * batch_size for step in snapshots]
    tokens = [int(targets[count - 1]) if count else 0 for count in examples]
    return {"steps": snapshots, "examples": examples, "target_tokens": tokens}


def _keep(model: Any, directory: Path, exposure: dict[str, list[int]], losses: dict[str, list[float]]) -> None:
    """The expert and its curve on disk; of one that is there only the curve, which has losses on more probes now."""
    if directory.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            save_parts(Path(scratch), model)
            add_to_curve(directory, losses, weights_hash(Path(scratch)))
        return
    with atomic_directory(directory) as folder:
        save_parts(folder, model)
        write_curve(folder, exposure, losses)
