"""One fine-tuned expert per task: equal budgets, the same seed, and nothing trained twice. The only module that trains.

    experts = train_experts(tasks, base="Qwen/Qwen2.5-0.5B", out="runs/a")

Each expert is a folder under the hash of everything that determines it: the base model and its tokenizer, the task's
training data, the settings, and the versions of the libraries that compute. It holds safetensors and `curve.json`: the
losses on every task's probes at about ten points of its training, with the exposure reached (`taskpgm.expert_curves`).
A folder appears only when it is complete, so a run killed at any moment goes on with what is missing.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.base import (
    Base,
    device,
    load_model,
    load_model_config,
    load_tokenizer,
    locate_base,
    save_parts,
    torch_threads,
)
from taskpgm.config import ProbeSettings, TrainingSettings
from taskpgm.diverged import DivergedError, has_diverged, mark_diverged
from taskpgm.expert_curves import (
    add_to_curve,
    expert_damage,
    losses_on,
    read_curves,
    stored_weights_hash,
    unknown_probes,
    weights_hash,
    write_curve,
)
from taskpgm.integrity import keep_sound
from taskpgm.progress import Progress, silent
from taskpgm.run_lock import locked
from taskpgm.storage import atomic_directory, content_hash, first_line, remove_partial, versions
from taskpgm.tokens import TokenExample, TokenTask, context_window, pad_batch, probes_by_task, tokenize
from taskpgm.types import FloatArray, InputError, LossCurves, Probes, TaskSet

SCHEMA = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Experts:
    """Trained experts on disk, one per task, and the base that they started from. probes: the key of each task's.

    diverged: the tasks that are left out, which `training.diverged: exclude` asks for.
    """

    names: tuple[str, ...]
    directories: tuple[Path, ...]
    base: Base
    out: Path
    training: TrainingSettings
    probes: tuple[str, ...]
    diverged: tuple[str, ...] = ()

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
        return content_hash(
            {
                "weights": stored_weights_hash(self.directories[index]),
                "base": self.base.fingerprint,
                "lora": None if self.training.lora is None else self.training.lora.model_dump(mode="json"),
            }
        )

    @property
    def have_curves(self) -> bool:
        """Whether all losses of `curves` are known; see `train_experts` for when they are not."""
        return not any(unknown_probes(directory, self.probes) for directory in self.directories)

    def curves(self) -> LossCurves:
        """The losses of every expert on every task during its training, in the order of `names`.

        Raises:
            InputError: an expert that was trained before a task came, with curves=False.
        """
        return read_curves(self.names, self.directories, self.probes)


def train_experts(
    tasks: TaskSet,
    base: str | Path | Base,
    out: str | Path,
    *,
    training: TrainingSettings | None = None,
    probes: ProbeSettings | None = None,
    revision: str | None = None,
    curves: bool = True,
    progress: Progress = silent,
) -> Experts:
    """Train, or find on disk, one expert per task.

    Args:
        tasks: what to train on; each expert sees its own task's training part only.
        base: a local folder or a hub name (with `revision`, a commit) of a causal language model.
        out: folder for the artefacts; experts that are already there are not trained again.
        training: the budget and optimiser, the same for every expert.
        probes: on what the learning curves are measured.
        curves: whether learning curves are needed. Then a task that is new has all other experts trained once more, as
            their losses on it are seen only while they are trained; else it costs its own expert.
        progress: receives (stage, done, total, text).

    Raises:
        InputError: an unknown model, an example longer than the context window, or another process at work in `out`.
    """
    training, probes = training or TrainingSettings(), probes or ProbeSettings()
    base = base if isinstance(base, Base) else locate_base(base, revision)
    tokenised = tokenize_for(tasks, base, probes)
    with locked(Path(out)):
        return train_tokenised(tokenised, base, Path(out), training, probes, progress, curves=curves)


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
    *,
    curves: bool = True,
) -> Experts:
    """`train_experts` for tasks that are already token ids."""
    keys, own = probes_by_task(tasks, probes.per_task)
    directories = [out / "experts" / _expert_key(task, base, training) for task in tasks]
    for directory in dict.fromkeys(directories):
        if directory.is_dir():
            keep_sound(directory, expert_damage)
    excluding = training.diverged == "exclude"
    if any(
        _still_to_do(directory, keys, curves)
        for directory in directories
        if not (excluding and has_diverged(directory))
    ):
        remove_partial(out)
        with torch_threads(training.threads):
            _train_missing(tasks, directories, base, own, training, probes, curves, progress)
    kept = [i for i, directory in enumerate(directories) if directory.is_dir()]
    diverged = tuple(task.name for i, task in enumerate(tasks) if i not in kept)
    if len(kept) < 2:
        raise InputError(
            f"the experts of {len(diverged)} of {len(tasks)} tasks diverged; lower training.learning_rate."
        )
    names, folders = tuple(tasks[i].name for i in kept), tuple(directories[i] for i in kept)
    return Experts(names, folders, base, out, training, tuple(keys[i] for i in kept), diverged)


def _still_to_do(directory: Path, keys: Collection[str], curves: bool) -> list[str]:
    """On which probes an expert has to be looked at while it is trained; none: it need not be trained."""
    return unknown_probes(directory, keys) if curves or not directory.is_dir() else []


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
    model: Any,
    sequence: Sequence[TokenExample] | Any,
    training: TrainingSettings,
    on_step: Callable[[int], None],
    attach: Callable[[Any], object] | None = None,
) -> None:
    """Train a model in place on a fixed sequence of examples; on_step is called with each finished step.

    attach: given the Trainer before it starts, may make it draw by a mixture, from the sequence as a torch data set.
    """
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
            use_cpu=device() == "cpu",
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
            train_dataset=sequence,
            data_collator=_collate,
            callbacks=[StepListener()],
        )
        trainer.remove_callback(PrinterCallback)
        if attach is not None:
            attach(trainer)
        trainer.train()
    model.eval()


def looking_on(
    model: Any,
    steps: Collection[int],
    look: Callable[[Any], FloatArray],
    losses: list[FloatArray],
    on_step: Callable[[int], None],
) -> Callable[[int], None]:
    """An on_step for `fine_tune` that adds what `look` sees of the model to `losses` after each of some steps."""

    def after_step(step: int) -> None:
        if step in steps:
            model.eval()
            losses.append(look(model))
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
    probes: Mapping[str, Probes],
    training: TrainingSettings,
    settings: ProbeSettings,
    curves: bool,
    progress: Progress,
) -> None:
    needed = {key for directory in directories for key in _still_to_do(directory, probes, curves)}
    seen = {key: own for key, own in probes.items() if key in needed}
    start = losses_on(load_model(base.path, training.precision), seen, settings.batch_size)
    start_losses = dict(zip(seen, start.tolist(), strict=True))
    total = len(tasks) * training.steps
    for number, (task, directory) in enumerate(zip(tasks, directories, strict=True)):
        left_out = training.diverged == "exclude" and has_diverged(directory)
        wanted = [] if left_out else _still_to_do(directory, probes, curves)
        if not wanted:  # also where two tasks have the same data and so share an expert
            progress("experts", (number + 1) * training.steps, total, task.name)
            continue

        def on_step(step: int, number: int = number, name: str = task.name) -> None:
            progress("experts", number * training.steps + step, total, name)

        look = partial(losses_on, probes={key: probes[key] for key in wanted}, batch_size=settings.batch_size)
        try:
            _train_one(task, directory, base, training, look, {key: start_losses[key] for key in wanted}, on_step)
        except DivergedError as error:
            if training.diverged == "refuse":
                raise
            _log.warning("%s The task is left out.", error)
            mark_diverged(directory)


def _train_one(
    task: TokenTask,
    directory: Path,
    base: Base,
    training: TrainingSettings,
    look: Callable[[Any], FloatArray],
    start_losses: Mapping[str, float],
    on_step: Callable[[int], None],
) -> None:
    """Train an expert, or one that is there once more, for its losses on what `look` sees: the keys of start_losses."""
    sequence = training_sequence(task.train, training)
    targets = np.cumsum([len(row.ids) - row.target_start for row in sequence])
    snapshots, losses = training.snapshot_steps(), [np.array(list(start_losses.values()))]
    model = trainable(base, training)

    fine_tune(model, sequence, training, looking_on(model, snapshots, look, losses, on_step))
    if not np.all(np.isfinite(losses)):
        raise DivergedError(f"task {task.name!r}: training diverged (its losses are not finite); lower learning_rate.")
    examples = [step * training.batch_size for step in snapshots]
    exposure = {
        "steps": snapshots,
        "examples": examples,
        "target_tokens": [int(targets[count - 1]) if count else 0 for count in examples],
    }
    by_key = dict(zip(start_losses, np.transpose(losses).tolist(), strict=True))
    if directory.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            save_parts(Path(scratch), model)
            add_to_curve(directory, by_key, weights_hash(Path(scratch)))
        return
    with atomic_directory(directory) as folder:
        save_parts(folder, model)
        write_curve(folder, exposure, by_key)


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


def _expert_key(task: TokenTask, base: Base, training: TrainingSettings) -> str:
    """The hash of everything that determines an expert; the other tasks are no part of it."""
    return content_hash(
        {
            "schema": SCHEMA,
            "base": base.fingerprint,
            "train": [[list(row.ids), row.target_start] for row in task.train],
            "training": training.model_dump(mode="json"),
            "versions": versions("torch", "transformers", "peft", "accelerate"),
        }
    )
