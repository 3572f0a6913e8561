"""Mixed rows: whole counts, epochs without replacement, the same for the same seed, and memory that does not grow."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ODD_NAMES, SEEDS

from taskpgm.drawing import epoch_order
from taskpgm.mixing import mixed_rows, rows_for
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


@given(COUNTS, SEEDS)
def test_no_stretch_from_the_start_is_off_by_a_whole_row_of_any_task(counts: dict[str, int], seed: int) -> None:
    names = [name for name, _ in mixed_rows(counts, dict.fromkeys(counts, 9), seed)]
    total = max(1, sum(counts.values()))
    for name, count in counts.items():
        so_far = np.cumsum([each == name for each in names])
        assert np.all(np.abs(so_far - count / total * np.arange(1, len(names) + 1)) < 1.0 + 1e-6)


def test_memory_does_not_grow_with_the_output() -> None:
    def peak(total: int) -> int:
        tracemalloc.start()
        for _ in mixed_rows({"a": total, "b": total // 3}, {"a": 500, "b": 400}, seed=0):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(20_000) < 1.3 * peak(4_000) + 20_000


@given(SEEDS, st.integers(1, 40), st.integers(0, 5000), st.sampled_from(ODD_NAMES))
def test_running_counts_stop_at_the_row_that_comes_nearest(seed: int, size: int, amount: int, name: str) -> None:
    lengths = np.random.default_rng(seed).integers(1, 60, size)
    found = rows_for(amount, lengths, seed, name)
    order = [row for epoch in range(found // size + 1) for row in epoch_order(seed, name, epoch, size)][: found + 1]
    reached = np.concatenate([[0], np.cumsum(lengths[order])])
    assert abs(reached[found] - amount) == np.abs(reached - amount).min()
    assert abs(reached[found] - amount) <= lengths.max() / 2


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="task 'b': 3 rows are asked for, but it has none"):
        next(mixed_rows({"a": 1, "b": 3}, {"a": 4}, seed=0))
