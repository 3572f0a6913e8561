"""Every trade-off between utility and diversity at once: the mixture as a function of beta, exact and piecewise linear.

For beta from 0 (diversity alone) to infinity (utility alone), the minimiser of -beta u'p + 1/2 lam p'Sp moves along
straight pieces. This computes every corner by the critical-line method (DESIGN fact 3), with no grid, and certifies
each piece at its ends and in its middle.

    path = trade_off(network)
    path.betas, path.mixtures           # (m,), (m, n): between two corners, weights are interpolated
    path.at(0.5)                        # the mixture at beta = 0.5
    path.with_effective_tasks(8.0)      # the beta at which about eight tasks share the budget
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.inference.critical_line import Corner, Walk, walk_refusal
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, readonly

BLOCK = 256  # corners certified at once
CLEAR = 1e3  # utility terms, in units of lam S, up to which differences of beta are computed without loss


@dataclass(frozen=True, eq=False)
class TradeOff:
    """All minimisers of a network for beta in [0, infinity).

    betas: (m,) not falling, from 0; two equal ones where the mixture jumps along equally good ones. mixtures: (m, n) at
    those betas; beyond the last the mixture stays.
    """

    network: TaskNetwork
    betas: FloatArray
    mixtures: FloatArray

    def at(self, beta: float) -> FloatArray:
        """(n,) the mixture at a beta; the last one of those at a jump.

        Raises:
            InputError: a negative beta.
        """
        if not beta >= 0.0:
            raise InputError(f"beta {beta}: the path goes from 0 upwards.")
        after = int(np.searchsorted(self.betas, beta, side="right"))
        if after == len(self.betas):
            return np.array(self.mixtures[-1])
        low, high = self.betas[after - 1], self.betas[after]
        share = (beta - low) / (high - low)
        return np.asarray((1.0 - share) * self.mixtures[after - 1] + share * self.mixtures[after])

    @cached_property
    def utilities(self) -> FloatArray:
        """(m,) u'p at the corners: it never falls."""
        return readonly(self.mixtures @ self.network.utility, np.float64)

    @cached_property
    def redundancies(self) -> FloatArray:
        """(m,) 1/2 lam p'Sp at the corners: it never falls."""
        pull = self.mixtures @ self.network.similarity
        return readonly(0.5 * self.network.lam * np.einsum("mi,mi->m", pull, self.mixtures), np.float64)

    @cached_property
    def energies(self) -> FloatArray:
        """(m,) the least energy at each corner's beta."""
        return readonly(self.redundancies - self.betas * self.utilities, np.float64)

    @cached_property
    def effective_tasks(self) -> FloatArray:
        """(m,) the effective number of tasks at the corners; see `effective_tasks`."""
        return readonly(effective_tasks(self.mixtures), np.float64)

    @cached_property
    def gaps(self) -> FloatArray:
        """(m, 2) the certified gap at each corner, and in the middle of the piece that follows (the last has none: 0).

        See `taskpgm.judge.certificate`, of which this is a vectorised twin.
        """
        middles = 0.5 * (self.mixtures[1:] + self.mixtures[:-1])
        beta_middles = 0.5 * (self.betas[1:] + self.betas[:-1])
        found = np.zeros((len(self.betas), 2))
        found[:, 0] = _gaps(self.network, self.betas, self.mixtures)
        found[:-1, 1] = _gaps(self.network, beta_middles, middles)
        return readonly(found, np.float64)

    @property
    def worst_gap(self) -> float:
        """The largest certified gap over the whole path."""
        return float(self.gaps.max())

    def with_effective_tasks(self, count: float) -> float:
        """The largest beta at which the mixture still has `count` effective tasks; more utility means fewer.

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
            InputError: a share outside [0, 1].
        """
        check_share(share)
        goal = self.utilities[0] + share * (self.utilities[-1] - self.utilities[0])
        first = int(np.argmax(self.utilities >= goal - 1e-15 * np.abs(self.utilities).max()))
        if first == 0:
            return float(self.betas[0])
        low, high = self.utilities[first - 1], self.utilities[first]
        part = (goal - low) / (high - low) if high > low else 1.0
        return float(self.betas[first - 1] + part * (self.betas[first] - self.betas[first - 1]))

    def knee(self) -> float:
        """The beta where utility gained per redundancy taken on bends most.

        Both are scaled to [0, 1] over the path; the knee is the corner farthest above the line from end to end (Satopaa
        et al. 2011). 0 where the path has one point.
        """
        return knee_of(self.betas, self.utilities, self.redundancies)

    def _bisect(self, corner: int, holds: Callable[[FloatArray], bool]) -> float:
        """The last beta of the piece after `corner` at which a property of the mixture holds, to float precision."""
        low, high = 0.0, 1.0
        start, end = self.mixtures[corner], self.mixtures[corner + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            if holds((1.0 - middle) * start + middle * end):
                low = middle
            else:
                high = middle
        return float((1.0 - low) * self.betas[corner] + low * self.betas[corner + 1])


def trade_off(network: TaskNetwork) -> TradeOff:
    """The whole path of a network; its own beta does not matter.

    Raises:
        InputError: an energy that is not convex on the simplex, or a KL term, whose paths are curved.
    """
    reason = walk_refusal(network)
    if reason is not None:
        raise InputError(f"no exact path: {reason}.")
    corners = _downwards(network)
    if corners is None:
        corners = list(Walk.at_no_gain(network).follow(np.zeros(len(network)), network.utility, np.inf))
    betas = readonly([corner.s for corner in corners], np.float64)
    return TradeOff(network, betas, readonly([corner.mixture for corner in corners], np.float64))


def _downwards(network: TaskNetwork) -> list[Corner] | None:
    """The path from utility alone to diversity alone, turned round; None where its first vertex is not clear enough."""
    walk, u = Walk(network, network.utility), network.utility
    if not walk.unique or walk.outweighs * float(np.ptp(u)) > CLEAR * walk.scale:
        return None
    _, *found = walk.follow(walk.outweighs * u, -u, walk.outweighs)  # it begins beyond the last corner
    return [Corner(walk.outweighs - corner.s, corner.mixture) for corner in reversed(found)]


def effective_tasks(mixture: ArrayLike) -> FloatArray:
    """exp of the Shannon entropy: n for the uniform mixture of n tasks, 1 for a single one (Hill 1973, order 1).

    mixture: (..., n).
    """
    p = np.asarray(mixture, dtype=np.float64)
    logs = np.log(np.where(p > 0.0, p, 1.0))
    return np.asarray(np.exp(-(p * logs).sum(axis=-1)))


def knee_of(betas: FloatArray, utilities: FloatArray, costs: FloatArray) -> float:
    """The beta of the point farthest above the line from end to end, with gain and cost scaled to [0, 1]."""
    return float(betas[int(np.argmax(_unit(utilities) - _unit(costs)))])


def check_share(share: float) -> None:
    """Raise an InputError for a share outside [0, 1]."""
    if not 0.0 <= share <= 1.0:
        raise InputError(f"share {share}: it must be between 0 and 1.")


def last_with(count: float, numbers: FloatArray) -> int:
    """The last point of a path that has `count` effective tasks, of (m,) numbers of them.

    Raises:
        InputError: none has; the message says what there is.
    """
    if not numbers.min() <= count <= numbers.max():
        raise InputError(
            f"{count:g} effective tasks: this network's mixtures have {numbers.min():.4g} to {numbers.max():.4g}."
        )
    return int(np.flatnonzero(numbers >= count)[-1])


def _gaps(network: TaskNetwork, betas: FloatArray, mixtures: FloatArray) -> FloatArray:
    """(m,) gradient'p minus its least value over the feasible set, at each beta and mixture."""
    found = np.zeros(len(betas))
    lower, room = network.lower, network.upper - network.lower
    for begin in range(0, len(betas), BLOCK):
        part = slice(begin, begin + BLOCK)
        p = mixtures[part]
        slopes = network.lam * p @ network.similarity - betas[part, None] * network.utility
        order = np.argsort(slopes, axis=1)
        before = np.cumsum(room[order], axis=1) - room[order]
        given = np.clip(1.0 - lower.sum() - before, 0.0, room[order])  # cheapest first
        cheapest = slopes @ lower + (np.take_along_axis(slopes, order, axis=1) * given).sum(axis=1)
        found[part] = np.einsum("mi,mi->m", slopes, p) - cheapest
    return np.maximum(found, 0.0)


def _unit(values: FloatArray) -> FloatArray:
    spread = float(np.ptp(values))
    return (values - values.min()) / spread if spread > 0.0 else np.zeros_like(values)
