"""The critical-line method: all minimisers of 1/2 lam p'Sp - b(s)'p as the linear term b(s) = start + s step moves.

On the bounded simplex the minimiser is piecewise linear in s (Markowitz 1956; Best 1996 for semidefinite S). Tasks are
free or held at a bound. While nobody changes sides, the free weights solve one linear system in s; a piece ends where a
free weight reaches a bound or a held task's slope says that it should move. If a task that enters makes the system
singular (two equal tasks, say), there is a direction that costs nothing: the weights jump along it at that s until one
of them reaches a bound.

No solver is needed to begin with: where the linear term outweighs S, the best weights are a vertex of the feasible set.

    walk = Walk.at_no_gain(network)                                     # at the best mixture without utilities
    corners = list(walk.follow(np.zeros(n), network.utility, np.inf))   # and on to utilities alone
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.factored import FactoredNetwork
from taskpgm.inference.bordered import BorderedSystem
from taskpgm.inference.method import DENSE, ONLY_BOUNDS, Answer, Deadline, Domain, Method
from taskpgm.judge import Problem
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, IntArray

ROUNDING = 1e-14  # relative errors of slopes that are worth another step of refinement
SINGULAR = 1e-11
PIVOT_ROUNDING = 1e-14
INACCURATE = 1e-9  # errors of the inverse, seen in what it answers, after which it is computed anew
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
        walk, corners = Walk.at_no_gain(problem, seed), 0
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
    """The state of the walk: weights p, who is free, the system of the free ones, and pull = lam S p.

    It begins at the vertex that a large enough multiple of `gain` prefers: at `outweighs` times it.
    """

    def __init__(self, network: TaskNetwork, gain: FloatArray) -> None:
        self.network = network
        self.matrix = np.ascontiguousarray(network.lam * network.similarity)
        self.scale = float(np.abs(self.matrix).max()) or 1.0
        self.movable = network.lower < network.upper
        self.p, last = best_vertex(network, gain)
        self.side: IntArray = np.where(self.p >= network.upper, UPPER, LOWER).astype(np.int64)
        self.side[last] = FREE
        self.system = BorderedSystem(self.matrix, last)
        self.pull: FloatArray = self.matrix @ self.p
        apart = gain[last] - gain
        with np.errstate(divide="ignore", invalid="ignore"):
            least = (self.pull[last] - self.pull) / apart
        self.outweighs = 1.0 + 2.0 * float(np.abs(least[apart != 0.0]).max(initial=0.0))
        self.unique = bool((apart[self.movable] != 0.0).sum() >= self.movable.sum() - self.movable[last])

    @classmethod
    def at_no_gain(cls, network: TaskNetwork, seed: int = 0) -> Walk:
        """At the best mixture without any linear term, come there from a vertex that the seed chooses."""
        gain = np.random.default_rng(seed).permutation(len(network)) / len(network)
        walk = cls(network, gain)
        for _ in walk.follow(walk.outweighs * gain, -gain, walk.outweighs):
            pass
        return walk

    def follow(self, start: FloatArray, step: FloatArray, until: float) -> Iterator[Corner]:
        """Corners from s = 0, where the state must be optimal, to s = until, both included (an infinite one excepted).

        start, step: (n,) the linear term is start + s step.
        """
        s, stuck = 0.0, 0
        yield Corner(s, self.p.copy())
        while True:
            here = start + s * step
            level = self._settle(here)
            drift, rate, moved = self._rate(step)
            length, task, side = self._next_event(until - s, step, level, drift, rate, moved)
            if np.isinf(length):
                return
            stuck = stuck + 1 if length <= 0.0 else 0
            if stuck > 10 * len(self.p):
                raise RuntimeError(f"the path does not get beyond {s:.12g}: too many ties at one point")
            length = max(length, 0.0)
            s = s + length if task >= 0 else until
            self.p[self.system.free] += length * rate
            self.pull += length * moved
            self.p = self._within(self.p)
            if s > 0.0:
                yield Corner(s, self.p.copy())
            if task < 0:
                return
            if side == FREE:
                yield from self._enter(task, s)
            else:
                self._leave(task, side)
            if self.system.stale:
                self.system.refresh()
                self.pull = self.matrix @ self.p

    def _settle(self, here: FloatArray) -> FloatArray:
        """(n,) slopes of all tasks above the free ones', after taking out what roundings have put between those."""
        free = self.system.free
        level = self.pull - here
        price = -float(level[free].mean())
        residual = np.append(1.0 - self.p.sum(), -level[free] - price)
        if np.abs(residual).max() > ROUNDING * max(self.scale, float(np.abs(here).max())):
            change = self.system.inverse @ residual
            self.p[free] += change[1:]
            self.pull += self.system.times(change[1:])
            price += float(change[0])
            level = self.pull - here
        return np.asarray(level + price)

    def _rate(self, step: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Per unit of s: (n,) change of the slopes above the free ones', (m,) of the free weights, (n,) of the pull."""
        free, unit = self.system.free, float(np.abs(step).max())
        right = np.append(0.0, step[free])
        answer = self.system.inverse @ right
        moved = self.system.times(answer[1:])
        residual = right - np.append(answer[1:].sum(), moved[free] + answer[0])
        if np.abs(residual).max() > INACCURATE * unit:
            self.system.stale = True
        if np.abs(residual).max() > ROUNDING * unit:  # one step of refinement: the inverse is an updated one
            change = self.system.inverse @ residual
            answer += change
            moved += self.system.times(change[1:])
        return moved - step + answer[0], answer[1:], moved

    def _next_event(
        self, until: float, step: FloatArray, level: FloatArray, drift: FloatArray, rate: FloatArray, moved: FloatArray
    ) -> tuple[float, int, int]:
        """(t, task, new side) of what happens next; task -1 where the end comes first."""
        network, free = self.network, np.array(self.system.free)
        best, task, side = until, -1, FREE
        unit = float(np.abs(step).max())  # rates and drifts below roundings of what they are computed from are none
        tiny = NONE * unit * float(np.diag(self.system.inverse)[1:].max())
        if len(free) > 1:
            goal = np.where(rate > 0.0, network.upper[free], network.lower[free])
            with np.errstate(divide="ignore", invalid="ignore"):
                when = np.where(np.abs(rate) > tiny, (goal - self.p[free]) / rate, np.inf)
            place = int(np.argmin(when))
            if when[place] < best:
                best, task, side = float(when[place]), int(free[place]), UPPER if rate[place] > 0.0 else LOWER
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
        answer, pivot = self.system.column(task)
        if pivot > self.scale * max(SINGULAR, PIVOT_ROUNDING * (1.0 + float(np.abs(answer[1:]).sum())) ** 2):
            self.system.add(task, answer, pivot)
            self.side[task] = FREE
            return
        sign = 1.0 if self.side[task] == LOWER else -1.0
        direction = np.zeros(len(self.p))
        direction[self.system.free], direction[task] = -sign * answer[1:], sign
        blocker, side = self._jump(direction)
        yield Corner(s, self.p.copy())
        if blocker == task:
            self.side[task] = side
            return
        self._hold(blocker, side)
        self.side[task] = FREE
        self.system.replace(blocker, task)

    def _jump(self, direction: FloatArray) -> tuple[int, int]:
        """Move as far as the bounds let; returns the task that stops it and on which side."""
        goal = np.where(direction > 0.0, self.network.upper, self.network.lower)
        with np.errstate(divide="ignore", invalid="ignore"):
            length = np.where(np.abs(direction) > 1e-12, (goal - self.p) / direction, np.inf)
        blocker = int(np.argmin(length))
        self.p = self._within(self.p + max(0.0, float(length[blocker])) * direction)
        self.pull = self.matrix @ self.p
        return blocker, UPPER if direction[blocker] > 0.0 else LOWER

    def _leave(self, task: int, side: int) -> None:
        """Hold a free task at a bound."""
        self._hold(task, side)
        self.system.remove(task)

    def _hold(self, task: int, side: int) -> None:
        self.side[task] = side
        self.p[task] = self.network.upper[task] if side == UPPER else self.network.lower[task]

    def _within(self, p: FloatArray) -> FloatArray:
        """Roundings beyond a bound, and of the sum, taken off."""
        p = np.clip(p, self.network.lower, self.network.upper)
        free, rest = self.system.free, 1.0 - p.sum()
        room = (self.network.upper - p if rest > 0.0 else p - self.network.lower)[free]
        if len(room) and room.sum() > 0.0:
            p[free] += rest * room / max(float(room.sum()), abs(rest))
        return np.asarray(p)
