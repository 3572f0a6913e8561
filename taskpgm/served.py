"""Predictions from other people's log-probabilities: the most probable tokens of each context, as servers return them.

    contexts = {"sort": [{"a": -0.1, "b": -2.5}, ...], "copy": [...]}       # model -> one map for each context
    predictions = predictions_from_logprobs(contexts, tasks=["sort", "copy"], top_k=2)
    affinity = estimate_affinity(predictions, utility=Representativeness())
    affinity.divergence_lower, affinity.divergence_upper      # hold whatever the tokens are that nobody reported

Models report different tokens. `log_probs` is on the union of a context's reported tokens; where a model is silent
about one of them it gets a plausible share of what the model's own tokens leave, so that the similarities are those of
distributions that exist, and positive semidefinite. The interval of each divergence is over all such completions.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from taskpgm.limits import shown
from taskpgm.types import FloatArray, InputError, IntArray, Predictions, Reported, readonly

TOLERANCE = 1e-3
"""By how much reported probabilities may add up to more than 1, or to less where fewer than top_k came back."""


def predictions_from_logprobs(
    models: Mapping[str, Sequence[Any]],
    *,
    tasks: Sequence[str],
    top_k: int,
    probes: Sequence[Hashable] | None = None,
    targets: Sequence[Hashable] | None = None,
    base: Sequence[Any] | None = None,
) -> Predictions:
    """Predictions of single-task models from the log-probabilities of their most probable tokens.

    Args:
        models: for each task the contexts of its model, in the same order for all. A context is a map from token to
            its natural log-probability, or to a record with "logprob" (vLLM); or a list of records with "token" and
            "logprob", or a record with "top_logprobs" (OpenAI). Tokens must mean the same to all models.
        tasks: (C,) the task that each context is a probe of; every task has some, and all tasks weigh the same.
        top_k: how many of the most probable tokens the server was asked for. More may be there (servers add the token
            that was drawn, say); fewer only if they add up to 1.
        probes: (C,) the prompt that each context belongs to; each its own where not given.
        targets: (C,) the true token of each context, which every model must have reported; gains need it and `base`.
        base: the contexts of the base model.

    Returns:
        Predictions whose target_log_probs are nan without targets, base_target_log_probs without a base, and
        marginal_log_probs always: `Learnability` needs a run of its own.

    Raises:
        InputError: what cannot be used, with its model and context (counted from 0).
    """
    names = tuple(models)
    if len(names) < 2 or top_k < 1:
        raise InputError(f"{len(names)} models and top_k = {top_k}: expected two models or more, and a token or more.")
    count = len(tasks)
    context_task = _places(tasks, names)
    for what, given in (*((f"model {name!r}", models[name]) for name in names), ("base", base), ("targets", targets)):
        if (given is None and what.startswith("model")) or (given is not None and not isinstance(given, Sequence)):
            raise InputError(f"{what}: expected a list of contexts, found {type(given).__name__}.")
        if given is not None and len(given) != count:
            raise InputError(f"{what}: {len(given)} contexts for {count} in tasks; give one for each.")
    reports = [[_report(models[name][c], name, c, top_k) for c in range(count)] for name in names]
    log_probs, reported = _on_unions(reports, top_k)
    base_reports = None if base is None else [_report(base[c], "base", c, top_k) for c in range(count)]
    mass = np.bincount(context_task, minlength=len(names))
    return Predictions(
        names=names,
        log_probs=readonly(log_probs, np.float32),
        target_log_probs=readonly(
            [_of_targets(targets, row, name) for row, name in zip(reports, names, strict=True)], np.float32
        ),
        base_target_log_probs=readonly(_of_targets(targets, base_reports, "base", count), np.float32),
        marginal_log_probs=readonly(np.full(count, np.nan), np.float32),
        context_task=readonly(context_task, np.int64),
        context_probe=readonly(_numbered(probes, count), np.int64),
        weights=readonly(1.0 / (len(names) * mass[context_task]), np.float64),
        reported=reported,
    )


def _places(tasks: Sequence[str], names: tuple[str, ...]) -> IntArray:
    unknown = [task for task in tasks if task not in names]
    if unknown:
        raise InputError(f"tasks: {unknown[0]!r} has no model; the models are {', '.join(names)}.")
    missing = [name for name in names if name not in tasks]
    if missing:
        raise InputError(f"tasks: no context is a probe of {missing[0]!r}; every task needs some.")
    return np.array([names.index(task) for task in tasks], dtype=np.int64)


def _numbered(probes: Sequence[Hashable] | None, count: int) -> IntArray:
    if probes is None:
        return np.arange(count)
    if len(probes) != count:
        raise InputError(f"probes: {len(probes)} for {count} contexts; give the prompt of each.")
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(probe, len(first)) for probe in probes], dtype=np.int64)


def _report(context: Any, model: str, c: int, top_k: int) -> dict[Hashable, float]:
    """The probabilities of one model's reported tokens in one context, checked."""
    where = f"model {model!r}, context {c}"
    report: dict[Hashable, float] = {}
    for token, value in _entries(context, where):
        if not isinstance(token, Hashable):
            raise InputError(f"{where}: token {shown(token)} is no text or number.")
        log_prob = value.get("logprob") if isinstance(value, Mapping) else value
        if not isinstance(log_prob, int | float) or math.isnan(log_prob) or log_prob > TOLERANCE:
            raise InputError(f"{where}: token {token!r} has {log_prob!r}; expected a log-probability, 0 or less.")
        if token in report:
            raise InputError(f"{where}: token {token!r} is there twice; give tokens by id if two look the same.")
        report[token] = math.exp(log_prob)
    total = math.fsum(report.values())
    if total > 1.0 + TOLERANCE:
        raise InputError(f"{where}: the probabilities add up to {total:.6g}; are they natural logarithms?")
    if len(report) < top_k and total < 1.0 - TOLERANCE:
        raise InputError(f"{where}: {len(report)} tokens, fewer than top_k = {top_k}: ask for more, or lower top_k.")
    return {token: p / max(total, 1.0) for token, p in report.items()}


