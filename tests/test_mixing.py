"""Mixed rows: whole counts, epochs without replacement, the same for the same seed, and memory that does not grow."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ODD_NAMES, SEEDS

from taskpgm.mixing import BLOCK, epoch_order, mixed_names, mixed_rows, rows_for, task_generator, task_rows
from taskpgm.types import InputError

COUNTS = st.dictionaries(st.sampled_from(ODD_NAMES), st.integers(0, 60), min_size=1, max_size=6)


@given(COUNTS, SEEDS, st.data())
def test_every_row_comes_once_an_epoch_and_every_count_is_exact(
    counts: dict[str, int], seed: int, data: st.DataObject
) -> None:
    sizes = {name: data.draw(st.integers(1, 25)) for name in counts}
    pairs = list(mixed_rows(counts, sizes, seed))
    assert Counter(name for name, _ in pairs) == Counter({name: count for name, count in counts.items() if count})
    for name, size in sizes.items():
        rows = [row for other, row in pairs if other == name]
        for start in range(0, len(rows) - size + 1, size):
            assert sorted(rows[start : start + size]) == list(range(size))


@given(COUNTS, SEEDS)
def test_neither_the_order_of_the_tasks_nor_other_tasks_change_a_tasks_rows(counts: dict[str, int], seed: int) -> None:
    sizes = dict.fromkeys(counts, 7)
    pairs = list(mixed_rows(counts, sizes, seed))
    assert list(mixed_rows(dict(reversed(counts.items())), sizes, seed)) == pairs
    for name, count in counts.items():
        alone = [row for _, row in mixed_rows({name: count}, {name: 7}, seed)]
        assert [row for other, row in pairs if other == name] == alone


def test_epochs_and_tasks_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        tuple(epoch_order(50, seed, name, epoch)) for seed in (0, 1) for name in ("copy", "sort") for epoch in (0, 1, 2)
    ]
    assert len(set(orders)) == len(orders)
    rows = list(itertools.islice(task_rows(50, 1, "sort"), 100))
    assert (tuple(rows[:50]), tuple(rows[50:])) == (orders[9], orders[10])
    assert task_generator(0, "copy").integers(2**40) != task_generator(0, "copy", 0, 1).integers(2**40)


def test_the_order_of_the_tasks_is_a_uniform_shuffle_within_and_across_blocks() -> None:
    """With half of each, a place is followed by the other task half of the time, and blocks vary as they should."""
    total = 5 * BLOCK
    names = np.array(list(mixed_names({"a": total // 2, "b": total // 2}, seed=3)))
    assert len(names) == total
    changes = (names[1:] != names[:-1]).mean()
    assert abs(changes - 0.5) < 4.5 * 0.5 / np.sqrt(total)
    starts = [(np.array(list(mixed_names({"a": 9, "b": 1}, seed))) == "b").argmax() for seed in range(2000)]
    frequencies = np.bincount(starts, minlength=10) / 2000
    assert np.all(np.abs(frequencies - 0.1) < 4.5 * np.sqrt(0.09 / 2000))


def test_memory_does_not_grow_with_the_output() -> None:
    def peak(total: int) -> int:
        tracemalloc.start()
        for _ in mixed_rows({"a": total, "b": total // 3}, {"a": 500, "b": 400}, seed=0):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(10 * BLOCK) < 1.3 * peak(2 * BLOCK) + 20_000


@given(SEEDS, st.integers(1, 40), st.integers(0, 5000), st.sampled_from(ODD_NAMES))
def test_running_counts_stop_at_the_row_that_comes_nearest(seed: int, size: int, amount: int, name: str) -> None:
    lengths = np.random.default_rng(seed).integers(1, 60, size)
    found = rows_for(amount, lengths, seed, name)
    order = itertools.islice(task_rows(size, seed, name), found + 1)
    reached = np.concatenate([[0], np.cumsum(lengths[list(order)])])
    assert abs(reached[found] - amount) == np.abs(reached - amount).min()
    assert abs(reached[found] - amount) <= lengths.max() / 2


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="task 'b': 3 rows are asked for, but it has none"):
        next(mixed_rows({"a": 1, "b": 3}, {"a": 4}, seed=0))
    with pytest.raises(InputError, match="ask for at most 999999999"):
        next(mixed_names({"a": 10**10}, seed=0))
