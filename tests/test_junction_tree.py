"""Elimination orders, and the junction tree's least energies and marginals: against loops, chains and libDAI."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import least_pairwise_energy, pairwise_marginals, pairwise_points
from strategies import SEEDS, pairwise_networks, random_pairwise
from test_contracts import broken_laws
from test_exhaustive import BUGS, Altered, planted_network, scale_of, with_odd_levels

from taskpgm.inference.bucket_tree import BucketTree
from taskpgm.inference.driver import solve
from taskpgm.inference.elimination import eliminate, elimination_order, least_table
from taskpgm.inference.exhaustive import Exhaustive, ExhaustiveMarginals
from taskpgm.inference.junction_tree import JunctionTree, JunctionTreeMarginals
from taskpgm.inference.marginals import marginals
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, MarginalStatus, Status

NETWORKS = pairwise_networks(max_nodes=6, max_states=4, forbidden=(0.0, 0.3), budgets=None)


def on_edges(nodes: int, edges: Iterable[tuple[int, int]], states: int = 2, seed: int = 0) -> PairwiseNetwork:
    rng = np.random.default_rng(seed)
    factors = [([i], rng.standard_normal(states)) for i in range(nodes)]
    factors += [([i, j], rng.standard_normal((states, states))) for i, j in edges]
    return PairwiseNetwork.from_factors([states] * nodes, factors)


def grid(side: int) -> list[tuple[int, int]]:
    across = [(i * side + j, i * side + j + 1) for i in range(side) for j in range(side - 1)]
    return across + [(i * side + j, i * side + side + j) for i in range(side - 1) for j in range(side)]


# --------------------------------------------------------------------------------------------------------- elimination


def min_fill_by_hand(nodes: int, edges: list[tuple[int, int]]) -> tuple[list[int], int]:
    """(order, width), every fill counted anew at every turn."""
    near: list[set[int]] = [{j for e in edges for j in e if i in e and j != i} for i in range(nodes)]
    left, order, width = set(range(nodes)), [], 0
    while left:
        fill = {v: sum(b not in near[a] for a, b in itertools.combinations(near[v], 2)) for v in left}
        node = min(left, key=lambda v: (fill[v], v))
        width = max(width, len(near[node]))
        for a in near[node]:
            near[a] = (near[a] | near[node]) - {a, node}
        left.remove(node)
        order.append(node)
    return order, width


@given(SEEDS, st.integers(1, 12), st.sampled_from([0.1, 0.3, 0.6, 1.0]))
@settings(max_examples=100)
def test_elimination_is_at_least_as_narrow_as_min_fill(seed: int, nodes: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    edges = [pair for pair in itertools.combinations(range(nodes), 2) if rng.random() < density]
    network = on_edges(nodes, edges)
    by_hand, narrow = min_fill_by_hand(nodes, edges)
    order, width = elimination_order(network)
    assert sorted(order.tolist()) == list(range(nodes))
    assert width <= narrow
    found = eliminate(network)
    assert found is not None
    sizes = [2 ** len(clique) for clique in found.cliques]
    assert found.log2_table == np.log2(max(sizes))
    assert found.log2_total == pytest.approx(np.log2(sum(sizes)))
    assert sum(sizes) <= _table_sizes(edges, by_hand)
    assert least_table(network) <= found.log2_table
    for clique in found.cliques:  # neighbours at a node's turn have later turns
        turns = [found.order.tolist().index(node) for node in clique]
        assert turns == sorted(turns)
    assert all(any({i, j} <= set(clique) for clique in found.cliques) for i, j in edges)


def _table_sizes(edges: list[tuple[int, int]], order: list[int]) -> int:
    near = {i: {j for e in edges for j in e if i in e and j != i} for i in order}
    total = 0
    for node in order:
        total += 2 ** (1 + len(near[node]))
        for a in near[node]:
            near[a] = (near[a] | near[node]) - {a, node}
    return total


def test_known_widths() -> None:
    chain = [(i, i + 1) for i in range(29)]
    assert elimination_order(on_edges(30, chain))[1] == 1
    assert elimination_order(on_edges(30, [*chain, (0, 29)]))[1] == 2
    assert elimination_order(on_edges(6, itertools.combinations(range(6), 2)))[1] == 5
    assert elimination_order(on_edges(5, []))[1] == 0
    assert elimination_order(on_edges(400, grid(20)))[1] == 20  # the tree-width of this grid; min-fill finds 29
    assert elimination_order(replace(on_edges(30, chain), budget=3))[1] == 29


def test_wide_networks_are_refused_before_tables_are_made() -> None:
    everyone = on_edges(40, itertools.combinations(range(40), 2))
    assert eliminate(everyone, 2**24) is None
    assert least_table(everyone) == 40.0
    assert "2^40" in str(JunctionTree().refuses(everyone))
    assert "2^40" in marginals(everyone, JunctionTreeMarginals()).message
    assert "joint states" in solve(on_edges(100, grid(10)), JunctionTree(table_limit=2**9)).message
    assert "messages" in solve(on_edges(100, grid(10)), JunctionTree(message_limit=100)).message
    many = replace(on_edges(60, [(i, i + 1) for i in range(59)], states=20), budget=500)
    assert "sums of levels" in solve(many, JunctionTree(table_limit=10_000)).message


def test_nodes_with_one_state_couple_nothing() -> None:
    factors = [([i, j], np.zeros((1, 2))) for i in range(40) for j in range(40, 45)]
    factors += [([i, j], np.zeros((1, 1))) for i, j in itertools.combinations(range(40), 2)]
    network = PairwiseNetwork.from_factors([1] * 40 + [2] * 5, factors)
    assert elimination_order(network)[1] == 0
    assert solve(network, JunctionTree()).status is Status.optimal


# ------------------------------------------------------------------------------------------------------- least energies


@given(NETWORKS, st.booleans(), SEEDS)
@settings(max_examples=150)
def test_it_finds_the_least_energy(network: PairwiseNetwork, odd: bool, seed: int) -> None:
    network = with_odd_levels(network, seed) if odd else network
    least, scale = least_pairwise_energy(network), scale_of(network)
    solution = solve(network, JunctionTree())
    assert solution.point is not None, solution
    assert network.violation(solution.point) == 0.0
    assert solution.energy == pytest.approx(least, abs=1e-12 * scale)
    assert solution.bound <= least + 1e-14 * scale
    if not network.forbids:
        assert solution.bound >= least - 1e-12 * scale


@pytest.mark.parametrize("seed", range(25))
def test_branching_trees_with_a_budget_equal_enumeration(seed: int) -> None:
    network = random_pairwise(seed, nodes=10, density=0.3, budget=True)
    ours, exact = solve(network, JunctionTree()), solve(network, Exhaustive())
    assert ours.status is Status.optimal
    assert ours.energy == pytest.approx(exact.energy, abs=1e-12 * scale_of(network))
    found, summed = marginals(network, JunctionTreeMarginals()), marginals(network, ExhaustiveMarginals())
    assert found.log_partition == pytest.approx(summed.log_partition, abs=1e-11)
    assert found.pairs is not None
    assert summed.pairs is not None
    for a, b in zip((*found.nodes, *found.pairs), (*summed.nodes, *summed.pairs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def best_on_a_chain(network: PairwiseNetwork) -> float:
    """The least energy of a chain with a budget, by a dictionary from (last state, used) to energy."""
    assert network.budget is not None
    best = {(k, int(network.levels[0][k])): float(e) for k, e in enumerate(network.unary[0])}
    for i, table in enumerate(network.tables, start=1):
        longer: dict[tuple[int, int], float] = {}
        for (last, used), energy in best.items():
            for k, own in enumerate(network.unary[i]):
                key = (k, used + int(network.levels[i][k]))
                value = energy + float(own) + float(table[last, k])
                longer[key] = min(longer.get(key, np.inf), value)
        best = longer
    return network.constant + min(energy for (_, used), energy in best.items() if used == network.budget)


@pytest.mark.parametrize("seed", range(4))
def test_a_long_chain_with_a_budget_is_solved_natively(seed: int) -> None:
    chain = on_edges(60, [(i, i + 1) for i in range(59)], states=3, seed=seed)
    network = replace(chain, budget=(0, 35, 60, 119)[seed])
    solution = solve(network, JunctionTree())
    assert solution.status is Status.optimal
    assert solution.energy == pytest.approx(best_on_a_chain(network), abs=1e-11)


def test_many_tasks_with_few_couplings_share_a_budget() -> None:
    rng = np.random.default_rng(3)
    similarity = np.eye(40)
    for i in range(39):
        similarity[i, i + 1] = similarity[i + 1, i] = 0.5 * rng.random()
    levels = TaskNetwork(rng.random(40), similarity, beta=0.1).levels(20, cap=3)
    solution = solve(levels, JunctionTree())
    assert solution.status is Status.optimal
    assert solution.point is not None
    assert solution.point.sum() == 20
    assert solution.energy == pytest.approx(best_on_a_chain(levels.pairwise), abs=1e-12)


def test_a_deadline_and_an_impossible_budget() -> None:
    network = random_pairwise(1, nodes=8)
    assert solve(network, JunctionTree(), deadline=0.0).status is Status.timeout
    assert marginals(network, JunctionTreeMarginals(), deadline=0.0).status is MarginalStatus.timeout
    for budget in (-1, 100):
        impossible = replace(network, budget=budget)
        assert "budget" in solve(impossible, JunctionTree()).message
        assert "budget" in marginals(impossible, JunctionTreeMarginals()).message


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str) -> None:
    network = planted_network()
    oracle = least_pairwise_energy(network)
    change, raised = BUGS[bug]
    solution, broken = broken_laws(Altered(JunctionTree(), change, raised), network, oracle)
    assert broken or solution.status is not Status.optimal, solution
    solution, broken = broken_laws(JunctionTree(), network, oracle)
    assert (solution.status, broken) == (Status.optimal, [])


def test_an_edge_lost_from_its_bucket_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    network = planted_network()
    factors = BucketTree.factors
    monkeypatch.setattr(BucketTree, "factors", lambda tree, bucket: factors(tree, bucket)[: 2 if bucket else 1])
    solution, broken = broken_laws(JunctionTree(), network, least_pairwise_energy(network))
    assert broken or solution.status is not Status.optimal, solution
    found = marginals(network, JunctionTreeMarginals())
    assert abs(found.log_partition - pairwise_marginals(network)[2]) > 1e-3


# ------------------------------------------------------------------------------------------------------------ marginals


@given(NETWORKS, st.booleans(), SEEDS)
@settings(max_examples=150)
def test_marginals_equal_sums_over_all_assignments(network: PairwiseNetwork, odd: bool, seed: int) -> None:
    network = with_odd_levels(network, seed) if odd else network
    nodes, pairs, log_partition = pairwise_marginals(network)
    found = marginals(network, JunctionTreeMarginals())
    assert found.status is MarginalStatus.exact, found.message
    assert found.log_partition == pytest.approx(log_partition, rel=1e-12, abs=1e-11)
    assert found.pairs is not None
    for a, b in zip((*found.nodes, *found.pairs), (*nodes, *pairs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("name", ["node 0", "node 3"])
def test_evidence_is_conditioning(name: str) -> None:
    network = random_pairwise(12, nodes=6, budget=True)
    node = network.names.index(name)
    joint, _, log_partition = pairwise_marginals(network)
    shares = []
    for state in range(network.states[node]):
        given_state = network.conditioned({name: state})
        if not pairwise_points(given_state):
            shares.append(0.0)
            continue
        shares.append(np.exp(marginals(given_state, JunctionTreeMarginals()).log_partition - log_partition))
        assert solve(given_state, JunctionTree()).energy == pytest.approx(least_pairwise_energy(given_state), abs=1e-12)
    np.testing.assert_allclose(shares, joint[node], atol=1e-12)


def test_a_long_chain_neither_under_nor_overflows() -> None:
    """log Z of 1500 nodes in a row, by multiplying normalised transfer matrices."""
    network = on_edges(1500, [(i, i + 1) for i in range(1499)], states=3).scaled(20.0)
    weights = np.exp(-network.unary[0])
    logs = np.log(weights.sum())
    weights /= weights.sum()
    for table, unary in zip(network.tables, network.unary[1:], strict=True):
        step = -(table + unary)
        peak = step.max()
        weights = weights @ np.exp(step - peak)
        logs += np.log(weights.sum()) + peak
        weights /= weights.sum()
    found = marginals(network, JunctionTreeMarginals())
    assert found.log_partition == pytest.approx(float(logs), rel=1e-12)
    np.testing.assert_allclose(found.nodes[-1], weights, atol=1e-9)


# --------------------------------------------------------------------------------------------------- another's instance


def read_factor_graph(path: Path) -> PairwiseNetwork:
    """A libDAI factor graph of at most pairwise factors: of a factor's table, the first variable runs fastest."""
    words = [word for line in path.read_text().splitlines() if not line.startswith("#") for word in line.split()]
    position = 0

    def take(count: int) -> list[str]:
        nonlocal position
        position += count
        return words[position - count : position]

    sizes: dict[int, int] = {}
    factors = []
    for _ in range(int(take(1)[0])):
        scope = [int(word) for word in take(int(take(1)[0]))]
        shape = [int(word) for word in take(len(scope))]
        sizes.update(zip(scope, shape, strict=True))
        values = np.zeros(int(np.prod(shape)))
        for _ in range(int(take(1)[0])):
            index, value = take(2)
            values[int(index)] = float(value)
        with np.errstate(divide="ignore"):
            factors.append((scope, -np.log(values.reshape(shape, order="F"))))
    return PairwiseNetwork.from_factors([sizes[i] for i in range(len(sizes))], factors)


