"""The losses of held-out examples in the middle of a training run, which goes on as if nobody had looked.

The examples go through the trainer's own preparation, collator and model, in evaluation mode and without gradients.
Every process looks at all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from taskpgm.batch_losses import Batch
from taskpgm.types import IntArray


def held_out_losses(trainer: Any, rows: Sequence[IntArray], shifted: bool) -> tuple[float | None, ...]:
    """(n,) the mean loss of each task's held-out examples, nats per target token; None where it is not known.

    Args:
        trainer: of transformers, in the middle of its run.
        rows: for each task, where in its training data the held-out examples are.
        shifted: whether the model's logits at a position predict the label of the next one.
    """
    collate = trainer._get_collator_with_removed_columns(trainer.data_collator)
    size = trainer.args.per_device_eval_batch_size
    losses: list[float | None] = []
    with _looking_on(trainer.model_wrapped), trainer.compute_loss_context_manager():
        for own in rows:
            sums = np.zeros(2)
            for first in range(0, len(own), size):
                features = [trainer.train_dataset[int(row)] for row in own[first : first + size]]
                sums += _measured(trainer, collate(features), len(features), shifted)
            losses.append(float(sums[1] / sums[0]) if sums[0] > 0.0 else None)
    return tuple(losses)


def _measured(trainer: Any, inputs: Any, count: int, shifted: bool) -> Any:
    """(2,) measured target tokens of a batch, and the sum of their losses."""
    inputs = trainer._prepare_inputs(inputs)
    batch = Batch(inputs, np.zeros(count, dtype=np.int64), 1, shifted)
    found = batch.losses(trainer.model_wrapped(**inputs))
    return np.zeros(2) if found is None else found[0].cpu().numpy()


@contextmanager
def _looking_on(model: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; every part of the model is left in the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
