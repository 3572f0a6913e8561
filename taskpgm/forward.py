"""Running a model on probes, batch by batch: the log-probabilities at every target position."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taskpgm.halving import Fitting
from taskpgm.tokens import pad_batch
from taskpgm.types import FloatArray, IntArray, Probes

REMEDY = "training: {precision: bfloat16}, with LoRA model: {load_in: 4bit}, or shorter examples"


def context_log_probs(model: Any, probes: Probes, batch_size: int) -> Iterator[tuple[IntArray, torch.Tensor]]:
    """Batches of (contexts, log_probs): indices into the probes' contexts, and (len(contexts), V) float32.

    Teacher forcing: a context is one target position, given the prompt and the true targets before it. Only the hidden
    states at target positions go through the output layer. Memory is bounded by a batch, which is halved where even
    that is too much.

    Raises:
        InputError: memory runs out with one probe at a time.
    """
    slices_output = "logits_to_keep" in inspect.signature(_inner(model).forward).parameters
    target_lengths = np.bincount(probes.context_probe, minlength=len(probes.tokens))
    first_context = np.concatenate([[0], np.cumsum(target_lengths)])
    fitting = Fitting(batch_size, "reading probes", REMEDY)
    read = partial(_log_probs_of, model, probes, slices_output)
    for members, log_probs in fitting.each(len(probes.tokens), read):
        yield np.arange(first_context[members.start], first_context[members.stop]), log_probs


def _log_probs_of(model: Any, probes: Probes, slices_output: bool, members: range) -> torch.Tensor:
    """(contexts of these probes, V) float32. slices_output: whether the model can leave out other positions."""
    place = next(model.parameters()).device
    ids, mask = pad_batch([probes.tokens[i] for i in members], padding=0)
    # the token at position t is predicted from the hidden state at t - 1
    positions = [np.arange(probes.target_start[i], len(probes.tokens[i])) - 1 for i in members]
    kept = np.unique(np.concatenate(positions))
    extra = {"logits_to_keep": torch.as_tensor(kept, device=place)} if slices_output else {}
    with torch.inference_mode():
        logits = model(
            input_ids=torch.as_tensor(ids, device=place),
            attention_mask=torch.as_tensor(mask, device=place),
            **extra,
        ).logits
        row = np.repeat(np.arange(len(positions)), [len(p) for p in positions])
        column = np.concatenate(positions)
        if slices_output:
            column = np.searchsorted(kept, column)
        chosen = logits[torch.as_tensor(row, device=logits.device), torch.as_tensor(column, device=logits.device)]
        return torch.log_softmax(chosen.float(), dim=-1)


def target_scores(model: Any, probes: Probes, batch_size: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(C,) float64 log-probability of the true token of every context, and (C,) whether it is the most probable one."""
    logs, first = np.empty(len(probes.targets)), np.empty(len(probes.targets), dtype=np.bool_)
    for contexts, log_probs in context_log_probs(model, probes, batch_size):
        targets = torch.as_tensor(probes.targets[contexts], device=log_probs.device)
        logs[contexts] = log_probs.gather(1, targets[:, None])[:, 0].double().cpu().numpy()
        first[contexts] = (log_probs.argmax(dim=1) == targets).cpu().numpy()
    return logs, first


def target_log_probs(model: Any, probes: Probes, batch_size: int) -> FloatArray:
    """(C,) float64 log-probability of the true token of every context."""
    return target_scores(model, probes, batch_size)[0]


def task_losses(model: Any, probes: Probes, batch_size: int) -> FloatArray:
    """(n,) mean loss per target token of each task's probes, in nats."""
    return _mean_losses(target_log_probs(model, probes, batch_size), probes)


def task_scores(model: Any, probes: Probes, batch_size: int) -> tuple[FloatArray, FloatArray]:
    """(n,) mean loss per target token in nats, and (n,) share of examples that greedy decoding gets exactly right.

    Greedy decoding gives the whole target exactly when the true token is the most probable one at every target position
    given the true ones before it: by induction the decoded prefix is then the true one. So no text is generated.
    """
    logs, first = target_scores(model, probes, batch_size)
    wrong = np.bincount(probes.context_probe, weights=~first, minlength=len(probes.tokens))
    examples = np.bincount(probes.task, minlength=len(probes.names))
    exact = np.bincount(probes.task, weights=wrong == 0, minlength=len(probes.names)) / examples
    return _mean_losses(logs, probes), exact


def _mean_losses(logs: FloatArray, probes: Probes) -> FloatArray:
    counts = np.bincount(probes.context_task, minlength=len(probes.names))
    return -np.bincount(probes.context_task, weights=logs, minlength=len(probes.names)) / counts


def _inner(model: Any) -> Any:
    """The transformers model inside a peft wrapper, which hides the signature of its forward method."""
    from peft import PeftModel

    return model.get_base_model() if isinstance(model, PeftModel) else model
