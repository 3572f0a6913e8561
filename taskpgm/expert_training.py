"""Training the experts that are not on disk yet, one after the other, each looked at on the way.

    train_missing(tasks, directories, base, probes, training, settings, curves=True, progress=silent)

An expert is trained by `train_one`, from nothing but its own task, the base on disk and the settings. With adapters one
base stays in memory, which saves loading it; what comes out is the same.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.adapters import without_adapter
from taskpgm.base import Base, save_parts
from taskpgm.config import ProbeSettings, TrainingSettings
from taskpgm.expert_curves import add_to_curve, losses_on, unknown_probes, weights_hash, write_curve
from taskpgm.fine_tuning import as_in_training, fine_tune, load_start, looking_on, trainable, training_sequence
from taskpgm.progress import Progress
from taskpgm.storage import atomic_directory
from taskpgm.tokens import TokenExample, TokenTask
from taskpgm.types import FloatArray, InputError, Probes


def still_to_do(directory: Path, keys: Collection[str], curves: bool) -> list[str]:
    """On which probes an expert has to be looked at while it is trained; none: it need not be trained."""
    return unknown_probes(directory, keys) if curves or not directory.is_dir() else []


def train_missing(
    tasks: Sequence[TokenTask],
    directories: Sequence[Path],
    base: Base,
    probes: Mapping[str, Probes],
    training: TrainingSettings,
    settings: ProbeSettings,
    curves: bool,
    progress: Progress,
) -> None:
    needed = {key for directory in directories for key in still_to_do(directory, probes, curves)}
    seen = {key: own for key, own in probes.items() if key in needed}
    loaded = load_start(base, training)
    with as_in_training(training):
        start_losses = dict(zip(seen, losses_on(loaded, seen, settings.batch_size).tolist(), strict=True))
    loaded = loaded if training.lora is not None else None  # what is trained whole is loaded for each expert anew
    total = len(tasks) * training.steps
    for number, (task, directory) in enumerate(zip(tasks, directories, strict=True)):
        wanted = still_to_do(directory, probes, curves)
        if not wanted:  # also where two tasks have the same data and so share an expert
            progress("experts", (number + 1) * training.steps, total, task.name)
            continue

        def on_step(step: int, number: int = number, name: str = task.name) -> None:
            progress("experts", number * training.steps + step, total, name)

        look = partial(losses_on, probes={key: probes[key] for key in wanted}, batch_size=settings.batch_size)
        train_one(task, directory, base, training, look, {key: start_losses[key] for key in wanted}, on_step, loaded)


def train_one(
    task: TokenTask,
    directory: Path,
    base: Base,
    training: TrainingSettings,
    look: Callable[[Any], FloatArray],
    start_losses: Mapping[str, float],
    on_step: Callable[[int], None],
    loaded: Any | None = None,
) -> None:
    """Train an expert, or one that is there once more, for its losses on what `look` sees: the keys of start_losses.

    loaded: the base in memory, for an adapter; it is left as it was. None: the base is loaded.
    """
    sequence = training_sequence(task.train, training)
    snapshots, losses = training.snapshot_steps(), [np.array(list(start_losses.values()))]
    model = trainable(base, training, loaded)
    try:
        with _named(task):
            fine_tune(model, sequence, training, looking_on(model, snapshots, look, losses, on_step))
        if not np.all(np.isfinite(losses)):
            raise InputError(f"task {task.name!r}: training diverged (its losses are not finite); lower learning_rate.")
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
