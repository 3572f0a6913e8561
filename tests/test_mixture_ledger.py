"""The ledger of a run: shares, mean losses since the last look, windows, and states that come back."""

from __future__ import annotations

import json

import numpy as np
import pytest

import taskpgm as tp
from taskpgm.mixture_ledger import Ledger

NAMES = ("a", "b\n</script>")


def filled() -> Ledger:
    ledger = Ledger(NAMES)
    ledger.set_totals(np.array([[3.0, 30.0, 10.0, 10.0, 25.0], [1.0, 10.0, 2.0, 0.0, 0.0]]))
    return ledger


def test_figures_are_shares_of_the_run_and_losses_since_the_last_look() -> None:
    ledger = filled()
    figures = ledger.figures(np.array([2.0, 2.0]), np.array([0.5, 0.1]), np.array([[1.0, 10.0, 3.0], [1.0, 30.0, 1.0]]))
    assert figures["mixture/realised_examples/a"] == 0.75
    assert figures["mixture/planned_examples/a"] == 0.5
    assert figures["mixture/planned_tokens/a"] == 0.25
    assert figures["mixture/planned_target_tokens/a"] == 0.75
    assert figures["mixture/realised_target_tokens/b\n</script>"] == pytest.approx(1 / 6)
    assert figures["mixture/loss/a"] == 2.5
    assert "mixture/loss/b\n</script>" not in figures
    ledger.set_totals(ledger.sums + np.array([[0.0, 0.0, 4.0, 4.0, 4.0], [0.0] * 5]))
    assert ledger.figures(np.ones(2), np.ones(2), None)["mixture/loss/a"] == 1.0
    assert "mixture/loss/a" not in ledger.figures(np.ones(2), np.ones(2), None)


def test_windows_follow_each_other_and_come_back_from_a_state() -> None:
    ledger = filled()
    first = ledger.close_window(5, np.array([0.5, 0.5]))
    assert (first.first_step, first.last_step, first.examples, first.loss) == (1, 5, (3, 1), (2.5, None))
    again = Ledger(NAMES)
    again.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert again.windows == (first,)
    assert again.state_dict() == ledger.state_dict()
    second = again.close_window(9, np.array([0.5, 0.5]))
    assert (second.first_step, second.examples, second.loss) == (6, (0, 0), (None, None))


def test_damaged_states_are_refused() -> None:
    state = filled().state_dict()
    with pytest.raises(tp.InputError, match="damaged state of a mixture in training"):
        Ledger(NAMES).load_state_dict({key: state[key] for key in state if key != "closed"})
    with pytest.raises(tp.InputError, match="shape"):
        Ledger((*NAMES, "c")).load_state_dict(state)
    with pytest.raises(tp.InputError, match="damaged"):
        Ledger(NAMES).load_state_dict({**state, "windows": [{"first_step": 1}]})
