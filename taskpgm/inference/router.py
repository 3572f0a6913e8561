"""Which method to use for a problem, and why.

The limits are crossovers measured by `python benchmarks/inference.py crossovers`, on the side where being wrong costs
seconds, not the answer.

    choice = best_method(network.levels(quanta=10))
    choice.method, choice.reason
    solve(network.levels(quanta=10), choice.method)
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from taskpgm.capacity import CapacityMixture
from taskpgm.coverage import CoverageNetwork
from taskpgm.energy import MixtureEnergy
from taskpgm.factored import FactoredNetwork
from taskpgm.inference.allocation import Allocation
from taskpgm.inference.branch_and_bound import BranchAndBound
from taskpgm.inference.branch_by_count import BranchByCount
from taskpgm.inference.coverage_descent import CoverageDescent
from taskpgm.inference.coverage_program import CoverageProgram
from taskpgm.inference.driver import canonical
from taskpgm.inference.dynamic_program import DynamicProgram
from taskpgm.inference.elimination import elimination_order
from taskpgm.inference.envelope_program import EnvelopeProgram
from taskpgm.inference.exhaustive import Exhaustive
from taskpgm.inference.frank_wolfe import PairwiseFrankWolfe
from taskpgm.inference.junction_tree import JunctionTree
from taskpgm.inference.method import Method
from taskpgm.inference.mirror_descent import MirrorDescent
from taskpgm.inference.simplex_qp import SimplexQP
from taskpgm.inference.toulbar2 import Toulbar2
from taskpgm.inference.transfer_descent import TransferDescent
from taskpgm.inference.tree_reweighted import TreeReweightedMax
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.room import Room
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import InputError

MANY = 100  # tasks with learning curves: a convex program's cones then take seconds, Newton steps less than one
FEW = 100_000  # assignments: enumerated in milliseconds
TOULBAR2_NODES = 60
DENSE = 0.5  # of the pairs: then bounds by count are stronger than toulbar2's, and weaker at a fifth of them


@dataclass(frozen=True)
class Choice:
    """A method that suits a problem, and the reason in one line."""

    method: Method
    reason: str


def best_method(problem: Problem) -> Choice:
    """The method to try first: exact wherever one is known to end soon.

    Raises:
        InputError: a mixture whose energy is not convex; the message says what to do instead.
    """
    if isinstance(problem, TaskNetwork):
        return _for_mixture(problem)
    if isinstance(problem, CoverageNetwork):
        return _for_coverage(problem)
    if isinstance(problem, SeparableNetwork):
        return _for_separable(problem)
    if isinstance(problem, TransferNetwork):
        return _for_transfer(problem)
    if isinstance(problem, FactoredNetwork):
        return Choice(PairwiseFrankWolfe(), "similarities are given by features: only products with them are needed")
    if isinstance(problem, CapacityMixture):
        return Choice(MirrorDescent(), "mutual information is concave, and each step brings its own bounds")
    if isinstance(problem, LevelsNetwork):
        return _for_levels(problem)
    if isinstance(problem, PairwiseNetwork):
        return _for_pairwise(problem)
    raise InputError(f"no method is known for a {type(problem).__name__}.")


def convex_method(network: MixtureEnergy) -> Method:
    """The convex program for a kind of energy over mixtures, and what stands in for it where none is convex."""
    if isinstance(network, SeparableNetwork):
        return _for_separable(network).method
    if isinstance(network, TransferNetwork):
        return _for_transfer(network).method
    return _for_coverage(network).method if isinstance(network, CoverageNetwork) else SimplexQP()


def _for_mixture(network: TaskNetwork) -> Choice:
    reason = SimplexQP().refuses(network)
    if reason is not None:
        raise InputError(f"no method proves a mixture here ({reason}); use network.levels(K) and BranchAndBound.")
    curvature = f"least eigenvalue {network.curvature:.3g} of S where weights add up to 0"
    return Choice(SimplexQP(), f"the energy is convex on the simplex ({curvature}): a convex program, with certificate")


def _for_coverage(network: CoverageNetwork) -> Choice:
    if len(network) > MANY and CoverageDescent().refuses(network) is None:
        return Choice(CoverageDescent(), f"more than {MANY} tasks with convex curves: Newton steps, with certificate")
    return Choice(CoverageProgram(), "every learning curve is convex: a convex program, with certificate")


def _for_separable(network: SeparableNetwork) -> Choice:
    reason = Allocation().refuses(network)
    if reason is not None:
        return Choice(EnvelopeProgram(), f"{reason}; the envelopes of the curves are a convex program that takes them")
    return Choice(Allocation(), "tasks meet in the budget alone: dynamic programming, with the bound of the envelopes")


def _for_transfer(network: TransferNetwork) -> Choice:
    if Room.of(network.feasible) is None:
        return Choice(EnvelopeProgram(), "constraints leave no room between them; a program of envelopes takes them")
    return Choice(TransferDescent(), "tasks teach each other: descents from many mixtures, and a bound by envelopes")


def _for_levels(levels: LevelsNetwork) -> Choice:
    if levels.size <= FEW:
        return Choice(Exhaustive(), f"{levels.size} ways to share the quanta: all are looked at")
    curvature = levels.network.curvature
    convex = "convex" if curvature >= -1e-12 else f"not convex (least eigenvalue {curvature:.3g}), shifted"
    reason = f"{Decimal(levels.size):.3g} ways to share a fixed budget, energy {convex}: Frank-Wolfe bounds prune most"
    return Choice(BranchAndBound(), reason)


def _for_pairwise(network: PairwiseNetwork) -> Choice:
    if network.size <= FEW:
        return Choice(Exhaustive(), f"{network.size} assignments: all are looked at")
    form = canonical(network)
    if isinstance(form, PairwiseNetwork) and form.budget is not None and DynamicProgram().refuses(form) is None:
        return Choice(
            DynamicProgram(), "a budget alone couples the nodes: dynamic programming over partial sums is exact"
        )
    if isinstance(form, str):
        raise InputError(f"no method takes this network: {form}.")
    parts = [form.part(nodes) for nodes in form.components()] if form.budget is None else [form]
    width = max(elimination_order(part)[1] for part in parts)
    if all(JunctionTree().refuses(part) is None for part in parts):
        return Choice(JunctionTree(), f"tree-width at most {width}: elimination is exact and fits in memory")
    largest = max(len(part) for part in parts)
    if all(_is_dense(part) and BranchByCount().refuses(part) is None for part in parts):
        return Choice(
            BranchByCount(), f"{largest} nodes, nearly all pairs coupled by products of states: searched count by count"
        )
    if largest <= TOULBAR2_NODES and Toulbar2().refuses(form) is None:
        return Choice(
            Toulbar2(), f"tree-width up to {width}, {largest} nodes: too wide to eliminate, few enough to search"
        )
    return Choice(
        TreeReweightedMax(),
        f"tree-width up to {width} and {largest} nodes: too much for exact methods; this one brings a lower bound",
    )


def _is_dense(network: PairwiseNetwork) -> bool:
    return len(network.edges) >= DENSE * len(network) * (len(network) - 1) / 2
