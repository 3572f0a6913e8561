"""One call for every marginal method: p(s) = exp(-E(s) / temperature) / Z, its marginals and log Z.

found = marginals(network.levels(None, cap=2), JunctionTreeMarginals())
found.nodes[0]                      # the probabilities of the first task's levels
found.log_partition                 # log Z in nats
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from taskpgm.inference.child import marginal_answer, run_in_child
from taskpgm.inference.driver import TABLE_LIMIT, stats_of_parts
from taskpgm.inference.method import Deadline, MarginalAnswer, MarginalMethod
from taskpgm.levels import LevelsNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.storage import first_line
from taskpgm.types import InputError, Marginals, MarginalStatus

SUM_TOLERANCE = 1e-6


def marginals(
    problem: LevelsNetwork | PairwiseNetwork,
    method: MarginalMethod,
    *,
    temperature: float = 1.0,
    deadline: float | None = None,
    seed: int = 0,
) -> Marginals:
    """Put a discrete network to a marginal method and check what comes back.

    Args:
        problem: a PairwiseNetwork, or levels; with a budget, the distribution is over assignments that keep it.
        method: one of MARGINAL_METHODS, or your own.
        temperature: energies are divided by it.
        deadline: seconds after which the method should stop with what it has.
        seed: for methods that draw random numbers.

    Raises:
        InputError: a temperature that is not positive.
    """
    if not 0.0 < temperature < np.inf:
        raise InputError(f"temperature {temperature}: it must be a positive number.")
    network = problem.pairwise if isinstance(problem, LevelsNetwork) else problem
    if sum(table.size for table in network.tables) > TABLE_LIMIT:
        return Marginals(method.name, MarginalStatus.refused, message="the tables of its pairs are too large to hold")
    network = network.scaled(1.0 / temperature).shifted()
    components = network.components()
    parts = [network] if len(components) == 1 else [network.part(nodes) for nodes in components]
    reason = next((reason for reason in map(method.refuses, parts) if reason is not None), None)
    if reason is not None:
        return Marginals(method.name, MarginalStatus.refused, message=reason)
    clock = Deadline(deadline)
    try:
        answers = [_run(part, method, clock, seed) for part in parts]
        answer = answers[0] if len(parts) == 1 else _assembled(network, parts, answers)
        return _checked(network, method, answer, time.monotonic() - clock.start)
    except Exception as error:  # whatever a solver of others raises, a comparison goes on and says so
        return Marginals(method.name, MarginalStatus.failed, message=f"{type(error).__name__}: {first_line(error)}")


def _run(part: PairwiseNetwork, method: MarginalMethod, clock: Deadline, seed: int) -> MarginalAnswer:
    if not method.foreign:
        return method.run(part, clock, seed)
    values, _ = run_in_child(method, part, clock, seed)
    if values is None:
        return MarginalAnswer((), None, None, False, "stopped at the deadline: it had handed in nothing by then")
    return marginal_answer(values)


def _assembled(network: PairwiseNetwork, parts: list[PairwiseNetwork], answers: list[MarginalAnswer]) -> MarginalAnswer:
    finished = all(answer.finished for answer in answers)
    message = next((answer.message for answer in answers if answer.message), "")
    stats = stats_of_parts([answer.stats for answer in answers])
    if any(len(answer.nodes) != len(part) for answer, part in zip(answers, parts, strict=True)):
        return MarginalAnswer((), None, None, finished, message, stats)
    nodes: dict[int, Any] = {}
    pairs: dict[tuple[int, int], Any] = {}
    for members, part, answer in zip(network.components(), parts, answers, strict=True):
        nodes.update(zip(members.tolist(), answer.nodes, strict=True))
        if answer.pairs is not None:
            edges = [(int(members[i]), int(members[j])) for i, j in part.edges]
            pairs.update(zip(edges, answer.pairs, strict=True))
    logs = [answer.log_partition for answer in answers if answer.log_partition is not None]
    edges = [(int(i), int(j)) for i, j in network.edges]
    return MarginalAnswer(
        tuple(nodes[i] for i in range(len(network))),
        tuple(pairs[edge] for edge in edges) if len(pairs) == len(edges) else None,
        sum(logs) - network.constant if len(logs) == len(answers) else None,
        finished,
        message,
        stats,
    )


def _checked(network: PairwiseNetwork, method: MarginalMethod, answer: MarginalAnswer, seconds: float) -> Marginals:
    """The answer if its numbers can be probabilities, and how far its class and its convergence let us trust it."""
    if not answer.nodes:
        status = MarginalStatus.failed if answer.finished else MarginalStatus.timeout
        return Marginals(method.name, status, message=answer.message, stats=answer.stats, seconds=seconds)
    problem = _fault(network, answer)
    if problem:
        return Marginals(method.name, MarginalStatus.failed, message=problem, stats=answer.stats, seconds=seconds)
    value = np.nan if answer.log_partition is None else float(answer.log_partition)
    known = answer.log_partition is not None
    exact = method.bounds == "both" and answer.finished
    status = MarginalStatus.bounded if method.bounds and known else MarginalStatus.estimate
    status = MarginalStatus.exact if exact else status if answer.finished else MarginalStatus.timeout
    return Marginals(
        method.name,
        status,
        answer.nodes,
        answer.pairs,
        value,
        value if known and (method.bounds == "lower" or exact) else -np.inf,
        value if known and (method.bounds == "upper" or exact) else np.inf,
        answer.message,
        answer.stats,
        seconds,
    )


def _fault(network: PairwiseNetwork, answer: MarginalAnswer) -> str:
    """What cannot be right about the marginals; empty where nothing is seen."""
    if len(answer.nodes) != len(network):
        return f"marginals of {len(answer.nodes)} nodes came back; there are {len(network)}"
    for name, size, node in zip(network.names, network.states, answer.nodes, strict=True):
        if node.shape != (size,) or not np.isfinite(node).all() or node.min() < 0.0:
            return f"the marginals of {name!r} are not {size} probabilities"
        if abs(node.sum() - 1.0) > SUM_TOLERANCE:
            return f"the marginals of {name!r} add up to {node.sum():.9g}"
    if network.budget is not None:
        used = sum(float(node @ levels) for node, levels in zip(answer.nodes, network.levels, strict=True))
        if abs(used - network.budget) > SUM_TOLERANCE * max(1, abs(network.budget)):
            return f"the expected sum of levels is {used:.9g}, but the budget is {network.budget}"
    if answer.log_partition is not None and not np.isfinite(answer.log_partition):
        return f"log Z is {answer.log_partition}"
    return ""
