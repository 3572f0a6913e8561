"""Which rows of which task come when in data that is mixed beforehand: whole counts, spread evenly over the whole.

    for name, row in mixed_rows({"copy": 300, "sort": 100}, {"copy": 120, "sort": 80}, seed=0):
        ...                             # 400 pairs of a task's name and the index of one of its rows

The order is that of `taskpgm.drawing`, so mixed data and a mixture in a trainer take the same rows for a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from taskpgm.drawing import Drawing, epoch_order
from taskpgm.types import InputError, IntArray


def mixed_rows(counts: Mapping[str, int], sizes: Mapping[str, int], seed: int) -> Iterator[tuple[str, int]]:
    """(task, row) pairs: as many of each task as it counts, no stretch from the start off by a whole row of any.

    Args:
        counts: how many rows to take of each task, by name.
        sizes: how many rows each of these tasks has.
        seed: at least 0.

    Raises:
        InputError: rows are asked of a task that has none.
    """
    wanted = {name: count for name, count in counts.items() if count > 0}
    empty = [name for name in wanted if sizes.get(name, 0) < 1]
    if empty:
        raise InputError(f"task {empty[0]!r}: {counts[empty[0]]} rows are asked for, but it has none.")
    if wanted:
        drawing = Drawing({name: sizes[name] for name in wanted}, wanted, seed)
        for _ in range(sum(wanted.values())):
            task, row = drawing.draw()
            yield drawing.names[task], row


def rows_for(amount: int, lengths: IntArray, seed: int, name: str) -> int:
    """How many rows of a task, in its own order, come nearest to an amount of tokens, by running count.

    Args:
        amount: tokens, at least 0.
        lengths: (rows,) the tokens of each row, all positive.
        seed, name: decide the order in which the rows come, as in `mixed_rows`.
    """
    epochs, rest = divmod(amount, int(lengths.sum()))
    running = np.cumsum(lengths[epoch_order(seed, name, epochs, len(lengths))])
    below = int(np.searchsorted(running, rest, side="right"))
    reached = int(running[below - 1]) if below > 0 else 0
    one_more = int(running[below]) - rest < rest - reached
    return epochs * len(lengths) + below + one_more
