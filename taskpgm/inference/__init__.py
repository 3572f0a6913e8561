"""Inference methods, one file each, all called through `solve`, or `marginals` for probabilities.

To add a method: write one file with a subclass of Method, and put it into METHODS (a subclass of MarginalMethod into
MARGINAL_METHODS). The contract tests take it from there.
"""

from taskpgm.inference.allocation import Allocation
from taskpgm.inference.annealing import GibbsMap, SimulatedAnnealing
from taskpgm.inference.branch_and_bound import BranchAndBound
from taskpgm.inference.branch_by_count import BranchByCount
from taskpgm.inference.coverage_descent import CoverageDescent
from taskpgm.inference.coverage_program import CoverageProgram
from taskpgm.inference.critical_line import CriticalLine
from taskpgm.inference.doubly_nonnegative import DoublyNonnegative
from taskpgm.inference.driver import solve
from taskpgm.inference.dual_decomposition import DualDecomposition
from taskpgm.inference.dynamic_program import DynamicProgram
from taskpgm.inference.envelope_program import EnvelopeProgram
from taskpgm.inference.exhaustive import Exhaustive, ExhaustiveMarginals
from taskpgm.inference.frank_wolfe import PairwiseFrankWolfe
from taskpgm.inference.gibbs import GibbsSampling
from taskpgm.inference.greedy import GreedySelection
from taskpgm.inference.icm import IteratedConditionalModes
from taskpgm.inference.junction_tree import JunctionTree, JunctionTreeMarginals
from taskpgm.inference.local_polytope import LocalPolytope
from taskpgm.inference.loopy_propagation import MaxProduct, SumProduct
from taskpgm.inference.marginals import marginals
from taskpgm.inference.mean_field import MeanField, MeanFieldMap
from taskpgm.inference.method import Answer, Deadline, MarginalAnswer, MarginalMethod, Method
from taskpgm.inference.mirror_descent import MirrorDescent
from taskpgm.inference.mixed_integer import MixedInteger
from taskpgm.inference.pgmpy_exact import PgmpyElimination, PgmpyJunctionTree
from taskpgm.inference.pgmpy_marginals import PgmpyGibbs, PgmpyJunctionTreeMarginals
from taskpgm.inference.pgmpy_mplp import PgmpyMplp
from taskpgm.inference.rounding import LargestRemainder
from taskpgm.inference.router import Choice, best_method, convex_method
from taskpgm.inference.simplex_qp import SimplexQP
from taskpgm.inference.swap_search import SwapSearch
from taskpgm.inference.sweep import solve_many
from taskpgm.inference.toulbar2 import Toulbar2
from taskpgm.inference.transfer_descent import TransferDescent
from taskpgm.inference.tree_reweighted import TreeReweighted, TreeReweightedMax

METHODS: tuple[Method, ...] = (
    SimplexQP(),
    CoverageProgram(),
    CoverageDescent(),
    Allocation(),
    EnvelopeProgram(),
    TransferDescent(),
    CriticalLine(),
    PairwiseFrankWolfe(),
    MirrorDescent(),
    Exhaustive(),
    BranchAndBound(),
    BranchByCount(),
    DynamicProgram(),
    JunctionTree(),
    Toulbar2(),
    MixedInteger(),
    PgmpyElimination(),
    PgmpyJunctionTree(),
    LocalPolytope(),
    DoublyNonnegative(),
    TreeReweightedMax(),
    DualDecomposition(),
    MaxProduct(),
    PgmpyMplp(),
    LargestRemainder(),
    GreedySelection(),
    SwapSearch(),
    IteratedConditionalModes(),
    SimulatedAnnealing(),
    GibbsMap(),
    MeanFieldMap(),
)

MARGINAL_METHODS: tuple[MarginalMethod, ...] = (
    ExhaustiveMarginals(),
    JunctionTreeMarginals(),
    SumProduct(),
    TreeReweighted(),
    MeanField(),
    GibbsSampling(),
    PgmpyJunctionTreeMarginals(),
    PgmpyGibbs(),
)

__all__ = [
    "MARGINAL_METHODS",
    "METHODS",
    "Allocation",
    "Answer",
    "BranchAndBound",
    "BranchByCount",
    "Choice",
    "CoverageDescent",
    "CoverageProgram",
    "CriticalLine",
    "Deadline",
    "DoublyNonnegative",
    "DualDecomposition",
    "DynamicProgram",
    "EnvelopeProgram",
    "Exhaustive",
    "ExhaustiveMarginals",
    "GibbsMap",
    "GibbsSampling",
    "GreedySelection",
    "IteratedConditionalModes",
    "JunctionTree",
    "JunctionTreeMarginals",
    "LargestRemainder",
    "LocalPolytope",
    "MarginalAnswer",
    "MarginalMethod",
    "MaxProduct",
    "MeanField",
    "MeanFieldMap",
    "Method",
    "MirrorDescent",
    "MixedInteger",
    "PairwiseFrankWolfe",
    "PgmpyElimination",
    "PgmpyGibbs",
    "PgmpyJunctionTree",
    "PgmpyJunctionTreeMarginals",
    "PgmpyMplp",
    "SimplexQP",
    "SimulatedAnnealing",
    "SumProduct",
    "SwapSearch",
    "Toulbar2",
    "TransferDescent",
    "TreeReweighted",
    "TreeReweightedMax",
    "best_method",
    "convex_method",
    "marginals",
    "solve",
    "solve_many",
]
