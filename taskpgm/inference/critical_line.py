"""The critical-line method: all minimisers of 1/2 lam p'Sp - b(s)'p as the linear term b(s) = start + s step moves.

On the bounded simplex the minimiser is piecewise linear in s (Markowitz 1956; Best 1996 for semidefinite S). Tasks are
free or held at a bound. While nobody changes sides, the free weights solve one linear system in s; a piece ends where a
free weight reaches a bound or a held task's slope says that it should move. If a task that enters makes the system
singular (two equal tasks, say), there is a direction that costs nothing: the weights jump along it at that s until one
of them reaches a bound.

No solver is needed to begin with: where the linear term outweighs S, the best weights are a vertex of the feasible set.

    walk = Walk(network)                                                # now at the best mixture without utilities
    corners = list(walk.follow(np.zeros(n), network.utility, np.inf))   # and on to utilities alone
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.factored import FactoredNetwork
from taskpgm.inference.method import DENSE, ONLY_BOUNDS, Answer, Deadline, Domain, Method
from taskpgm.judge import Problem
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, IntArray

REFRESH = 50  # updates of the inverse until it is computed anew
SINGULAR = 1e-11
CURVATURE_TOLERANCE = 1e-10
NONE = 1e-12
LOWER, FREE, UPPER = -1, 0, 1


@dataclass(frozen=True)
class CriticalLine(Method):
    """The mixture by walking from no utilities to all of them; shares no code with SimplexQP.

    stats["corners"] counts the pieces of the path on the way.
    """

    name: ClassVar[str] = "critical-line"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return walk_refusal(problem) if isinstance(problem, TaskNetwork) else DENSE

    def run(self, problem: TaskNetwork, deadline: Deadline, seed: int) -> Answer:
        walk, corners = Walk(problem, seed), 0
        for corners, _ in enumerate(walk.follow(np.zeros(len(problem)), problem.beta * problem.utility, 1.0)):
            if deadline.passed():
                return Answer(walk.p, finished=False, message=f"stopped after {corners} corners")
        return Answer(walk.p, stats={"corners": corners})


def walk_refusal(network: TaskNetwork) -> str | None:
    """Why the path of a network is not piecewise linear, or None."""
    if network.tau > 0.0 and len(network) > 1:
        return "with a KL term (tau > 0) the path is curved: use SimplexQP"
    if not network.only_bounds:
        return ONLY_BOUNDS
    if network.lam > 0.0 and network.curvature < -CURVATURE_TOLERANCE * float(np.abs(network.similarity).max()):
        return f"S has an eigenvalue of {network.curvature:.3g} where weights add up to 0: the energy is not convex"
    return None


@dataclass(frozen=True, eq=False)
class Corner:
    """The mixture (n,) at a value s of the parameter, where one piece ends and the next begins."""

    s: float
    mixture: FloatArray


def best_vertex(network: TaskNetwork | FactoredNetwork, gain: FloatArray) -> tuple[FloatArray, int]:
    """The feasible mixture with the most gain'p, and the one task that may lie between its bounds."""
    p, left = network.lower.copy(), 1.0 - float(network.lower.sum())
    last = int(np.argmax(gain))
    for i in np.argsort(-gain, kind="stable").tolist():
        if left <= 0.0:
            break
        room = float(network.upper[i] - network.lower[i])
        p[i] = network.upper[i] if room <= left else network.lower[i] + left  # the very bound: it says who is held
        left, last = left - room, i
    return p, last


