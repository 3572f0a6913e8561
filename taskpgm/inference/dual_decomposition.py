"""Dual decomposition by MPLP: the best pair of messages of one edge at a time (Globerson & Jaakkola 2007).

Messages move energy between a table and its two nodes. For any messages, the sum of the least entries of all nodes and
tables is a lower bound; it is the dual of the linear program over the local polytope. Setting both messages of an edge
to their best never lowers it, and may stop short of the best bound (Sontag, Globerson & Jaakkola 2011).

    solution = solve(network, DualDecomposition())
    solution.bound
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.inference.messages import Incumbent, MessageState
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.pairwise import PairwiseNetwork


@dataclass(frozen=True)
class DualDecomposition(Method):
    """Sweeps until the bound reaches the best decoded point, or rises by less than `tolerance` in ten sweeps."""

    tolerance: float = 1e-9
    sweeps: int = 2000

    name: ClassVar[str] = "mplp"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        from taskpgm.inference.message_kernels import block_sweep, dual_bound

        folded = problem.folded()
        state, incumbent = MessageState.of(folded), Incumbent(problem, deadline)
        earlier, sweep = -np.inf, 0
        for sweep in range(1, self.sweeps + 1):
            block_sweep(*state.arrays)
            incumbent.raise_bound(dual_bound(*state.arrays) + folded.constant - folded.rounding)
            incumbent.offer(state.decoded())
            incumbent.offer(np.array([int(values.argmin()) for values in state.node_energies()]))
            if incumbent.proved() or deadline.passed():
                break
            if sweep % 10 == 0:
                if incumbent.bound - earlier <= self.tolerance * max(1.0, abs(incumbent.bound)):
                    break
                earlier = incumbent.bound
        finished = incumbent.proved() or not deadline.passed()
        message = incumbent.finish()
        return Answer(incumbent.point, incumbent.bound, finished, message, {"sweeps": sweep})
