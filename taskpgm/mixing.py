"""Which rows of which task come when: an endless supply of each task, drawn in whole counts, in memory of one epoch.

    for name, row in mixed_rows({"copy": 300, "sort": 100}, {"copy": 120, "sort": 80}, seed=0):
        ...                             # 400 pairs of a task's name and the index of one of its rows

A task's rows come without replacement until all were taken, then in another order: one permutation an epoch, which
depends on the seed, the task's name and the epoch alone. So another weight, or another task more, takes the same rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from taskpgm.types import InputError, IntArray

BLOCK = 4096
MOST_ROWS = 999_999_999  # what numpy draws hypergeometric numbers for


def task_generator(seed: int, name: str, *more: int) -> np.random.Generator:
    """Random numbers that depend on the seed, a task's name, and more numbers (an epoch, say) alone."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8]), *more])


def epoch_order(size: int, seed: int, name: str, epoch: int) -> IntArray:
    """(size,) the rows 0 to size - 1 of a task in the order of one epoch (from 0)."""
    return task_generator(seed, name, epoch).permutation(size).astype(np.int64)


def task_rows(size: int, seed: int, name: str) -> Iterator[int]:
    """The rows of a task for ever: epoch after epoch, each shuffled anew."""
    epoch = 0
    while True:
        yield from epoch_order(size, seed, name, epoch).tolist()
        epoch += 1


def mixed_names(counts: Mapping[str, int], seed: int) -> Iterator[str]:
    """Each name as often as it counts, in an order that is uniform over all orders.

    Drawn in blocks: how many of each task fall into the next block is multivariate hypergeometric, and within a block
    every order is alike. That is one shuffle of the whole, without holding the whole. The order in which the tasks are
    given does not matter.

    Raises:
        InputError: more rows than the distribution can be drawn for.
    """
    names = sorted(counts)
    if sum(counts.values()) > MOST_ROWS:
        raise InputError(f"{sum(counts.values())} rows in one mix: ask for at most {MOST_ROWS}, and mix again.")
    left = np.array([counts[name] for name in names], dtype=np.int64)
    generator = np.random.default_rng(seed)
    while (total := int(left.sum())) > 0:
        taken = left if total <= BLOCK else generator.multivariate_hypergeometric(left, BLOCK, method="marginals")
        left = left - taken
        for place in generator.permutation(np.repeat(np.arange(len(names)), taken)).tolist():
            yield names[place]


def mixed_rows(counts: Mapping[str, int], sizes: Mapping[str, int], seed: int) -> Iterator[tuple[str, int]]:
    """(task, row) pairs: as many of each task as it counts, in one shuffled order; the same for the same seed.

    Args:
        counts: how many rows to take of each task, by name.
        sizes: how many rows each of these tasks has.
        seed: at least 0.

    Raises:
        InputError: rows are asked of a task that has none.
    """
    empty = [name for name, count in counts.items() if count > 0 and sizes.get(name, 0) < 1]
    if empty:
        raise InputError(f"task {empty[0]!r}: {counts[empty[0]]} rows are asked for, but it has none.")
    supply = {name: task_rows(sizes[name], seed, name) for name, count in counts.items() if count > 0}
    for name in mixed_names(counts, seed):
        yield name, next(supply[name])


def rows_for(amount: int, lengths: IntArray, seed: int, name: str) -> int:
    """How many rows of a task, in its own order, come nearest to an amount of tokens, by running count.

    Args:
        amount: tokens, at least 0.
        lengths: (rows,) the tokens of each row, all positive.
        seed, name: decide the order in which the rows come, as in `mixed_rows`.
    """
    epochs, rest = divmod(amount, int(lengths.sum()))
    running = np.cumsum(lengths[epoch_order(len(lengths), seed, name, epochs)])
    below = int(np.searchsorted(running, rest, side="right"))
    reached = int(running[below - 1]) if below > 0 else 0
    one_more = int(running[below]) - rest < rest - reached
    return epochs * len(lengths) + below + one_more
