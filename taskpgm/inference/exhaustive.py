"""Exhaustive enumeration of all assignments: the oracle that every other answer is held against.

The nodes are cut into two halves. The energies of all pairs of partial points that together keep the budget are matrix
products (see `taskpgm.inference.halves`), so each feasible point is looked at, none twice.

    exact = solve(network.levels(quanta=10), Exhaustive())
    found = marginals(network.levels(quanta=10), ExhaustiveMarginals())
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.halves import Half, Halves
from taskpgm.inference.method import Answer, Deadline, Domain, MarginalAnswer, MarginalMethod, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray, readonly

BLOCK = 1 << 18
TIE_TOLERANCE = 1e-12
NEGLIGIBLE = 800.0  # exp(-800) is 0 in float64


@dataclass(frozen=True)
class Exhaustive(Method):
    """Enumerates up to `limit` feasible points, of which it holds up to `partial_limit` partial ones of either half.

    stats["points"] says how many there are, stats["ties"] how many are minimal: within 1e-12 of the least energy, in
    units of the largest energies of all factors together.
    """

    limit: int = 2_000_000_000
    partial_limit: int = 4_000_000

    name: ClassVar[str] = "exhaustive"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return _refusal(problem, self.limit, self.partial_limit)

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        halves = Halves(problem)
        best, best_point, ties, points = np.inf, None, 0, 0
        tolerance = max(TIE_TOLERANCE * _scale(problem), 4.0 * problem.rounding)
        for rows, columns, energies in halves.blocks(BLOCK):
            if deadline.passed():
                return Answer(best_point, None, False, f"stopped after {points} points", {"points": points})
            least = float(energies.min())
            points += energies.size
            if least < best - tolerance:
                ties = 0
            if least <= best + tolerance:
                ties += int(np.count_nonzero(energies <= min(least, best) + tolerance))
            if least < best:
                best, best_point = least, _point(halves, rows, columns, energies)
                deadline.note(best_point)
        if best_point is None:
            return Answer(None, message="no assignment keeps the budget", stats={"points": 0})
        # A rest may be subtracted from a table and added to a node: so energies are right to a few times the rounding.
        bound = best + problem.constant - 4.0 * problem.rounding
        return Answer(best_point, bound, True, "", {"points": points, "ties": ties}, ties)


@dataclass(frozen=True)
class ExhaustiveMarginals(MarginalMethod):
    """Adds up exp(-E) over up to `limit` assignments that keep the budget; stats["points"] says how many there are."""

    limit: int = 200_000_000
    partial_limit: int = 1_000_000

    name: ClassVar[str] = "exhaustive"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = "both"

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return _refusal(problem, self.limit, self.partial_limit)

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        network, allowed = _charged(problem)
        halves = Halves(network)
        sums, points = _Sums(halves), 0
        for rows, columns, energies in halves.blocks(BLOCK):
            if deadline.passed():
                return MarginalAnswer((), None, None, False, f"stopped after {points} points")
            points += energies.size
            sums.add(rows, columns, energies)
        if not sums.least <= allowed:
            return MarginalAnswer((), message="every assignment is forbidden or breaks the budget")
        nodes, pairs = sums.marginals()
        log_partition = float(np.log(sums.left.sum())) - sums.least - problem.constant
        return MarginalAnswer(nodes, pairs, log_partition, stats={"points": points})


def _refusal(problem: PairwiseNetwork, limit: int, partial_limit: int) -> str | None:
    if problem.size > limit:
        size = Decimal(problem.size)  # may exceed what a float holds
        return f"{size:.3g} feasible points; enumerates up to {limit:.3g}: use fewer quanta, nodes or states"
    halves = Halves(problem)
    count = max(halves.counts(halves.cut))
    if count > partial_limit:
        return f"{count:.3g} partial points in one half; holds up to {partial_limit:.3g} in memory"
    return None


def _scale(problem: PairwiseNetwork) -> float:
    return float(sum(np.abs(table).max() for table in (*problem.unary, *problem.tables)))


def _point(halves: Halves, rows: slice, columns: slice, energies: FloatArray) -> IntArray:
    """The assignment with the least energy of a block."""
    a, b = np.unravel_index(int(energies.argmin()), energies.shape)
    left, right = halves.left.states[rows.start + a], halves.right.states[columns.start + b]
    return np.concatenate([left, right]).astype(np.int64)


def _charged(network: PairwiseNetwork) -> tuple[PairwiseNetwork, float]:
    """The network with infinities replaced by so much that they count nothing, and the most that any other point has.

    The constant is left out of the latter.
    """
    tables = (*network.unary, *network.tables)
    finite = [table[np.isfinite(table)] for table in tables]
    least = [float(values.min(initial=np.inf)) for values in finite]
    most = [float(values.max(initial=-np.inf)) for values in finite]
    if not np.isfinite(least).all():
        return network.finite(), -np.inf  # a factor that forbids everything
    charge = NEGLIGIBLE + sum(high - low for low, high in zip(least, most, strict=True))
    filled = [
        readonly(np.where(np.isfinite(table), table, low + charge), np.float64)
        for table, low in zip(tables, least, strict=True)
    ]
    count = len(network)
    changed = replace(network, unary=tuple(filled[:count]), tables=tuple(filled[count:]))
    return changed, sum(most) + 0.5 * NEGLIGIBLE


@dataclass
class _Sums:
    """Sums of exp(least - E) over all pairs of partial points so far, `least` being the least energy so far.

    left, right: for each partial point of a half the sum over the other. across: for each state of a left node and each
    of a right node the sum over the points that have both.
    """

    halves: Halves
    least: float = np.inf
    left: FloatArray = field(init=False)
    right: FloatArray = field(init=False)
    across: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.right = np.zeros(len(self.halves.left.states)), np.zeros(len(self.halves.right.states))
        states = self.halves.network.states
        self.across = np.zeros((int(states[: self.halves.cut].sum()), int(states[self.halves.cut :].sum())))

    def add(self, rows: slice, columns: slice, energies: FloatArray) -> None:
        least = min(self.least, float(energies.min()))
        if least < self.least:
            for sums in (self.left, self.right, self.across):
                sums *= np.exp(least - self.least)
            self.least = least
        weights = np.exp(least - energies)
        self.left[rows] += weights.sum(axis=1)
        self.right[columns] += weights.sum(axis=0)
        a, b = self._indicators(self.halves.left, rows), self._indicators(self.halves.right, columns)
        self.across += a.T @ (weights @ b)

    def _indicators(self, half: Half, rows: slice) -> FloatArray:
        """(m, all states of the half's nodes) 1 where a partial point has the state."""
        states = half.states[rows]
        sizes = self.halves.network.states[half.first : half.first + states.shape[1]]
        ones = np.zeros((len(states), int(sizes.sum())))
        np.put_along_axis(ones, states + (np.cumsum(sizes) - sizes), 1.0, axis=1)
        return ones

    def marginals(self) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        network, cut = self.halves.network, self.halves.cut
        starts = np.concatenate([[0], np.cumsum(network.states)])
        nodes = [self._of_node(i) for i in range(len(network))]
        pairs = []
        for i, j in network.edges.tolist():
            if i < cut <= j:
                low = starts[cut]
                pair = self.across[starts[i] : starts[i + 1], starts[j] - low : starts[j + 1] - low]
                pairs.append(pair / pair.sum())
            else:
                pairs.append(self._of_pair(i, j))
        return tuple(nodes), tuple(pairs)

    def _weights(self, node: int) -> tuple[Half, FloatArray]:
        """The half that a node is in and the weights of its partial points."""
        return (self.halves.left, self.left) if node < self.halves.cut else (self.halves.right, self.right)

    def _of_node(self, i: int) -> FloatArray:
        half, weights = self._weights(i)
        sums = np.bincount(half.states[:, i - half.first], weights, len(self.halves.network.unary[i]))
        return np.asarray(sums / sums.sum())

    def _of_pair(self, i: int, j: int) -> FloatArray:
        """The probabilities of two nodes of the same half."""
        half, weights = self._weights(i)
        a, b = len(self.halves.network.unary[i]), len(self.halves.network.unary[j])
        codes = half.states[:, i - half.first].astype(np.int64) * b + half.states[:, j - half.first]
        sums = np.bincount(codes, weights, a * b).reshape(a, b)
        return np.asarray(sums / sums.sum())
