"""Random evidence for the tests: distributions of every sharpness, predictions and losses without any model behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from taskpgm.affinity import estimate_affinity
from taskpgm.baselines import Evidence, PilotRun, ProxyRuns
from taskpgm.baselines.mixing_law import Law
from taskpgm.stored import StoredLogProbs
from taskpgm.tensor_files import stored_tensors, write_tensors
from taskpgm.types import LossCurves, Predictions


def random_log_probs(seed: int, n: int, contexts: int, vocabulary: int, sharpness: float, zeros: float) -> np.ndarray:
    """(n, C, V) log-probabilities; `zeros` is the share of exact zeros (never a whole row)."""
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.normal(size=(n, contexts, vocabulary))
    dropped = generator.random(logits.shape) < zeros
    dropped[..., 0] &= ~dropped.all(axis=-1)
    logits[dropped] = -np.inf
    largest = logits.max(axis=-1, keepdims=True)
    return logits - largest - np.log(np.exp(logits - largest).sum(axis=-1, keepdims=True))


def make_predictions(
    seed: int, n: int = 4, per_task: int = 3, vocabulary: int = 12, k: int | None = None
) -> Predictions:
    """Random experts on shared contexts; k tokens are kept and the rest pooled (all where k is None)."""
    generator = np.random.default_rng(seed)
    contexts = n * per_task
    full = random_log_probs(seed, n + 1, contexts, vocabulary, 3.0, 0.0)
    targets = generator.integers(vocabulary, size=contexts)
    true = full[:, np.arange(contexts), targets].astype(np.float32)
    return Predictions(
        names=tuple(f"task {i}" for i in range(n)),
        log_probs=pooled(full[:n], full[n], k),
        target_log_probs=true[:n],
        base_target_log_probs=true[n],
        marginal_log_probs=np.log(generator.uniform(0.01, 0.5, size=contexts)).astype(np.float32),
        context_task=np.repeat(np.arange(n), per_task),
        context_probe=np.arange(contexts),
        weights=np.full(contexts, 1.0 / contexts),
    )


def in_files(predictions: Predictions, folder: Path) -> Predictions:
    """The same, with the log-probabilities in one file for each expert, task by task, as `predict` leaves them."""
    tasks, width = predictions.context_task, predictions.log_probs.shape[2]
    own = [np.flatnonzero(tasks == t) for t in range(len(predictions.names))]
    parts = []
    for i in range(len(predictions.names)):
        path = folder / f"{i}.safetensors"
        layout = {f"{t}": (np.float32, (len(contexts), width)) for t, contexts in enumerate(own)}
        write_tensors(path, layout, (predictions.log_probs[i, contexts] for contexts in own))
        parts.append(tuple(stored_tensors(path)[f"{t}"] for t in range(len(own))))
    row = np.empty(len(tasks), dtype=np.int64)
    for contexts in own:
        row[contexts] = np.arange(len(contexts))
    return replace(predictions, log_probs=StoredLogProbs(tuple(parts), width, tasks, row))


def pooled(full: np.ndarray, base: np.ndarray, k: int | None) -> np.ndarray:
    """(n, C, k + 1): the base's k most probable tokens of every context, and the logarithm of the rest."""
    k = full.shape[-1] if k is None else k
    order = np.argsort(-base, axis=-1)
    ordered = np.take_along_axis(full, np.broadcast_to(order, full.shape), axis=-1)
    with np.errstate(divide="ignore"):
        rest = np.log(np.exp(ordered[..., k:]).sum(axis=-1, keepdims=True))
    return np.concatenate([ordered[..., :k], rest], axis=-1).astype(np.float32)


def make_evidence(seed: int, n: int = 4, *, runs: int = 9, targets: bool = False) -> Evidence:
    """Every part of an Evidence, of one world: predictions with their affinity, and losses that follow power laws."""
    rng = np.random.default_rng(seed)
    predictions = make_predictions(seed, n=n, per_task=4, vocabulary=6)
    law = planted_law(rng, n)
    mixtures = rng.dirichlet(np.ones(n), size=runs)
    losses = np.array([law.losses(p) for p in mixtures]) * np.exp(0.01 * rng.standard_normal((runs, n)))
    examples = np.array([0, 100, 200, 400, 700, 1000])
    fall = rng.uniform(0.1, 0.7, n)
    pilot = 0.2 + rng.uniform(0.5, 3.0, n) * (1.0 + examples[:, None] / 50.0) ** -fall
    snapshots = np.array([0, 40, 90, 200])
    curves = LossCurves(
        names=predictions.names,
        examples=np.tile(snapshots, (n, 1)),
        target_tokens=3 * np.tile(snapshots, (n, 1)),
        losses=3.0 * np.exp(-rng.uniform(0.0, 0.01, (n, 1, n)) * snapshots[None, :, None]),
    )
    return Evidence(
        predictions.names,
        sizes=rng.integers(20, 3000, n),
        budget=int(rng.integers(100, 5000)),
        target_weights=rng.dirichlet(np.full(n, 3.0)) if targets else None,
        predictions=predictions,
        affinity=estimate_affinity(predictions),
        curves=curves,
        proxies=ProxyRuns(mixtures, losses, 500),
        pilot=PilotRun(examples, pilot),
    )


def planted_law(rng: np.random.Generator, n: int) -> Law:
    """A mixing law of n tasks, easy and hard ones, with some transfer."""
    return Law(
        floor=rng.uniform(0.0, 1.0, n),
        height=rng.uniform(0.1, 1.0, n),
        kappa=rng.uniform(0.05, 0.4, n),
        transfer=rng.uniform(0.2, 1.0, n),
        decay=rng.uniform(0.2, 1.5, n),
    )


def reordered(evidence: Evidence, order: np.ndarray) -> Evidence:
    """The same evidence with task order[i] in place i, in every part."""
    place = np.argsort(order)
    predictions, proxies, pilot, curves = evidence.predictions, evidence.proxies, evidence.pilot, evidence.curves
    assert predictions is not None
    assert proxies is not None
    assert pilot is not None
    assert curves is not None
    names = tuple(evidence.names[i] for i in order)
    moved = replace(
        predictions,
        names=names,
        log_probs=predictions.log_probs[order],
        target_log_probs=predictions.target_log_probs[order],
        context_task=place[predictions.context_task],
    )
    return Evidence(
        names,
        sizes=evidence.sizes[order],
        budget=evidence.budget,
        target_weights=evidence.target_weights[order],
        predictions=moved,
        affinity=estimate_affinity(moved),
        curves=replace(
            curves,
            names=names,
            examples=curves.examples[order],
            target_tokens=curves.target_tokens[order],
            losses=curves.losses[np.ix_(order, range(curves.losses.shape[1]), order)],
        ),
        proxies=ProxyRuns(proxies.mixtures[:, order], proxies.losses[:, order], proxies.budget),
        pilot=PilotRun(pilot.examples, pilot.losses[:, order]),
    )
