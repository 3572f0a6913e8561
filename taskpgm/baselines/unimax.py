"""As uniform as the data allows: no task is repeated more than a few times, the others share what is left evenly.

level([0.0, 0.0, 0.0], [0.1, 1.0, 1.0])             # [0.1, 0.45, 0.45]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.baselines.baseline import Baseline
from taskpgm.baselines.evidence import Evidence
from taskpgm.types import FloatArray, InputError


@dataclass(frozen=True)
class UniMax(Baseline):
    """p_i = min(c, max_epochs sizes_i / budget), with c such that they add up to 1. Needs nothing.

    Where the budget repeats all data more than max_epochs times, every task is repeated the same number of times: the
    mixture is size-proportional. Four epochs are hardly worse than fresh data (Muennighoff et al. 2023).

    Raises:
        InputError: max_epochs that is not positive.
    """

    max_epochs: float = 4.0

    name: ClassVar[str] = "unimax"
    paper: ClassVar[str] = "Chung et al. 2023, UniMax, ICLR, arXiv 2304.09151"

    def __post_init__(self) -> None:
        if not self.max_epochs > 0.0:
            raise InputError(f"max_epochs = {self.max_epochs}: expected a positive number.")

    def propose(self, evidence: Evidence) -> FloatArray:
        return level(np.zeros(len(evidence)), self.max_epochs * evidence.sizes / evidence.budget)


def level(weights: ArrayLike, caps: ArrayLike) -> FloatArray:
    """(n,) the mixture min(weights + c, caps): cut at the caps, then raised by the same c until it adds up to 1.

    weights: (n,) not negative, sum at most 1. caps: (n,) positive; where they add up to less than 1 the mixture is in
    proportion to them.
    """
    cap = np.minimum(np.asarray(caps, dtype=np.float64), 1.0)
    if np.sum(caps) <= 1.0:
        return np.asarray(caps / np.sum(caps))
    base = np.minimum(np.asarray(weights, dtype=np.float64), cap)
    room, missing = cap - base, 1.0 - float(base.sum())
    rooms = np.sort(room)
    filled = np.concatenate([[0.0], np.cumsum(rooms)])[:-1]  # by the tasks that are full once the k-th room is
    open_tasks = len(rooms) - np.arange(len(rooms))
    k = int(np.argmax(filled + rooms * open_tasks >= missing))
    p = base + np.minimum(room, (missing - filled[k]) / open_tasks[k])
    return np.asarray(p / p.sum())
