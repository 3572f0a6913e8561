"""pgmpy's Mplp as it is: a heuristic for comparisons, often wrong even on small chains.

MPLP (Globerson & Jaakkola 2007; Sontag et al. 2008) is coordinate descent on the dual of the local relaxation. pgmpy
sends messages only to nodes that two edges share, so it decodes the leaves of a tree from their own energies alone; of
40 random chains of three nodes it gets 25 wrong. It claims a bound, which nobody here believes: what it claims is in
the stats. For MPLP with a bound that was computed again from its messages, use DualDecomposition.

    solution = solve(network.levels(None, cap=2), PgmpyMplp())
    solution.energy, solution.stats["claimed_bound"]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taskpgm.inference.method import Answer, Deadline, Domain, Method
from taskpgm.pairwise import PairwiseNetwork

ENTRY_LIMIT = 20_000


@dataclass(frozen=True)
class PgmpyMplp(Method):
    """pgmpy's Mplp, its settings the default ones, on networks of up to `limit` pairs without a budget.

    300 pairs of two states take up to 4 s, 20,000 entries up to 16 s. The deadline ends it with nothing in hand.
    """

    limit: int = 300

    name: ClassVar[str] = "pgmpy-mplp"
    domain: ClassVar[Domain] = "pairwise"
    exact: ClassVar[bool] = False
    foreign: ClassVar[tuple[str, ...]] = ("taskpgm.pgm", "pgmpy.inference")

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        if problem.budget is not None:
            return "pgmpy's Mplp knows no budget, and misses one that is folded into energies: use DualDecomposition"
        if len(problem.edges) > self.limit:
            return f"{len(problem.edges)} pairs; pgmpy's Mplp is given up to {self.limit}: use DualDecomposition"
        entries = sum(table.size for table in problem.tables)
        if entries > ENTRY_LIMIT:
            return f"{entries} entries in tables; pgmpy's Mplp is given up to {ENTRY_LIMIT}: use DualDecomposition"
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> Answer:
        from taskpgm.pgm import map_by_mplp

        if deadline.passed():
            return Answer(None, None, False, "the deadline passed before pgmpy was asked")
        states, claims = map_by_mplp(problem)
        return Answer(states, None, stats=claims)
