"""Gibbs sampling: marginals by averaging over many random assignments.

Each node in turn is drawn from its distribution given all others (Geman & Geman 1984), in many chains side by side that
start far apart. Not the states drawn are averaged but the distributions they were drawn from, whose average has the
same mean and a smaller variance (Rao-Blackwell; Gelfand & Smith 1990). Chains that still disagree, by the split R-hat
of Gelman et al. (2013, "Bayesian Data Analysis", 11.4), are reported as not converged.

With a budget no node can change its level alone. In every sweep the nodes are matched in pairs at random, and each pair
is drawn from its joint distribution given the others and the sum of its two levels. Where the levels of every node are
consecutive (0, 1, ..., d - 1), that reaches every assignment: of two assignments with the same sum, one has a quantum
more at some node and one less at another, and moving it over leaves no node's range and brings the two closer. Levels
with gaps are refused.

Forbidden pairs of states may cut the assignments into islands between which no single draw leads. Then chains do not
mix, which R-hat sees only if some of them started on different islands.

    found = marginals(network, GibbsSampling(chains=32), seed=1)
    found.stats["r_hat"], found.stats["standard_error"]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from taskpgm.inference.icm import NO_START, BudgetSampler
from taskpgm.inference.method import Deadline, MarginalAnswer, MarginalMethod
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray, readonly

CONVERGED = 1.05
AGREEMENT = 1e-4
BLOCKS = 40
STEPS = 50
REPAIRS = 40
FORBIDDING = 750.0  # exp(-750) is 0 in float64


@dataclass(frozen=True)
class GibbsSampling(MarginalMethod):
    """`chains` chains of `burn_in` sweeps that are thrown away and `sweeps` that are averaged.

    Under a deadline at most a quarter of the time is spent on burning in.

    stats["r_hat"] is the largest split R-hat of a marginal; above 1.05 the answer counts as not converged.
    stats["standard_error"] is the largest standard error of a marginal, from the chains' own averages. Pairs are
    averages of conditionals too; their margins agree with the nodes' marginals up to the sampling error only.

    annealing_steps: if above 0, log Z is estimated by annealed importance sampling (Neal 2001) in that many steps from
    the nodes alone, whose log Z is summed exactly, to the network, once for each chain. exp of it is right on average,
    so it tends to be too small itself; it bounds nothing. stats["log_partition_error"] is its standard error.

    Equal seeds give equal answers; every chain has random numbers of its own. numba compiles the loops on first use,
    for some seconds that no deadline can cut short.
    """

    chains: int = 16
    burn_in: int = 200
    sweeps: int = 1000
    annealing_steps: int = 0

    name: ClassVar[str] = "gibbs"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = ""

    def __post_init__(self) -> None:
        if self.chains < 2 or self.sweeps < 4:
            raise InputError(f"{self.chains} chains of {self.sweeps} sweeps: convergence needs 2 chains of 4 sweeps.")

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        steps = np.concatenate([np.diff(np.unique(levels)) for levels in problem.levels])
        if problem.budget is not None and len(np.unique(steps)) > 1:
            return "levels have gaps: exchanges of two nodes cannot reach every assignment that keeps the budget"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        if deadline.passed():
            return MarginalAnswer((), None, None, False, "stopped before the first sweep")
        *randoms, random = np.random.default_rng(seed).spawn(self.chains + 1)
        begun = allowed_starts(problem, self.chains, random, deadline)
        if isinstance(begun, str):
            return MarginalAnswer((), None, None, not deadline.passed(), begun)
        charged = with_charges(problem)
        chains = Chains(charged, begun, randoms)
        burnt_in = chains.advance(self.burn_in, Deadline(0.25 * deadline.left()))
        chains.forget()
        finished = chains.advance(self.sweeps, deadline) and burnt_in
        if len(chains.sums) < 2:
            return MarginalAnswer((), None, None, False, "stopped before there was anything to average")
        return _answer(problem, chains, log_weights(charged, self.annealing_steps, randoms, deadline), finished)


def _answer(problem: PairwiseNetwork, chains: Chains, weights: FloatArray | None, finished: bool) -> MarginalAnswer:
    r_hat, error = chains.convergence()
    stats: dict[str, Any] = {"sweeps": chains.swept, "r_hat": r_hat, "standard_error": error}
    log_partition = None
    if weights is not None:
        log_partition, stats["log_partition_error"] = log_mean(weights)
        log_partition -= problem.constant
    message = ""
    if r_hat > CONVERGED:
        message = f"the chains disagree, R-hat {r_hat:.3g}: take more sweeps or a higher temperature"
    elif problem.forbids:
        message = "forbidden states can keep chains from mixing; R-hat sees that only if they started on both sides"
    return MarginalAnswer(
        chains.nodes(), chains.pairs(), log_partition, finished and r_hat <= CONVERGED, message, stats
    )


class Chains:
    """Chains side by side, and what their sweeps added up to, block by block.

    sums, squares: for each block (chains, n, D), of the conditional distributions met and of their squares.
    """

    def __init__(self, problem: PairwiseNetwork, begun: IntArray, randoms: Sequence[np.random.Generator]) -> None:
        from taskpgm.inference.gibbs_kernels import new_tally
        from taskpgm.inference.kernels import begin, lay_out

        self.problem, self.randoms, self.layout = problem, randoms, lay_out(problem)
        self.searches = [begin(self.layout, states) for states in begun]
        self.met = np.zeros(len(self.layout.values))
        self.tallies = [new_tally(self.layout, self.met) for _ in begun]
        self.forget()

    def forget(self) -> None:
        """Throw away what the sweeps so far added up to."""
        self.sums: list[FloatArray] = []
        self.squares: list[FloatArray] = []
        self.swept = 0
        self.met[:] = 0.0

    def advance(self, sweeps: int, deadline: Deadline) -> bool:
        """Sweep all chains, block by block; whether that ended before the deadline."""
        from taskpgm.inference.gibbs_kernels import sample

        self.block = max(1, sweeps // BLOCKS)
        for _ in range(sweeps // self.block):
            sums = np.zeros((len(self.searches), *self.layout.unary.shape))
            squares = np.zeros_like(sums)
            for c, (search, tally) in enumerate(zip(self.searches, self.tallies, strict=True)):
                if deadline.passed():
                    return False
                sample(self.layout, search, tally, self.block, self.randoms[c], sums[c], squares[c])
            self.sums.append(sums)
            self.squares.append(squares)
            self.swept += self.block
        return True

    def nodes(self) -> tuple[FloatArray, ...]:
        """The marginals of the nodes."""
        total = np.sum(self.sums, axis=(0, 1))
        return tuple(
            readonly(row[:d] / row[:d].sum(), np.float64) for row, d in zip(total, self.layout.states, strict=True)
        )

    def pairs(self) -> tuple[FloatArray, ...]:
        """The marginals of pairs along edges, each the average over the draws of either node."""
        found = []
        for (i, j), table in zip(self.problem.edges.tolist(), self.problem.tables, strict=True):
            total = self._met(i, j).reshape(table.T.shape).T + self._met(j, i).reshape(table.shape)
            found.append(readonly(total / total.sum(), np.float64))
        return tuple(found)

    def _met(self, i: int, j: int) -> FloatArray:
        from taskpgm.inference.kernels import find_slot

        place = self.layout.offsets[find_slot(self.layout, i, j)]
        return self.met[place : place + self.layout.states[i] * self.layout.states[j]]

    def convergence(self) -> tuple[float, float]:
        """The largest split R-hat and the largest standard error of the nodes' marginals.

        R-hat compares the chains' halves, as chains of their own: the variance of a conditional probability over all
        of them with that within them. Where their averages differ by less than 1e-4 there is nothing to converge.
        """
        half = len(self.sums) // 2
        sums, squares = (np.array([x[:half], x[-half:]]).sum(axis=1) for x in (self.sums, self.squares))
        count = half * self.block
        means = (sums / count).reshape(-1, *self.layout.unary.shape)
        within = (squares / count).reshape(means.shape).mean(axis=0) - (means * means).mean(axis=0)
        within = np.maximum(within * count / (count - 1.0), 0.0)
        between = means.var(axis=0, ddof=1)
        differ = between > AGREEMENT**2
        with np.errstate(divide="ignore"):
            ratios = (count - 1.0) / count + between[differ] / within[differ]
        chains = np.sum(self.sums, axis=0) / self.swept
        error = chains.std(axis=0, ddof=1).max() / np.sqrt(len(chains))
        return float(np.sqrt(ratios.max(initial=1.0))), float(error)


# ------------------------------------------------------------------------------------------- starts, forbidden states


def allowed_starts(
    problem: PairwiseNetwork, count: int, random: np.random.Generator, deadline: Deadline
) -> IntArray | str:
    """(count, n) random assignments that keep the budget and are not forbidden, or why there are none.

    Drawn ones that are forbidden are repaired by cooling a network in which everything forbidden costs 1. Where that
    fails for some, they start where others do.
    """
    even = [np.where(np.isfinite(values), 0.0, -np.inf) for values in problem.unary]
    sampler = BudgetSampler(problem, even)
    if not np.isfinite(sampler.log_total):
        return "every assignment is forbidden" if problem.budget is None else NO_START
    states = sampler.draw(count, random)
    if not problem.forbids:
        return states
    clashing = [c for c in range(count) if not np.isfinite(problem.energy(states[c]))]
    failed = [c for c in clashing if not _repair(problem, states[c], random, deadline)]
    if not failed:
        return states
    if len(failed) == count:
        when = "before the deadline" if deadline.passed() else f"in {REPAIRS * STEPS} sweeps; there may be none"
        return f"no allowed assignment to start from was found {when}"
    allowed = np.setdiff1d(np.arange(count), failed)
    states[failed] = states[random.choice(allowed, len(failed))]
    return states


def _repair(problem: PairwiseNetwork, states: IntArray, random: np.random.Generator, deadline: Deadline) -> bool:
    """Change (n,) states until nothing forbidden is left; whether that succeeded."""
    from taskpgm.inference.gibbs_kernels import cool, new_tally
    from taskpgm.inference.kernels import begin, lay_out

    layout = lay_out(mapped(problem, _clashes))
    search, tally = begin(layout, states), new_tally(layout, np.zeros(0))
    temperatures = np.geomspace(1.0, 0.1, STEPS)
    for _ in range(REPAIRS):
        if deadline.passed():
            return False
        cool(layout, search, tally, temperatures, 0.0, np.inf, states, random)
        if np.isfinite(problem.energy(states)):
            return True
    return False


def mapped(problem: PairwiseNetwork, change: Callable[[FloatArray], FloatArray]) -> PairwiseNetwork:
    """The network with other energies."""
    unary = tuple(readonly(change(values), np.float64) for values in problem.unary)
    return replace(problem, unary=unary, tables=tuple(readonly(change(table), np.float64) for table in problem.tables))


def _clashes(table: FloatArray) -> FloatArray:
    return np.isinf(table).astype(np.float64)


def with_charges(problem: PairwiseNetwork) -> PairwiseNetwork:
    """Each infinity replaced by so much that its probability given any allowed state of the others is exactly 0."""
    if not problem.forbids:
        return problem
    finite = [table[np.isfinite(table)] for table in (*problem.unary, *problem.tables)]
    charge = FORBIDDING + sum(float(np.ptp(values)) for values in finite if values.size)
    charge += max((float(np.abs(values).max()) for values in finite if values.size), default=0.0)
    return mapped(problem, lambda table: np.where(np.isfinite(table), table, charge))


# ------------------------------------------------------------------------------------------------------------- log Z


def log_weights(
    problem: PairwiseNetwork, steps: int, randoms: Sequence[np.random.Generator], deadline: Deadline
) -> FloatArray | None:
    """(chains,) logarithms of independent estimates of the sum of exp(constant - energy), each right on average.

    The pairs' energies count (k / steps)^3 times at step k: slowly at first, while what is forbidden turns out so.
    """
    if steps < 1 or deadline.passed():
        return None
    from taskpgm.inference.gibbs_kernels import new_tally, weigh
    from taskpgm.inference.kernels import begin, lay_out

    alone = BudgetSampler(problem, [-values for values in problem.unary])
    layout, tables = lay_out(problem), np.linspace(0.0, 1.0, steps + 1) ** 3
    weights = np.full(len(randoms), alone.log_total)
    for c, random in enumerate(randoms):
        search, tally = begin(layout, alone.draw(1, random)[0]), new_tally(layout, np.zeros(0))
        for first in range(0, steps, STEPS):
            if deadline.passed():
                return None
            weights[c] += weigh(layout, search, tally, tables[first : first + STEPS + 1], random)
    return weights


def log_mean(weights: FloatArray) -> tuple[float, float]:
    """The logarithm of the mean of exp(weights), and its standard error (the delta method)."""
    most = float(weights.max())
    relative = np.exp(weights - most)
    mean = float(relative.mean())
    return most + float(np.log(mean)), float(relative.std(ddof=1) / (mean * np.sqrt(len(weights))))
