"""The model of a cluster in benchmarks/ keeps the bounds that any schedule keeps, and breaks even where it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts import benchmark

cluster = benchmark("cluster")
Costs, efficiency, least_seconds, makespan = (
    getattr(cluster, name) for name in ("Costs", "efficiency", "least_seconds", "makespan")
)
seconds = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60)
cost = st.floats(0.0, 2.0)


@given(seconds=seconds, machines=st.integers(1, 9), item=cost, sent=cost, made=cost)
def test_nothing_is_faster_than_the_machines_or_the_process_that_asks(
    seconds: list[float], machines: int, item: float, sent: float, made: float
) -> None:
    took = makespan(seconds, machines, Costs(item, sent, made), 1.0, 2.0)
    asks = len(seconds) * Costs(item, sent, made).of(1.0, 2.0)
    assert took >= max(sum(seconds) / machines, max(seconds), asks) * (1.0 - 1e-9)
    assert took <= (sum(seconds) + asks) * (1.0 + 1e-9)


@given(seconds=seconds, machines=st.integers(1, 9))
def test_without_costs_it_is_list_scheduling(seconds: list[float], machines: int) -> None:
    """Graham (1966): within 2 - 1/m of the best."""
    took = makespan(seconds, machines, Costs(0.0, 0.0, 0.0), 0.0, 0.0)
    best = max(sum(seconds) / machines, max(seconds))
    assert took <= (2.0 - 1.0 / machines) * best * (1.0 + 1e-9) + 1e-12


@pytest.mark.parametrize("machines", [8, 64])
@pytest.mark.parametrize("made", [0.4, 1000.0])
def test_below_the_break_even_line_efficiency_falls_with_the_time(machines: int, made: float) -> None:
    costs = Costs(0.004, 0.004, 0.01)
    line = least_seconds(machines, costs, 0.1, made)
    at = [efficiency([share * line] * 4096, machines, costs, 0.1, made) for share in (0.1, 0.5, 10.0)]
    assert at[0] == pytest.approx(0.1, rel=0.05)
    assert at[1] == pytest.approx(0.5, rel=0.05)
    assert at[2] > 0.95
