"""Predictive distributions: every expert and the base on the same probe contexts.

    predictions = predict(experts, tasks, probes=32)

A context keeps the base's top k tokens and one bucket for all others, so the distributions of all experts are over the
same events. They stay in files (`taskpgm.prediction_parts`), computed once, and are written and read a batch at a time:
in memory are a few numbers a context and expert, whatever the vocabulary (`taskpgm.stored`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from taskpgm.base import load_model_config
from taskpgm.config import ProbeSettings
from taskpgm.executors import LOCAL, Executor
from taskpgm.executors.executor import nothing
from taskpgm.expert_models import ExpertModels
from taskpgm.experts import Experts, tokenize_for
from taskpgm.prediction_parts import Parts, base_item, base_parts, expert_item, expert_parts, folders
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
    executor: Executor = LOCAL,
) -> Predictions:
    """What every expert and the base predict on all tasks' probes.

    Args:
        experts: from train_experts, in the order of the tasks.
        tasks: the tasks whose probe parts are used.
        probes: how many per task, or all the settings.
        progress: receives (stage, done, total, text).
        executor: where the models run: here, or on a cluster (`taskpgm.ray_cluster`).

    Raises:
        InputError: the experts are of other tasks, predictions are not finite, or another process is at work there.
    """
    settings = ProbeSettings(per_task=probes) if isinstance(probes, int) else probes
    if experts.names != tasks.names:
        raise InputError(f"experts of {list(experts.names)} do not belong to tasks {list(tasks.names)}.")
    tokenised = tokenize_for(tasks, experts.base, settings)
    with locked(experts.out):
        return predict_tokenised(experts, tokenised, settings, progress, executor)


def predict_tokenised(
    experts: Experts,
    tasks: Sequence[TokenTask],
    settings: ProbeSettings,
    progress: Progress,
    executor: Executor = LOCAL,
) -> Predictions:
    """`predict` for tasks that are already token ids."""
    probes = make_probes(tasks, settings.per_task)
    keys, own = probes_by_task(tasks, settings.per_task)
    k, vocabulary = _tokens_kept(experts, settings)
    read_missing(experts, own, settings.batch_size, k, vocabulary, progress, executor)
    parts = [expert_parts(experts, i, k) for i in range(len(experts.names))]
    targets = [_targets(part, keys, probes) for part in parts]
    for name, found in zip(experts.names, targets, strict=True):
        if not np.all(np.isfinite(found)):
            raise InputError(f"the expert of task {name!r} predicts values that are not finite; lower learning_rate.")
    log_probs = tuple(tuple(part[key]["log_probs"] for key in keys) for part in parts)
    return Predictions(
        names=experts.names,
        log_probs=StoredLogProbs(log_probs, k + 1, probes.context_task, _places_in_tasks(probes)),
        target_log_probs=readonly(np.stack(targets), np.float32),
        base_target_log_probs=readonly(_targets(base_parts(experts, k), keys, probes), np.float32),
        marginal_log_probs=readonly(marginal_log_probs(tasks, probes, vocabulary), np.float32),
        context_task=probes.context_task,
        context_probe=probes.context_probe,
        weights=probes.weights,
    )


def read_missing(
    experts: Experts,
    probes: Mapping[str, Probes],
    batch_size: int,
    k: int,
    vocabulary: int,
    progress: Progress,
    executor: Executor,
) -> None:
    """Have the base and every expert read the probes that they have not read; experts with the same weights once."""
    n, models = len(experts.names), ExpertModels(experts)
    progress("predictions", 0, n + 1, "base")
    first = base_item(models, k, vocabulary, probes, batch_size)
    for _ in executor.run([] if first is None else [first], nothing):
        continue
    found = [expert_item(models, i, k, vocabulary, probes, batch_size) for i in range(n)]
    by_path = {item.path: (item, name) for item, name in zip(found, experts.names, strict=True) if item is not None}
    items, names = [item for item, _ in by_path.values()], [name for _, name in by_path.values()]
    done = n + 1 - len(items)

    def report(index: int, step: int) -> None:
        progress("predictions", done, n + 1, names[index])

    for index, _ in executor.run(items, report):
        done += 1
        report(index, 1)
    progress("predictions", n + 1, n + 1, "done")


def prediction_folders(experts: Experts, settings: ProbeSettings) -> list[Path]:
    """The folders that predictions with these settings lie in."""
    return folders(experts, _tokens_kept(experts, settings)[0])


def _tokens_kept(experts: Experts, settings: ProbeSettings) -> tuple[int, int]:
    """(how many tokens of a context are kept, how many there are)."""
    vocabulary = int(load_model_config(experts.base).get_text_config().vocab_size)
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
