"""Which examples a training run on a mixture takes, and in which order.

    sequence = mixed_sequence(tasks, shares, steps=250, batch_size=32, seed=0)

With one seed, the examples of a task come in one order whatever its share is: mixtures are compared on the same data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskpgm.amounts import task_stream, whole_counts
from taskpgm.fine_tuning import in_epochs
from taskpgm.tokens import TokenExample, TokenTask
from taskpgm.types import FloatArray, InputError


def mixed_sequence(
    tasks: Sequence[TokenTask], shares: Sequence[float] | FloatArray, steps: int, batch_size: int, seed: int
) -> list[TokenExample]:
    """The examples of a run in the order in which it takes them: steps x batch_size of them.

    A task's examples come without replacement until all were taken, then shuffled anew, in an order that depends on the
    seed and the task's name alone. Which task comes when is one shuffle of whole counts over the run.
    """
    counts = counts_of(tasks, shares, steps * batch_size)
    order = sorted(range(len(tasks)), key=lambda i: tasks[i].name)
    streams = [iter(in_epochs(tasks[i].train, counts[i], task_stream(seed, tasks[i].name))) for i in order]
    places = np.repeat(np.arange(len(order)), [counts[i] for i in order])
    return [next(streams[place]) for place in np.random.default_rng(seed).permutation(places)]


def check_shares(shares: Sequence[float] | FloatArray, n: int, what: str) -> None:
    """Refuse what is no mixture of n tasks; shares need not add up to 1."""
    values = np.asarray(shares, dtype=np.float64)
    if values.shape != (n,) or not np.all(np.isfinite(values)) or values.min() < 0.0 or values.sum() <= 0.0:
        raise InputError(f"{what}: expected {n} finite shares, none negative and not all 0; found {values.tolist()}.")


def counts_of(tasks: Sequence[TokenTask], shares: Sequence[float] | FloatArray, total: int) -> list[int]:
    """How many of `total` examples are of each task, by largest remainder."""
    check_shares(shares, len(tasks), "shares of a mixture")
    return whole_counts([float(share) for share in shares], total)
