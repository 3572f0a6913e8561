"""One training run on a mixture: what it sampled, and what it did to the held-out loss of every task.

    outcome = train_on(base, tasks, shares, training, seed=0, out=Path("runs/a"))
    outcome.losses                      # (n,) nats per target token, on examples that no task trains on

Runs of one seed are paired: the examples of a task come in the same order whatever the mixture, and the optimiser
starts from the same state. A run is one JSON file under the hash of everything that determines it: nothing is trained
twice, and the order of the tasks does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.amounts import whole_counts
from taskpgm.base import Base, load_model, load_tokenizer, torch_threads
from taskpgm.config import MeasureSettings, TrainingSettings
from taskpgm.experts import fine_tune, in_epochs, trainable
from taskpgm.storage import atomic_directory, canonical_json, content_hash, read_json, versions, write_atomic
from taskpgm.tokens import TokenExample, TokenTask, make_probes
from taskpgm.types import FloatArray, InputError, IntArray, readonly

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one run sampled and reached.

    names: the tasks. examples: (n,) how many of each were trained on, repetitions counted. epochs: (n,) the same over
    the size of the task's training part. losses: (n,) mean nats per target token at the end, on held-out examples.
    exact: (n,) share of these that greedy decoding gets exactly right. curve_steps, curve_losses: (K,) and (K, n), the
    losses on the way, where asked for; else empty. key: the hash of what determines the run.
    """

    names: tuple[str, ...]
    seed: int
    steps: int
    examples: IntArray
    epochs: FloatArray
    losses: FloatArray
    exact: FloatArray
    curve_steps: tuple[int, ...]
    curve_losses: FloatArray
    key: str