class Walk:
    """The state of the walk: weights, who is free, and the inverse of the free tasks' linear system.

    The system is [[0, 1'], [1, lam S_FF]] (minus the multiplier of the budget; weights of free tasks). Its inverse, and
    the free tasks' rows of lam S, lie in a corner of larger arrays, so that a task is added at the end, and the last
    takes the place of one that leaves. pull is lam S times the weights of the tasks that are held.
    """

    def __init__(self, network: TaskNetwork, seed: int = 0) -> None:
        self.network = network
        self.matrix = np.ascontiguousarray(network.lam * network.similarity)
        self.scale = float(np.abs(self.matrix).max()) or 1.0
        self.movable = network.lower < network.upper
        gain = np.random.default_rng(seed).permutation(len(network)) / len(network)
        self.p, last = best_vertex(network, gain)
        self.side: IntArray = np.where(self.p >= network.upper, UPPER, LOWER).astype(np.int64)
        self.side[last] = FREE
        self.free = [last]
        self.space: FloatArray = np.empty((len(network) + 1, len(network) + 1))
        self.rows: FloatArray = np.empty((len(network), len(network)))
        self._start_again()
        self._walk_to_no_gain(gain, last)

    @property
    def inverse(self) -> FloatArray:
        """(m + 1, m + 1) of the system, in place."""
        size = len(self.free) + 1
        return self.space[:size, :size]

    def _start_again(self) -> None:
        """Compute the inverse and the pull of the held tasks from scratch: updates leave roundings."""
        self.inverse[:] = _inverse(self.matrix, self.free)
        self.rows[: len(self.free)] = self.matrix[self.free]
        held = self.p.copy()
        held[self.free] = 0.0
        self.pull, self.updates = self.matrix @ held, 0

    def _walk_to_no_gain(self, gain: FloatArray, last: int) -> None:
        """From the vertex that a large multiple of `gain` prefers to the best mixture without any linear term."""
        slope = self.matrix @ self.p
        apart = gain[last] - gain
        with np.errstate(divide="ignore", invalid="ignore"):
            least = (slope[last] - slope) / apart
        outweighs = 1.0 + 2.0 * float(np.abs(least[apart != 0.0]).max(initial=0.0))
        for _ in self.follow(outweighs * gain, -gain, outweighs):
            pass

    def follow(self, start: FloatArray, step: FloatArray, until: float) -> Iterator[Corner]:
        """Corners from s = 0, where the state must be optimal, to s = until, both included (an infinite one excepted).

        start, step: (n,) the linear term is start + s step.
        """
        s, stuck = 0.0, 0
        yield Corner(s, self.p.copy())
        while True:
            here = start + s * step
            value, rate = self._piece(here, step)
            length, task, side = self._next_event(until - s, here, step, value, rate)
            if np.isinf(length):
                return
            stuck = stuck + 1 if length <= 0.0 else 0
            if stuck > 10 * len(self.p):
                raise RuntimeError(f"the path does not get beyond {s:.12g}: too many ties at one point")
            length = max(length, 0.0)
            s = s + length if task >= 0 else until
            self.p = self._within(value + length * rate)
            if s > 0.0:
                yield Corner(s, self.p.copy())
            if task < 0:
                return
            if side == FREE:
                yield from self._enter(task, s)
            else:
                self._leave(task, side)

    def _piece(self, start: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(value, rate), each (n,): at a linear term of start + t step the weights are value + t rate."""
        free, n = self.free, len(self.p)
        held = self.p.copy()
        held[free] = 0.0
        right = np.zeros((len(free) + 1, 2))
        right[0, 0] = 1.0 - held.sum()
        right[1:, 0], right[1:, 1] = (start - self.pull)[free], step[free]
        answer = self.inverse @ right
        moved = self._pulled(answer)
        missed = right - np.vstack([answer[1:].sum(axis=0), moved[free] + answer[0]])
        answer += self.inverse @ missed  # one step of refinement: the inverse is an updated one
        value, rate = held, np.zeros(n)
        value[free], rate[free] = answer[1:, 0], answer[1:, 1]
        self.multiplier = -answer[0]
        self.slopes = moved  # of the held tasks: the refinement moves them by roundings only
        self.slopes[:, 0] += self.pull
        return value, rate

    def _pulled(self, answer: FloatArray) -> FloatArray:
        """(n, 2) lam S times the free weights in (m + 1, 2) `answer`."""
        return np.asarray((answer[1:].T @ self.rows[: len(self.free)]).T)

    def _next_event(
        self, until: float, start: FloatArray, step: FloatArray, value: FloatArray, rate: FloatArray
    ) -> tuple[float, int, int]:
        """(t, task, new side) of what happens next; task -1 where the end comes first."""
        network, free = self.network, np.array(self.free)
        best, task, side = until, -1, FREE
        unit = float(np.abs(step).max())  # rates and drifts below roundings of what they are computed from are none
        tiny = (
            NONE * unit * float(np.abs(np.diagonal(self.inverse)[1:]).max())
        )  # no entry of a definite block is larger
        if len(free) > 1:
            moving = rate[free]
            goal = np.where(moving > 0.0, network.upper[free], network.lower[free])
            with np.errstate(divide="ignore", invalid="ignore"):
                when = np.where(np.abs(moving) > tiny, (goal - value[free]) / moving, np.inf)
            place = int(np.argmin(when))
            if when[place] < best:
                best, task, side = float(when[place]), int(free[place]), UPPER if moving[place] > 0.0 else LOWER
        level = self.slopes[:, 0] - start - self.multiplier[0]
        drift = self.slopes[:, 1] - step - self.multiplier[1]
        # A held task moves where its slope, level + t drift, changes sign: >= 0 at its lower bound, <= 0 at its upper.
        towards = np.where(self.side == LOWER, -drift, drift)
        held = (self.side != FREE) & self.movable & (towards > NONE * unit)
        if held.any():
            when = np.full(len(drift), np.inf)
            when[held] = -level[held] / drift[held]
            place = int(np.argmin(when))
            if when[place] < best:
                best, task, side = float(when[place]), place, FREE
        return best, task, side

    def _enter(self, task: int, s: float) -> Iterator[Corner]:
        """Let a task move: take it into the system, or jump along a direction that costs nothing."""
        column = np.append(1.0, self.matrix[self.free, task])
        answer = self.inverse @ column
        pivot = self.matrix[task, task] - column @ answer
        if pivot > SINGULAR * self.scale:
            self._grow(task, answer, pivot)
            return
        sign = 1.0 if self.side[task] == LOWER else -1.0
        direction = np.zeros(len(self.p))
        direction[self.free], direction[task] = -sign * answer[1:], sign
        blocker, side = self._jump(direction)
        yield Corner(s, self.p.copy())
        if blocker == task:
            self.side[task] = side
            self._start_again()
            return
        self._replace(blocker, side, task)

    def _jump(self, direction: FloatArray) -> tuple[int, int]:
        """Move as far as the bounds let; returns the task that stops it and on which side."""
        goal = np.where(direction > 0.0, self.network.upper, self.network.lower)
        with np.errstate(divide="ignore", invalid="ignore"):
            length = np.where(np.abs(direction) > 1e-12, (goal - self.p) / direction, np.inf)
        blocker = int(np.argmin(length))
        self.p = self._within(self.p + max(0.0, float(length[blocker])) * direction)
        return blocker, UPPER if direction[blocker] > 0.0 else LOWER

    def _replace(self, blocker: int, side: int, task: int) -> None:
        """Hold `blocker` at a bound and let `task` move instead."""
        self.free[self.free.index(blocker)] = task
        self.side[blocker], self.side[task] = side, FREE
        self.p[blocker] = self.network.upper[blocker] if side == UPPER else self.network.lower[blocker]
        self._start_again()

    def _grow(self, task: int, answer: FloatArray, pivot: float) -> None:
        """Add a task to the system: the inverse of a bordered matrix, the new row last."""
        size = len(self.free) + 1
        self.inverse[:] += np.outer(answer, answer / pivot)
        self.space[size, :size] = self.space[:size, size] = -answer / pivot
        self.space[size, size] = 1.0 / pivot
        self.rows[size - 1] = self.matrix[task]
        self.free.append(task)
        self.side[task] = FREE
        self.pull -= self.p[task] * self.matrix[task]
        self._count()

    def _leave(self, task: int, side: int) -> None:
        """Hold a free task at a bound: the inverse of a matrix without one row and column."""
        place, inverse = self.free.index(task) + 1, self.inverse
        column = inverse[:, place].copy()
        inverse -= np.outer(column, column / column[place])
        inverse[place] = inverse[-1]
        inverse[:, place] = inverse[:, -1]
        self.rows[place - 1] = self.rows[len(self.free) - 1]
        self.free[place - 1] = self.free[-1]
        self.free.pop()
        self.side[task] = side
        self.p[task] = self.network.upper[task] if side == UPPER else self.network.lower[task]
        self.pull += self.p[task] * self.matrix[task]
        self._count()

    def _count(self) -> None:
        self.updates += 1
        if self.updates >= REFRESH:
            self._start_again()

    def _within(self, p: FloatArray) -> FloatArray:
        """Roundings beyond a bound, and of the sum, taken off."""
        p = np.clip(p, self.network.lower, self.network.upper)
        rest = 1.0 - p.sum()
        room = (self.network.upper - p if rest > 0.0 else p - self.network.lower)[self.free]
        if len(room) and room.sum() > 0.0:
            p[self.free] += rest * room / max(float(room.sum()), abs(rest))
        return np.asarray(p)


def _inverse(matrix: FloatArray, free: list[int]) -> FloatArray:
    """Of the free tasks' linear system, from scratch."""
    m = len(free)
    system = np.ones((m + 1, m + 1))
    system[0, 0] = 0.0
    system[1:, 1:] = matrix[np.ix_(free, free)]
    return np.asarray(np.linalg.inv(system), dtype=np.float64)
