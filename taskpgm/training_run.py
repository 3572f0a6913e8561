"""One training run on a mixture: what it sampled, and what it did to the held-out loss of every task.

    outcome = train_on(base, tasks, shares, training, seed=0, out=Path("runs/a"))
    outcome.losses                      # (n,) nats per target token, on examples that no task trains on

Runs of one seed are paired: the examples of a task come in the same order whatever the mixture, and the optimiser
starts from the same state. A run is one JSON file under the hash of everything that determines it: nothing is trained
twice, and the order of the tasks does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.adapters import settle_description
from taskpgm.base import Base, base_source, chosen_threads, load_tokenizer, save_parts, torch_threads
from taskpgm.config import MeasureSettings, TrainingSettings
from taskpgm.executors import LOCAL, Executor, Item, Job
from taskpgm.fine_tuning import as_in_training, fine_tune, load_start, looking_on, trainable
from taskpgm.integrity import folder_damage, keep_sound, read_sealed, seal, sealed_damage, write_sums
from taskpgm.sampling import counts_of, mixed_sequence
from taskpgm.storage import atomic_directory, content_hash, versions, write_atomic
from taskpgm.tokens import TokenTask, make_probes
from taskpgm.types import FloatArray, InputError, IntArray, readonly

SCHEMA = 2


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


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A run that can be done, or found on disk: what `train_on` takes, with the seed inside the training settings."""

    base: Base
    tasks: tuple[TokenTask, ...]
    shares: tuple[float, ...]
    training: TrainingSettings
    measure: MeasureSettings
    out: Path
    keep_model: bool = False

    @cached_property
    def counts(self) -> list[int]:
        """How many examples of each task the run takes."""
        return counts_of(self.tasks, self.shares, self.training.steps * self.training.batch_size)

    @cached_property
    def key(self) -> str:
        """The hash of everything that determines the run; the order of the tasks is no part of it."""
        return content_hash(
            {
                "schema": SCHEMA,
                "base": self.base.fingerprint,
                "tasks": {task.name: [task.digest, count] for task, count in zip(self.tasks, self.counts, strict=True)},
                "training": self.training.determining(),
                "measure": self.measure.model_dump(mode="json"),
                "versions": versions("torch", "transformers", "peft", "accelerate", "numpy"),
            }
        )

    @property
    def path(self) -> Path:
        return self.out / "training_runs" / f"{self.key}.json"

    def found(self) -> Outcome | None:
        """The outcome of the run, if it is on disk (with the model, where that is to be kept)."""
        kept = model_folder(self.out, self.key)
        if self.keep_model and not (kept.is_dir() and keep_sound(kept, folder_damage)):
            return None
        if not (self.path.is_file() and keep_sound(self.path, sealed_damage)):
            return None
        return _outcome(read_sealed(self.path), self.tasks, self.key)

    def outcome(self) -> Outcome:
        """The same of a run that has been done."""
        found = self.found()
        assert found is not None
        return found

    @property
    def item(self) -> Item:
        """The run as an item of work, which makes the model's folder, if that is asked for, and returns the record."""
        kept = model_folder(self.out, self.key)
        place = kept if self.keep_model and not kept.is_dir() else None
        threads = chosen_threads(self.training.threads)
        data, sources = replace(self, tasks=()), (base_source(self.base),)
        return Item("a training run", _train, data, sources, place, threads, True, common=self.tasks)

    def do(self, on_step: Callable[[int], None]) -> None:
        """Train, and put what came out on disk."""
        [(_, record)] = LOCAL.run([self.item], lambda index, step: on_step(step))
        self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        """Put on disk what the item returned, when the model's folder is there."""
        write_atomic(self.path, seal(record))


def plan_run(
    base: Base,
    tasks: Sequence[TokenTask],
    shares: Sequence[float] | FloatArray,
    training: TrainingSettings,
    *,
    seed: int,
    out: Path,
    measure: MeasureSettings | None = None,
    keep_model: bool = False,
) -> TrainingRun:
    """The run that `train_on` does with these arguments."""
    settings = training.model_copy(update={"seed": seed, "threads": training.threads or 1})
    exact = tuple(float(share) for share in shares)
    return TrainingRun(base, tuple(tasks), exact, settings, measure or MeasureSettings(), out, keep_model)


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
    run = plan_run(base, tasks, shares, training, seed=seed, out=out, measure=measure, keep_model=keep_model)
    if run.found() is None:
        run.do(on_step or _nothing)
    return run.outcome()


def model_folder(out: Path, key: str) -> Path:
    """Where the weights of a run are, if they were kept."""
    return out / "trained_models" / key


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


def do_missing(
    runs: Sequence[TrainingRun],
    executor: Executor,
    report: Callable[[int, int], None],
    failed: Callable[[int, str], None] | None = None,
) -> None:
    """Have those runs done that are not on disk, on whichever machines; of equal ones the first.

    report, failed: see `Executor.run`; a run that has ended reports all its steps.
    """
    todo = {run.key: (index, run) for index, run in reversed(list(enumerate(runs))) if run.found() is None}
    places, missing = [index for index, _ in todo.values()], [run for _, run in todo.values()]

    def tell(number: int, step: int) -> None:
        report(places[number], step)

    def give_up(number: int, why: str) -> None:
        if failed is None:
            raise InputError(why)
        failed(places[number], why)

    for number, record in executor.run((run.item for run in missing), tell, give_up):
        missing[number].write(record)
        tell(number, missing[number].training.steps)


def _train(job: Job) -> dict[str, Any]:
    asked: TrainingRun = job.data
    run = replace(asked, tasks=job.common, base=replace(asked.base, path=job.sources[0]))
    with torch_threads(job.threads):
        model, record = _trained(run, job.report)
    if job.place is not None:
        if asked.training.lora is not None:
            settle_description(model, asked.base.path)
        with atomic_directory(job.place) as folder:
            save_parts(folder, model, load_tokenizer(run.base))
            write_sums(folder)
    return record


def _trained(run: TrainingRun, on_step: Callable[[int], None]) -> tuple[Any, dict[str, Any]]:
    """(the model, the run's record), the record keyed by task name."""
    from taskpgm.forward import task_losses, task_scores

    tasks, training, measure = run.tasks, run.training, run.measure
    probes = make_probes(held_out(tasks, measure), measure.per_task, measure.part)
    sequence = mixed_sequence(tasks, run.shares, training.steps, training.batch_size, training.seed)
    marks = training.snapshot_steps() if measure.curve else []
    curve: list[FloatArray] = []
    loaded: Any = None
    if marks:
        loaded = load_start(run.base, training)
        with as_in_training(training):
            curve.append(task_losses(loaded, probes, measure.batch_size))
    loaded = loaded if training.lora is not None else None  # an adapter can go on the base that was just read
    model = trainable(run.base, training, loaded)

    look = partial(task_losses, probes=probes, batch_size=measure.batch_size)
    fine_tune(model, sequence, training, looking_on(model, marks, look, curve, on_step))
    losses, exact = task_scores(model, probes, measure.batch_size)
    if not np.all(np.isfinite([*curve, losses])):
        raise InputError("training diverged (its losses are not finite); lower learning_rate.")
    record = {
        "seed": training.seed,
        "steps": training.steps,
        "curve_steps": marks,
        "tasks": {
            task.name: {
                "examples": run.counts[i],
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


def _nothing(step: int) -> None:
    """Report no step."""
