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
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from taskpgm.callback import Decide, MixtureCallback
from taskpgm.drawing import Drawing
from taskpgm.held_out import held_out_losses
from taskpgm.joint_data import joined, rows_of
from taskpgm.mixture import Mixture
from taskpgm.mixture_ledger import UNIT_NAMES, Window
from taskpgm.sampler import shares_of_examples
from taskpgm.step_plan import StepPlan
from taskpgm.types import FloatArray, InputError, IntArray


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
        held_out: Mapping[str, Any] | None = None,
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
            held_out: by task name, examples that are never drawn, in data sets as the others; see `attach`.

        Raises:
            InputError: weights and data that do not fit together.
        """
        if min(losses_every, 1 if examples_per_epoch is None else examples_per_epoch) < 1:
            raise InputError("losses_every and examples_per_epoch count from 1.")
        self.names = tuple(sorted(datasets))
        self._weights, self._seed, self._epoch = weights, seed, examples_per_epoch
        self._losses_every = losses_every
        self._drawing({name: len(datasets[name]) for name in self.names})
        probes = {} if held_out is None else held_out
        odd = sorted(set(probes) ^ set(self.names)) if probes else []
        if odd:
            raise InputError(f"held_out: expected held-out data of every task and no other; see task {odd[0]!r}.")
        self._parts = [len(part[name]) for part in (datasets, probes) for name in sorted(part)]
        self.dataset: Any = joined(datasets, probes)

    def with_weights(self, weights: Mixture | Mapping[str, float]) -> TrainingMixture:
        """The same data set, drawn by other weights."""
        other = copy(self)
        other._weights = weights
        return other

    def attach(
        self,
        trainer: Any,
        *,
        decide: Decide | None = None,
        decide_every: int = 50,
        look_at: Collection[int] = (),
    ) -> MixtureCallback:
        """Make a trainer draw, log and save by this mixture. Call it once, after the trainer was made.

        Args:
            trainer: a Trainer or SFTTrainer whose train_dataset is `dataset`.
            decide: asked after every `decide_every` steps with the windows seen so far (`Window`: amounts and mean
                training loss of each task), gives the weights from then on, in the unit of `weights`, or None to leave
                them. It must depend on nothing else, so that a run that was stopped goes on as it would have. They
                are in force as soon as the loader has not drawn by the old ones already, a few steps later.
            look_at: at the end of which windows, counted from 1, the held-out losses are measured.

        Raises:
            InputError: a trainer or setting that the mixture cannot work with, and what to change.
        """
        if decide_every < 1:
            raise InputError("decide_every counts from 1.")
        _check_settings(trainer)
        count, rows = len(self.names), self._rows(trainer.train_dataset)
        shifted = not getattr(getattr(trainer.model, "config", None), "is_encoder_decoder", False)

        def looked(windows: int) -> tuple[float | None, ...] | None:
            return held_out_losses(trainer, rows[count:], shifted) if windows in look_at else None

        callback = MixtureCallback(
            self._drawing({name: len(found) for name, found in zip(self.names, rows[:count], strict=True)}),
            rows[:count],
            lengths=self._lengths(),
            epoch=self._epoch,
            decide=None if decide is None else partial(self._decided, decide),
            every=decide_every,
            losses_every=self._losses_every,
            shifted=shifted,
            held_out=looked if rows[count:] else None,
        )
        _connect(trainer, callback)
        return callback

    def step_plan(self, trainer: Any) -> StepPlan:
        """How the trainer makes its steps."""
        return _step_plan(trainer)

    def sizes(self, trainer: Any) -> list[int]:
        """Examples of each task that are left in the trainer's data."""
        return [len(rows) for rows in self._rows(trainer.train_dataset)[: len(self.names)]]

    def steps(self, trainer: Any) -> int:
        """Steps of the optimiser in the trainer's whole run."""
        plan, arguments = _step_plan(trainer), trainer.args
        if arguments.max_steps > 0:
            return int(arguments.max_steps)
        wanted = sum(self.sizes(trainer)) if self._epoch is None else self._epoch
        return math.ceil(float(arguments.num_train_epochs) * (plan.epoch(wanted) // plan.examples))

    def _drawing(self, sizes: Mapping[str, int]) -> Drawing:
        return Drawing(sizes, shares_of_examples(self._weights), self._seed)

    def _decided(self, decide: Decide, windows: Sequence[Window]) -> Mapping[str, float] | None:
        """What is decided, as shares of the examples."""
        weights = decide(windows)
        if weights is None or not isinstance(self._weights, Mixture):
            return weights
        return replace(self._weights, weights=weights).shares("examples")

    def _rows(self, data: Any) -> list[IntArray]:
        """Where the examples of each task are in the trainer's data, then those that are held out of each."""
        return rows_of(data, self.dataset, self._parts)

    def _lengths(self) -> FloatArray | None:
        """(n, 3) mean length of an example in each unit, where the mixture knows it of all tasks."""
        sizes = self._weights.sizes if isinstance(self._weights, Mixture) else None
        if sizes is None or not set(self.names) <= set(sizes):
            return None
        amounts = np.array([[getattr(sizes[name], unit) for unit in UNIT_NAMES] for name in self.names], dtype=float)
        return np.asarray(amounts / np.maximum(amounts[:, :1], 1.0))


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
