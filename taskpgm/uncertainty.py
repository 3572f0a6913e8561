"""Error bars for mixtures: the evidence is drawn again from itself, and the network solved again, many times.

Probes are cut into blocks; for every task its own blocks are drawn with replacement (a stratified block bootstrap,
Efron 1979), since the probes of a task are a sample while the tasks are not. Each draw gives divergences and utilities,
and with the network's own weights, bounds and prior another mixture.

    spread = bootstrap(affinity, network, replicates=1000)
    spread.interval()                   # (n, 2) 95 % of the replicates lie within
    spread.undecided                    # tasks of which nobody can say whether they should get more than uniform
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from taskpgm.affinity import ExponentialSimilarity, Similarity
from taskpgm.blocks import by_stratum
from taskpgm.choice import Rule, apply_rule
from taskpgm.coverage import CoverageNetwork
from taskpgm.curve_uncertainty import drawn_mixtures
from taskpgm.inference import PairwiseFrankWolfe, SimplexQP, solve
from taskpgm.inference.critical_line import walk_refusal
from taskpgm.inference.nearby import mixture_near
from taskpgm.inference.router import convex_method
from taskpgm.network import TaskNetwork, balanced_beta
from taskpgm.types import Affinity, Blocks, FloatArray, InputError, IntArray, LossCurves, Solution, readonly
from taskpgm.utilities import Learnability, Utility

LEVEL = 0.95
FLOOR_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Spread:
    """How mixtures vary with the evidence. mixture: (n,) of all of it; replicates: (R, n) of the draws.

    probes_per_task: None where what varies is not a sample of probes but what learning curves leave open.
    """

    network: TaskNetwork | CoverageNetwork
    mixture: FloatArray
    replicates: FloatArray
    probes_per_task: float | None

    def interval(self, level: float = LEVEL) -> FloatArray:
        """(n, 2) the percentile interval of each weight, widened to hold the mixture itself."""
        if not 0.0 < level < 1.0:
            raise InputError(f"level {level}: it must be between 0 and 1.")
        tails = 0.5 * (1.0 - level)
        low, high = np.quantile(self.replicates, [tails, 1.0 - tails], axis=0)
        return np.column_stack([np.minimum(low, self.mixture), np.maximum(high, self.mixture)])

    @cached_property
    def at_floor(self) -> FloatArray:
        """(n,) the share of replicates in which a task is at its lower bound."""
        return readonly((self.replicates <= self.network.lower + FLOOR_TOLERANCE).mean(axis=0), np.float64)

    @cached_property
    def ahead(self) -> FloatArray:
        """(n, n) the share of replicates in which task i gets more than task j; half of it where they are equal."""
        weights = self.replicates
        more = (weights[:, :, None] > weights[:, None, :] + FLOOR_TOLERANCE).mean(axis=0)
        return readonly(more + 0.5 * (1.0 - more - more.T), np.float64)

    @property
    def rank_stability(self) -> float:
        """The mean Spearman correlation of a replicate's order of tasks with the mixture's; nan where all are equal."""
        from scipy.stats import rankdata

        order, orders = rankdata(self.mixture), rankdata(self.replicates, axis=1)
        centred, others = order - order.mean(), orders - orders.mean(axis=1, keepdims=True)
        length = np.sqrt((centred @ centred) * (others**2).sum(axis=1))
        return float((others @ centred / length)[length > 0.0].mean()) if (length > 0.0).any() else float("nan")

    @property
    def undecided(self) -> tuple[str, ...]:
        """The tasks whose interval holds the uniform share."""
        uniform = 1.0 / len(self.network)
        return tuple(
            name for name, (low, high) in zip(self.network.names, self.interval(), strict=True) if low < uniform < high
        )

    def as_dict(self) -> dict[str, Any]:
        """What is worth keeping of it, by task name, as plain JSON values."""
        interval = self.interval()
        return {
            "level": LEVEL,
            "replicates": len(self.replicates),
            "interval": {name: ends.tolist() for name, ends in zip(self.network.names, interval, strict=True)},
            "at_floor": dict(zip(self.network.names, self.at_floor.tolist(), strict=True)),
            "undecided": list(self.undecided),
            "rank_stability": None if np.isnan(self.rank_stability) else self.rank_stability,
            "probes_to_halve": self.probes_to_halve,
        }

    @property
    def probes_to_halve(self) -> int | None:
        """How many more probes a task would halve the intervals: widths fall with the root of their number."""
        return None if self.probes_per_task is None else int(np.ceil(3.0 * self.probes_per_task))


def bootstrap(
    evidence: Affinity | Sequence[Affinity] | LossCurves,
    network: TaskNetwork | CoverageNetwork,
    *,
    replicates: int = 1000,
    seed: int = 0,
    utility: Utility | None = None,
    similarity: Similarity | None = None,
    rho: float | None = None,
    rule: Rule | None = None,
) -> Spread:
    """Mixtures of evidence drawn again.

    Args:
        evidence: an affinity from `estimate_affinity`; or several, of experts trained with several seeds, which are
            then drawn too. For a CoverageNetwork the experts' losses (see `taskpgm.curve_uncertainty`).
        network: the network of that evidence, whose energy weights, bounds and prior every replicate keeps.
        replicates, seed: how many draws, and of which generator.
        utility, similarity: the rules that the affinity was made with; the defaults of `estimate_affinity`.
        rho: where given, beta is balanced anew for every draw, as `TaskNetwork.from_affinity` does.
        rule: where given, the trade-off is chosen anew for every draw (see `taskpgm.choice`); where its path must be
            sampled, which takes seconds, or has no answer, the trade-off chosen from all the evidence is kept.

    Raises:
        InputError: an affinity without blocks, evidence of another kind, or of other tasks than the network's.
    """
    if isinstance(network, CoverageNetwork) or isinstance(evidence, LossCurves):
        return _of_curves(evidence, network, replicates, seed)
    affinities = [evidence] if isinstance(evidence, Affinity) else list(evidence)
    blocks = [_blocks(each, network) for each in affinities]
    rules = (utility or Learnability(), similarity or ExponentialSimilarity())
    rng = np.random.default_rng(seed)
    whole = network if rule is None else apply_rule(network, rule).network
    if rule is not None and rule.nearest_prior is None and walk_refusal(network) is not None:
        network, rule, rho = whole, None, None

    def redrawn() -> Iterator[TaskNetwork]:
        for _ in range(replicates):
            chosen = [blocks[k] for k in rng.integers(len(blocks), size=len(blocks))]
            drawn = [_drawn(each, rng, rules) for each in chosen]
            u, s = np.mean([d[0] for d in drawn], axis=0), np.mean([d[1] for d in drawn], axis=0)
            beta = network.beta if rho is None else balanced_beta(u, s, lam=network.lam, rho=rho)
            again = network.changed(utility=u, similarity=s, beta=beta)
            yield again if rule is None else _chosen_again(again, rule, whole)

    mixture, *found = _mixtures(whole, redrawn())
    probes = np.mean([len(np.unique(each.scores.context_probe)) / len(network) for each in blocks])
    replicated = readonly(found, np.float64).reshape(replicates, len(network))
    return Spread(whole, readonly(mixture, np.float64), replicated, float(probes))


def _chosen_again(drawn: TaskNetwork, rule: Rule, whole: TaskNetwork) -> TaskNetwork:
    """What the rule makes of a draw; the trade-off of all evidence where the rule has no answer."""
    try:
        return apply_rule(drawn, rule).network
    except InputError:  # in this draw no mixture has so many effective tasks, or all utilities are equal
        return whole.changed(utility=drawn.utility, similarity=drawn.similarity)


def _mixtures(network: TaskNetwork, others: Iterable[TaskNetwork]) -> Iterator[FloatArray]:
    """Of a network and then of others near it, by the method that is fastest for many, from where the first ended."""
    plain = network.tau == 0.0 and network.only_bounds
    mixture = _mixture(solve(network, PairwiseFrankWolfe() if plain else SimplexQP()))
    yield mixture
    for each in others:
        yield _mixture(solve(each, PairwiseFrankWolfe(start=mixture))) if plain else mixture_near(each, mixture)


def _of_curves(evidence: object, network: TaskNetwork | CoverageNetwork, replicates: int, seed: int) -> Spread:
    if not (isinstance(evidence, LossCurves) and isinstance(network, CoverageNetwork)):
        raise InputError("the evidence of a CoverageNetwork is the experts' losses, that of a TaskNetwork an affinity.")
    mixture = _mixture(solve(network, convex_method(network)))
    found = drawn_mixtures(evidence, network, mixture, replicates, seed)
    return Spread(network, readonly(mixture, np.float64), readonly(found, np.float64), None)


def _blocks(affinity: Affinity, network: TaskNetwork) -> Blocks:
    if affinity.blocks is None:
        raise InputError("the affinity keeps no blocks of evidence: make it with estimate_affinity(predictions).")
    if affinity.names != network.names:
        raise InputError("the affinity is about other tasks than the network, or in another order.")
    return affinity.blocks


def _drawn(
    blocks: Blocks, rng: np.random.Generator, rules: tuple[Utility, Similarity]
) -> tuple[FloatArray, FloatArray]:
    """(utilities, similarities) of the blocks drawn with replacement within each stratum."""
    utility, similarity = rules
    picked = np.concatenate([rng.choice(own, size=len(own)) for own in by_stratum(blocks)])
    times = np.bincount(picked, minlength=len(blocks.stratum))
    s = similarity.of(divergence_of(blocks, times))
    order = np.argsort(blocks.members, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(blocks.members))])
    contexts = np.concatenate([order[starts[b] : starts[b + 1]] for b in picked])
    scores = blocks.scores
    redrawn = replace(
        scores,
        log_probs=scores.log_probs[:, :0],
        target_log_probs=scores.target_log_probs[:, contexts],
        base_target_log_probs=scores.base_target_log_probs[contexts],
        marginal_log_probs=scores.marginal_log_probs[contexts],
        context_task=scores.context_task[contexts],
        context_probe=scores.context_probe[contexts],
        weights=scores.weights[contexts],
    )
    return np.asarray(utility.evaluate(redrawn, s), dtype=np.float64), s


def divergence_of(blocks: Blocks, times: IntArray) -> FloatArray:
    """(n, n) J of blocks taken so many times each; every stratum keeps its mass."""
    mass = np.bincount(blocks.stratum, weights=blocks.mass)
    drawn = np.bincount(blocks.stratum, weights=times * blocks.mass)
    share = times * (mass / drawn)[blocks.stratum]
    return np.asarray(np.einsum("b,bij->ij", share, blocks.divergence, optimize=True))


def _mixture(solution: Solution) -> FloatArray:
    if solution.point is None:
        raise InputError(f"a replicate cannot be solved: {solution.message}")
    return np.asarray(solution.point, dtype=np.float64)
