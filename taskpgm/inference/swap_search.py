"""Local search that moves one quantum at a time from the task that spares it best to the task that uses it best.

The energy is pairwise, so with the field f = Cx of all tasks (C the coupling of two quanta) moving a quantum from i to
j changes it by

    fall_i(x_i) + rise_j(x_j) + f_j - f_i - C_ij

where fall and rise are first differences of the node energies. All n^2 moves are compared at once, the best is made,
and f is updated by two columns of C. The end is a point that no single move improves. For selection (cap = 1) this is
the interchange heuristic of Nemhauser, Wolsey & Fisher 1978.

    solution = solve(network.levels(quanta=10), SwapSearch(restarts=20), seed=1)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.inference.rounding import even_levels
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray, IntArray

TOLERANCE = 1e-13


@dataclass(frozen=True)
class SwapSearch(Method):
    """Descends from the most even levels and from `restarts` random ones, and keeps the best.

    stats["descents"] counts the starts, stats["moves"] the moves of all of them.
    """

    restarts: int = 10

    name: ClassVar[str] = "swap-search"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        best, least, descents, moves = even_levels(problem), np.inf, 0, 0
        for start in _starts(problem, self.restarts, seed):
            levels, made, settled = descend(problem, start, deadline)
            descents, moves, energy = descents + 1, moves + made, problem.energy(levels)
            if energy < least:
                best, least = levels, energy
                deadline.note(levels)
            if not settled:
                break
        return Answer(best, None, settled, "", {"descents": descents, "moves": moves})


def _starts(problem: LevelsNetwork, restarts: int, seed: int) -> Iterator[IntArray]:
    yield even_levels(problem)
    random = np.random.default_rng(seed)
    for _ in range(restarts):
        yield random_levels(problem, random)


def random_levels(problem: LevelsNetwork, random: np.random.Generator) -> IntArray:
    """(n,) feasible levels: what is left above the minimum is drawn without replacement from all the room."""
    left = problem.quanta - int(problem.minimum.sum())
    room = np.minimum(problem.maximum - problem.minimum, left)
    return np.asarray(problem.minimum + random.multivariate_hypergeometric(room, left), dtype=np.int64)


def level_steps(problem: LevelsNetwork) -> tuple[FloatArray, FloatArray]:
    """(rise, fall), each (n, most levels of a task): what one quantum more, or fewer, adds to a task's node energy.

    Columns count levels from the task's minimum. A step out of the bounds costs infinity.
    """
    width = int((problem.maximum - problem.minimum).max()) + 1
    rise, fall = np.full((len(problem), width), np.inf), np.full((len(problem), width), np.inf)
    for i, energies in enumerate(problem.node_energies):
        rise[i, : len(energies) - 1] = np.diff(energies)
        fall[i, 1 : len(energies)] = -np.diff(energies)
    return rise, fall


def move_changes(
    problem: LevelsNetwork, levels: IntArray, field: FloatArray, rise: FloatArray, fall: FloatArray
) -> FloatArray:
    """(n, n) by how much the energy changes when one quantum goes from task i to task j; infinite where it cannot.

    field: (n,) the coupling matrix times the levels. rise, fall: see `level_steps`.
    """
    tasks, steps = np.arange(len(problem)), levels - problem.minimum
    changes: FloatArray = np.add.outer(fall[tasks, steps] - field, rise[tasks, steps] + field)
    changes -= problem.coupling
    np.fill_diagonal(changes, np.inf)
    return changes


def descend(problem: LevelsNetwork, start: IntArray, deadline: Deadline) -> tuple[IntArray, int, bool]:
    """Make the best single move until none improves: (levels, moves made, whether it ended before the deadline).

    A move must gain more than 1e-13 of the largest step, since less may be a rounding error: so the descent ends.
    """
    rise, fall = level_steps(problem)
    levels, field, moves = start.copy(), problem.coupling @ start, 0
    finite = np.abs(rise[np.isfinite(rise)]).max(initial=0.0)
    least_gain = TOLERANCE * (finite + problem.quanta * float(np.abs(problem.coupling).max()))
    while not deadline.passed():
        changes = move_changes(problem, levels, field, rise, fall)
        giver, taker = divmod(int(changes.argmin()), len(problem))
        if not changes[giver, taker] < -least_gain:
            return levels, moves, True
        levels[giver] -= 1
        levels[taker] += 1
        field += problem.coupling[taker] - problem.coupling[giver]  # symmetric: rows are columns
        moves += 1
    return levels, moves, False
