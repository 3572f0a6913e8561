"""What keeps a mixture and transformers' Trainer in step: draws handed out, losses seen, state saved and found again.

`TrainingMixture.attach` makes one of these for a trainer. Two drawings of the same sequence are at work. One feeds the
loader, which runs ahead of the training by as much as it likes. The other goes on with each finished step: it knows the
task of every example in the batch at hand, and it alone is saved. So nothing travels with the batches, and a run that
goes on from a checkpoint draws what it would have drawn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import Sampler
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from taskpgm.batch_losses import Batch
from taskpgm.drawing import Drawing
from taskpgm.mixture_ledger import Ledger, Window
from taskpgm.step_plan import StepPlan
from taskpgm.types import FloatArray, InputError, IntArray

Decide: TypeAlias = Callable[[Sequence[Window]], Mapping[str, float] | None]
HeldOut: TypeAlias = Callable[[int], Sequence[float | None] | None]

UNLABELLED = "batches have no labels, so the tasks' training losses are unknown"
BLIND = (
    "the model's outputs hold neither logits nor the loss of each token, so the tasks' training losses are unknown;"
    " leave use_liger_kernel off, and before TRL 1.15 set SFTConfig(loss_type='nll')"
)


class MixtureCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """The state of a mixture in one trainer, and the sampler of its training data."""

    def __init__(
        self,
        drawing: Drawing,
        rows: Sequence[IntArray],
        *,
        lengths: FloatArray | None,
        epoch: int | None,
        decide: Decide | None,
        every: int,
        losses_every: int,
        shifted: bool,
        held_out: HeldOut | None = None,
    ) -> None:
        """
        Args:
            drawing: at its beginning.
            rows: for each of its tasks, where in the training data its examples are.
            lengths: (n, 3) mean length of an example in each unit, where known.
            epoch: examples in an epoch; those in the data where not given.
            decide: the shares of examples from now on, or None to leave them; given all windows up to now.
            every: steps in a window. losses_every: measure losses that are not there for free in every so many
                steps.
            shifted: whether the model's logits at a position predict the label of the next one.
            held_out: gives the losses of held-out examples as the model is now, from how many windows are closed;
                None where they are not asked for.
        """
        self.ledger = Ledger(drawing.names)
        self.needs_losses = False  # to be set where training on without them would be in vain
        self._first = drawing.state_dict()
        self._consumed = drawing
        self._loader: Drawing | None = None
        self._rows, self._lengths, self._wanted = rows, lengths, epoch
        self._decide, self._every, self._losses_every = decide, every, losses_every
        self._held_out = held_out
        self._plan: StepPlan | None = None
        self._skip = 0
        self._step, self._micro_batch = 0, 0
        self._after: Drawing | None = None
        self._tasks: IntArray = np.zeros(0, dtype=np.int64)
        self._batch: Batch | None = None
        self._shifted, self._blind = shifted, False
        self._hook: RemovableHandle | None = None
        self._pending = self._totals = torch.zeros(0)

    @property
    def position(self) -> int:
        """How many examples were trained on so far."""
        return self._consumed.position

    # ------------------------------------------------------------------------------------------------------- sampler

    def sampler(self, plan: StepPlan) -> Sampler[int]:
        """The order of the training data, for a trainer whose steps are made so."""
        self._plan = plan
        wanted = sum(map(len, self._rows)) if self._wanted is None else self._wanted
        return _Epochs(self, plan.epoch(wanted))

    def epoch_of(self, length: int) -> Iterator[int]:
        """Indices into the training data for an epoch that starts after what is consumed.

        The trainer throws away as many as the present epoch had before the checkpoint; these are not drawn again.
        """
        skip, self._skip = self._skip, 0
        self._loader = self._consumed.copy()
        for _ in range(skip):
            yield 0
        for _ in range(length - skip):
            task, row = self._loader.draw()
            yield int(self._rows[task][row])

    # -------------------------------------------------------------------------------------------------------- events

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin anew, or find what the checkpoint says."""
        if self._plan is None:
            raise InputError("the trainer did not ask for the mixture's sampler; attach the mixture before train().")
        if state.global_step == 0:
            self._load({"drawing": self._first, "ledger": Ledger(self.ledger.names).state_dict()})
        elif type(self).__name__ in state.stateful_callbacks:
            self._load(state.stateful_callbacks[type(self).__name__]["attributes"])
        else:
            raise InputError(
                f"the checkpoint of step {state.global_step} knows of no mixture: it was made without one attached."
                " Begin anew, or start from its weights as a base model."
            )
        self._step = state.global_step
        length = self._plan.epoch(sum(map(len, self._rows)) if self._wanted is None else self._wanted)
        self._skip = 0 if args.ignore_data_skip else self._step % (length // self._plan.examples) * self._plan.examples
        model = kwargs["model"]
        device = next(model.parameters()).device
        wide = torch.float64 if device.type != "mps" else torch.float32
        self._totals = torch.as_tensor(self.ledger.sums).to(device=device, dtype=wide)
        self._pending = torch.zeros_like(self._totals)
        self._look_away()
        self._hook = model.register_forward_hook(self._see_outputs)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look up the tasks of the step's examples, on a copy: until the step is done, it is not consumed."""
        assert self._plan is not None
        self._after = self._consumed.copy()
        self._tasks, self._micro_batch = self._after.draw_tasks(self._plan.examples), 0
        self._pending.zero_()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The next micro-batch of the step follows."""
        self._micro_batch += 1

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step's examples are consumed; at the end of a window, decide on the shares of later ones."""
        assert self._plan is not None
        assert self._after is not None
        if self._plan.world_size > 1:
            torch.distributed.all_reduce(self._pending)
        self._totals += self._pending
        self._consumed, self._after, self._step = self._after, None, state.global_step
        if self._decide is not None and self._step % self._every == 0:
            self._look_up()
            held_out = None if self._held_out is None else self._held_out(len(self.ledger.windows) + 1)
            self.ledger.close_window(self._step, self._consumed.shares, held_out)
            shares = self._agreed(self._decide(self.ledger.windows))
            if shares is not None:
                self._change(shares, self._consumed.position + self._plan.lead * self._plan.examples)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model as it was."""
        self._look_up()
        self._look_away()
        self._plan = None

    # ------------------------------------------------------------------------------------------------------- batches

    def begin_batch(self, inputs: Mapping[str, Any]) -> None:
        """Count a micro-batch that is about to be trained on."""
        assert self._plan is not None
        tasks = self._tasks[self._plan.own(self._micro_batch)]
        self._batch = Batch(inputs, tasks, len(self.ledger.names), self._shifted)
        examples = torch.as_tensor(np.bincount(tasks, minlength=len(self.ledger.names)))
        self._pending[:, 0] += examples.to(self._pending)
        self._pending[:, 1:3] += self._batch.amounts().to(self._pending)

    def end_batch(self) -> None:
        """What the model computes from now on is no training."""
        self._batch = None

    def _see_outputs(self, module: Any, args: Any, outputs: Any) -> None:
        """The first outputs that gradients flow from are those trained on."""
        if self._batch is None or not torch.is_grad_enabled():
            return
        batch, self._batch = self._batch, None
        free = self._step % self._losses_every != 0
        losses = batch.losses(outputs, free=free)
        if losses is not None:
            self._pending[:, 3:] += losses.to(self._pending)
        elif not free and not self._blind and not self._totals[:, 3].any():
            self._blind = True
            reason = BLIND if batch.labelled else UNLABELLED
            if self.needs_losses:
                raise InputError(f"{reason}. An adaptive mixture decides from them.")
            warnings.warn(f"{reason}. None is logged.", stacklevel=2)

    # --------------------------------------------------------------------------------------------------------- state

    def figures(self) -> dict[str, float]:
        """What belongs into the trainer's log now; losses are since the last call."""
        self._look_up()
        return self.ledger.figures(self._consumed.planned, self._consumed.epochs, self._lengths)

    def state(self) -> dict[str, Any]:
        """What the trainer writes into its checkpoint, as of the last finished step."""
        self._look_up()
        return {"args": {}, "attributes": {"drawing": self._consumed.state_dict(), "ledger": self.ledger.state_dict()}}

    def _load(self, value: Mapping[str, Any]) -> None:
        self._consumed.load_state_dict(value["drawing"])
        self.ledger.load_state_dict(value["ledger"])

    def _look_up(self) -> None:
        """Bring the sums here from the device, which waits for it."""
        if len(self._totals):
            self.ledger.set_totals(self._totals.cpu().numpy().astype(np.float64))

    def _look_away(self) -> None:
        """Take the hook off the model, if a run that ended or failed left one there."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _agreed(self, shares: Mapping[str, float] | None) -> Mapping[str, float] | None:
        """The first process's decision: machines of other makes may differ in a last digit, and no draw must."""
        assert self._plan is not None
        names = self.ledger.names
        if self._plan.world_size == 1 or (shares is not None and set(shares) != set(names)):
            return shares  # the drawing says what is wrong with them
        told = [np.nan] * len(names) if shares is None else [float(shares[name]) for name in names]
        values = torch.tensor(told, dtype=torch.float64).to(self._pending)
        torch.distributed.broadcast(values, 0)
        return None if bool(values.isnan().any()) else dict(zip(names, values.tolist(), strict=True))

    def _change(self, shares: Mapping[str, float], at: int) -> None:
        self._consumed.set_shares(shares, at)
        if self._loader is not None:
            self._loader.set_shares(shares, at)


class _Epochs(Sampler[int]):
    """What the trainer's loader asks: one epoch of the callback's draws after the other."""

    def __init__(self, callback: MixtureCallback, length: int) -> None:
        self._callback, self._length = callback, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return self._callback.epoch_of(self._length)
