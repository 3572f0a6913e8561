"""The two relaxations: their bounds hold whatever their solvers say, and are tight where the mathematics says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import least_pairwise_energy, pairwise_energy_by_loops, pairwise_points
from strategies import SEEDS, indefinite, pairwise_networks, random_network, random_pairwise
from test_contracts import broken_laws, submodular
from test_exhaustive import BUGS, Altered, planted_network, scale_of, with_odd_levels

from taskpgm.inference.branch_and_bound import BranchAndBound
from taskpgm.inference.decoding import most_agreeing
from taskpgm.inference.doubly_nonnegative import DoublyNonnegative
from taskpgm.inference.driver import canonical, solve
from taskpgm.inference.exhaustive import Exhaustive
from taskpgm.inference.lifting import Lifting
from taskpgm.inference.local_polytope import LocalPolytope, dual_bound
from taskpgm.inference.method import Answer, Deadline, Method
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, Status

NETWORKS = pairwise_networks(max_nodes=5, budgets=None)
FORBIDDING = pairwise_networks(max_nodes=5, forbidden=(0.3,), budgets=None, scales=(1.0,))
QUICK = DoublyNonnegative(iterations=400)
METHODS: list[Method] = [LocalPolytope(), QUICK]


def names(method: Any) -> str:
    return str(method.name)


@pytest.mark.parametrize("method", METHODS, ids=names)
@given(network=NETWORKS, odd=st.booleans(), seed=SEEDS)
@settings(max_examples=60)
def test_bound_oracle_energy(method: Method, network: PairwiseNetwork, odd: bool, seed: int) -> None:
    network = with_odd_levels(network, seed) if odd else network
    oracle, scale = least_pairwise_energy(network), scale_of(network)
    solution = solve(network, method)
    assert solution.point is not None, solution
    assert network.violation(solution.point) == 0.0
    assert solution.bound <= oracle + 1e-13 * scale
    assert solution.energy >= oracle - 1e-13 * scale
    trivial = network.constant + sum(float(table.min()) for table in (*network.unary, *network.tables))
    assert solution.bound >= trivial - 1e-9 * scale


@pytest.mark.parametrize("method", METHODS, ids=names)
@given(network=FORBIDDING)
@settings(max_examples=30)
def test_a_forbidden_pair_never_raises_the_bound_too_far(method: Method, network: PairwiseNetwork) -> None:
    solution = solve(network, method)
    if solution.point is None:  # rounding marginals may end in a forbidden pair, and the driver says so
        assert "inf" in solution.message
    else:
        assert solution.bound <= least_pairwise_energy(network) + 1e-9


@given(NETWORKS, SEEDS, st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=100)
def test_any_dual_numbers_give_a_bound(network: PairwiseNetwork, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    rows = len(network) + sum(sum(table.shape) for table in network.tables) + (network.budget is not None)
    oracle = least_pairwise_energy(network)
    assert dual_bound(network, size * rng.standard_normal(rows)) <= oracle


@given(NETWORKS, SEEDS, st.sampled_from([0.0, 1e-3, 1.0, 1e3]))
@settings(max_examples=100)
def test_any_symmetric_matrix_gives_a_bound(network: PairwiseNetwork, seed: int, size: float) -> None:
    form = Lifting.of(network)
    shift = size * np.random.default_rng(seed).standard_normal(form.cost.shape)
    oracle, scale = least_pairwise_energy(network), scale_of(network)
    found = form.bound(shift + shift.T)
    assert found <= oracle
    if size == 0.0:
        least = [*network.unary, *network.tables]
        assert found == pytest.approx(network.constant + sum(t.min() for t in least), abs=1e-10 * scale)


@pytest.mark.parametrize("states", [2, 3, 4, 5])
@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_rounding_is_allowed_for_where_nothing_else_is_lost(nodes: int, states: int) -> None:
    """y'QQ'y = n + 1 for every y, and by symmetry the same for every node and pair: only rounding is lost."""
    form = Lifting.of(PairwiseNetwork.from_factors([states] * nodes, []))
    whole = form.basis @ form.basis.T
    for size in (1.0, 1e3, 1e6, -1.7e6):
        found = form.bound(size * 0.5 * (whole + whole.T))
        assert -1e-7 * abs(size) <= found <= -np.finfo(np.float64).eps * abs(size) * form.length


@given(NETWORKS, st.booleans(), SEEDS)
@settings(max_examples=60)
def test_the_lifting_is_the_energy_of_every_assignment(network: PairwiseNetwork, odd: bool, seed: int) -> None:
    network = with_odd_levels(network, seed) if odd else network
    form = Lifting.of(network)
    np.testing.assert_allclose(form.basis.T @ form.basis, np.eye(form.order), atol=1e-12)
    for states in pairwise_points(network)[:50]:
        y = np.zeros(len(form.cost))
        y[[0, *(form.starts + states)]] = 1.0
        assert y @ y == form.length
        by_hand = pairwise_energy_by_loops(network, states)
        lifted = network.constant + form.unit * float(y @ form.cost @ y)
        assert lifted == pytest.approx(by_hand, abs=1e-12 * scale_of(network))
        np.testing.assert_allclose(form.rows @ y, 0.0, atol=1e-12)
        np.testing.assert_allclose(form.basis @ (form.basis.T @ y), y, atol=1e-11)


# ---------------------------------------------------------------------------------------------------- where it is tight


@pytest.mark.parametrize("method", [LocalPolytope(), DoublyNonnegative()], ids=names)
@pytest.mark.parametrize("seed", range(6))
def test_trees_and_submodular_networks_are_solved(method: Method, seed: int) -> None:
    tree = random_pairwise(seed, nodes=6, tree=True)
    for network in (tree, submodular(seed)):
        solution = solve(network, method)
        assert solution.status is Status.optimal, solution
        assert solution.energy == pytest.approx(least_pairwise_energy(network), abs=1e-7)


def frustrated() -> PairwiseNetwork:
    """Three nodes, each two of which would differ: the linear program puts them all at one half."""
    alike = np.eye(2)
    return PairwiseNetwork.from_factors([2, 2, 2], [([0, 1], alike), ([1, 2], alike), ([0, 2], alike)])


def test_a_frustrated_triangle_separates_the_two() -> None:
    network = frustrated()
    assert least_pairwise_energy(network) == 1.0
    assert solve(network, LocalPolytope()).bound == pytest.approx(0.0, abs=1e-9)
    assert solve(network, DoublyNonnegative()).bound == pytest.approx(0.75, abs=1e-6)  # angles of 120 degrees


@pytest.mark.parametrize("seed", range(3))
def test_doubly_nonnegative_is_at_least_the_linear_program_on_selections(seed: int) -> None:
    for network in (
        random_network(12, seed, "full_rank", beta=0.05),
        TaskNetwork(np.zeros(10), indefinite(10, np.random.default_rng(seed))),
    ):
        levels = network.levels(4, cap=1)
        strong, weak, exact = (solve(levels, m) for m in (DoublyNonnegative(), LocalPolytope(), Exhaustive()))
        assert weak.bound - 1e-6 <= strong.bound <= exact.energy
        assert exact.energy - strong.bound <= 0.2 * (exact.energy - weak.bound) + 1e-6


# ----------------------------------------------------------------------------------------------- against other programs


def linear_program_by_cvxpy(network: PairwiseNetwork) -> float:
    """The optimum of the relaxation as the module states it."""
    import cvxpy as cp

    nodes = [cp.Variable(len(values), nonneg=True) for values in network.unary]
    pairs = [cp.Variable(table.shape, nonneg=True) for table in network.tables]
    rules = [cp.sum(node) == 1.0 for node in nodes]
    total = network.constant + sum(values @ node for values, node in zip(network.unary, nodes, strict=True))
    for (i, j), table, pair in zip(network.edges, network.tables, pairs, strict=True):
        total += cp.sum(cp.multiply(table, pair))
        rules += [cp.sum(pair, axis=1) == nodes[i], cp.sum(pair, axis=0) == nodes[j]]
    if network.budget is not None:
        used = sum(levels @ node for levels, node in zip(network.levels, nodes, strict=True))
        rules.append(used == network.budget)
    program = cp.Problem(cp.Minimize(total), rules)
    program.solve(solver="CLARABEL")
    return float(program.value)


@pytest.mark.parametrize("seed", range(8))
def test_the_linear_bound_is_the_optimum_of_the_relaxation(seed: int) -> None:
    network = random_pairwise(seed, density=1.0, budget=seed % 2 == 1)
    form = canonical(network)
    assert isinstance(form, PairwiseNetwork)
    answer = LocalPolytope().run(form, Deadline(None), 0)
    assert answer.bound == pytest.approx(linear_program_by_cvxpy(network), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_splitting_and_cvxpy_find_the_same_bound(seed: int, solver: Any) -> None:
    if seed == 0:
        network: Any = frustrated()
    elif seed == 1:
        network = random_network(12, 4, "full_rank", beta=0.05).levels(5, cap=1)
    else:
        network = random_pairwise(seed, density=1.0, budget=seed == 3)
    ours, theirs = solve(network, DoublyNonnegative()), solve(network, DoublyNonnegative(solver=solver))
    assert ours.bound == pytest.approx(theirs.bound, abs=2e-5 * max(1.0, abs(ours.bound)))
    # of seed 0 the solution is one half everywhere: how that is rounded hangs on the last digits of SCS's release
    if (seed, solver) == (0, "SCS"):
        assert ours.energy == least_pairwise_energy(network) <= theirs.energy
    else:
        assert ours.energy == pytest.approx(theirs.energy, abs=1e-9)


# -------------------------------------------------------------------------------------------------- limits and rounding


def test_what_is_too_large_is_refused() -> None:
    network = random_pairwise(1, nodes=6, density=1.0)
    assert "HiGHS is asked for up to 10" in solve(network, LocalPolytope(limit=10)).message
    assert "takes up to 3" in solve(network, DoublyNonnegative(limit=3)).message
    large = random_network(80, 1).levels(5, cap=1)
    assert "cvxpy" in solve(large, DoublyNonnegative(solver="SCS")).message


@pytest.mark.parametrize("method", [LocalPolytope(), DoublyNonnegative(), DoublyNonnegative("SCS")], ids=names)
def test_a_deadline_leaves_a_point_and_a_bound(method: Method) -> None:
    levels = random_network(30, 1, "full_rank", beta=0.05).levels(6, cap=1)
    exact = solve(levels, BranchAndBound())
    solution = solve(levels, method, deadline=0.0)
    assert solution.status is Status.timeout
    assert np.isfinite(solution.bound)
    assert solution.bound <= exact.energy + 1e-12 <= solution.energy + 2e-12


@given(NETWORKS, SEEDS)
def test_rounded_scores_keep_any_budget(network: PairwiseNetwork, seed: int) -> None:
    network = with_odd_levels(network, seed)
    rng = np.random.default_rng(seed)
    scores = [rng.random(count) for count in network.states]
    point = most_agreeing(network, scores)
    assert point is not None
    assert network.violation(point) == 0.0
    assume(network.budget is not None)
    assert most_agreeing(replace(network, budget=10_000), scores) is None


def test_scores_of_a_feasible_point_are_rounded_to_it() -> None:
    network = random_pairwise(6, nodes=6, budget=True)
    for states in pairwise_points(network)[:20]:
        scores: list[FloatArray] = [np.eye(count)[k] for count, k in zip(network.states, states, strict=True)]
        point = most_agreeing(network, scores)
        assert point is not None
        assert point.tolist() == list(states)


def test_a_budget_that_nothing_keeps_is_no_answer() -> None:
    network = replace(random_pairwise(1), budget=100, levels=tuple(np.arange(d) for d in random_pairwise(1).states))
    for method in METHODS:
        assert "budget" in solve(network, method).message


# --------------------------------------------------------------------------------------------------------- planted bugs


@pytest.mark.parametrize("bug", ["the sign is wrong", "the bound is too high", "the constant is forgotten"])
@pytest.mark.parametrize("method", [LocalPolytope(), DoublyNonnegative()], ids=names)
def test_planted_bugs_are_caught(method: Method, bug: str) -> None:
    network = replace(planted_network(), budget=None)
    oracle = least_pairwise_energy(network)
    change, raised = BUGS[bug]
    assert broken_laws(Altered(method, change, raised), network, oracle)[1]
    assert broken_laws(method, network, oracle)[1] == []


@pytest.mark.parametrize("method", [LocalPolytope(), DoublyNonnegative()], ids=names)
def test_a_dropped_factor_is_caught_where_the_relaxation_is_tight(method: Method) -> None:
    """Leaving out what only charges lowers a bound, which stays true: but on a tree nothing may be missing."""
    tree = random_pairwise(2, nodes=6, tree=True, scale=3.0)
    oracle = least_pairwise_energy(tree)

    def dropped(part: PairwiseNetwork) -> PairwiseNetwork:
        return replace(part, tables=(np.zeros_like(part.tables[0]), *part.tables[1:]))

    assert solve(tree, Altered(method, lambda n: n)).status is Status.optimal
    solution, broken = broken_laws(Altered(method, dropped), tree, oracle)
    assert broken or solution.status is not Status.optimal, solution


def test_an_eigenvalue_left_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(8, 1, "full_rank", beta=0.05).levels(3, cap=1)
    oracle = least_pairwise_energy(network.pairwise)
    assert broken_laws(QUICK, network, oracle)[1] == []
    monkeypatch.setattr(Lifting, "length", property(lambda form: 0.5 * (len(form.network) + 1.0)))
    assert broken_laws(QUICK, network, oracle)[1]


def test_answers_carry_counts() -> None:
    answer: Answer = QUICK.run(frustrated(), Deadline(None), 0)
    assert answer.stats["order"] == 4
    assert answer.stats["solver"] == "splitting"
    assert solve(frustrated(), LocalPolytope()).stats == {"variables": 18, "rows": 15, "solver": 0}
