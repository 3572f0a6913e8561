"""One fine-tuned expert per task: equal budgets, the same seed, and nothing trained twice. The only module that trains.

    experts = train_experts(tasks, base="Qwen/Qwen2.5-0.5B", out="runs/a")

Each expert is a folder under the hash of everything that determines it: the base model and its tokenizer, the task's
training data, the settings, and the versions of the libraries that compute. It holds safetensors and `curve.json`: the
losses on every task's probes at about ten points of its training, with the exposure reached. A folder appears only when
it is complete, so a run killed at any moment goes on with what is missing.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.base import Base, load_model, load_model_config, load_tokenizer, locate_base, torch_threads
from taskpgm.config import ProbeSettings, TrainingSettings
from taskpgm.progress import Progress, silent
from taskpgm.storage import (
    atomic_directory,
    canonical_json,
    content_hash,
    file_hash,
    first_line,
    read_json,
    remove_partial,
    versions,
    write_atomic,
)
from taskpgm.tokens import TokenExample, TokenTask, chosen_probes, context_window, make_probes, pad_batch, tokenize
from taskpgm.types import FloatArray, InputError, LossCurves, Probes, TaskSet, readonly

SCHEMA = 1
CURVE_FILE = "curve.json"


@dataclass(frozen=True, eq=False)
class Experts:
    """Trained experts on disk, one per task, and the base that they started from."""

    names: tuple[str, ...]
    directories: tuple[Path, ...]
    base: Base
    out: Path
    training: TrainingSettings

    def load(self, index: int) -> Any:
        """The expert's model, in evaluation mode."""
        if self.training.lora is None:
            return load_model(self.directories[index], self.training.precision)
        from peft import PeftModel

        base = load_model(self.base.path, self.training.precision)
        with _without_peft_deprecations():
            return PeftModel.from_pretrained(base, self.directories[index]).eval()

    def fingerprint(self, index: int) -> str:
        """The hash of what the expert predicts with: its weights, the base, and how adapters are applied to it."""
        known = read_json(self.directories[index] / CURVE_FILE).get("weights")
        return content_hash(
            {
                "weights": known or _weights_hash(self.directories[index]),
                "base": self.base.fingerprint,
                "lora": None if self.training.lora is None else self.training.lora.model_dump(mode="json"),
            }
        )

    def curves(self) -> LossCurves:
        """The losses of every expert on every task during its training, in the order of `names`."""
        stored = [read_json(directory / CURVE_FILE) for directory in self.directories]
        columns = [stored[0]["names"].index(name) for name in self.names]
        return LossCurves(
            self.names,
            readonly([each["examples"] for each in stored], np.int64),
            readonly([each["target_tokens"] for each in stored], np.int64),
            readonly(np.array([each["losses"] for each in stored])[:, :, columns], np.float64),
        )


def train_experts(
    tasks: TaskSet,
    base: str | Path | Base,
    out: str | Path,
    *,
    training: TrainingSettings | None = None,
    probes: ProbeSettings | None = None,
    revision: str | None = None,
    progress: Progress = silent,
) -> Experts:
    """Train, or find on disk, one expert per task.

    Args:
        tasks: what to train on; each expert sees its own task's training part only.
        base: a local folder or a hub name (with `revision`, a commit) of a causal language model.
        out: folder for the artefacts; experts that are already there are not trained again.
        training: the budget and optimiser, the same for every expert.
        probes: on what the learning curves are measured.
        progress: receives (stage, done, total, text).

    Raises:
        InputError: an unknown model, or an example longer than the context window.
    """
    training, probes = training or TrainingSettings(), probes or ProbeSettings()
    base = base if isinstance(base, Base) else locate_base(base, revision)
    tokenised = tokenize_for(tasks, base, probes)
    return train_tokenised(tokenised, base, Path(out), training, probes, progress)


def tokenize_for(tasks: TaskSet, base: Base, probes: ProbeSettings) -> tuple[TokenTask, ...]:
    """The tasks in the base model's tokens."""
    tokenizer = load_tokenizer(base)
    return tokenize(tasks, tokenizer, context_window(load_model_config(base), tokenizer), too_long=probes.too_long)


def train_tokenised(
    tasks: Sequence[TokenTask],
    base: Base,
    out: Path,
    training: TrainingSettings,
    probes: ProbeSettings,
    progress: Progress,
) -> Experts:
    """`train_experts` for tasks that are already token ids."""
    chosen = make_probes(tasks, probes.per_task)
    directories = [out / "experts" / _expert_key(task, tasks, base, training, probes) for task in tasks]
    if not all(directory.is_dir() for directory in directories):
        remove_partial(out)
        with torch_threads(training.threads):
            _train_missing(tasks, directories, base, chosen, training, probes, progress)
    return Experts(tuple(task.name for task in tasks), tuple(directories), base, out, training)


def training_sequence(examples: Sequence[TokenExample], training: TrainingSettings) -> list[TokenExample]:
    """The examples in the order in which training takes them: steps x batch_size, reshuffled every epoch."""
    generator = np.random.default_rng(training.seed)
    return in_epochs(examples, training.steps * training.batch_size, generator)


def in_epochs(examples: Sequence[TokenExample], needed: int, generator: np.random.Generator) -> list[TokenExample]:
    """So many examples without replacement, shuffled anew each time all have been taken."""
    order: list[int] = []
    while len(order) < needed:
        order.extend(generator.permutation(len(examples)).tolist())
    return [examples[i] for i in order[:needed]]


