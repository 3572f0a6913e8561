"""Loopy belief propagation: max-product for the least energy, sum-product for marginals and the Bethe log Z.

Every node tells each neighbour what it thinks of the neighbour's states, given what its other neighbours told it (Pearl
1988). On trees this ends and is exact; with loops it may not end and need not be right (Murphy, Weiss & Jordan 1999),
but where it ends the beliefs are a stationary point of the Bethe free energy (Yedidia, Freeman & Weiss 2005). All in
logarithms, with damping.

    solve(network, MaxProduct(damping=0.5))
    marginals(network, SumProduct())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.messages import Incumbent, MessageState
from taskpgm.inference.method import Answer, Deadline, Domain, MarginalAnswer, MarginalMethod, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray

Schedule = Literal["sequential", "parallel"]
BUDGET = "a budget couples all nodes: Gibbs sampling, the junction tree and enumeration keep it"


@dataclass(frozen=True)
class MaxProduct(Method):
    """Min-sum messages until they change by less than `tolerance`; the best decoded point is kept.

    damping: the share of the old message in the new one. A budget is folded into the energies.
    """

    damping: float = 0.3
    schedule: Schedule = "sequential"
    tolerance: float = 1e-9
    sweeps: int = 500

    name: ClassVar[str] = "max-product"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        state, incumbent = MessageState.of(problem.folded()), Incumbent(problem, deadline)
        scale = max(1e-300, max(float(np.ptp(table)) for table in (*problem.unary, *problem.tables)))
        change, sweep = np.inf, 0
        while sweep < self.sweeps:
            sweep += 1
            change = sweep_once(state, np.ones(len(state.edges)), self.damping, self.schedule, soft=False)
            incumbent.offer(state.decoded())
            incumbent.offer(np.array([int(values.argmin()) for values in state.node_energies()]))
            if change <= self.tolerance * scale or deadline.passed():
                break
        converged = bool(change <= self.tolerance * scale)
        stats = {"sweeps": sweep, "converged": converged}
        message = incumbent.finish()
        return Answer(incumbent.point, None, converged or sweep == self.sweeps, message, stats)


@dataclass(frozen=True)
class SumProduct(MarginalMethod):
    """Sum-product messages until they change by less than `tolerance`; log Z is Bethe's approximation."""

    damping: float = 0.0
    schedule: Schedule = "sequential"
    tolerance: float = 1e-9
    sweeps: int = 5000

    name: ClassVar[str] = "loopy-bp"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = ""

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return BUDGET if problem.budget is not None else None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        state, ones = MessageState.of(problem), np.ones(len(problem.edges))
        change, sweep = np.inf, 0
        while sweep < self.sweeps:
            sweep += 1
            change = sweep_once(state, ones, self.damping, self.schedule, soft=True)
            if change <= self.tolerance or deadline.passed():
                break
        nodes, pairs = beliefs(state, ones)
        message = "" if change <= self.tolerance else f"messages still change by {change:.2g} after {sweep} sweeps"
        return MarginalAnswer(
            tuple(nodes),
            tuple(pairs),
            bethe_log_partition(problem, nodes, pairs),
            not message,
            message,
            {"sweeps": sweep, "change": change},
        )


def sweep_once(state: MessageState, weights: FloatArray, damping: float, schedule: Schedule, *, soft: bool) -> float:
    """Update every message once, in place; returns the largest change."""
    from taskpgm.inference.message_kernels import propagate

    return float(
        propagate(
            state.unary,
            state.tables,
            state.edges,
            state.states,
            weights,
            state.messages,
            state.start,
            state.edge,
            state.side,
            damping,
            schedule == "parallel",
            soft,
        )
    )


def beliefs(state: MessageState, weights: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
    """Node and edge probabilities of the current messages; weights are edge appearance probabilities."""
    energies = state.node_energies(weights)
    nodes = [_softmax(values) for values in energies]
    pairs = []
    for e, ((i, j), table) in enumerate(zip(state.edges.tolist(), state.network.tables, strict=True)):
        with np.errstate(invalid="ignore"):  # infinity minus infinity: a message that forbids a state, and its node
            first = energies[i] - state.messages[e, 0, : len(energies[i])]
            second = energies[j] - state.messages[e, 1, : len(energies[j])]
            joint = table / weights[e] + first[:, None] + second[None, :]
        pairs.append(_softmax(np.where(np.isnan(joint), np.inf, joint)))
    return nodes, pairs


def bethe_log_partition(network: PairwiseNetwork, nodes: list[FloatArray], pairs: list[FloatArray]) -> float:
    """Minus the Bethe free energy of some beliefs, in nats."""
    value = -network.constant
    degrees = np.bincount(network.edges.ravel(), minlength=len(network))
    for energies, node, degree in zip(network.unary, nodes, degrees, strict=True):
        value += -mean_energy(energies, node) + (1.0 - degree) * entropy(node)
    for table, pair in zip(network.tables, pairs, strict=True):
        value += -mean_energy(table, pair) + entropy(pair)
    return float(value)


def mean_energy(energies: FloatArray, probabilities: FloatArray) -> float:
    """sum p E; what has probability 0 may be infinite."""
    return float((probabilities * np.where(probabilities > 0.0, energies, 0.0)).sum())


def entropy(probabilities: FloatArray) -> float:
    """-sum p log p in nats."""
    return float(-(probabilities * np.log(np.where(probabilities > 0.0, probabilities, 1.0))).sum())


def _softmax(energies: FloatArray) -> FloatArray:
    weights = np.exp(energies.min() - energies)
    return np.asarray(weights / weights.sum())
