"""The trade-off path of networks that have no exact one: with a KL term, or constraints on several tasks.

Certified mixtures on a grid of beta, by one convex program that is translated once; a rule that asks for something in
between is answered by bisection, solving at each step.

    path = sampled_path(network)
    path.betas, path.mixtures                   # (m,), (m, n)
    path.with_effective_tasks(6.0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from taskpgm.exact_path import check_share, effective_tasks, knee_of, last_with
from taskpgm.inference import SimplexQP, solve, solve_many
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.critical_line import best_vertex
from taskpgm.network import TaskNetwork, balanced_beta
from taskpgm.types import FloatArray, InputError, readonly

POINTS = 48
START, END = 1e-2, 1e-3  # of the utilities' range: the grid begins and ends this near to its limits
DOUBLINGS = 60
HALVINGS = 30


@dataclass(frozen=True, eq=False)
class SampledPath:
    """Minimisers of a network at some betas, which increase from 0.

    gaps: (m,) certified. most: the most utility there is. method: with the program that all betas share.
    """

    network: TaskNetwork
    betas: FloatArray
    mixtures: FloatArray
    gaps: FloatArray
    most: float
    method: SimplexQP

    @cached_property
    def utilities(self) -> FloatArray:
        """(m,) u'p."""
        return readonly(self.mixtures @ self.network.utility, np.float64)

    @cached_property
    def costs(self) -> FloatArray:
        """(m,) the energy without its utility term: it never falls."""
        plain = self.network.changed(beta=0.0)
        return readonly([plain.energy(p) for p in self.mixtures], np.float64)

    @cached_property
    def effective_tasks(self) -> FloatArray:
        """(m,) the effective number of tasks; see `taskpgm.exact_path.effective_tasks`."""
        return readonly(effective_tasks(self.mixtures), np.float64)

    @property
    def worst_gap(self) -> float:
        """The largest certified gap."""
        return float(self.gaps.max())

    def at(self, beta: float) -> FloatArray:
        """(n,) the mixture at a beta, solved for."""
        return _point(self.network.changed(beta=beta), self.method)

    def with_effective_tasks(self, count: float) -> float:
        """A beta, the largest as far as the grid can tell, at which the mixture has `count` effective tasks.

        Raises:
            InputError: the path has no such mixture; the message says what there is.
        """
        numbers = self.effective_tasks
        last = last_with(count, numbers)
        if last == len(numbers) - 1:
            return float(self.betas[-1])
        return self._bisect(last, lambda p: float(effective_tasks(p)) >= count)

    def with_utility_share(self, share: float) -> float:
        """The least beta at which the mixture reaches a share of the way from the least to the most utility.

        Raises:
            InputError: a share outside [0, 1], or one beyond the end of the grid.
        """
        check_share(share)
        goal = self.utilities[0] + share * (self.most - self.utilities[0])
        if self.utilities[-1] < goal:
            reached = (self.utilities[-1] - self.utilities[0]) / (self.most - self.utilities[0])
            raise InputError(f"share {share:g} of the utility: no finite beta has it; up to {reached:.4g} is possible.")
        before = int(np.argmax(self.utilities >= goal)) - 1
        return 0.0 if before < 0 else self._bisect(before, lambda p: float(self.network.utility @ p) < goal, upper=True)

    def knee(self) -> float:
        """The beta of the grid where utility gained per cost taken on bends most (Satopaa et al. 2011)."""
        return knee_of(self.betas, self.utilities, self.costs)

    def _bisect(self, place: int, holds: Callable[[FloatArray], bool], upper: bool = False) -> float:
        """The last beta between two of the grid at which a property of the mixture holds, or the first where not."""
        low, high = float(self.betas[place]), float(self.betas[place + 1])
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if holds(self.at(middle)) else (low, middle)
        return high if upper else low


def sampled_path(network: TaskNetwork, points: int = POINTS) -> SampledPath:
    """Mixtures from diversity alone to nearly utility alone at some `points`; the network's own beta does not matter.

    Raises:
        InputError: an energy that is not convex, or a mixture that no solver finds.
    """
    reason = SimplexQP().refuses(network)
    if reason is not None:
        raise InputError(f"no path: {reason}.")
    method, u = SimplexQP(program=ConvexProgram(network)), network.utility
    start = float(u @ _point(network.changed(beta=0.0), method))
    most = most_utility(network)
    betas = np.array([0.0])
    if most - start > 1e-12 * max(1.0, float(np.abs(u).max())):
        guess = balanced_beta(u, network.similarity) or 1.0 / float(np.abs(u).max())
        useful = [guess * 2.0**k for k in range(DOUBLINGS)]
        last = _first(network, useful, method, lambda p: float(u @ p) >= most - END * (most - start))
        diverse = [guess * 0.5**k for k in range(DOUBLINGS)]
        first = _first(network, diverse, method, lambda p: float(u @ p) <= start + START * (most - start))
        betas = np.append(0.0, np.geomspace(min(first, 0.5 * last), last, points))
    solved = list(solve_many((network.changed(beta=float(beta)) for beta in betas), method))
    mixtures = readonly([solution.point for solution in solved], np.float64)
    gaps = readonly([solution.gap for solution in solved], np.float64)
    return SampledPath(network, readonly(betas, np.float64), mixtures, gaps, most, method)


def most_utility(network: TaskNetwork) -> float:
    """The most u'p of any mixture of the feasible set."""
    if network.only_bounds:
        return float(network.utility @ best_vertex(network, network.utility)[0])
    return float(network.utility @ _point(network.changed(beta=1.0, lam=0.0, tau=0.0), SimplexQP()))


def _first(
    network: TaskNetwork, betas: Iterable[float], method: SimplexQP, holds: Callable[[FloatArray], bool]
) -> float:
    """The first beta whose mixture has a property; the last where none has."""
    beta = 0.0
    for beta in betas:
        if holds(_point(network.changed(beta=beta), method)):
            break
    return beta


def _point(network: TaskNetwork, method: SimplexQP) -> FloatArray:
    solution = solve(network, method)
    if solution.point is None:
        raise InputError(f"the mixture at beta {network.beta:.4g} is not found: {solution.message}.")
    return np.asarray(solution.point, dtype=np.float64)
