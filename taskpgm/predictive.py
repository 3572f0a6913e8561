"""Predictive distributions: every expert and the base on the same probe contexts.

    predictions = predict(experts, tasks, probes=32)

A context keeps the base's top k tokens and one bucket for all others, so the distributions of all experts are over the
same events. They stay in files (`taskpgm.prediction_parts`), computed once, and are written and read a batch at a time:
in memory are a few numbers a context and expert, whatever the vocabulary (`taskpgm.stored`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from taskpgm.base import load_model_config
from taskpgm.config import ProbeSettings
from taskpgm.diverged import without
from taskpgm.experts import Experts, tokenize_for
from taskpgm.prediction_parts import Parts, base_parts, expert_parts, folders
from taskpgm.progress import Progress, silent
from taskpgm.run_lock import locked
from taskpgm.stored import StoredLogProbs
from taskpgm.tokens import TokenTask, make_probes, marginal_log_probs, probes_by_task
from taskpgm.types import Float32Array, InputError, IntArray, Predictions, Probes, TaskSet, readonly


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
        InputError: the experts are of other tasks, predictions are not finite, or another process is at work there.
    """
    settings = ProbeSettings(per_task=probes) if isinstance(probes, int) else probes
    tasks = without(tasks, experts.diverged)
    if experts.names != tasks.names:
        raise InputError(f"experts of {list(experts.names)} do not belong to tasks {list(tasks.names)}.")
    tokenised = tokenize_for(tasks, experts.base, settings)
    with locked(experts.out):
        return predict_tokenised(experts, tokenised, settings, progress)


def predict_tokenised(
    experts: Experts, tasks: Sequence[TokenTask], settings: ProbeSettings, progress: Progress
) -> Predictions:
    """`predict` for tasks that are already token ids."""
    probes = make_probes(tasks, settings.per_task)
    keys, own = probes_by_task(tasks, settings.per_task)
    k, vocabulary = _tokens_kept(experts, settings)
    total = len(tasks) + 1
    progress("predictions", 0, total, "base")
    base = base_parts(experts, k, vocabulary, own, settings.batch_size)
    base_targets = _targets(base, keys, probes)
    _check_finite(base_targets, "the base model", probes)
    parts, targets = [], []
    for i, name in enumerate(experts.names):
        progress("predictions", i + 1, total, name)
        parts.append(expert_parts(experts, i, k, own, base, settings.batch_size))
        targets.append(_targets(parts[-1], keys, probes))
        _check_finite(targets[-1], f"the expert of task {name!r}", probes)
    progress("predictions", total, total, "done")
    log_probs = tuple(tuple(part[key]["log_probs"] for key in keys) for part in parts)
    return Predictions(
        names=experts.names,
        log_probs=StoredLogProbs(log_probs, k + 1, probes.context_task, _places_in_tasks(probes)),
        target_log_probs=readonly(np.stack(targets), np.float32),
        base_target_log_probs=readonly(base_targets, np.float32),
        marginal_log_probs=readonly(marginal_log_probs(tasks, probes, vocabulary), np.float32),
        context_task=probes.context_task,
        context_probe=probes.context_probe,
        weights=probes.weights,
    )


def prediction_folders(experts: Experts, settings: ProbeSettings) -> list[Path]:
    """The folders that predictions with these settings lie in."""
    return folders(experts, _tokens_kept(experts, settings)[0])


def _tokens_kept(experts: Experts, settings: ProbeSettings) -> tuple[int, int]:
    """(how many tokens of a context are kept, how many there are)."""
    vocabulary = int(load_model_config(experts.base).vocab_size)
    return vocabulary if settings.top_k == "full" else min(settings.top_k, vocabulary), vocabulary


def _places_in_tasks(probes: Probes) -> IntArray:
    """(C,) the place of each context among those of its task."""
    places = np.empty(len(probes.context_task), dtype=np.int64)
    for t in range(len(probes.names)):
        own = np.flatnonzero(probes.context_task == t)
        places[own] = np.arange(len(own))
    return readonly(places, np.int64)


def _targets(parts: Parts, keys: Sequence[str], probes: Probes) -> Float32Array:
    """(C,) log-probabilities of the true tokens."""
    result = np.empty(len(probes.context_task), dtype=np.float32)
    for t, key in enumerate(keys):
        result[probes.context_task == t] = parts[key]["targets"].rows()
    return result


def _check_finite(targets: Float32Array, who: str, probes: Probes) -> None:
    """Refuse (C,) log-probabilities with one that is not a finite number, by context and task."""
    wrong = np.flatnonzero(~np.isfinite(targets))
    if len(wrong):
        c = int(wrong[0])
        task, probe = probes.names[int(probes.context_task[c])], int(probes.context_probe[c])
        raise InputError(
            f"{who} predicts {targets[c]} on context {c}, target token {int(probes.context_position[c])} of probe"
            f" {probe}, of task {task!r}: its logits are not finite there; lower learning_rate."
        )
