"""The exact MAP of the task network by pgmpy: variable elimination, and belief propagation on a junction tree.

The network that pgmpy sees is `levels.to_pgmpy()`: every two tasks share a factor, since the budget couples all. So
its only clique holds all the tasks, and either algorithm (Zhang & Poole 1994; Lauritzen & Spiegelhalter 1988) fills a
table of all joint states. Both are asked for the joint table of all variables by name, and its largest entry is decoded
into levels by the names of the states. Compare energies with other methods, never levels: which of several best states
comes first is up to pgmpy.

    solution = solve(network.levels(quanta=4), PgmpyElimination())
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import IntArray

STATE_LIMIT = 1 << 20
TASK_LIMIT = 32


@dataclass(frozen=True)
class PgmpyElimination(Method):
    """pgmpy's VariableElimination up to `limit` joint states. Once begun it cannot be stopped by the deadline."""

    limit: int = STATE_LIMIT

    name: ClassVar[str] = "pgmpy-elimination"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True
    foreign: ClassVar[tuple[str, ...]] = ("taskpgm.pgm", "pgmpy.inference")

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return _refusal(problem, self.limit)

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        from taskpgm.pgm import map_by_elimination

        return _answer(problem, map_by_elimination, deadline)


@dataclass(frozen=True)
class PgmpyJunctionTree(Method):
    """pgmpy's BeliefPropagation, which builds and calibrates a junction tree; otherwise as PgmpyElimination."""

    limit: int = STATE_LIMIT

    name: ClassVar[str] = "pgmpy-junction-tree"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = True
    foreign: ClassVar[tuple[str, ...]] = ("taskpgm.pgm", "pgmpy.inference")

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return _refusal(problem, self.limit)

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        from taskpgm.pgm import map_by_junction_tree

        return _answer(problem, map_by_junction_tree, deadline)


def _refusal(problem: PairwiseNetwork, limit: int) -> str | None:
    states = math.prod(problem.states.tolist())
    if states > limit:
        size = Decimal(states)  # may exceed what a float holds
        return f"{size:.7g} joint states; pgmpy is asked for up to {limit}: use fewer quanta or tasks, or a lower cap"
    if len(problem) > TASK_LIMIT:
        return f"{len(problem)} nodes; one table of all tasks has up to {TASK_LIMIT} axes"
    return None


def _answer(
    problem: PairwiseNetwork, most_probable: Callable[[PairwiseNetwork], IntArray], deadline: Deadline
) -> Answer:
    from taskpgm.pgm import map_resolution

    if deadline.passed():
        return Answer(None, None, False, "the deadline passed before pgmpy was asked")
    states = most_probable(problem)
    if problem.violation(states) > 0.0:
        return Answer(None, message=f"pgmpy's most probable state {states.tolist()} does not keep the budget")
    # No state is more probable, but for rounding: so none has less energy, but for what rounding can hide.
    bound = problem.energy(states) - map_resolution(problem) - problem.rounding
    return Answer(states, bound)
