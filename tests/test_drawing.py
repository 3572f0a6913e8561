"""The sequence of draws: shares kept at every prefix, rows without replacement, stopped and gone on with anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ODD_NAMES, SEEDS

import taskpgm as tp
from taskpgm.drawing import Drawing, epoch_order

SIZES = {"copy": 7, "sort": 3, "sötze 🧮": 11}
SHARES = {"copy": 0.5, "sort": 0.2, "sötze 🧮": 0.3}


def random_mixture(seed: int, n: int) -> tuple[dict[str, int], dict[str, float]]:
    """Sizes and shares of n tasks, some of share 0."""
    rng = np.random.default_rng(seed)
    names = [*ODD_NAMES, *(f"task {i}" for i in range(20))][:n]
    shares = rng.dirichlet(np.full(n, rng.choice([0.1, 1.0, 10.0])))
    shares[rng.random(n) < 0.2] = 0.0
    shares[0] += 1e-3
    return {name: int(rng.integers(1, 30)) for name in names}, dict(zip(names, shares.tolist(), strict=True))


@given(SEEDS, st.integers(1, 16))
def test_no_prefix_is_off_by_a_whole_example(seed: int, n: int) -> None:
    drawing = Drawing(*random_mixture(seed, n), seed=seed)
    for _ in range(300):
        drawing.draw_task()
        assert np.abs(drawing.counts - drawing.position * drawing.shares).max() < 1.0
        np.testing.assert_allclose(drawing.planned, drawing.position * drawing.shares, atol=1e-9)


@given(SEEDS, st.integers(1, 16))
def test_changed_shares_are_kept_too_and_a_share_of_0_is_never_drawn(seed: int, n: int) -> None:
    sizes, shares = random_mixture(seed, n)
    drawing = Drawing(sizes, shares, seed=seed)
    rng = np.random.default_rng(seed)
    for change in range(6):
        for _ in range(int(rng.integers(1, 40))):
            share = drawing.shares
            assert share[drawing.draw_task()] > 0.0
            assert drawing.planned.sum() == pytest.approx(drawing.position)
            assert np.abs(drawing.counts - drawing.planned).max() < 2.0
        drawing.set_shares({name: random_mixture(seed + change + 1, n)[1][name] for name in sizes})


def test_rows_come_without_replacement_in_an_order_of_seed_task_and_epoch_alone() -> None:
    one = Drawing(SIZES, SHARES, seed=5)
    other = Drawing({**dict(reversed(SIZES.items())), "more": 40}, {"more": 3.0, **SHARES}, seed=5)
    rows: dict[tuple[int, str], list[int]] = {}
    for which, drawing in enumerate((one, other)):
        for _ in range(400):
            task, row = drawing.draw()
            rows.setdefault((which, drawing.names[task]), []).append(row)
    for name, size in SIZES.items():
        first, second = rows[0, name], rows[1, name]
        common = min(len(first), len(second))
        assert common > 2 * size
        assert first[:common] == second[:common]
        for epoch in range(common // size):
            part = first[epoch * size : (epoch + 1) * size]
            assert sorted(part) == list(range(size))
            assert part == epoch_order(5, name, epoch, size).tolist()
    assert rows[0, "sötze 🧮"][:11] != rows[0, "sötze 🧮"][11:22]
    assert [one.draw() for _ in range(30)] != [Drawing(SIZES, SHARES, seed=6).draw() for _ in range(30)]


@given(SEEDS, st.integers(0, 60), st.integers(0, 30))
def test_a_drawing_goes_on_from_its_state_wherever_that_was_taken(seed: int, stop: int, change: int) -> None:
    sizes, shares = random_mixture(seed, 5)
    whole, first = Drawing(sizes, shares, seed=seed), Drawing(sizes, shares, seed=seed)
    for drawing in (whole, first):
        drawing.set_shares(dict.fromkeys(sizes, 1.0), at=change)
        drawing.set_shares(shares, at=change + 20)
    expected = [whole.draw() for _ in range(100)]
    drawn = [first.draw() for _ in range(stop)]
    second = Drawing(sizes, dict.fromkeys(sizes, 1.0), seed=seed)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert drawn + [second.draw() for _ in range(100 - stop)] == expected
    assert second.state_dict() == whole.state_dict()


def test_a_copy_goes_its_own_way() -> None:
    drawing = Drawing(SIZES, SHARES)
    drawing.draw_tasks(5)
    before = drawing.state_dict()
    copy = drawing.copy()
    copy.draw_tasks(9)
    copy.set_shares({"copy": 1.0, "sort": 0.0, "sötze 🧮": 0.0})
    assert drawing.state_dict() == before
    assert copy.draw_tasks(4).tolist() == [0] * 4


def test_a_change_replaces_one_at_the_same_place_and_none_goes_back() -> None:
    drawing = Drawing(SIZES, SHARES)
    drawing.set_shares({"copy": 1, "sort": 0, "sötze 🧮": 0}, at=4)
    drawing.set_shares({"copy": 0, "sort": 1, "sötze 🧮": 0}, at=4)
    with pytest.raises(tp.InputError, match="draws up to 4 are settled"):
        drawing.set_shares(SHARES, at=3)
    drawing.draw_tasks(4)
    assert drawing.draw_tasks(5).tolist() == [1] * 5
    with pytest.raises(tp.InputError, match="draws up to 9 are settled"):
        drawing.set_shares(SHARES, at=8)


@pytest.mark.parametrize(
    ("sizes", "shares", "message"),
    [
        (SIZES, {"copy": 1.0, "sort": 0.0}, "no share for task 'sötze"),
        (SIZES, {**SHARES, "other": 0.1}, "share for 'other'"),
        (SIZES, {**SHARES, "sort": -0.1}, "none negative"),
        (SIZES, {**SHARES, "sort": float("nan")}, "finite"),
        (SIZES, dict.fromkeys(SIZES, 0.0), "not all 0"),
        ({**SIZES, "sort": 0}, SHARES, "task 'sort' has a share and no examples"),
        ({}, {}, "expected finite numbers"),
    ],
)
def test_what_is_no_mixture_of_the_data_is_refused(sizes: Any, shares: Any, message: str) -> None:
    with pytest.raises(tp.InputError, match=message) as raised:
        Drawing(sizes, shares)
    assert "\n" not in str(raised.value)


def test_states_of_something_else_are_refused() -> None:
    state = Drawing(SIZES, SHARES, seed=1).state_dict()
    with pytest.raises(tp.InputError, match="seed 1, not 2"):
        Drawing(SIZES, SHARES, seed=2).load_state_dict(state)
    with pytest.raises(tp.InputError, match="task 'copy' had 7 examples and has 8"):
        Drawing({**SIZES, "copy": 8}, SHARES, seed=1).load_state_dict(state)
    with pytest.raises(tp.InputError, match="not the state of a sampler"):
        Drawing(SIZES, SHARES).load_state_dict({"epoch": 3})
    with pytest.raises(tp.InputError, match="damaged"):
        Drawing(SIZES, SHARES, seed=1).load_state_dict({key: state[key] for key in state if key != "behind"})
    with pytest.raises(tp.InputError, match="seed -1"):
        Drawing(SIZES, SHARES, seed=-1)


def test_drawing_needs_no_torch() -> None:
    code = "import sys, taskpgm.drawing, taskpgm.mixture_ledger; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
