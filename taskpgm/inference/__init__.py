"""Inference methods, one file each, all called through `solve`.

To add a method: write one file with a subclass of Method, and put it into METHODS. The contract tests take it from
there.
"""

from taskpgm.inference.annealing import SimulatedAnnealing
from taskpgm.inference.branch_and_bound import BranchAndBound
from taskpgm.inference.critical_line import CriticalLine
from taskpgm.inference.driver import solve
from taskpgm.inference.exhaustive import Exhaustive
from taskpgm.inference.frank_wolfe import PairwiseFrankWolfe
from taskpgm.inference.greedy import GreedySelection
from taskpgm.inference.marginals import marginals
from taskpgm.inference.method import Answer, Deadline, MarginalAnswer, MarginalMethod, Method
from taskpgm.inference.mirror_descent import MirrorDescent
from taskpgm.inference.pgmpy_exact import PgmpyElimination, PgmpyJunctionTree
from taskpgm.inference.rounding import LargestRemainder
from taskpgm.inference.simplex_qp import SimplexQP
from taskpgm.inference.swap_search import SwapSearch

METHODS: tuple[Method, ...] = (
    SimplexQP(),
    CriticalLine(),
    PairwiseFrankWolfe(),
    MirrorDescent(),
    Exhaustive(),
    BranchAndBound(),
    PgmpyElimination(),
    PgmpyJunctionTree(),
    LargestRemainder(),
    GreedySelection(),
    SwapSearch(),
    SimulatedAnnealing(),
)

__all__ = [
    "METHODS",
    "Answer",
    "BranchAndBound",
    "CriticalLine",
    "Deadline",
    "Exhaustive",
    "GreedySelection",
    "LargestRemainder",
    "Method",
    "MirrorDescent",
    "PairwiseFrankWolfe",
    "PgmpyElimination",
    "PgmpyJunctionTree",
    "SimplexQP",
    "SimulatedAnnealing",
    "SwapSearch",
    "solve",
]
