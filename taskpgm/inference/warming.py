"""A method's kernels are compiled before its clock starts: seconds on a fresh machine, which are not the method's.

warm(BranchAndBound())              # once in a process; later calls cost nothing
"""

from __future__ import annotations

from functools import cache

import numpy as np

from taskpgm.inference.method import Deadline, Method
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork


def warm(method: Method) -> None:
    """Let a method that compiles solve problems of three tasks: it is compiled then, or read from disk."""
    if method.compiles:
        _once(method)


@cache
def _once(method: Method) -> None:
    network = TaskNetwork([0.3, 0.2, 0.1], np.eye(3) + 0.5)
    for levels in (network.levels(2), network.levels(2, cap=1), network.levels(None, cap=1)):
        problem: LevelsNetwork | PairwiseNetwork = levels
        if method.domain == "pairwise":
            problem = (levels.pairwise if isinstance(levels, LevelsNetwork) else levels).finite().shifted()
        elif not isinstance(levels, LevelsNetwork):
            continue
        if method.refuses(problem) is None:
            method.run(problem, Deadline(None), 0)