def exact_block(path: Path) -> list[FloatArray]:
    """The marginals that libDAI printed for its exact inference, one variable a line: ({x0}, (3.5e-01, 6.5e-01))."""
    block = re.search(r"^EXACT\s*\n((?:# .*\n)+)", path.read_text(), re.MULTILINE)
    assert block is not None
    rows = re.findall(r"\(\{x\d+\}, \(([^)]*)\)\)", block.group(1))
    return [np.array([float(word) for word in row.split(",")]) for row in rows]


def test_libdais_instance(shared_data: Path) -> None:
    manifest = json.loads((shared_data / "instances" / "manifest.json").read_text())
    entry = next(each for each in manifest["entries"] if each["file"] == "uai/testfast.fg")
    network = read_factor_graph(shared_data / "instances" / entry["file"])
    found = marginals(network, JunctionTreeMarginals())
    assert found.log_partition == pytest.approx(entry["known"]["logZ"], abs=1e-8)
    solution = solve(network, JunctionTree())
    assert solution.status is Status.optimal
    assert solution.point is not None
    assert -solution.energy == pytest.approx(entry["known"]["map_logp"], abs=1e-8)
    assert "".join(map(str, solution.point)) == entry["known"]["map"]
    printed = exact_block(shared_data / "instances" / "uai" / "testfast.out")
    for ours, theirs in zip(found.nodes, printed, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-5)
