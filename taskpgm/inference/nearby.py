"""Solving a network again from the mixture of one near it: Newton steps, or the whole program where they go astray.

mixture_near(network.changed(utility=u), solution.point)
"""

from __future__ import annotations

import numpy as np

from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.convex_program import finished
from taskpgm.inference.driver import solve
from taskpgm.inference.router import convex_method
from taskpgm.judge import certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError

SOLVED = 1e-8


def mixture_near(network: TaskNetwork | CoverageNetwork, start: FloatArray) -> FloatArray:
    """(n,) the best mixture, with a certified gap of at most 1e-8 of the energy's scale where the way is short.

    start: (n,) a mixture that is thought to be near.

    Raises:
        InputError: no mixture is found.
    """
    near = finished(network, start)
    if network.violation(near) <= SOLVED and certificate(network, near).gap <= SOLVED * network.scale:
        return near
    solution = solve(network, convex_method(network))
    if solution.point is None:
        raise InputError(f"a network near a solved one cannot be solved: {solution.message}")
    return np.asarray(solution.point, dtype=np.float64)
