"""Tokens and training loss of each task in one batch, read off what went into the model and what came out of it.

Nothing is trained by what is computed here: the trainer's own loss, and so the trained weights, stay bit for bit what
they are. Losses are plain cross-entropies in nats per target token, whatever smoothing or weighting the trainer's has.
A row of a batch is an example; batches without padding, one long row, are taken apart by their position ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import cross_entropy, one_hot

from taskpgm.types import InputError, IntArray

IGNORED = -100
CHUNK = 2**24
"""How many logits are looked at together, in whole positions: what bounds the memory, to some 100 MB."""
CPU_CHUNK = 2**20
"""The same on a processor, where fewer take half of the time: they stay in its cache."""


class Batch:
    """A batch as it goes into the model, with the task of every example.

    inputs: what the collator made, with input_ids (R, T) and mostly labels (R, T), IGNORED where there is no target.
    tasks: (B,) indices of tasks. count: how many tasks there are. shifted: whether logits at t predict
    the label at t + 1.
    """

    def __init__(self, inputs: Mapping[str, Any], tasks: IntArray, count: int, shifted: bool) -> None:
        ids = inputs.get("input_ids")
        if ids is None:
            raise InputError(
                f"a batch has no input_ids, only {', '.join(map(str, inputs))}: mixtures are for trainers of language"
                " models on prompts and targets."
            )
        owners = torch.as_tensor(tasks, device=ids.device)
        rows, length = ids.shape[:2]
        self._joined = rows != len(tasks)
        if self._joined:
            owners = owners[_example_of(inputs, len(tasks))]
        self._wide = torch.float64 if ids.device.type != "mps" else torch.float32
        self._membership: torch.Tensor = one_hot(owners, count).T
        mask = inputs.get("attention_mask")
        usable = isinstance(mask, torch.Tensor) and mask.shape == ids.shape
        self._tokens = mask if usable and mask is not None else torch.ones(rows, length, device=ids.device)
        targets, self._ahead = inputs.get("shift_labels"), False
        labels = inputs.get("labels")
        if targets is None and labels is not None and labels.shape[:2] == ids.shape[:2]:
            self._ahead = shifted
            targets = labels[:, 1:] if shifted else labels
        self._targets: torch.Tensor | None = targets

    @property
    def labelled(self) -> bool:
        """Whether there are targets, as far as can be told."""
        return self._targets is not None

    def amounts(self) -> torch.Tensor:
        """(count, 2) tokens and target tokens of each task."""
        targets = torch.zeros_like(self._tokens) if self._targets is None else self._targets != IGNORED
        return torch.stack([self._by_task(self._tokens), self._by_task(targets, self._ahead)], dim=1)

    @torch.no_grad()
    def losses(self, outputs: Any, *, free: bool = False) -> torch.Tensor | None:
        """(count, 2) measured target tokens and the sum of their losses; None where the outputs do not tell.

        free: only where the outputs hold the losses already. From logits they cost another pass over the logits.
        Examples whose loss is not finite are left out, as the Trainer leaves them out of its own.
        """
        if self._targets is None:
            return None
        losses = self._token_losses(outputs, self._targets, free)
        if losses is None:
            return None
        valid = self._targets != IGNORED
        wide = losses.to(self._wide)
        finite = torch.isfinite(wide).all(dim=1, keepdim=True) & valid
        by_task = self._by_task(torch.where(finite, wide, 0.0), self._ahead)
        return torch.stack([self._by_task(finite, self._ahead), by_task], dim=1)

    def _token_losses(self, outputs: Any, targets: torch.Tensor, free: bool) -> torch.Tensor | None:
        """Like the targets, 0 where there is none."""
        length = targets.shape[1]
        logs: torch.Tensor | None = outputs.get("log_probs") if isinstance(outputs, Mapping) else None
        if logs is not None:  # TRL's output layer, which never builds the logits
            return -logs[:, logs.shape[1] - length :]
        if free:
            return None
        logits: torch.Tensor | None = (
            outputs.get("logits") if isinstance(outputs, Mapping) else _tensor_of_logits(outputs)
        )
        if logits is None:
            return None
        logits = logits[:, :-1] if self._ahead else logits
        logits = logits[
            :, max(0, logits.shape[1] - length) :
        ]  # what virtual tokens of a prompt put in front has no targets
        if logits.shape[:2] != targets.shape:
            return None
        targets = targets.to(logits.device)
        row, column = (targets != IGNORED).nonzero(as_tuple=True)
        losses = torch.zeros(targets.shape, device=logits.device)
        together = max(1, (CPU_CHUNK if logits.device.type == "cpu" else CHUNK) // logits.shape[2])
        for r, c in zip(torch.split(row, together), torch.split(column, together), strict=True):
            losses[r, c] = cross_entropy(logits[r, c].float(), targets[r, c], reduction="none")
        return losses

    def _by_task(self, values: torch.Tensor, ahead: bool = False) -> torch.Tensor:
        """(count,) the sums over each task's examples of values at every position of the batch.

        ahead: they are of the targets one position ahead, so the first position has none.
        """
        wide = values.to(device=self._membership.device, dtype=self._wide)
        members: torch.Tensor = self._membership.to(self._wide)
        by_owner = wide[0] if self._joined else wide.sum(dim=1)
        sums: torch.Tensor = members[:, 1 if ahead and self._joined else 0 :] @ by_owner
        return sums


def _example_of(inputs: Mapping[str, Any], count: int) -> torch.Tensor:
    """(T,) which example each position of a batch without padding belongs to: it begins anew at position 0."""
    positions, rows = inputs.get("position_ids"), inputs["input_ids"].shape[0]
    if rows == 1 and positions is not None:
        example: torch.Tensor = (positions.reshape(-1) == 0).cumsum(0) - 1
        if int(example[-1]) + 1 == count:
            return example
    raise InputError(
        f"a batch has {rows} rows for {count} examples: losses of tasks need one row an example, or position_ids."
        " Use a collator that keeps the examples of a batch apart."
    )


def _tensor_of_logits(outputs: Any) -> torch.Tensor | None:
    """The first three-dimensional tensor of a plain tuple of outputs."""
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    return next((part for part in parts if isinstance(part, torch.Tensor) and part.dim() == 3), None)
