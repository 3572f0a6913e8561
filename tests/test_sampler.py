"""The torch sampler: one sequence for any number of processes, loaders with workers, and states in the middle."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS
from torch.utils.data import ConcatDataset, DataLoader

import taskpgm as tp
from taskpgm.types import TaskSize

SIZES = {"sort": 9, "copy": 20, "a/b </script>": 4}
SHARES = {"sort": 0.5, "copy": 0.4, "a/b </script>": 0.1}


def make(**changes: Any) -> tp.MixtureSampler:
    return tp.MixtureSampler(SHARES, SIZES, **changes)


def task_of(index: int) -> str:
    """Of the tasks' data put one after the other in the order given."""
    ends = np.cumsum(list(SIZES.values()))
    return list(SIZES)[int(np.searchsorted(ends, index, side="right"))]


def test_indices_are_of_the_data_put_one_after_the_other() -> None:
    sampler = make(length=200)
    indices = list(sampler)
    assert len(indices) == len(sampler) == 200
    drawn = {name: sum(task_of(i) == name for i in indices) for name in SIZES}
    assert drawn == sampler.counts()
    assert all(abs(drawn[name] - 200 * SHARES[name]) < 1.0 for name in SIZES)
    assert sorted(i for i in indices if task_of(i) == "copy")[: 4 * 20 : 4] == list(range(9, 29))


def test_epochs_go_on_and_end_where_they_should() -> None:
    sampler, whole = make(length=30), make(length=90)
    assert [index for _ in range(3) for index in sampler] == list(whole)
    part = iter(sampler)
    assert [next(part) for _ in range(10)] + list(sampler) == list(whole)[:30]


@given(SEEDS, st.integers(1, 5), st.integers(0, 8))
def test_processes_together_see_the_sequence_of_one(seed: int, world_size: int, steps: int) -> None:
    length = 10 * world_size
    one = list(make(seed=seed, length=length))
    ranks = [make(seed=seed, length=length, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert [index for draws in zip(*ranks, strict=True) for index in draws] == one
    states = []
    for rank in range(world_size):
        sampler = make(seed=seed, length=length, rank=rank, world_size=world_size)
        iterator = iter(sampler)
        for _ in range(steps):
            next(iterator)
        states.append(sampler.state_dict(consumed=steps))
    assert all(state == states[0] for state in states)
    alone = make(seed=seed, length=length)
    alone.load_state_dict(states[0])
    assert list(alone) == one[steps * world_size :]


class Indices:
    """Data whose examples say which they are."""

    def __init__(self, start: int, size: int) -> None:
        self.start, self.size = start, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return self.start + index


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_runs_ahead_goes_on_from_what_was_consumed(workers: int) -> None:
    starts = np.cumsum([0, *SIZES.values()])
    data: Any = ConcatDataset([Indices(int(start), size) for start, size in zip(starts, SIZES.values(), strict=False)])

    def batches(sampler: tp.MixtureSampler) -> Any:
        return iter(DataLoader(data, batch_size=4, sampler=sampler, num_workers=workers))

    whole = [batch.tolist() for batch in batches(make(length=40))]
    sampler = make(length=40)
    loader = batches(sampler)
    first = [next(loader).tolist() for _ in range(3)]
    state = json.loads(json.dumps(sampler.state_dict(consumed=12)))
    assert sampler.position >= (12 if workers == 0 else 20)
    del loader
    again = make(length=40)
    again.load_state_dict(state)
    assert first + [batch.tolist() for batch in batches(again)] == whole


def test_weights_change_where_they_are_said_to_and_the_state_knows() -> None:
    other = {"sort": 0.0, "copy": 0.0, "a/b </script>": 1.0}
    sampler = make(length=60)
    iterator = iter(sampler)
    head = [next(iterator) for _ in range(10)]
    sampler.set_weights(other, at=25)
    state = sampler.state_dict()
    rest = list(iterator)
    assert {task_of(index) for index in rest[15:]} == {"a/b </script>"}
    assert head + rest[:15] == list(make(length=60))[:25]
    again = make(length=60)
    again.load_state_dict(state)
    assert list(again) == rest


def test_weights_in_tokens_are_converted_by_mean_lengths() -> None:
    names = ("copy", "sort")
    sizes = {"copy": TaskSize(100, 1000, 300), "sort": TaskSize(50, 2000, 500)}
    network = tp.TaskNetwork(np.zeros(2), np.eye(2), names)
    mixture = tp.Mixture(network, {"copy": 0.5, "sort": 0.5}, 0.0, 0.0, 0.0, "feasible", "test", sizes=sizes)
    sampler = tp.MixtureSampler(mixture, {"copy": 100, "sort": 50}, length=500)
    list(sampler)
    assert sampler.counts() == {"copy": 400, "sort": 100}


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(tp.InputError, match="multiple of the 3 processes"):
        make(length=10, world_size=3)
    with pytest.raises(tp.InputError, match="rank 2 of 2"):
        make(rank=2, world_size=2)
    sampler = make()
    next(iter(sampler))
    with pytest.raises(tp.InputError, match="consumed 2: expected 0 to 1"):
        sampler.state_dict(consumed=2)
    sampler.state_dict(consumed=1)
    with pytest.raises(tp.InputError, match="consumed 0: expected 1 to 1"):
        sampler.state_dict(consumed=0)
    with pytest.raises(tp.InputError, match="stands at draw 1"):
        make(world_size=2).load_state_dict(sampler.state_dict())
