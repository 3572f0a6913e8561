"""Which draws of a step belong to which process, against accelerate's own way of dealing batches out."""

from __future__ import annotations

import pytest
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from taskpgm.step_plan import StepPlan


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_processes_train_on_what_accelerate_deals_them(batch: int, accumulation: int, world: int, split: bool) -> None:
    steps = 3
    plans = [StepPlan(batch, accumulation, world, rank) for rank in range(world)]
    draws = list(range(steps * plans[0].examples))
    for rank, plan in enumerate(plans):
        whole = BatchSampler(draws, batch * world if split else batch, drop_last=False)
        dealt = list(BatchSamplerShard(whole, world, rank, split_batches=split))
        for step in range(steps):
            now = draws[step * plan.examples : (step + 1) * plan.examples]
            for micro in range(accumulation):
                assert dealt[step * accumulation + micro] == now[plan.own(micro)]


def test_epochs_are_whole_steps() -> None:
    plan = StepPlan(batch=4, accumulation=2, world_size=3)
    assert plan.examples == 24
    assert [plan.epoch(wanted) for wanted in (1, 24, 47, 48)] == [24, 24, 24, 48]


@pytest.mark.parametrize(("prefetched", "accumulation", "lead"), [(0, 1, 2), (0, 2, 1), (4, 1, 6), (4, 4, 2)])
def test_a_change_waits_until_nothing_is_drawn_beyond(prefetched: int, accumulation: int, lead: int) -> None:
    assert StepPlan(4, accumulation, prefetched=prefetched).lead == lead
