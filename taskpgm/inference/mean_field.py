"""Mean field: the nearest distribution in which the nodes know nothing of each other (Parisi 1988; Jordan et al. 1999).

Each node in turn takes the distribution that is best given the others': exp of minus the mean energies of its states.
What the free energy falls to is minus a lower bound on log Z, at every moment. For the least energy the temperature is
lowered step by step, until the distributions are points.

    marginals(network, MeanField()).lower
    solve(network, MeanFieldMap())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.loopy_propagation import BUDGET, entropy, mean_energy
from taskpgm.inference.messages import Incumbent
from taskpgm.inference.method import Answer, Deadline, Domain, MarginalAnswer, MarginalMethod, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class MeanField(MarginalMethod):
    """Coordinate ascent from the uniform distribution and from `restarts` random ones; the best lower bound wins."""

    restarts: int = 4
    tolerance: float = 1e-9
    sweeps: int = 5000

    name: ClassVar[str] = "mean-field"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = "lower"

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        if problem.budget is not None:
            return BUDGET
        if any(not np.isfinite(table).all() for table in problem.tables):
            return "some pairs of states are forbidden: independent nodes cannot keep away from them"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        rng, best, best_value, settled = np.random.default_rng(seed), None, -np.inf, True
        for start in range(1 + self.restarts):
            nodes = [
                np.full(size, 1.0 / size) if start == 0 else rng.dirichlet(np.ones(size))
                for size in problem.states.tolist()
            ]
            change = np.inf
            for _ in range(self.sweeps):
                change = settle(problem, nodes, 1.0)
                if change <= self.tolerance or deadline.passed():
                    break
            value = lower_bound(problem, nodes)
            if best is None or value > best_value:
                best, best_value, settled = nodes, value, change <= self.tolerance
            if deadline.passed():
                break
        assert best is not None
        rounding = problem.rounding + 1e-12 * max(1.0, abs(best_value))
        message = "" if settled else "the distributions still change"
        return MarginalAnswer(tuple(best), None, best_value - rounding, settled, message)


@dataclass(frozen=True)
class MeanFieldMap(Method):
    """Mean field at `temperatures` falling from the size of the largest factor to a thousandth of it."""

    temperatures: int = 60
    sweeps: int = 5
    restarts: int = 3

    name: ClassVar[str] = "mean-field"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        folded, incumbent = problem.folded(), Incumbent(problem, deadline)
        rng = np.random.default_rng(seed)
        largest = max(float(np.ptp(table)) for table in (*folded.unary, *folded.tables))
        degree = max(len(others) for others in folded.neighbours)
        scales = (largest * max(1, degree) or 1.0) * np.geomspace(1.0, 1e-3 / max(1, degree), self.temperatures)
        done = 0
        while done < self.restarts:
            done += 1
            nodes = [rng.dirichlet(np.full(size, 10.0)) for size in folded.states.tolist()]
            for temperature in scales:
                for _ in range(self.sweeps):
                    settle(folded, nodes, float(temperature))
                if deadline.passed():
                    break
            incumbent.offer(np.array([int(node.argmax()) for node in nodes]))
            if deadline.passed():
                break
        message = incumbent.finish()
        return Answer(incumbent.point, None, done == self.restarts, message, {"restarts": done})


def settle(network: PairwiseNetwork, nodes: list[FloatArray], temperature: float) -> float:
    """Give each node in turn its best distribution, in place; returns the largest change of a probability."""
    change = 0.0
    incident = _incident(network)
    for i, old in enumerate(nodes):
        energies = network.unary[i].astype(np.float64)
        for e, j, flipped in incident[i]:
            table = network.tables[e]
            energies = energies + (nodes[j] @ table if flipped else table @ nodes[j])
        weights = np.exp((energies.min() - energies) / temperature)
        nodes[i] = weights / weights.sum()
        change = max(change, float(np.abs(nodes[i] - old).max()))
    return change


def lower_bound(network: PairwiseNetwork, nodes: list[FloatArray]) -> float:
    """-mean energy + entropy of independent nodes: below log Z for any distributions, in nats."""
    value = -network.constant
    for energies, node in zip(network.unary, nodes, strict=True):
        value += entropy(node) - mean_energy(energies, node)
    for (i, j), table in zip(network.edges.tolist(), network.tables, strict=True):
        value -= float(nodes[i] @ table @ nodes[j])
    return float(value)


def _incident(network: PairwiseNetwork) -> list[list[tuple[int, int, bool]]]:
    """For each node its edges: (edge, neighbour, whether the node comes second)."""
    found: list[list[tuple[int, int, bool]]] = [[] for _ in network.names]
    for e, (i, j) in enumerate(network.edges.tolist()):
        found[i].append((e, j, False))
        found[j].append((e, i, True))
    return found
