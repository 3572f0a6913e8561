"""Simulated annealing: random moves at a temperature that falls, and a descent at the end.

On the levels of tasks a move is the exchange of one quantum; one that raises the energy by d is accepted with
probability exp(-d / T) (Metropolis et al. 1953). On any other pairwise network a move draws a node, or with a budget a
pair of nodes, from its distribution at temperature T given all others (Geman & Geman 1984; see `gibbs`). T falls by a
constant factor from sweep to sweep (Kirkpatrick, Gelatt & Vecchi 1983). Its scale is read off the changes of energy
that moves make at the start, so that scaling all energies, or adding a constant, changes nothing.

    solution = solve(network.levels(quanta=10), SimulatedAnnealing(sweeps=500), seed=1)
    solution = solve(any_pairwise_network, GibbsMap(chains=20), seed=1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.icm import NO_START, Descent, starts
from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.inference.rounding import even_levels
from taskpgm.inference.swap_search import descend, level_steps, move_changes
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, IntArray

BLOCK = 20


@dataclass(frozen=True)
class SimulatedAnnealing(Method):
    """`sweeps` temperatures from `hottest` to `coldest`, each with `proposals` exchanges proposed per task.

    Temperatures are in units of the mean absolute change of energy by one exchange of the starting levels. The best
    levels seen are handed to SwapSearch's descent. stats["accepted"] counts the exchanges made, stats["moves"] the
    descent's.
    """

    sweeps: int = 200
    proposals: int = 50
    hottest: float = 1.0
    coldest: float = 1e-3

    name: ClassVar[str] = "simulated-annealing"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        start = even_levels(problem)
        if deadline.passed():
            return Answer(start, None, False)
        best, accepted = self._anneal(problem, start, deadline, np.random.default_rng(seed))
        levels, moves, settled = descend(problem, best, deadline)
        deadline.note(levels)
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
            before = least
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
            if least < before:
                deadline.note(best)
        return best, accepted

    def _temperatures(self, changes: FloatArray) -> FloatArray:
        """(sweeps,) falling by a constant factor; 0 where no exchange changes the energy."""
        finite = np.abs(changes[np.isfinite(changes)])
        scale = float(finite.mean()) if finite.size else 0.0
        return scale * np.geomspace(self.hottest, self.coldest, self.sweeps)


# ---------------------------------------------------------------------------------------------- pairwise networks


@dataclass(frozen=True)
class GibbsMap(Method):
    """Chains of `sweeps` sweeps whose temperature falls by a constant factor from sweep to sweep: simulated annealing.

    Temperatures go from `hottest` to `coldest`, in units of the median change of energy by a change of one node at the
    start. Chains start from the nodes' cheapest states and from random ones, and keep a budget by drawing pairs of
    nodes. The first start descends to a local minimum at once, the best states that each chain saw do in the end.
    stats["sweeps"] counts the sweeps of all chains, stats["changes"] the changes of the descents.
    """

    chains: int = 8
    sweeps: int = 500
    hottest: float = 1.0
    coldest: float = 0.02

    name: ClassVar[str] = "gibbs"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    compiles: ClassVar[bool] = True

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        begun = list(starts(problem, self.chains - 1, seed))
        if not begun:
            return Answer(None, message=NO_START)
        if deadline.passed():
            return Answer(begun[0], None, False)
        annealing, descent = _Annealing(problem, begun, seed), Descent(problem, deadline)
        first, changes, settled = descent.run(begun[0])  # so that there is a fair point early on
        annealing.keep(first, problem.energy(first), deadline)
        swept = annealing.run(self, deadline)
        for states in annealing.best:
            states, made, ended = descent.run(states)
            settled, changes = settled and ended, changes + made
            annealing.keep(states, problem.energy(states), deadline)
        return Answer(annealing.point, None, settled, "", {"sweeps": swept, "changes": changes})


class _Annealing:
    """Chains that are cooled in step, the best states that each saw, and the best point of all."""

    def __init__(self, problem: PairwiseNetwork, begun: list[IntArray], seed: int) -> None:
        from taskpgm.inference.gibbs_kernels import new_tally
        from taskpgm.inference.kernels import begin, lay_out

        self.problem, self.layout = problem, lay_out(problem)
        self.searches = [begin(self.layout, states) for states in begun]
        self.tallies = [new_tally(self.layout, np.zeros(0)) for _ in begun]
        self.randoms = np.random.default_rng(seed).spawn(len(begun))
        self.best = [states.copy() for states in begun]
        self.point, self.least = begun[0], problem.energy(begun[0])

    def run(self, method: GibbsMap, deadline: Deadline) -> int:
        """Cool all chains block by block, until done or the deadline passes; returns the sweeps made."""
        from taskpgm.inference.gibbs_kernels import cool

        energies = np.array([self.problem.energy(states) for states in self.best])
        least, swept = energies.copy(), 0
        temperatures = self._unit() * np.geomspace(method.hottest, method.coldest, method.sweeps)
        for first in range(0, method.sweeps, BLOCK):
            block = temperatures[first : first + BLOCK]
            for c, search in enumerate(self.searches):
                if deadline.passed():
                    return swept
                energies[c], least[c] = cool(
                    self.layout, search, self.tallies[c], block, energies[c], least[c], self.best[c], self.randoms[c]
                )
                swept += len(block)
                self.keep(self.best[c], least[c], deadline)
        return swept

    def keep(self, states: IntArray, energy: float, deadline: Deadline) -> None:
        """Remember the states if they are the best so far, and note it."""
        if energy < self.least:
            self.point, self.least = states.copy(), energy
            deadline.note(states)

    def _unit(self) -> float:
        """The median change of energy by a change of one node's state at the starts; 1 where none changes it."""
        owned = np.arange(self.layout.unary.shape[1]) < self.layout.states[:, None]
        nodes, changes = np.arange(len(owned)), []
        for search in self.searches:
            energies = self.layout.unary + search.field
            change = np.abs(energies - energies[nodes, search.states][:, None])[owned]
            changes.append(change[change > 0.0])
        found = np.concatenate(changes)
        return float(np.median(found)) if found.size else 1.0
