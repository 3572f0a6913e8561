"""Marginals by pgmpy: exact ones from its junction tree, and those of its Gibbs sampler, for comparisons.

Neither takes a budget: folded into the energies, as for a MAP, it would only be kept on average. The energies are used
as they are, since marginals, unlike a MAP, move when energies are scaled; so networks are refused whose probabilities
float64 cannot hold.

    marginals(network.levels(None, cap=2), PgmpyJunctionTreeMarginals()).nodes[0]
    marginals(network.levels(None, cap=2), PgmpyGibbs(sweeps=1000), seed=1).stats["standard_error"]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal

import numpy as np

from taskpgm.inference.elimination import eliminate
from taskpgm.inference.junction_tree import IMPOSSIBLE
from taskpgm.inference.method import Deadline, MarginalAnswer, MarginalMethod
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray

LOG_RANGE = 600.0
NODE_LIMIT = 300  # pgmpy compares every two cliques


@dataclass(frozen=True)
class PgmpyJunctionTreeMarginals(MarginalMethod):
    """pgmpy's BeliefPropagation: marginals and log Z from a calibrated junction tree whose tables hold up to `limit`.

    The beliefs of all cliques are read at once: pgmpy's `query` would calibrate the tree again for every node.
    """

    limit: int = 1 << 20

    name: ClassVar[str] = "pgmpy-junction-tree"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = "both"
    foreign: ClassVar[tuple[str, ...]] = ("taskpgm.pgm", "pgmpy.inference")

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        if problem.budget is not None:
            return "a budget cannot be given to pgmpy exactly: use JunctionTreeMarginals, which counts levels"
        if len(problem) > NODE_LIMIT:
            return f"{len(problem)} nodes; pgmpy's junction tree is given up to {NODE_LIMIT}: use JunctionTreeMarginals"
        if eliminate(problem, self.limit) is None:
            return f"a clique of more than {self.limit} joint states: use fewer states or pairs, or GibbsSampling"
        return _range_refusal(problem)

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        from taskpgm.pgm import junction_tree_beliefs, margin

        elimination = eliminate(problem, self.limit)
        assert elimination is not None
        if deadline.passed():
            return MarginalAnswer((), None, None, False, "the deadline passed before pgmpy was asked")
        found = junction_tree_beliefs(problem, elimination.cliques)
        if found is None:
            return MarginalAnswer((), message="pgmpy left its junction tree uncalibrated: use JunctionTreeMarginals")
        beliefs, log_partition = found
        if not np.isfinite(log_partition):
            return MarginalAnswer((), message=IMPOSSIBLE)

        def summed(scope: list[int]) -> FloatArray:
            """From the smallest of the cliques that hold these nodes."""
            holding = (clique for clique in beliefs if set(scope) <= set(clique))
            clique = min(holding, key=lambda clique: beliefs[clique].size)
            return margin(clique, beliefs[clique], scope)

        nodes = tuple(summed([i]) for i in range(len(problem)))
        pairs = tuple(summed(edge) for edge in problem.edges.tolist())
        stats = {"cliques": len(beliefs), "table": max(values.size for values in beliefs.values())}
        return MarginalAnswer(nodes, pairs, log_partition - problem.constant, stats=stats)


@dataclass(frozen=True)
class PgmpyGibbs(MarginalMethod):
    """pgmpy's GibbsSampling: `chains` chains one after another, `burn_in` sweeps thrown away, `sweeps` counted.

    pgmpy tabulates every node's distribution for all joint states of the others: up to `limit` of them are taken.
    Equal seeds give equal answers. stats["standard_error"] is the largest of a state's share, from the chains' own
    shares. About 1,000 sweeps a second of ten nodes: GibbsSampling is far faster, and knows if its chains disagree.
    """

    chains: int = 4
    burn_in: int = 50
    sweeps: int = 250
    limit: int = 100_000

    name: ClassVar[str] = "pgmpy-gibbs"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = ""
    foreign: ClassVar[tuple[str, ...]] = ("taskpgm.pgm", "pgmpy.sampling")

    def __post_init__(self) -> None:
        if self.chains < 1 or self.burn_in < 0 or self.sweeps < 1:
            raise InputError(
                f"{self.chains} chains of {self.burn_in} and {self.sweeps} sweeps: take at least 1 of 0 and 1."
            )

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        if problem.budget is not None:
            return "no node alone can change its level under a budget: use GibbsSampling, which moves quanta"
        if problem.forbids:
            return "pgmpy's sampler divides by 0 where everything is forbidden: use GibbsSampling"
        joint = math.prod(problem.states.tolist())
        rows = sum(joint // count for count in problem.states.tolist())
        if rows > self.limit:
            return f"{Decimal(rows):.7g} rows in pgmpy's tables; it is given up to {self.limit}: use GibbsSampling"
        return _range_refusal(problem)

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        from taskpgm.pgm import gibbs_sweeps

        if deadline.passed():
            return MarginalAnswer((), None, None, False, "the deadline passed before pgmpy was asked")
        starts = np.random.default_rng(seed).integers(0, problem.states, size=(self.chains, len(problem)))
        drawn: list[IntArray] = []
        for chain in gibbs_sweeps(problem, starts, seed):
            kept: list[list[int]] = []
            for sweep, states in enumerate(chain):
                if sweep >= self.burn_in:
                    kept.append(states)
                if len(kept) == self.sweeps or deadline.passed():
                    break
            drawn += [np.array(kept, dtype=np.int64)] if kept else []
        if not drawn:
            return MarginalAnswer((), None, None, False, "stopped at the deadline, before there was anything to count")
        finished = sum(map(len, drawn)) == self.chains * self.sweeps
        return _counted(problem, drawn, finished)


def _counted(problem: PairwiseNetwork, drawn: list[IntArray], finished: bool) -> MarginalAnswer:
    """Shares of the states and of the pairs of states in chains of (sweeps, n) states."""
    together = np.concatenate(drawn)
    shares = [_shares(problem, states) for states in drawn]
    stats: dict[str, Any] = {"sweeps": len(together)}
    if len(drawn) > 1:
        spread = [np.std(each, axis=0, ddof=1).max() for each in zip(*shares, strict=True)]
        stats["standard_error"] = float(max(spread)) / math.sqrt(len(drawn))
    pairs = []
    for (i, j), table in zip(problem.edges.tolist(), problem.tables, strict=True):
        place = together[:, i] * table.shape[1] + together[:, j]
        pairs.append(np.bincount(place, minlength=table.size).reshape(table.shape) / len(together))
    return MarginalAnswer(tuple(_shares(problem, together)), tuple(pairs), None, finished, "", stats)


def _shares(problem: PairwiseNetwork, states: IntArray) -> list[FloatArray]:
    return [np.bincount(states[:, i], minlength=count) / len(states) for i, count in enumerate(problem.states.tolist())]


def _range_refusal(problem: PairwiseNetwork) -> str | None:
    """Sums over all joint states of exp of the whole range must fit into float64."""
    ranges = [table[np.isfinite(table)] for table in (*problem.unary, *problem.tables)]
    span = sum(float(np.ptp(values)) for values in ranges if values.size) + float(np.log(problem.states).sum())
    if span > LOG_RANGE:
        return (
            f"probabilities range over exp({span:.4g}); pgmpy, whose float64 ends at exp(700), is given up to"
            f" exp({LOG_RANGE:.0f}): raise the temperature, or use a method that keeps logarithms"
        )
    return None
