"""Largest-remainder rounding of the continuous mixture, with the continuous energy as a lower bound.

Drop the demand that the quanta be whole: what is left is a convex program over p = x / K in the levels' own box, whose
certified bound holds for all whole levels too. Its minimiser is rounded down, and the quanta left over go where the
remainder is largest (Hamilton's method; Balinski & Young 1982, "Fair Representation"), within the levels' bounds. That
gives the whole levels nearest to K p, and by fact 5 of the design an energy that the bound is not far below.

    solution = solve(network.levels(quanta=10), LargestRemainder())
    solution.bound                      # no levels, and no mixture within the same bounds, have less energy
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.inference.driver import solve
from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.inference.sharing import SharesQuanta
from taskpgm.inference.simplex_qp import SimplexQP
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True)
class LargestRemainder(Method):
    """Rounds the mixture found by SimplexQP and refuses what SimplexQP refuses; stats["relaxed_energy"] is E(p).

    Stopped by the deadline before there is a mixture, it returns the most even levels.
    """

    name: ClassVar[str] = "largest-remainder"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = False

    def refuses(self, problem: Problem) -> str | None:
        assert isinstance(problem, LevelsNetwork)
        return SimplexQP().refuses(relaxation(problem)) if takers(problem).sum() > 1 else None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        taking, even = takers(problem), even_levels(problem)
        if taking.sum() == 1:  # it takes all there is
            return Answer(even, problem.energy(even) - rounding_error(problem.network))
        if deadline.passed():
            return Answer(even, None, False)
        network = relaxation(problem)
        relaxed = solve(network, SimplexQP(), deadline=deadline.left(), seed=seed)
        if relaxed.point is None:
            late = deadline.passed()
            return Answer(even if late else None, None, not late, f"the relaxation: {relaxed.message}")
        quanta = np.zeros(len(problem))
        quanta[taking] = problem.quanta * relaxed.point
        shift = problem.network.tau * float(np.log(problem.network.prior[taking].sum()))  # see `relaxation`
        bound = relaxed.bound - shift - rounding_error(problem.network)
        stats = {"relaxed_energy": relaxed.energy - shift}
        levels = nearest_levels(problem, quanta)
        deadline.note(levels, bound)
        return Answer(levels, bound, not deadline.passed(), "", stats)


def takers(problem: LevelsNetwork) -> NDArray[np.bool_]:
    """(n,) which tasks can take a quantum at all: there is room, and the other tasks' least levels leave one."""
    left = problem.quanta - problem.minimum.sum()
    return np.asarray(np.minimum(problem.maximum, problem.minimum + left) > 0)


def relaxation(problem: LevelsNetwork) -> TaskNetwork:
    """The continuous network over the box of the levels: p_i from minimum_i / quanta to maximum_i / quanta.

    Tasks that can take nothing are left out: a KL term has no gradient at a weight held at 0. The prior of the others
    is scaled to a sum of 1, which adds tau log(their prior's sum) to the energy of every mixture.
    """
    network, taking = problem.network, takers(problem)
    return TaskNetwork(
        network.utility[taking],
        network.similarity[np.ix_(taking, taking)],
        [name for name, takes in zip(network.names, taking, strict=True) if takes],
        beta=network.beta,
        lam=network.lam,
        tau=network.tau,
        prior=network.prior[taking] / network.prior[taking].sum(),
        lower=problem.minimum[taking] / problem.quanta,
        upper=problem.maximum[taking] / problem.quanta,
    )


def nearest_levels(problem: SharesQuanta, quanta: ArrayLike) -> IntArray:
    """(n,) the feasible levels nearest in Euclidean distance to (n,) real numbers of quanta, whose sum may be any.

    Rounding down, then giving (or taking) one quantum at a time where the remainder is largest (smallest), minimises
    the squared distance: it is separable and convex. Of equal remainders the first counts.
    """
    ideal: FloatArray = np.asarray(quanta, dtype=np.float64)
    whole = np.floor(ideal + 1e-9).astype(np.int64)
    levels = np.clip(whole, problem.minimum, problem.maximum)
    left = problem.quanta - int(levels.sum())
    for _ in range(left):
        levels[int(np.where(levels < problem.maximum, ideal - levels, -np.inf).argmax())] += 1
    for _ in range(-left):
        levels[int(np.where(levels > problem.minimum, ideal - levels, np.inf).argmin())] -= 1
    return levels


def even_levels(problem: SharesQuanta) -> IntArray:
    """(n,) the feasible levels nearest to equal shares."""
    return nearest_levels(problem, np.full(len(problem), problem.quanta / len(problem)))


def rounding_error(network: TaskNetwork) -> float:
    """What float64 may have added to a certified bound or an energy: 16 roundings of each of its terms at its largest.

    |p log(p / q)| is at most 1/e + |log q|.
    """
    pull = abs(network.beta) * float(np.abs(network.utility).max())
    pull += network.lam * float(np.abs(network.similarity).max())
    pull += network.tau * (1.0 + float(np.abs(np.log(network.prior)).max()))
    return float(16.0 * np.finfo(np.float64).eps * len(network) * pull)
