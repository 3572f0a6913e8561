"""The inside of a feasible set: a mixture with room to every bound and constraint, and how much is left to each.

room = Room.of(feasible)            # None where constraints leave no room
room.centre                         # (n,) mixture
room.inwards(mixture, 0.01)         # (n,) a hundredth of the way towards it: strictly inside
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.constraints import Ball
from taskpgm.feasible import FeasibleSet
from taskpgm.types import FloatArray

LEAST_WIDTH, LEAST_ROOM = 1e-13, 1e-9


@dataclass(frozen=True, eq=False)
class Room:
    """lower, upper: (n,) bounds. free: (n,) whose weight can move. matrix, limits: (m, n) and (m,) rows A p <= b.

    Every row's largest coefficient is 1. balls: divergences that are bounded. centre: (n,) a mixture inside.
    """

    lower: FloatArray
    upper: FloatArray
    free: NDArray[np.bool_]
    matrix: FloatArray
    limits: FloatArray
    balls: tuple[Ball, ...]
    centre: FloatArray

    @classmethod
    @lru_cache(maxsize=4)
    def of(cls, feasible: FeasibleSet, widened: float = 0.0) -> Room | None:
        """The room inside a feasible set whose constraints on several tasks are `widened`; None where there is none.

        Found once: the router, the driver and the method that is run all ask for it.
        """
        lower, upper, halves = feasible.lower, feasible.upper, feasible.halfspaces
        sizes = [float(np.abs(half.coefficients).max()) for half in halves]
        rows = [half.coefficients / size for half, size in zip(halves, sizes, strict=True)]
        limits = np.array([half.limit / size + widened for half, size in zip(halves, sizes, strict=True)])
        balls = tuple(replace(ball, limit=ball.limit + widened) for ball in feasible.balls)
        above, below = 1.0 - float(lower.sum()), float(upper.sum()) - 1.0
        free = (upper - lower > LEAST_WIDTH) & (min(above, below) > LEAST_WIDTH)
        way = min(max(above / max(above + below, LEAST_WIDTH), 0.0), 1.0)
        between = lower + way * (upper - lower)  # the same part of the way up for all
        room = cls(lower, upper, free, np.array(rows).reshape(len(rows), len(lower)), limits, balls, between)
        return room._centred() if rows or balls else room

    @cached_property
    def moving(self) -> NDArray[np.intp]:
        """The places of the tasks whose weight can move; none or at least two."""
        return np.flatnonzero(self.free)

    def slacks(self, p: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """What is left to the lower and the upper bounds of tasks that can move, to the rows, and to the balls."""
        own = p[self.free]
        left = np.array([ball.limit - ball.divergence(p) for ball in self.balls])
        return own - self.lower[self.free], self.upper[self.free] - own, self.limits - self.matrix @ p, left

    def inside(self, p: FloatArray) -> bool:
        """Whether there is room to everything."""
        return all(bool((each > 0.0).all()) for each in self.slacks(p))

    def inwards(self, mixture: FloatArray, share: float) -> FloatArray:
        """(n,) strictly inside, on the way from a mixture to the centre: near the former where that is in the set."""
        while share < 1.0:
            p = (1.0 - share) * mixture + share * self.centre
            if self.inside(p):
                return np.asarray(p)
            share *= 2.0
        return self.centre

    def _centred(self) -> Room | None:
        """With the mixture that has the most room: to bounds in shares of their distance."""
        found = self._by_cone() if self.balls else self._by_linear_program()
        if found is None:
            return None
        point, most = found
        centred = replace(self, centre=np.clip(point, self.lower, self.upper))
        return centred if most > LEAST_ROOM and centred.inside(centred.centre) else None

    def _by_linear_program(self) -> tuple[FloatArray, float] | None:
        from scipy.optimize import linprog

        n, width = len(self.lower), np.where(self.free, self.upper - self.lower, 0.0)
        rows = np.vstack(
            [
                np.column_stack([-np.eye(n), width]),
                np.column_stack([np.eye(n), width]),
                np.column_stack([self.matrix, np.ones(len(self.limits))]),
            ]
        )
        limits = np.concatenate([-self.lower, self.upper, self.limits])
        cost, total = np.append(np.zeros(n), -1.0), np.append(np.ones(n), 0.0)[None]
        found = linprog(cost, A_ub=rows, b_ub=limits, A_eq=total, b_eq=[1.0], bounds=(None, None))
        return None if found.status != 0 else (found.x[:-1], float(found.x[-1]))

    def _by_cone(self) -> tuple[FloatArray, float] | None:
        import cvxpy as cp

        p, most = cp.Variable(len(self.lower)), cp.Variable()
        width = np.where(self.free, self.upper - self.lower, 0.0)
        kept: list[Any] = [cp.sum(p) == 1.0, p >= self.lower + most * width, p <= self.upper - most * width]
        if len(self.limits):
            kept.append(self.matrix @ p + most <= self.limits)
        kept += [cp.sum(cp.rel_entr(p, np.maximum(ball.centre, 1e-300))) + most <= ball.limit for ball in self.balls]
        cp.Problem(cp.Maximize(most), kept).solve(solver="CLARABEL")
        return None if p.value is None else (np.asarray(p.value, dtype=np.float64), float(most.value))
