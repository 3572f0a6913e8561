"""Message passing: exact on trees, bounds that hold at every moment, and libDAI's published values."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import least_pairwise_energy, pairwise_marginals
from strategies import SEEDS, pairwise_networks, random_pairwise

from taskpgm.inference import marginals, solve
from taskpgm.inference.dual_decomposition import DualDecomposition
from taskpgm.inference.junction_tree import JunctionTreeMarginals
from taskpgm.inference.loopy_propagation import MaxProduct, SumProduct, beliefs, bethe_log_partition, sweep_once
from taskpgm.inference.mean_field import MeanField, MeanFieldMap, lower_bound, settle
from taskpgm.inference.message_kernels import block_sweep, dual_bound, sequential_sweep
from taskpgm.inference.messages import MessageState
from taskpgm.inference.method import Deadline, Method
from taskpgm.inference.tree_reweighted import (
    TreeReweighted,
    TreeReweightedMax,
    mean_log_partition,
    spanning_trees,
)
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, MarginalStatus, Status

MAPS: tuple[Method, ...] = (MaxProduct(), TreeReweightedMax(), DualDecomposition(), MeanFieldMap())
BOUNDED: tuple[Method, ...] = (TreeReweightedMax(), DualDecomposition())
LOOPY = pairwise_networks(max_nodes=6, trees=False)


def named(methods: tuple[Method, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.name)


# ------------------------------------------------------------------------------------------------------------- trees


@named((MaxProduct(damping=0.0), TreeReweightedMax()))
@given(network=pairwise_networks(max_nodes=7, trees=True))
@settings(max_examples=40)
def test_trees_are_solved_exactly(method: Method, network: PairwiseNetwork) -> None:
    solution = solve(network, method)
    least = least_pairwise_energy(network)
    assert solution.energy == pytest.approx(least, abs=1e-9 * max(1.0, abs(least)))
    if method in BOUNDED:
        assert solution.status is Status.optimal


@given(pairwise_networks(max_nodes=7, trees=True))
@settings(max_examples=40)
def test_block_coordinate_ascent_is_tight_on_trees(network: PairwiseNetwork) -> None:
    solution = solve(network, DualDecomposition())
    scale = max(1.0, abs(solution.energy), sum(float(np.ptp(t)) for t in (*network.unary, *network.tables)))
    assert solution.bound >= least_pairwise_energy(network) - 1e-4 * scale  # it may stop short, or creep


@given(pairwise_networks(max_nodes=6, trees=True, scales=(1.0, 0.1), forbidden=(0.0, 0.3)))
@settings(max_examples=40)
def test_marginals_of_trees_are_exact(network: PairwiseNetwork) -> None:
    nodes, pairs, log_partition = pairwise_marginals(network)
    for method in (SumProduct(), TreeReweighted()):
        found = marginals(network, method)
        assert found.log_partition == pytest.approx(log_partition, abs=1e-8)
        for a, b in zip(found.nodes, nodes, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)
        assert found.pairs is not None
        for a, b in zip(found.pairs, pairs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)


# ------------------------------------------------------------------------------------------------------------ bounds


@named(BOUNDED)
@given(network=LOOPY, sweeps=st.sampled_from([1, 2, 5, 200]))
@settings(max_examples=40)
def test_bounds_hold_after_any_number_of_sweeps(method: Method, network: PairwiseNetwork, sweeps: int) -> None:
    solution = solve(network, type(method)(sweeps=sweeps))  # type: ignore[call-arg]
    least = least_pairwise_energy(network)
    slack = 1e-12 * max(1.0, abs(least))
    assert solution.bound <= least + slack
    assert solution.energy >= least - slack


@given(pairwise_networks(max_nodes=5, trees=False, scales=(1.0, 3.0)), st.sampled_from([1, 2, 5, 300]), SEEDS)
@settings(max_examples=50)
def test_log_z_lies_between_mean_field_and_trees(network: PairwiseNetwork, sweeps: int, seed: int) -> None:
    _, _, log_partition = pairwise_marginals(network)
    above = marginals(network, TreeReweighted(sweeps=sweeps, trees=3), seed=seed)
    below = marginals(network, MeanField(sweeps=sweeps), seed=seed)
    assert below.lower <= log_partition + 1e-9
    assert above.upper >= log_partition - 1e-9
    assert np.isinf(above.lower)
    assert np.isinf(below.upper)


@given(LOOPY, SEEDS)
@settings(max_examples=40)
def test_any_messages_give_a_bound(network: PairwiseNetwork, seed: int) -> None:
    state, rng = MessageState.of(network), np.random.default_rng(seed)
    state.messages[:] = rng.standard_normal(state.messages.shape)
    least = least_pairwise_energy(network)
    assert dual_bound(*state.arrays) + network.constant <= least + 1e-9 * max(1.0, abs(least))
    _, _, log_partition = pairwise_marginals(network)
    for nodes in network.components():
        part = network.part(nodes)
        state = MessageState.of(part)
        trees = spanning_trees(len(part), part.edges, 3, seed)
        weights = np.bincount(np.concatenate(trees), minlength=len(part.edges)) / len(trees)
        state.messages[:] = rng.standard_normal(state.messages.shape)
        assert mean_log_partition(state, weights, trees) >= pairwise_marginals(part)[2] - 1e-9
    assert np.isfinite(log_partition)


@given(LOOPY)
@settings(max_examples=40)
def test_bounds_never_fall_from_sweep_to_sweep(network: PairwiseNetwork) -> None:
    for sweep, bound in ((sequential_sweep, None), (block_sweep, dual_bound)):
        state = MessageState.of(network)
        if not len(state.edges):
            return
        found = []
        for _ in range(10):
            value = sweep(*state.arrays)
            found.append(float(value if bound is None else bound(*state.arrays)))
        scale = max(1.0, max(map(abs, found)))
        assert (np.diff(found) >= -1e-12 * scale).all()


@pytest.mark.parametrize("seed", range(6))
def test_attractive_pairs_of_two_states_have_tight_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alike = np.array([[0.0, 1.0], [1.0, 0.0]])
    factors: list[tuple[list[int], FloatArray]] = [([i], rng.standard_normal(2)) for i in range(8)]
    factors += [([i, j], rng.random() * alike) for i in range(8) for j in range(i + 1, 8)]
    network = PairwiseNetwork.from_factors([2] * 8, factors)
    solution = solve(network, TreeReweightedMax())
    least = least_pairwise_energy(network)
    assert solution.energy == pytest.approx(least, abs=1e-9)
    assert solution.bound == pytest.approx(least, abs=1e-5)


def test_spanning_trees_span_and_use_every_edge() -> None:
    network = random_pairwise(3, nodes=7, density=1.0)
    trees = spanning_trees(7, network.edges, 4, 0)
    assert set(np.concatenate(trees)) == set(range(len(network.edges)))
    for tree in trees:
        assert len(tree) == 6
        reached = {0}
        for _ in range(7):
            reached |= {int(v) for e in tree for v in network.edges[e] if reached & set(network.edges[e].tolist())}
        assert reached == set(range(7))


# -------------------------------------------------------------------------------------------------------- slow twins


def swept_by_hand(network: PairwiseNetwork, soft: bool) -> dict[tuple[int, int], FloatArray]:
    """One sequential sweep over all edges, forwards and then backwards, as plain loops."""
    messages = {(i, j): np.zeros(network.states[j]) for a, b in network.edges.tolist() for i, j in ((a, b), (b, a))}
    tables = {(i, j): t for (i, j), t in zip(network.edges.tolist(), network.tables, strict=True)}
    edges = network.edges.tolist()
    for i, j in [(i, j) for i, j in edges] + [(j, i) for i, j in reversed(edges)]:
        table = tables[(i, j)] if (i, j) in tables else tables[(j, i)].T
        cavity = network.unary[i] + sum(
            (messages[(k, i)] for k in network.neighbours[i] if k != j), np.zeros(network.states[i])
        )
        joint = cavity[:, None] + table
        new = -np.log(np.exp(-joint).sum(axis=0)) if soft else joint.min(axis=0)
        messages[(i, j)] = new - new.min()
    return messages


@given(pairwise_networks(max_nodes=5, scales=(1.0,)), st.booleans())
@settings(max_examples=40)
def test_a_compiled_sweep_is_the_obvious_one(network: PairwiseNetwork, soft: bool) -> None:
    state = MessageState.of(network)
    sweep_once(state, np.ones(len(state.edges)), 0.0, "sequential", soft=soft)
    expected = swept_by_hand(network, soft)
    for e, (i, j) in enumerate(network.edges.tolist()):
        np.testing.assert_allclose(state.messages[e, 1, : network.states[j]], expected[(i, j)], atol=1e-12)
        np.testing.assert_allclose(state.messages[e, 0, : network.states[i]], expected[(j, i)], atol=1e-12)


def test_the_twin_notices_a_dropped_message_and_a_sign() -> None:
    network = random_pairwise(4, nodes=4, density=1.0, most_states=3)
    state = MessageState.of(network)
    sweep_once(state, np.ones(len(state.edges)), 0.0, "sequential", soft=True)
    i, j = network.edges[0].tolist()
    right = state.messages[0, 1, : network.states[j]]
    np.testing.assert_allclose(right, swept_by_hand(network, True)[(i, j)], atol=1e-12)
    for wrong in (network.scaled(-1.0), random_pairwise(4, nodes=4, density=0.0, most_states=3)):
        other = swept_by_hand(wrong, True).get((i, j), np.zeros(int(network.states[j])))
        assert np.abs(right - other).max() > 1e-3


@given(pairwise_networks(max_nodes=5, scales=(1.0,)), SEEDS)
@settings(max_examples=30)
def test_mean_field_by_hand(network: PairwiseNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = [rng.dirichlet(np.ones(size)) for size in network.states.tolist()]
    value = 0.0
    for s in itertools.product(*(range(size) for size in network.states.tolist())):
        weight = float(np.prod([node[k] for node, k in zip(nodes, s, strict=True)]))
        if weight > 0.0:
            value += weight * (-network.energy(s) - np.log(weight))
    assert lower_bound(network, nodes) == pytest.approx(value, abs=1e-9)
    settle(network, nodes, 1.0)
    assert lower_bound(network, nodes) >= value - 1e-12


# ------------------------------------------------------------------------------------------------------ what they say


@named(MAPS)
def test_a_deadline_that_has_passed_still_gives_a_point(method: Method) -> None:
    answer = method.run(random_pairwise(3, nodes=6), Deadline(0.0), 0)
    assert answer.point is not None


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_schedules_and_damping_share_their_fixed_points(schedule: str) -> None:
    network = random_pairwise(5, nodes=6, density=0.6, scale=0.5)
    plain = marginals(network, SumProduct())
    other = marginals(network, SumProduct(schedule=schedule, damping=0.4))  # type: ignore[arg-type]
    assert plain.status is other.status is MarginalStatus.estimate
    for a, b in zip(plain.nodes, other.nodes, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert plain.log_partition == pytest.approx(other.log_partition, abs=1e-7)


def test_what_does_not_converge_says_so() -> None:
    found = marginals(random_pairwise(3, nodes=6, density=1.0), SumProduct(sweeps=1))
    assert found.status is MarginalStatus.timeout
    assert "messages still change by" in found.message


def test_budgets_and_forbidden_pairs_are_refused_where_they_cannot_be_kept() -> None:
    for method in (SumProduct(), TreeReweighted(), MeanField()):
        refused = marginals(random_pairwise(1, budget=True), method)
        assert refused.status is MarginalStatus.refused
        assert "a budget couples all nodes" in refused.message
    forbidden = marginals(random_pairwise(5, forbidden=0.4), MeanField())
    assert "some pairs of states are forbidden" in forbidden.message


# ------------------------------------------------------------------------------------------------------------- libDAI


@pytest.fixture(scope="module")
def testfast(shared_data: Path) -> tuple[PairwiseNetwork, dict[str, tuple[list[float], FloatArray]]]:
    """libDAI's grid, and for each of its methods the errors and the first states' marginals that it printed."""
    folder = shared_data / "instances" / "uai"
    if not (folder / "testfast.fg").is_file():
        pytest.skip("libDAI's testfast is not in the data folder")
    from taskpgm.formats import read_network

    printed: dict[str, tuple[list[float], FloatArray]] = {}
    for block in re.split(r"^(?=[A-Z])", (folder / "testfast.out").read_text(), flags=re.MULTILINE)[1:]:
        head, *lines = block.splitlines()
        numbers = [float(x) for x in head.split()[1:] if x != "N/A"]
        values = [re.findall(r"\(([-+.e\d]+), ", line) for line in lines if line.startswith("# ({x")]
        printed[head.split()[0]] = numbers, np.array([float(v[0]) for v in values if v])
    return read_network(folder / "testfast.fg"), printed


def exact(network: PairwiseNetwork) -> tuple[list[FloatArray], list[FloatArray], float]:
    found = marginals(network, JunctionTreeMarginals())
    assert found.pairs is not None
    return list(found.nodes), list(found.pairs), found.log_partition


def printed_alike(values: FloatArray, expected: FloatArray) -> None:
    """Equal to the four digits that libDAI prints."""
    np.testing.assert_allclose(values, expected, rtol=6e-4, atol=1e-9)


def errors(found: list[FloatArray], truth: list[FloatArray]) -> tuple[float, float]:
    """The largest and the mean total variation distance."""
    distances = [0.5 * float(np.abs(a - b).sum()) for a, b in zip(found, truth, strict=True)]
    return max(distances), float(np.mean(distances))


def test_libdai_exact_marginals(testfast: tuple[PairwiseNetwork, dict[str, tuple[list[float], FloatArray]]]) -> None:
    network, printed = testfast
    nodes, _, log_partition = exact(network)
    printed_alike(np.array([node[0] for node in nodes]), printed["EXACT"][1])
    assert log_partition == pytest.approx(14.328233281, abs=1e-8)


@pytest.mark.parametrize("name", ["BP_SEQFIX", "BP_PARALL", "TRWBP_SEQFIX"])
def test_libdai_belief_propagation(
    name: str, testfast: tuple[PairwiseNetwork, dict[str, tuple[list[float], FloatArray]]]
) -> None:
    """TRWBP is run there with all edge weights 1, which is ordinary belief propagation."""
    network, printed = testfast
    numbers, expected = printed[name]
    nodes, pairs, log_partition = exact(network)
    found = marginals(network, SumProduct(schedule="parallel" if "PARALL" in name else "sequential"))
    assert found.status is MarginalStatus.estimate
    printed_alike(np.array([node[0] for node in found.nodes]), expected)
    worst, mean = errors(list(found.nodes), nodes)
    assert worst == pytest.approx(numbers[0], rel=6e-4)
    assert mean == pytest.approx(numbers[1], rel=6e-4)
    assert found.pairs is not None
    worst, mean = errors([*found.nodes, *found.pairs], [*nodes, *pairs])  # its factors are the nodes' and the pairs'
    assert worst == pytest.approx(numbers[2], rel=6e-4)
    assert mean == pytest.approx(numbers[3], rel=6e-4)
    assert found.log_partition - log_partition == pytest.approx(numbers[4], rel=6e-4)


def test_libdai_mean_field(testfast: tuple[PairwiseNetwork, dict[str, tuple[list[float], FloatArray]]]) -> None:
    network, printed = testfast
    numbers, expected = printed["MF_NAIVE_UNI"]
    nodes, _, log_partition = exact(network)
    found = marginals(network, MeanField(restarts=0))
    printed_alike(np.array([node[0] for node in found.nodes]), expected)
    worst, mean = errors(list(found.nodes), nodes)
    assert worst == pytest.approx(numbers[0], rel=6e-4)
    assert mean == pytest.approx(numbers[1], rel=6e-4)
    assert found.log_partition - log_partition == pytest.approx(numbers[2], rel=6e-4)


def test_libdai_max_product(testfast: tuple[PairwiseNetwork, dict[str, tuple[list[float], FloatArray]]]) -> None:
    """Max-marginals, scaled to a sum of 1 as libDAI prints them."""
    network, printed = testfast
    state = MessageState.of(network)
    for _ in range(2000):
        if sweep_once(state, np.ones(len(state.edges)), 0.0, "sequential", soft=False) < 1e-10:
            break
    nodes, _ = beliefs(state, np.ones(len(state.edges)))
    printed_alike(np.array([node[0] for node in nodes]), printed["MP_SEQFIX"][1])
    truth = printed["JTREE_MINFILL_HUGIN_MAP"][1]
    distances = np.abs([node[0] - t for node, t in zip(nodes, truth, strict=True)])
    assert distances.max() == pytest.approx(printed["MP_SEQFIX"][0][0], rel=2e-3)  # the truth has four digits
    assert distances.mean() == pytest.approx(printed["MP_SEQFIX"][0][1], rel=2e-3)
    assert -solve(network, MaxProduct()).energy == pytest.approx(9.799580296, abs=1e-8)


def test_bethe_at_the_exact_marginals_of_a_tree_is_log_z() -> None:
    network = random_pairwise(6, nodes=6, tree=True)
    nodes, pairs, log_partition = pairwise_marginals(network)
    assert bethe_log_partition(network, nodes, pairs) == pytest.approx(log_partition, abs=1e-10)