def train_on(
    base: Base,
    tasks: Sequence[TokenTask],
    shares: Sequence[float] | FloatArray,
    training: TrainingSettings,
    *,
    seed: int,
    out: Path,
    measure: MeasureSettings | None = None,
    keep_model: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Outcome:
    """Train the base on a mixture, or find the run on disk.

    Args:
        base: where every run starts.
        tasks: in the base's tokens (`tokenize_for`).
        shares: (n,) of the examples, in the order of the tasks.
        training: steps, batch size and optimiser; its seed is replaced by `seed`, and one thread is used where it names
            none. With LoRA settings the run trains an adapter, as experts do.
        seed: of the order of the examples and of the optimiser.
        out: folder of the runs.
        measure: on which held-out examples, and whether along the way too.
        keep_model: also keep the trained weights, in `model_folder(out, outcome.key)`.
        on_step: called with each finished step.

    Raises:
        InputError: shares that are no mixture, a task without held-out examples, or a run that diverged.
    """
    measure = measure or MeasureSettings()
    training = training.model_copy(update={"seed": seed, "threads": training.threads or 1})
    key = run_key(base, tasks, shares, training, measure)
    path, kept = out / "training_runs" / f"{key}.json", model_folder(out, key)
    if not path.is_file() or (keep_model and not kept.is_dir()):
        with torch_threads(training.threads):
            model, result = _trained(base, tasks, shares, training, measure, on_step or _nothing)
        if keep_model and not kept.is_dir():
            with atomic_directory(kept) as folder:
                model.save_pretrained(folder)
                load_tokenizer(base).save_pretrained(folder)
        write_atomic(path, canonical_json(result).encode())
    return _outcome(read_json(path), tasks, key)


def model_folder(out: Path, key: str) -> Path:
    """Where the weights of a run are, if they were kept."""
    return out / "trained_models" / key


def mixed_sequence(
    tasks: Sequence[TokenTask], shares: Sequence[float] | FloatArray, steps: int, batch_size: int, seed: int
) -> list[TokenExample]:
    """The examples of a run in the order in which it takes them: steps x batch_size of them.

    A task's examples come without replacement until all were taken, then shuffled anew, in an order that depends on the
    seed and the task's name alone. Which task comes when is one shuffle of whole counts over the run.
    """
    counts = _counts(tasks, shares, steps * batch_size)
    order = sorted(range(len(tasks)), key=lambda i: tasks[i].name)
    streams = [iter(in_epochs(tasks[i].train, counts[i], _stream(seed, tasks[i].name))) for i in order]
    places = np.repeat(np.arange(len(order)), [counts[i] for i in order])
    return [next(streams[place]) for place in np.random.default_rng(seed).permutation(places)]


def run_key(
    base: Base,
    tasks: Sequence[TokenTask],
    shares: Sequence[float] | FloatArray,
    training: TrainingSettings,
    measure: MeasureSettings,
) -> str:
    """The hash of everything that determines a run; the order of the tasks is no part of it."""
    counts = _counts(tasks, shares, training.steps * training.batch_size)
    return content_hash(
        {
            "schema": SCHEMA,
            "base": base.fingerprint,
            "tasks": {task.name: [task.digest, count] for task, count in zip(tasks, counts, strict=True)},
            "training": training.model_dump(mode="json"),
            "measure": measure.model_dump(mode="json"),
            "versions": versions("torch", "transformers", "peft", "accelerate", "numpy"),
        }
    )


def held_out(tasks: Sequence[TokenTask], measure: MeasureSettings) -> list[TokenTask]:
    """The tasks without the held-out examples that some task trains on.

    Splits follow the content of examples, so there are none, except where different texts are the same tokens.

    Raises:
        InputError: nothing is left of a task.
    """
    seen = {row for task in tasks for row in task.train}
    result = []
    for task in tasks:
        rows = task.eval if measure.part == "eval" else task.probe
        unseen = tuple(row for row in rows if row not in seen)
        if not unseen:
            why = "all of it is also trained on" if rows else "it is empty"
            raise InputError(
                f"task {task.name!r}: nothing to measure on in its {measure.part} part ({why});"
                f" set splits.{measure.part}."
            )
        result.append(replace(task, eval=unseen) if measure.part == "eval" else replace(task, probe=unseen))
    return result


def _trained(
    base: Base,
    tasks: Sequence[TokenTask],
    shares: Sequence[float] | FloatArray,
    training: TrainingSettings,
    measure: MeasureSettings,
    on_step: Callable[[int], None],
) -> tuple[Any, dict[str, Any]]:
    """(the model, the run's record), the record keyed by task name."""
    from taskpgm.forward import task_losses, task_scores

    probes = make_probes(held_out(tasks, measure), measure.per_task, measure.part)
    sequence = mixed_sequence(tasks, shares, training.steps, training.batch_size, training.seed)
    marks = training.snapshot_steps() if measure.curve else []
    curve = []
    if marks:
        curve.append(task_losses(load_model(base.path, training.precision), probes, measure.batch_size))
    model = trainable(base, training)

    def after_step(step: int) -> None:
        if step in marks:
            model.eval()
            curve.append(task_losses(model, probes, measure.batch_size))
            model.train()
        on_step(step)

    fine_tune(model, sequence, training, after_step)
    losses, exact = task_scores(model, probes, measure.batch_size)
    if not np.all(np.isfinite([*curve, losses])):
        raise InputError("training diverged (its losses are not finite); lower learning_rate.")
    counts = _counts(tasks, shares, len(sequence))
    record = {
        "seed": training.seed,
        "steps": training.steps,
        "curve_steps": marks,
        "tasks": {
            task.name: {
                "examples": counts[i],
                "train_size": len(task.train),
                "loss": float(losses[i]),
                "exact": float(exact[i]),
                "curve": [float(row[i]) for row in curve],
            }
            for i, task in enumerate(tasks)
        },
    }
    return model, record


def _outcome(record: dict[str, Any], tasks: Sequence[TokenTask], key: str) -> Outcome:
    rows = [record["tasks"][task.name] for task in tasks]
    return Outcome(
        names=tuple(task.name for task in tasks),
        seed=record["seed"],
        steps=record["steps"],
        examples=readonly([row["examples"] for row in rows], np.int64),
        epochs=readonly([row["examples"] / row["train_size"] for row in rows], np.float64),
        losses=readonly([row["loss"] for row in rows], np.float64),
        exact=readonly([row["exact"] for row in rows], np.float64),
        curve_steps=tuple(record["curve_steps"]),
        curve_losses=readonly([row["curve"] for row in rows], np.float64).T,
        key=key,
    )


def _counts(tasks: Sequence[TokenTask], shares: Sequence[float] | FloatArray, total: int) -> list[int]:
    values = np.asarray(shares, dtype=np.float64)
    if values.shape != (len(tasks),) or not np.all(np.isfinite(values)) or values.min() < 0.0 or values.sum() <= 0.0:
        raise InputError(
            f"shares of a mixture: expected {len(tasks)} finite numbers, none negative and not all 0;"
            f" found {values.tolist()}."
        )
    return whole_counts(values.tolist(), total)


def _stream(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8])])


def _nothing(step: int) -> None:
    """Report no step."""
