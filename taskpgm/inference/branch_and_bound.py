"""Branch and bound on levels whose node bound is a Frank-Wolfe certificate that keeps the node energies exact.

Write the energy of levels x as sum_i h_i(x_i) + 1/2 x'Cx with C = lam (S - mu I) / K^2 and mu the least eigenvalue of S
on the sum-zero subspace, so that C is positive semidefinite there, whether S is or not; h_i takes up the difference,
exactly, on whole levels. In a box of levels let env_i be the lower convex envelope of h_i. For any mixture p of the box

    E(x) >= -1/2 p'Cp + min over whole q in the box, sum q = K, of sum_i env_i(q_i) + (Cp)_i q_i

and the minimum is found by taking the cheapest quanta first. So a node needs no solver: any p gives a bound, a better p
a better one, and the search stops as soon as the bound reaches the incumbent. What a quantum more or less of a task
would add to the bound also says which levels can be ruled out without branching.

The bound is DESIGN fact 2; Buchheim, De Santis, Rinaldi & Trieu (2018) branch with Frank-Wolfe bounds for mean-risk
problems; shifting the diagonal by the least eigenvalue is Hammer & Rubin (1970).

    solution = solve(network.levels(quanta=10, cap=1), BranchAndBound())       # the best ten tasks
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.inference.swap_search import SwapSearch
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.types import FloatArray

PRUNE_TOLERANCE = 1e-10
NODES_PER_CALL = 200
FIRST_CAPACITY = 256
RESTARTS = 3


@dataclass(frozen=True)
class BranchAndBound(Method):
    """Depth-first search with the bound above; stats["nodes"] counts boxes.

    Stopped by the deadline it returns the best point so far with the least bound of the boxes that are left.
    """

    name: ClassVar[str] = "branch-and-bound"
    domain: ClassVar[Literal["mixture", "levels"]] = "levels"
    exact: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: LevelsNetwork, deadline: Deadline, seed: int) -> Answer:
        from taskpgm.inference.branch_kernels import search, true_energy

        coupling, nodes = split_energy(problem)
        tolerance = PRUNE_TOLERANCE * max(1.0, float(np.abs(nodes).max()))
        first = SwapSearch(restarts=RESTARTS).run(problem, deadline, seed).point
        assert first is not None
        incumbent = np.array(first, dtype=np.int64)
        energy = float(true_energy(coupling, nodes, incumbent))
        boxes = np.stack([problem.minimum, problem.maximum])[None].repeat(FIRST_CAPACITY, axis=0)
        starts = incumbent.astype(np.float64)[None].repeat(FIRST_CAPACITY, axis=0)
        bounds, waiting, visited = np.full(FIRST_CAPACITY, -np.inf), 1, 0
        while waiting > 0 and not deadline.passed():
            if waiting + 2 > len(bounds):
                boxes, starts, bounds = (np.concatenate([array, array]) for array in (boxes, starts, bounds))
            waiting, energy, more = search(
                coupling,
                nodes,
                problem.quanta,
                boxes,
                starts,
                bounds,
                waiting,
                incumbent,
                energy,
                tolerance,
                NODES_PER_CALL,
            )
            visited += more
        left = float(bounds[:waiting].min(initial=np.inf))
        bound = min(energy - tolerance, left)
        # what the matrix products and the eigenvalue may have lost to rounding
        bound -= 1e-12 * (1.0 + abs(energy)) + _shift_error(coupling, problem.quanta)
        return Answer(incumbent, bound, waiting == 0, "", {"boxes": visited})


def split_energy(problem: LevelsNetwork) -> tuple[FloatArray, FloatArray]:
    """(C, h): the positive semidefinite coupling, and the (n, most levels + 1) rest of the energy at whole levels."""
    network, quanta = problem.network, problem.quanta
    shift = network.curvature if network.lam > 0.0 else 0.0
    coupling = network.lam * (network.similarity - shift * np.eye(len(problem))) / quanta**2
    nodes = np.zeros((len(problem), int(problem.maximum.max()) + 1))
    for i, energies in enumerate(problem.node_energies):
        levels = np.arange(problem.minimum[i], problem.maximum[i] + 1)
        nodes[i, levels] = energies - 0.5 * coupling[i, i] * levels**2
    return np.ascontiguousarray(coupling), nodes


def _shift_error(coupling: FloatArray, quanta: int) -> float:
    """By how much a bound may be too high because the shifted coupling is semidefinite only up to rounding."""
    return float(np.finfo(np.float64).eps * len(coupling) * np.abs(coupling).sum(axis=1).max() * quanta**2)
