"""Pairwise Frank-Wolfe: weight goes from the task with the largest slope to the one with the least, in exact steps.

Over a simplex with bounds the step of pairwise Frank-Wolfe (Lacoste-Julien & Jaggi 2015) is an exchange of weight
between two tasks. Most exchanges happen among few tasks, so they are made on a working set whose similarities are
written out (as blended pairwise conditional gradients do, Tsuji, Tanaka & Pokutta 2022), and the gradient of all tasks
is computed only to choose the next working set and to certify: the gap that ends the run is the certificate itself.
Shares no code with SimplexQP and needs of S nothing but products with it: for S = L L', n tasks and r features, n r
numbers.

    solve(FactoredNetwork(utility, features), PairwiseFrankWolfe())
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from taskpgm.factored import FactoredNetwork
from taskpgm.inference.critical_line import best_vertex
from taskpgm.inference.method import DENSE, ONLY_BOUNDS, Answer, Deadline, Domain, Method
from taskpgm.judge import Problem, certificate
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, IntArray

CURVATURE_TOLERANCE = 1e-10
ROUNDING = 1e-12


@dataclass(frozen=True)
class PairwiseFrankWolfe(Method):
    """Stops where the certified gap is at most `gap`, relative to the slopes' size.

    working: how many tasks besides those between their bounds may exchange weight in one round. exchanges: at most how
    many in a round. stats count both. start: (n,) a mixture that is thought to be near the best one.
    """

    gap: float = 1e-10
    working: int = 256
    exchanges: int = 200_000
    rounds: int = 10_000
    start: FloatArray | None = field(default=None, compare=False)

    name: ClassVar[str] = "pairwise-frank-wolfe"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        if isinstance(problem, FactoredNetwork):
            return None
        if not isinstance(problem, TaskNetwork):
            return DENSE
        if problem.tau > 0.0:
            return "takes no KL term (tau > 0): use SimplexQP"
        if not problem.only_bounds:
            return ONLY_BOUNDS
        if problem.lam > 0.0 and problem.curvature < -CURVATURE_TOLERANCE * float(np.abs(problem.similarity).max()):
            return f"S has an eigenvalue of {problem.curvature:.3g} where weights add up to 0: the energy is not convex"
        return None

    def run(self, problem: TaskNetwork | FactoredNetwork, deadline: Deadline, seed: int) -> Answer:
        p = self._start(problem)
        made, best_gap, stalled = 0, np.inf, 0
        for done in range(self.rounds):
            proof = certificate(problem, p)
            slope = problem.gradient(p)
            goal = self.gap * float(np.abs(slope).max())
            deadline.note(p, proof.bound)
            stalled = 0 if proof.gap < best_gap else stalled + 1
            best_gap = min(best_gap, proof.gap)
            stats = {"rounds": done, "exchanges": made}
            if proof.gap <= goal or stalled > 20:  # what roundings leave cannot be closed
                return Answer(p, stats=stats)
            if deadline.passed():
                return Answer(p, finished=False, stats=stats)
            made += self._round(problem, p, slope, proof.gap)
        return Answer(p, finished=False, message=f"stopped after {self.rounds} rounds", stats={"exchanges": made})

    def _start(self, problem: TaskNetwork | FactoredNetwork) -> FloatArray:
        """The mixture to start from if it is allowed, else the vertex that the slopes at the uniform one point to."""
        near = self.start
        if near is not None and near.shape == (len(problem),) and problem.violation(near) <= ROUNDING:
            return np.clip(near, problem.lower, problem.upper)
        return best_vertex(problem, -problem.gradient(np.full(len(problem), 1.0 / len(problem))))[0]

    def _round(self, problem: TaskNetwork | FactoredNetwork, p: FloatArray, slope: FloatArray, gap: float) -> int:
        """Exchange weight within a working set, in place; returns how many exchanges were made."""
        from taskpgm.inference.frank_wolfe_kernels import exchange

        tasks = self._working_set(problem, p, slope)
        weights = p[tasks]
        hessian = problem.lam * _gram(problem, tasks)
        made = exchange(
            hessian, slope[tasks], weights, problem.lower[tasks], problem.upper[tasks], 0.1 * gap, self.exchanges
        )
        p[tasks] = weights
        return int(made)

    def _working_set(self, problem: TaskNetwork | FactoredNetwork, p: FloatArray, slope: FloatArray) -> IntArray:
        """All tasks between their bounds, and those at a bound that would gain most from leaving it."""
        inside = np.flatnonzero((p > problem.lower) & (p < problem.upper))
        order = np.argsort(slope, kind="stable")
        rising = order[(p < problem.upper)[order]][: self.working]
        falling = order[::-1][(p > problem.lower)[order[::-1]]][: self.working]
        if len(inside) > 4 * self.working:  # those in the middle are nearly right already
            inside = np.random.default_rng(len(inside)).permutation(inside)[: 4 * self.working]
        return np.unique(np.concatenate([inside, rising, falling]))


def _gram(problem: TaskNetwork | FactoredNetwork, tasks: IntArray) -> FloatArray:
    if isinstance(problem, FactoredNetwork):
        return problem.gram(tasks)
    return np.asarray(problem.similarity[np.ix_(tasks, tasks)])
