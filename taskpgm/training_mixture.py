"""A mixture inside transformers' Trainer, or TRL's SFTTrainer, as it is: no subclass, no rewritten training script.

    mix = TrainingMixture(mixture, datasets, seed=0)
    trainer = SFTTrainer(model, args=arguments, train_dataset=mix.dataset)
    mix.attach(trainer)
    trainer.train()                     # or train(resume_from_checkpoint=True), which draws what would have come

From then on the trainer's batches are drawn by the mixture, its log shows every task's share, epochs and training loss,
and its checkpoints hold where the sequence of draws stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Sampler

from taskpgm.callback import Decide, MixtureCallback
from taskpgm.drawing import Drawing
from taskpgm.mixture import Mixture
from taskpgm.mixture_ledger import UNIT_NAMES, Window
from taskpgm.sampler import shares_of_examples
from taskpgm.step_plan import StepPlan
from taskpgm.types import FloatArray, InputError, IntArray

COLUMN = "taskpgm_task"
"""The column of the joint data set that says which task a row is of, as an index into the sorted names."""


class TrainingMixture:
    """The tasks' data as one data set, and what makes a trainer draw from it by a mixture.

    dataset: give it to the trainer as train_dataset. names: the tasks, sorted.
    """

    def __init__(
        self,
        weights: Mixture | Mapping[str, float],
        datasets: Mapping[str, Any],
        *,
        seed: int = 0,
        examples_per_epoch: int | None = None,
        losses_every: int = 4,
    ) -> None:
        """
        Args:
            weights: a mixture, whose weights in tokens are converted by the tasks' mean lengths, or shares of the
                examples by task name.
            datasets: by task name, all of them Hugging Face data sets with the same columns, or all of them torch's.
            seed: of the order of every task's rows.
            examples_per_epoch: what the trainer takes for one epoch (in whole steps); the rows of all data where not
                given. The draws go on across epochs: a task's data begins anew when all of it was drawn.
            losses_every: measure the training loss of each task in every so many steps, from the first on: it takes
                another pass over the logits. TRL's output layer gives losses for nothing: there, in every step.

        Raises:
            InputError: weights and data that do not fit together.
        """
        if min(losses_every, 1 if examples_per_epoch is None else examples_per_epoch) < 1:
            raise InputError("losses_every and examples_per_epoch count from 1.")
        self.names = tuple(sorted(datasets))
        self._weights, self._seed, self._epoch = weights, seed, examples_per_epoch
        self._losses_every = losses_every
        self._sizes = {name: len(datasets[name]) for name in self.names}
        self._drawing(self._sizes)
        self.dataset: Any = _joined(self.names, datasets)

    def attach(self, trainer: Any, *, decide: Decide | None = None, decide_every: int = 50) -> MixtureCallback:
        """Make a trainer draw, log and save by this mixture. Call it once, after the trainer was made.

        Args:
            trainer: a Trainer or SFTTrainer whose train_dataset is `dataset`.
            decide: asked after every `decide_every` steps with the windows seen so far (`Window`: amounts and mean
                training loss of each task), gives the weights from then on, in the unit of `weights`, or None to leave
                them. It must depend on nothing else, so that a run that was stopped goes on as it would have. They
                are in force as soon as the loader has not drawn by the old ones already, a few steps later.

        Raises:
            InputError: a trainer or setting that the mixture cannot work with, and what to change.
        """
        if decide_every < 1:
            raise InputError("decide_every counts from 1.")
        _check_settings(trainer)
        rows = self._rows(trainer.train_dataset)
        config = getattr(trainer.model, "config", None)
        callback = MixtureCallback(
            self._drawing({name: len(found) for name, found in zip(self.names, rows, strict=True)}),
            rows,
            lengths=self._lengths(),
            epoch=self._epoch,
            decide=None if decide is None else partial(self._decided, decide),
            every=decide_every,
            losses_every=self._losses_every,
            shifted=not getattr(config, "is_encoder_decoder", False),
        )
        _connect(trainer, callback)
        return callback

    def steps(self, trainer: Any) -> tuple[int, int]:
        """(steps of the optimiser in the trainer's whole run, examples in each of them)."""
        plan, arguments = _step_plan(trainer), trainer.args
        if arguments.max_steps > 0:
            return int(arguments.max_steps), plan.examples
        wanted = sum(map(len, self._rows(trainer.train_dataset))) if self._epoch is None else self._epoch
        return math.ceil(arguments.num_train_epochs * (plan.epoch(wanted) // plan.examples)), plan.examples

    def _drawing(self, sizes: Mapping[str, int]) -> Drawing:
        return Drawing(sizes, shares_of_examples(self._weights), self._seed)

    def _decided(self, decide: Decide, windows: Sequence[Window]) -> Mapping[str, float] | None:
        """What is decided, as shares of the examples."""
        weights = decide(windows)
        if weights is None or not isinstance(self._weights, Mixture):
            return weights
        return replace(self._weights, weights=weights).shares("examples")

    def _rows(self, data: Any) -> list[IntArray]:
        """For each task, where its examples are in the trainer's data, which may have lost some of them."""
        if data is self.dataset and isinstance(data, ConcatDataset):
            ends = np.cumsum([self._sizes[name] for name in self.names])
            return [np.arange(end - self._sizes[name], end) for name, end in zip(self.names, ends, strict=True)]
        if COLUMN not in (getattr(data, "column_names", None) or ()):
            raise InputError(
                f"the trainer's training data has no column {COLUMN!r}: give it train_dataset=mix.dataset, keep the"
                " column where you change the data, and switch packing off, which joins examples of several tasks."
            )
        task = np.asarray(data.with_format("numpy")[COLUMN][:], dtype=np.int64)
        return [np.flatnonzero(task == i) for i in range(len(self.names))]

    def _lengths(self) -> FloatArray | None:
        """(n, 3) mean length of an example in each unit, where the mixture knows it of all tasks."""
        sizes = self._weights.sizes if isinstance(self._weights, Mixture) else None
        if sizes is None or not set(self.names) <= set(sizes):
            return None
        amounts = np.array([[getattr(sizes[name], unit) for unit in UNIT_NAMES] for name in self.names], dtype=float)
        return np.asarray(amounts / np.maximum(amounts[:, :1], 1.0))


def _joined(names: tuple[str, ...], datasets: Mapping[str, Any]) -> Any:
    """The data of all tasks, one after the other; Hugging Face data sets get a column with the index of the task."""
    from datasets import Dataset, concatenate_datasets

    hugging_face = [name for name in names if isinstance(datasets[name], Dataset)]
    if not hugging_face:
        return ConcatDataset([datasets[name] for name in names])
    if len(hugging_face) < len(names):
        other = next(name for name in names if name not in hugging_face)
        raise InputError(
            f"data of task {other!r} is no datasets.Dataset, as that of {hugging_face[0]!r} is; use one kind."
        )
    parts = []
    for index, name in enumerate(names):
        data = datasets[name]
        if data.column_names != datasets[names[0]].column_names:
            raise InputError(
                f"data of task {name!r} has columns {data.column_names}, that of {names[0]!r}"
                f" {datasets[names[0]].column_names}; give all tasks the same columns."
            )
        if COLUMN in data.column_names:
            raise InputError(f"data of task {name!r} has a column {COLUMN!r} already; remove it.")
        parts.append(data.add_column(COLUMN, np.full(len(data), index)))
    try:
        return concatenate_datasets(parts)
    except ValueError as error:
        raise InputError(f"the tasks' data sets cannot be joined: {str(error).splitlines()[0]}") from error


def _check_settings(trainer: Any) -> None:
    """Refuse what would draw other examples than the mixture's, or would not go on from a checkpoint."""
    arguments = trainer.args
    strategy = arguments.train_sampling_strategy
    reasons = {
        "a mixture is attached to this trainer already; make a new trainer for another.": any(
            isinstance(each, MixtureCallback) for each in trainer.callback_handler.callbacks
        ),
        f"train_sampling_strategy {strategy!r} would order the examples itself; leave it at 'random'.": strategy
        not in ("random", "sequential"),
        "dataloader_in_order is off, so nobody knows which examples a batch has; leave it on.": not getattr(
            arguments, "dataloader_in_order", True
        ),
        "restore_callback_states_from_checkpoint would replace the attached mixture, which finds its state in the"
        " checkpoint by itself; leave it off.": arguments.restore_callback_states_from_checkpoint,
        "several GPUs in one process split batches where nobody sees it; start one process for each with torchrun, or"
        " show it one GPU with CUDA_VISIBLE_DEVICES.": arguments.n_gpu > 1,
        "tensor, context and sequence parallelism share batches between processes in ways not supported here; use data"
        " parallelism.": getattr(trainer.accelerator, "parallelism_config", None) is not None,
    }
    for reason, found in reasons.items():
        if found:
            raise InputError(reason)


def _connect(trainer: Any, callback: MixtureCallback) -> None:
    """Hand the callback what it needs at four places of the trainer, each of them meant to be overridden."""
    training_step, log = trainer.training_step, trainer.log

    def sampler_of_mixture(train_dataset: Any = None) -> Sampler[int]:
        return callback.sampler(_step_plan(trainer))

    def step_of_mixture(model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        callback.begin_batch(inputs)
        loss = training_step(model, inputs, num_items_in_batch)
        callback.end_batch()
        return loss

    def log_of_mixture(logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs.update(callback.figures())
        log(logs, start_time)

    trainer._get_train_sampler = sampler_of_mixture
    trainer.training_step = step_of_mixture
    trainer.log = log_of_mixture
    # first, so that whoever saves at the end of a step saves a step that is counted
    trainer.callback_handler.callbacks.insert(0, callback)


def _step_plan(trainer: Any) -> StepPlan:
    """How this trainer makes its steps."""
    arguments, accelerator = trainer.args, trainer.accelerator
    processes = accelerator.num_processes
    batch = trainer._train_batch_size
    workers = arguments.dataloader_num_workers
    return StepPlan(
        batch=batch // processes if accelerator.split_batches else batch,
        accumulation=arguments.gradient_accumulation_steps,
        world_size=processes,
        rank=accelerator.process_index,
        prefetched=workers * (arguments.dataloader_prefetch_factor or 2),
    )
