"""Work in parts that fit: all rows once and in order, whatever memory allows, and one clear line where nothing fits."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskpgm.halving import Fitting, enough_memory, out_of_memory
from taskpgm.types import InputError

SAYINGS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
]


class Memory:
    """Takes up to `most` rows, and remembers what it was asked for."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []

    def work(self, rows: range) -> list[int]:
        self.asked.append(len(rows))
        if len(rows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(rows)


@given(rows=st.integers(0, 40), size=st.integers(1, 50), most=st.integers(1, 50))
def test_every_row_is_done_once_and_in_order(rows: int, size: int, most: int) -> None:
    memory = Memory(most)
    fitting = Fitting(size, "reading", "less")
    parts = list(fitting.each(rows, memory.work))
    assert [row for _, done in parts for row in done] == list(range(rows))
    assert all(list(part) == done for part, done in parts)
    if rows <= most or size <= most:
        assert fitting.size == size  # nothing was wrong
    else:
        assert min(size, rows) / 2 ** len(memory.asked) < fitting.size <= most


@given(rows=st.integers(1, 40), size=st.integers(1, 50), most=st.integers(1, 50))
def test_a_step_is_made_of_equal_parts_after_what_was_left_of_it_is_forgotten(rows: int, size: int, most: int) -> None:
    memory, kept = Memory(most), []

    def work(part: range) -> int:
        kept.extend(memory.work(part))
        return len(part)

    parts = Fitting(size, "training", "less").all(rows, work, kept.clear)
    assert kept == list(range(rows))
    assert sum(parts) == rows
    assert len(set(parts[:-1])) <= 1


@pytest.mark.parametrize("error", SAYINGS, ids=lambda error: str(error)[:12])
def test_what_does_not_fit_by_itself_is_one_line_with_a_remedy(error: RuntimeError) -> None:
    def work(part: range) -> int:
        raise error

    assert out_of_memory(error)
    with pytest.raises(InputError, match=r"^reading: memory runs out with one example at a time; what helps: less\.$"):
        list(Fitting(8, "reading", "less").each(3, work))
    with (
        pytest.raises(InputError, match=r"^loading: memory runs out; what helps: less\.$"),
        enough_memory("loading", "less"),
    ):
        raise error


def test_other_errors_are_what_they_are() -> None:
    def work(part: range) -> int:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Fitting(8, "reading", "less").each(3, work))
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("loading", "less"):
        raise RuntimeError("shapes do not fit")


def test_every_halving_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="taskpgm"):
        list(Fitting(8, "reading", "less").each(20, Memory(3).work))
    assert [record.getMessage() for record in caplog.records] == [
        "reading: memory runs out with 8 examples at a time; going on with 4.",
        "reading: memory runs out with 4 examples at a time; going on with 2.",
    ]