def _entries(context: Any, where: str) -> list[tuple[Hashable, Any]]:
    """(token, value) pairs of one context in any of the forms that servers use."""
    if isinstance(context, Mapping) and "top_logprobs" in context:
        found = _entries(context["top_logprobs"], where)
        drawn = [] if "token" not in context else _entries([context], where)
        return [*found, *(pair for pair in drawn if pair[0] not in [token for token, _ in found])]
    if isinstance(context, Mapping):
        return list(context.items())
    if isinstance(context, Sequence) and not isinstance(context, str):
        records = list(context)
        if all(isinstance(record, Mapping) and "token" in record for record in records):
            return [(record["token"], record) for record in records]
    kind = type(context).__name__
    raise InputError(f"{where}: expected a map from token to log-probability or a list of records, found {kind}.")


def _on_unions(reports: list[list[dict[Hashable, float]]], top_k: int) -> tuple[FloatArray, Reported]:
    """((n, C, U + 1) log-probabilities on each context's reported tokens, what of them was reported)."""
    n, contexts = len(reports), len(reports[0])
    unions = [list(dict.fromkeys(token for row in reports for token in row[c])) for c in range(contexts)]
    width = max(map(len, unions))
    probabilities, known = np.zeros((n, contexts, width + 1)), np.zeros((n, contexts, width), dtype=bool)
    caps = np.zeros((n, contexts))
    for c, tokens in enumerate(unions):
        for i, row in enumerate(reports):
            known[i, c, : len(tokens)] = [token in row[c] for token in tokens]
            probabilities[i, c, : len(tokens)] = [row[c].get(token, 0.0) for token in tokens]
            ranked = sorted(row[c].values(), reverse=True)
            rest = max(1.0 - math.fsum(ranked), 0.0)
            caps[i, c] = min(ranked[top_k - 1], rest) if len(ranked) >= top_k else rest
        _complete(probabilities[:, c], known[:, c], caps[:, c], len(tokens))
        known[:, c, len(tokens) :] = True  # nothing is unknown of a column that this context does not use
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities)
    known.setflags(write=False)
    return logs, Reported(known, readonly(caps, np.float64))


def _complete(probabilities: FloatArray, known: Any, caps: FloatArray, tokens: int) -> None:
    """Share out what every model leaves, in place: as others do on the average, up to the cap; the rest to the rest."""
    seen = probabilities[:, :tokens].mean(axis=0)
    elsewhere = max(1.0 - float(seen.sum()), 0.0)
    for row, mask, cap in zip(probabilities, known, caps, strict=True):
        rest = max(1.0 - float(row.sum()), 0.0)
        silent = np.flatnonzero(~mask[:tokens])
        wanted = float(seen[silent].sum()) + elsewhere
        if wanted > 0.0:
            row[silent] = np.minimum(cap, rest * seen[silent] / wanted)
        row[-1] = max(1.0 - float(row[:-1].sum()), 0.0)


def _of_targets(
    targets: Sequence[Hashable] | None, reports: list[dict[Hashable, float]] | None, model: str, count: int = 0
) -> list[float]:
    """(C,) log-probabilities of the true tokens; nan where nobody said which they are, or what the model says."""
    if reports is None or targets is None:
        return [math.nan] * (count if reports is None else len(reports))
    for c, (target, report) in enumerate(zip(targets, reports, strict=True)):
        if target not in report or report[target] <= 0.0:
            raise InputError(
                f"model {model!r}, context {c}: the target {target!r} is not among the tokens reported; ask the server"
                " for the prompt's own log-probabilities too, or leave targets out."
            )
    return [math.log(report[target]) for target, report in zip(targets, reports, strict=True)]
