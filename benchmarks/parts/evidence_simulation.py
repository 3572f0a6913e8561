"""Evidence with a known truth: contexts drawn from a population, and how often intervals hold the best mixture of it.

coverage(repetitions=400, replicates=400)       # near 0.95
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskpgm.affinity import ExponentialSimilarity, estimate_affinity
from taskpgm.inference import SimplexQP, solve
from taskpgm.network import TaskNetwork
from taskpgm.types import Affinity, FloatArray, Predictions
from taskpgm.uncertainty import bootstrap
from taskpgm.utilities import HeldoutGain

RULE = ExponentialSimilarity(kappa=3.0)
TASKS, PROBES, VOCABULARY, CONTEXTS = 5, 48, 6, 4000


def population(seed: int, tasks: int = TASKS, contexts: int = CONTEXTS) -> list[FloatArray]:
    """For each task (tasks + 1, contexts, VOCABULARY) log-probabilities of its contexts, the last expert the base."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((tasks, tasks + 1, 1, VOCABULARY))
    logits = [1.5 * c + rng.standard_normal((tasks + 1, contexts, VOCABULARY)) for c in centres]
    return [each - np.log(np.exp(each).sum(axis=-1, keepdims=True)) for each in logits]


def sampled(parts: list[FloatArray], picked: list[NDArray[np.int64]]) -> Predictions:
    """Predictions on some contexts of each task; the true token is always the first."""
    tasks = len(parts)
    logs = np.concatenate([part[:, places] for part, places in zip(parts, picked, strict=True)], axis=1)
    task = np.repeat(np.arange(tasks), [len(places) for places in picked])
    counts = np.bincount(task)
    tail = np.full((tasks, logs.shape[1], 1), -np.inf)
    return Predictions(
        names=tuple(f"task {i}" for i in range(tasks)),
        log_probs=np.concatenate([logs[:tasks], tail], axis=2).astype(np.float32),
        target_log_probs=logs[:tasks, :, 0].astype(np.float32),
        base_target_log_probs=logs[tasks, :, 0].astype(np.float32),
        marginal_log_probs=np.full(len(task), -3.0, dtype=np.float32),
        context_task=task,
        context_probe=np.arange(len(task)),
        weights=1.0 / (tasks * counts[task]),
    )


def drawn(parts: list[FloatArray], probes: int, seed: int) -> Predictions:
    """Predictions on `probes` contexts of each task, drawn without replacement."""
    rng = np.random.default_rng(seed)
    return sampled(parts, [rng.choice(part.shape[1], size=probes, replace=False) for part in parts])


def evidence(predictions: Predictions) -> tuple[Affinity, TaskNetwork]:
    """The affinity of some predictions, and the network that the command line would make of it."""
    affinity = estimate_affinity(predictions, utility=HeldoutGain(), similarity=RULE)
    return affinity, TaskNetwork.from_affinity(affinity, floor=0.2)


def coverage(repetitions: int, replicates: int) -> float:
    """The share of true weights within their 95 % intervals, over many samples of ten populations."""
    covered = []
    for seed in range(repetitions):
        parts = population(seed % 10)
        _, truth = evidence(sampled(parts, [np.arange(part.shape[1]) for part in parts]))
        target = np.array(solve(truth, SimplexQP()).point)
        affinity, network = evidence(drawn(parts, PROBES, 1000 + seed))
        spread = bootstrap(
            affinity, network, replicates=replicates, seed=seed, utility=HeldoutGain(), similarity=RULE, rho=0.5
        )
        low, high = spread.interval().T
        covered.append((low - 1e-9 <= target) & (target <= high + 1e-9))
    return float(np.mean(covered))
