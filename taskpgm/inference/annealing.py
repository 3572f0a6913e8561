"""Simulated annealing over exchanges of one quantum, cooled geometrically, and one descent at the end.

A random exchange that raises the energy by d is accepted with probability exp(-d / T) (Metropolis et al. 1953), and T
falls by a constant factor from sweep to sweep (Kirkpatrick, Gelatt & Vecchi 1983). The scale of T is read off the
problem: T starts at the mean change of energy over all single exchanges of the starting levels, so that scaling all
energies, or adding a constant, changes nothing.

    solution = solve(network.levels(quanta=10), SimulatedAnnealing(sweeps=500), seed=1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.inference.rounding import even_levels
from taskpgm.inference.swap_search import descend, level_steps, move_changes
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray, IntArray


@dataclass(frozen=True)
class SimulatedAnnealing(Method):
    """`sweeps` temperatures from `hottest` to `coldest`, each with `proposals` exchanges proposed per task.

    Temperatures are in units of the mean absolute change of energy by one exchange of the starting levels. The best
    levels seen are handed to SwapSearch's descent. stats["accepted"] counts the exchanges made, stats["moves"] the
    descent's. numba compiles the loop on first use, for a few seconds that no deadline can cut short.
    """

    sweeps: int = 200
    proposals: int = 50
    hottest: float = 1.0
    coldest: float = 1e-3

    name: ClassVar[str] = "simulated-annealing"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = False

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        start = even_levels(problem)
        if deadline.passed():
            return Answer(start, None, False)
        best, accepted = self._anneal(problem, start, deadline, np.random.default_rng(seed))
        levels, moves, settled = descend(problem, best, deadline)
        return Answer(levels, None, settled, "", {"accepted": accepted, "moves": moves})

    def _anneal(
        self, problem: LevelsNetwork, start: IntArray, deadline: Deadline, random: np.random.Generator
    ) -> tuple[IntArray, int]:
        from taskpgm.inference.kernels import exchange_sweep

        rise, fall = level_steps(problem)
        coupling, minimum = problem.coupling, problem.minimum
        levels, best, field = start.copy(), start.copy(), coupling @ start
        owner = np.repeat(np.arange(len(problem)), levels - minimum)  # a task for each quantum that may move
        energy = least = 0.0
        accepted = 0
        for temperature in self._temperatures(move_changes(problem, levels, field, rise, fall)):
            if deadline.passed() or len(owner) == 0:
                break
            energy, least, more = exchange_sweep(
                coupling,
                rise,
                fall,
                minimum,
                levels,
                field,
                owner,
                best,
                energy,
                least,
                temperature,
                self.proposals * len(problem),
                random,
            )
            accepted += more
        return best, accepted

    def _temperatures(self, changes: FloatArray) -> FloatArray:
        """(sweeps,) falling by a constant factor; 0 where no exchange changes the energy."""
        finite = np.abs(changes[np.isfinite(changes)])
        scale = float(finite.mean()) if finite.size else 0.0
        return scale * np.geomspace(self.hottest, self.coldest, self.sweeps)
