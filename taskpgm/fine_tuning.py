"""Fine-tuning one model on a fixed sequence of examples: the loop that experts and final runs share.

    model = trainable(base, training)
    fine_tune(model, training_sequence(examples, training), training, on_step=print)

The loss is on target tokens only, averaged over those of a batch, which may go through the model in parts
(`taskpgm.micro_batches`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.adapters import adapted, with_adapter
from taskpgm.base import Base, device, load_base
from taskpgm.checkpointing import recompute_activations
from taskpgm.config import TrainingSettings
from taskpgm.halving import enough_memory
from taskpgm.micro_batches import REMEDY, trainer_class
from taskpgm.one_process import check_one_process
from taskpgm.tokens import TokenExample, pad_batch
from taskpgm.types import FloatArray, InputError


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


def load_start(base: Base, training: TrainingSettings) -> Any:
    """The base with the weights that training starts from: float32 where these are trained, else in the precision."""
    if training.lora is None and base.load_in is not None:
        raise InputError(f"model.load_in: {base.load_in} is for a frozen base; add training: {{lora: {{rank: 16}}}}.")
    return load_base(base, "float32" if training.lora is None else training.precision)


@contextlib.contextmanager
def as_in_training(training: TrainingSettings) -> Iterator[None]:
    """A block in which a model computes as those do that are being trained: the start of a curve is read like its rest.

    In bfloat16 these have float32 weights (adapters, or all of them) and products in bfloat16. Predictions are read
    from weights that are bfloat16 themselves, the base's and the experts' alike.
    """
    import torch

    with torch.autocast(device(), torch.bfloat16, enabled=training.precision == "bfloat16"):
        yield


def trainable(base: Base, training: TrainingSettings, loaded: Any | None = None, start: Path | None = None) -> Any:
    """The base as training starts from it, with an adapter where the settings ask for one.

    start: a folder with the weights, or the adapter, of another training, which goes on.

    loaded: the base where it is in memory already; only an adapter can be put on it, as all else would change it.
    """
    from transformers import set_seed

    set_seed(training.seed)
    if training.lora is None and start is not None:
        return load_start(replace(base, path=start), training)
    model = load_start(base, training) if loaded is None else loaded
    if training.lora is None:
        return model
    return with_adapter(model, training.lora) if start is None else adapted(model, start, to_train=True)


def fine_tune(
    model: Any,
    sequence: Sequence[TokenExample] | Any,
    training: TrainingSettings,
    on_step: Callable[[int], None],
    attach: Callable[[Any], object] | None = None,
) -> None:
    """Train a model in place on a fixed sequence of examples; on_step is called with each finished step.

    attach: given the Trainer before it starts, may make it draw by a mixture, from the sequence as a torch data set.
    The batches of such a Trainer are not split: what is attached looks at them whole.

    Raises:
        InputError: memory runs out with one example at a time, or this is one of several processes.
    """
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    check_one_process()
    logging.disable_progress_bar()
    if training.gradient_checkpointing:
        recompute_activations(model)

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
        arguments._n_gpu = min(arguments.n_gpu, 1)  # else every card in sight makes the batch larger
        kind = trainer_class(training.micro_batch or training.batch_size) if attach is None else Trainer
        trainer = kind(
            model=model,
            args=arguments,
            train_dataset=sequence,
            data_collator=collate,
            callbacks=[StepListener()],
        )
        trainer.remove_callback(PrinterCallback)
        if attach is not None:
            attach(trainer)
        with enough_memory("training", REMEDY):
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


def collate(rows: Sequence[TokenExample]) -> dict[str, Any]:
    import torch

    ids, mask = pad_batch([row.ids for row in rows], padding=0)
    starts = np.array([row.target_start for row in rows])[:, None]
    labels = np.where((mask == 1) & (np.arange(ids.shape[1]) >= starts), ids, -100)
    return {
        name: torch.as_tensor(array)
        for name, array in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))
    }
