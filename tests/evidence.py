"""Random evidence for the tests: distributions of every sharpness, and predictions without any model behind them."""

from __future__ import annotations

import numpy as np

from taskpgm.types import Predictions


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


def pooled(full: np.ndarray, base: np.ndarray, k: int | None) -> np.ndarray:
    """(n, C, k + 1): the base's k most probable tokens of every context, and the logarithm of the rest."""
    k = full.shape[-1] if k is None else k
    order = np.argsort(-base, axis=-1)
    ordered = np.take_along_axis(full, np.broadcast_to(order, full.shape), axis=-1)
    with np.errstate(divide="ignore"):
        rest = np.log(np.exp(ordered[..., k:]).sum(axis=-1, keepdims=True))
    return np.concatenate([ordered[..., :k], rest], axis=-1).astype(np.float32)