def fine_tune(
    model: Any, sequence: Sequence[TokenExample], training: TrainingSettings, on_step: Callable[[int], None]
) -> None:
    """Train a model in place on a fixed sequence of examples; on_step is called with each finished step."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    logging.disable_progress_bar()

    class StepListener(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            on_step(state.global_step)

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=training.steps,
            per_device_train_batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            adam_beta1=training.betas[0],
            adam_beta2=training.betas[1],
            weight_decay=training.weight_decay,
            warmup_steps=training.warmup_steps,
            lr_scheduler_type=training.schedule,
            max_grad_norm=training.max_grad_norm,
            bf16=training.precision == "bfloat16",
            seed=training.seed,
            train_sampling_strategy="sequential",
            dataloader_drop_last=False,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=list(sequence),
            data_collator=_collate,
            callbacks=[StepListener()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.eval()


def looking_on(
    model: Any,
    steps: Collection[int],
    probes: Probes,
    batch_size: int,
    losses: list[FloatArray],
    on_step: Callable[[int], None],
) -> Callable[[int], None]:
    """An on_step for `fine_tune` that adds the losses on all tasks' probes to `losses` after each of some steps."""
    from taskpgm.forward import task_losses

    def after_step(step: int) -> None:
        if step in steps:
            model.eval()
            losses.append(task_losses(model, probes, batch_size))
            model.train()
        on_step(step)

    return after_step


def _collate(rows: Sequence[TokenExample]) -> dict[str, Any]:
    import torch

    ids, mask = pad_batch([row.ids for row in rows], padding=0)
    starts = np.array([row.target_start for row in rows])[:, None]
    labels = np.where((mask == 1) & (np.arange(ids.shape[1]) >= starts), ids, -100)
    return {
        name: torch.as_tensor(array)
        for name, array in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))
    }


def _train_missing(
    tasks: Sequence[TokenTask],
    directories: Sequence[Path],
    base: Base,
    probes: Probes,
    training: TrainingSettings,
    settings: ProbeSettings,
    progress: Progress,
) -> None:
    from taskpgm.forward import task_losses

    start_losses = task_losses(load_model(base.path, training.precision), probes, settings.batch_size)
    total = len(tasks) * training.steps
    for number, (task, directory) in enumerate(zip(tasks, directories, strict=True)):
        if directory.is_dir():  # also where two tasks have the same data and so share an expert
            progress("experts", (number + 1) * training.steps, total, task.name)
            continue

        def on_step(step: int, number: int = number, name: str = task.name) -> None:
            progress("experts", number * training.steps + step, total, name)

        _train_one(task, directory, base, probes, training, settings, start_losses, on_step)


def _train_one(
    task: TokenTask,
    directory: Path,
    base: Base,
    probes: Probes,
    training: TrainingSettings,
    settings: ProbeSettings,
    start_losses: FloatArray,
    on_step: Callable[[int], None],
) -> None:
    sequence = training_sequence(task.train, training)
    targets = np.cumsum([len(row.ids) - row.target_start for row in sequence])
    snapshots, losses = training.snapshot_steps(), [start_losses]
    model = trainable(base, training)

    fine_tune(model, sequence, training, looking_on(model, snapshots, probes, settings.batch_size, losses, on_step))
    if not np.all(np.isfinite(losses)):
        raise InputError(f"task {task.name!r}: training diverged (its losses are not finite); lower learning_rate.")
    examples = [step * training.batch_size for step in snapshots]
    order = sorted(
        range(len(probes.names)), key=lambda i: probes.names[i]
    )  # so that reordered tasks share the artefact
    curve = {
        "names": [probes.names[i] for i in order],
        "steps": snapshots,
        "examples": examples,
        "target_tokens": [int(targets[count - 1]) if count else 0 for count in examples],
        "losses": [[float(row[i]) for i in order] for row in losses],
    }
    with atomic_directory(directory) as folder:
        model.save_pretrained(folder)
        curve["weights"] = _weights_hash(folder)
        write_atomic(folder / CURVE_FILE, canonical_json(curve).encode())


def _weights_hash(directory: Path) -> str:
    return content_hash({path.name: file_hash(path) for path in directory.glob("*.safetensors")})


def trainable(base: Base, training: TrainingSettings) -> Any:
    from transformers import set_seed

    set_seed(training.seed)
    model = load_model(base.path, "float32" if training.lora is None else training.precision)
    if training.lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    targets = training.lora.target_modules
    adapter = LoraConfig(
        r=training.lora.rank,
        lora_alpha=training.lora.alpha,
        lora_dropout=training.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        with _without_peft_deprecations():
            return get_peft_model(model, adapter)
    except ValueError as error:  # modules that this model does not have
        raise InputError(f"training.lora does not fit the model: {first_line(error)}") from error


@contextlib.contextmanager
def _without_peft_deprecations() -> Iterator[None]:
    """peft 0.21 reads a property that transformers 5.23 deprecates; users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def _expert_key(
    task: TokenTask, tasks: Sequence[TokenTask], base: Base, training: TrainingSettings, probes: ProbeSettings
) -> str:
    """The hash of everything that determines an expert and its curve; the order of the tasks is no part of it."""
    return content_hash(
        {
            "schema": SCHEMA,
            "base": base.fingerprint,
            "train": [[list(row.ids), row.target_start] for row in task.train],
            "training": training.model_dump(mode="json"),
            "probes": probes_key(tasks, probes),
            "versions": versions("torch", "transformers", "peft", "accelerate"),
        }
    )


def probes_key(tasks: Sequence[TokenTask], probes: ProbeSettings) -> str:
    """The hash of the probes of all tasks, by name."""
    rows = {
        task.name: [[list(row.ids), row.target_start] for row in chosen_probes(task, probes.per_task)] for task in tasks
    }
    return content_hash(rows)
