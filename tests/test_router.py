"""The router: what it names does not refuse, reaches the oracle's energy, and its reason says what decided."""

from __future__ import annotations

import pytest
from test_contracts import PROBLEMS, problem_and_oracle

from taskpgm.inference import best_method, solve
from taskpgm.judge import gap_tolerance
from taskpgm.types import InputError, Status


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_chosen_method_proves_small_problems(name: str) -> None:
    problem, oracle = problem_and_oracle(name)
    if name == "indefinite":
        with pytest.raises(InputError, match=r"use network\.levels"):
            best_method(problem)
        return
    choice = best_method(problem)
    solution = solve(problem, choice.method, deadline=20.0)
    assert solution.status is Status.optimal, choice
    assert solution.energy == pytest.approx(oracle, abs=10.0 * gap_tolerance(problem, oracle))
    assert "\n" not in choice.reason
