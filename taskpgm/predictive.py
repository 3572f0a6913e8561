"""Predictive distributions: every expert and the base on the same probe contexts.

    predictions = predict(experts, tasks, probes=32)

A context keeps the base's top k tokens and one bucket for all others, so the distributions of all experts are over the
same events. Each expert's part is one safetensors file, computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from taskpgm.base import load_model, load_model_config, torch_threads
from taskpgm.config import ProbeSettings
from taskpgm.experts import Experts, probes_key, tokenize_for
from taskpgm.progress import Progress, silent
from taskpgm.storage import content_hash, write_atomic
from taskpgm.tokens import TokenTask, make_probes, marginal_log_probs
from taskpgm.types import InputError, IntArray, Predictions, Probes, TaskSet, readonly

SCHEMA = 1


def predict(
    experts: Experts,
    tasks: TaskSet,
    probes: int | ProbeSettings = 32,
    *,
    progress: Progress = silent,
) -> Predictions:
    """What every expert and the base predict on all tasks' probes.

    Args:
        experts: from train_experts, in the order of the tasks.
        tasks: the tasks whose probe parts are used.
        probes: how many per task, or all the settings.

    Raises:
        InputError: the experts are of other tasks, or predictions are not finite.
    """
    settings = ProbeSettings(per_task=probes) if isinstance(probes, int) else probes
    if experts.names != tasks.names:
        raise InputError(f"experts of {list(experts.names)} do not belong to tasks {list(tasks.names)}.")
    return predict_tokenised(experts, tokenize_for(tasks, experts.base, settings), settings, progress)


def predict_tokenised(
    experts: Experts, tasks: Sequence[TokenTask], settings: ProbeSettings, progress: Progress
) -> Predictions:
    """`predict` for tasks that are already token ids."""
    probes = make_probes(tasks, settings.per_task)
    vocabulary = int(load_model_config(experts.base).vocab_size)
    k = vocabulary if settings.top_k == "full" else min(settings.top_k, vocabulary)
    context = {"schema": SCHEMA, "base": experts.base.fingerprint, "probes": probes_key(tasks, settings), "k": k}
    total = len(tasks) + 1
    progress("predictions", 0, total, "base")
    base = _stored(experts, {**context, "of": "base"}, lambda: _base_part(experts, probes, k, settings))
    subset = base["subset"]
    parts = []
    for i, (name, directory) in enumerate(zip(experts.names, experts.directories, strict=True)):
        progress("predictions", i + 1, total, name)
        key = {**context, "of": directory.name}
        parts.append(_stored(experts, key, partial(_expert_part, experts, i, probes, subset, settings)))
        if not np.all(np.isfinite(parts[-1]["targets"])):
            raise InputError(f"the expert of task {name!r} predicts values that are not finite; lower learning_rate.")
    progress("predictions", total, total, "done")
    return Predictions(
        names=experts.names,
        log_probs=readonly(np.stack([part["log_probs"] for part in parts]), np.float32),
        target_log_probs=readonly(np.stack([part["targets"] for part in parts]), np.float32),
        base_target_log_probs=readonly(base["targets"], np.float32),
        marginal_log_probs=readonly(marginal_log_probs(tasks, probes, vocabulary), np.float32),
        context_task=probes.context_task,
        context_probe=probes.context_probe,
        weights=probes.weights,
    )


def _stored(experts: Experts, key: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays under a key: read from their file, or computed and written."""
    from safetensors.numpy import load_file, save

    path = experts.out / "predictions" / f"{content_hash(key)}.safetensors"
    if not path.exists():
        with torch_threads(experts.training.threads):
            write_atomic(path, save(compute()))
    return dict(load_file(path))


def _base_part(experts: Experts, probes: Probes, k: int, settings: ProbeSettings) -> dict[str, Any]:
    """The base's top-k token ids of every context, (C, k) ascending, and its target log-probabilities."""
    from taskpgm.forward import context_log_probs, target_log_probs

    model = load_model(experts.base.path, experts.training.precision)
    subset = np.empty((len(probes.targets), k), dtype=np.int64)
    for contexts, log_probs in context_log_probs(model, probes, settings.batch_size):
        subset[contexts] = log_probs.topk(k, dim=1).indices.sort(dim=1).values.cpu().numpy()
    targets = target_log_probs(model, probes, settings.batch_size)
    return {"subset": subset, "targets": targets.astype(np.float32)}


def _expert_part(
    experts: Experts, index: int, probes: Probes, subset: IntArray, settings: ProbeSettings
) -> dict[str, Any]:
    return _part(experts.load(index), probes, subset, settings)


def _part(model: Any, probes: Probes, subset: IntArray, settings: ProbeSettings) -> dict[str, Any]:
    """One expert's log-probabilities on every context's subset, the pooled rest last, and of the true tokens."""
    import torch

    from taskpgm.forward import context_log_probs

    contexts_total, k = subset.shape
    result = np.empty((contexts_total, k + 1), dtype=np.float32)
    targets = np.empty(contexts_total, dtype=np.float32)
    for contexts, log_probs in context_log_probs(model, probes, settings.batch_size):
        tokens = torch.as_tensor(subset[contexts], device=log_probs.device)
        true = torch.as_tensor(probes.targets[contexts], device=log_probs.device)
        targets[contexts] = log_probs.gather(1, true[:, None])[:, 0].cpu().numpy()
        result[contexts, :k] = log_probs.gather(1, tokens).cpu().numpy()
        rest = log_probs.scatter(1, tokens, float("-inf"))
        result[contexts, k] = torch.logsumexp(rest, dim=1).cpu().numpy()
    return {"log_probs": result, "targets": targets}
