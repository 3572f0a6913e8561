"""What a method compiles when it first runs is not taken off its deadline."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
import pytest

import taskpgm as tp
from taskpgm.inference import Answer, Method
from taskpgm.inference.warming import warm


class SlowStart(Method):
    """The first run takes half a second, as compiling does; later ones return at once."""

    name = "slow-start"
    domain = "levels"
    exact = False
    compiles = True
    runs: ClassVar[list[float]] = []

    def refuses(self, problem: Any) -> str | None:
        return None

    def run(self, problem: Any, deadline: Any, seed: int) -> Answer:
        if not self.runs:
            time.sleep(0.5)
        self.runs.append(deadline.left())
        point = np.array(problem.minimum)
        point[0] += problem.quanta - point.sum() if problem.quanta is not None else 0
        return Answer(point, finished=not deadline.passed())


def test_a_deadline_starts_when_the_method_is_ready() -> None:
    levels = tp.TaskNetwork([0.1, 0.2], np.eye(2), lower=0.0).levels(3)
    method = SlowStart()
    first = tp.solve(levels, method, deadline=0.3)
    assert first.status is tp.Status.feasible
    assert first.seconds < 0.3
    before = len(SlowStart.runs)
    tp.solve(levels, method, deadline=0.3)
    assert len(SlowStart.runs) == before + 1  # ready once, ready for good


@pytest.mark.parametrize("method", [each for each in tp.METHODS if each.compiles], ids=lambda method: method.name)
def test_a_method_that_compiles_is_made_ready(method: Method) -> None:
    warm(method)


def test_methods_with_kernels_say_so() -> None:
    """A method whose file, or what it is made of, imports compiled kernels."""
    named = {method.name for method in tp.METHODS if method.compiles}
    assert {"branch-and-bound", "branch-by-count", "icm", "gibbs", "trw-s", "mplp", "max-product"} <= named
