"""pgmpy's traps: each is shown to be there still, so that its repair is noticed, and our methods are shown to avoid it.

And models of pgmpy as networks, and pgmpy's marginals and Mplp among our methods.
"""

from __future__ import annotations

import ast
import itertools
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from oracles import least_pairwise_energy, pairwise_marginals
from strategies import pairwise_networks, random_network, random_pairwise

import taskpgm as tp
from taskpgm.comparison import compare, failed_check
from taskpgm.inference import (
    Exhaustive,
    JunctionTreeMarginals,
    Method,
    PgmpyElimination,
    PgmpyGibbs,
    PgmpyJunctionTree,
    PgmpyJunctionTreeMarginals,
    PgmpyMplp,
    marginals,
    solve,
)
from taskpgm.inference.elimination import eliminate
from taskpgm.inference.method import Deadline, MarginalMethod
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, MarginalStatus, Status

MAP: tuple[Method, ...] = (PgmpyElimination(), PgmpyJunctionTree())
OURS: tuple[MarginalMethod, ...] = (PgmpyJunctionTreeMarginals(), PgmpyGibbs())


@pytest.fixture(scope="module")
def pgmpy() -> Any:
    """What the tests use of pgmpy, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pgmpy's own: it imports modules that it has deprecated itself
        import pgmpy.factors.discrete as factors
        import pgmpy.inference as inference
        import pgmpy.models as models
        import pgmpy.readwrite as readwrite
        import pgmpy.sampling as sampling
    found: dict[str, Any] = {}
    for module in (factors, inference, models, readwrite, sampling):
        assert isinstance(module, ModuleType)
        found |= vars(module)
    return SimpleNamespace(**found)


def model_of(pgmpy: Any, factors: Iterable[tuple[str, Any]], states: dict[str, list[Any]] | None = None) -> Any:
    """A Markov network whose nodes are single letters, from (scope, table) as they come."""
    factors = [(scope, np.asarray(table, dtype=np.float64)) for scope, table in factors]
    model = pgmpy.DiscreteMarkovNetwork()
    model.add_nodes_from(sorted(set("".join(scope for scope, _ in factors))))
    model.add_edges_from([tuple(scope) for scope, _ in factors if len(scope) == 2])
    model.add_factors(
        *(
            pgmpy.DiscreteFactor(
                list(scope), table.shape, table, state_names={v: states[v] for v in scope} if states else {}
            )
            for scope, table in factors
        )
    )
    return model


def best_by_pgmpy(pgmpy: Any, model: Any, algorithm: str, **options: Any) -> dict[str, int]:
    """{node: state} by a map_query, with whatever numpy warns of on the way."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(pgmpy, algorithm)(model).map_query(show_progress=False, **options)
    return {node: int(state) for node, state in found.items()}


def chain(nodes: int, seed: int, states: int = 2) -> PairwiseNetwork:
    rng = np.random.default_rng(seed)
    factors: list[Any] = [([i], rng.standard_normal(states)) for i in range(nodes)]
    factors += [([i, i + 1], rng.standard_normal((states, states))) for i in range(nodes - 1)]
    return PairwiseNetwork.from_factors([states] * nodes, factors)


def off(found: Sequence[FloatArray], right: Sequence[FloatArray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(found, right, strict=True))


# ------------------------------------------------------------------------------------------------------- MAP: the traps


@pytest.mark.parametrize("algorithm", ["VariableElimination", "BeliefPropagation"])
def test_trap_logarithms_of_scale_100_overflow(pgmpy: Any, algorithm: str) -> None:
    nodes = "abcdefgh"
    model = model_of(pgmpy, [(node, np.exp([90.0, 100.0])) for node in nodes] + [("ab", np.ones((2, 2)))])
    model.add_edges_from(itertools.pairwise(nodes))
    model.add_factors(*(pgmpy.DiscreteFactor(list(e), [2, 2], np.ones(4)) for e in itertools.pairwise(nodes[1:])))
    assert best_by_pgmpy(pgmpy, model, algorithm, variables=list(nodes)) != dict.fromkeys(nodes, 1)
    network = tp.from_pgmpy(model)
    for method in MAP:
        solution = solve(network, method)
        assert solution.status is Status.optimal
        assert solution.point is not None
        assert solution.point.tolist() == [1] * 8


def test_trap_equal_factors_on_one_scope_are_dropped(pgmpy: Any) -> None:
    """3 : 2 x 1.4 x 1.4 is less than 1; 3 : 2 x 1.4 is more."""
    model = model_of(pgmpy, [("a", [3.0, 2.0]), ("a", [1.0, 1.4]), ("a", [1.0, 1.4]), ("ab", np.ones((2, 2)))])
    assert best_by_pgmpy(pgmpy, model, "VariableElimination", variables=["a", "b"])["a"] == 0
    marginal = pgmpy.BeliefPropagation(model).query(["a"], show_progress=False).values
    np.testing.assert_allclose(marginal, [3.0 / 5.8, 2.8 / 5.8])
    network = tp.from_pgmpy(model)
    for method in MAP:
        point = solve(network, method).point
        assert point is not None
        assert point[0] == 1
    found = marginals(network, PgmpyJunctionTreeMarginals())
    np.testing.assert_allclose(found.nodes[0], [3.0 / 6.92, 3.92 / 6.92])
    scopes = [tuple(factor.variables) for factor in network.to_pgmpy().get_factors()]
    assert len(set(scopes)) == len(scopes) == 3


def test_trap_without_variables_evidence_is_ignored(pgmpy: Any) -> None:
    model = model_of(pgmpy, [("a", [1.0, 4.0]), ("ab", [[5.0, 1.0], [1.0, 5.0]])])
    evidence = {"a": 0}
    assert best_by_pgmpy(pgmpy, model, "VariableElimination", evidence=evidence) == {"a": 1, "b": 1}
    assert best_by_pgmpy(pgmpy, model, "VariableElimination", variables=["b"], evidence=evidence) == {"b": 0}
    given_a = tp.from_pgmpy(model).conditioned(evidence)
    for method in MAP:
        point = solve(given_a, method).point
        assert point is not None
        assert point.tolist() == [0]


def test_trap_virtual_evidence_is_ignored(pgmpy: Any) -> None:
    model = model_of(pgmpy, [("a", [1.0, 4.0]), ("ab", [[5.0, 1.0], [1.0, 5.0]])])
    virtual = [pgmpy.TabularCPD("a", 2, [[0.99], [0.01]])]
    for algorithm in ("VariableElimination", "BeliefPropagation"):
        found = getattr(pgmpy, algorithm)(model).query(["a"], virtual_evidence=virtual, show_progress=False)
        np.testing.assert_allclose(found.values / found.values.sum(), [0.2, 0.8])
    weighed = tp.from_pgmpy(model_of(pgmpy, [("a", [0.99, 0.04]), ("ab", [[5.0, 1.0], [1.0, 5.0]])]))
    np.testing.assert_allclose(
        marginals(weighed, PgmpyJunctionTreeMarginals()).nodes[0], np.array([0.99, 0.04]) / 1.03, rtol=1e-12
    )


@pytest.mark.parametrize("algorithm", ["VariableElimination", "BeliefPropagation"])
def test_trap_probabilities_beyond_exp_700_are_zero(pgmpy: Any, algorithm: str) -> None:
    """Three that cannot all differ pay exp(-800) at least once, whatever they do: all joint states count as 0."""
    odd = [[0.0, 800.0], [800.0, 0.0]]
    tables = [("a", [1.0, 0.0]), ("b", [1.0, 0.0]), ("c", [1.0, 0.0])]
    pairs = [("ab", odd[::-1]), ("bc", odd[::-1]), ("ac", odd[::-1])]
    model = model_of(pgmpy, [(scope, np.exp(-np.array(table))) for scope, table in (*tables, *pairs)])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joint = getattr(pgmpy, algorithm)(model).query(["a", "b", "c"], show_progress=False)
    assert not np.any(joint.values > 0.0)
    energies: list[Any] = [(["abc".index(node) for node in scope], table) for scope, table in (*tables, *pairs)]
    network = PairwiseNetwork.from_factors([2, 2, 2], energies)
    for method in MAP:
        assert solve(network, method).energy == least_pairwise_energy(network) == 801.0
    for sampler in OURS:
        found = marginals(network, sampler)
        assert found.status is MarginalStatus.refused
        assert "raise the temperature" in found.message
        assert marginals(network, sampler, temperature=10.0).nodes


def test_trap_the_joint_table_has_no_limit_of_its_own(pgmpy: Any) -> None:
    """Seventy binary nodes: a table of more axes, and of more numbers, than there can be."""
    names = [f"x{i}" for i in range(70)]
    model = pgmpy.DiscreteMarkovNetwork(list(itertools.pairwise(names)))
    model.add_factors(*(pgmpy.DiscreteFactor(list(e), [2, 2], [2.0, 1.0, 1.0, 3.0]) for e in model.edges))
    with pytest.raises((ValueError, MemoryError)):
        pgmpy.VariableElimination(model).query(names, show_progress=False)
    network = tp.from_pgmpy(model)
    for method in MAP:
        solution = solve(network, method)
        assert solution.status is Status.refused
        assert "joint states; pgmpy is asked for up to 1048576" in solution.message
        assert solve(chain(20, 0), method).status is Status.optimal  # 2^20
        assert solve(chain(21, 0), method).status is Status.refused


TIES = """
import warnings; warnings.simplefilter("ignore")
from pgmpy.factors.discrete import DiscreteFactor
from pgmpy.inference import VariableElimination
from pgmpy.models import DiscreteMarkovNetwork
model = DiscreteMarkovNetwork(["ab", "bc", "ac"])
model.add_factors(*(DiscreteFactor(list(pair), [2, 2], [1.0, 2.0, 2.0, 1.0]) for pair in ("ab", "bc", "ac")))
print("ANSWER", sorted(VariableElimination(model).map_query(["a", "b", "c"], show_progress=False).items()))
"""


@pytest.mark.slow
def test_trap_ties_follow_the_hash_seed() -> None:
    answers = set()
    for seed in range(4):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        done = subprocess.run([sys.executable, "-c", TIES], env=environment, capture_output=True, text=True, check=True)
        answers.add(next(line for line in done.stdout.splitlines() if line.startswith("ANSWER")))
    assert len(answers) > 1


@pytest.mark.parametrize("method", MAP, ids=lambda method: method.name)
def test_of_several_best_states_any_one_is_proved(method: Method) -> None:
    unlike = [[1.0, 0.0], [0.0, 1.0]]
    network = PairwiseNetwork.from_factors([2] * 3, [([0, 1], unlike), ([1, 2], unlike), ([0, 2], unlike)])
    every, solution = solve(network, Exhaustive()), solve(network, method)
    assert every.ties == 6
    assert solution.status is Status.optimal
    assert solution.energy == every.energy == 1.0


# ------------------------------------------------------------------------------------------------- marginals: the traps


def test_trap_belief_propagation_stops_before_it_is_calibrated(pgmpy: Any) -> None:
    """It compares beliefs to within 1e-8, and those of a chain of 50 with factors up to 1 are less than that."""
    network = chain(50, 0)
    right = marginals(network, JunctionTreeMarginals())
    model = pgmpy.DiscreteMarkovNetwork(network.edges.tolist())
    for scope, table in (*enumerate(network.unary), *zip(network.edges.tolist(), network.tables, strict=True)):
        nodes = [scope] if isinstance(scope, int) else scope
        model.add_factors(pgmpy.DiscreteFactor(nodes, table.shape, np.exp(table.min() - table)))
    propagation = pgmpy.BeliefPropagation(model)
    propagation.calibrate()
    totals = [math.log(belief.values.sum()) for belief in propagation.get_clique_beliefs().values()]
    assert max(totals) - min(totals) > 0.1  # each would be log Z
    found = marginals(network, PgmpyJunctionTreeMarginals())
    assert found.status is MarginalStatus.exact
    assert off(found.nodes, right.nodes) < 1e-12
    assert found.pairs is not None
    assert right.pairs is not None
    assert off(found.pairs, right.pairs) < 1e-12
    assert found.log_partition == pytest.approx(right.log_partition, abs=1e-9)


def test_an_uncalibrated_tree_is_no_answer(pgmpy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgmpy.BeliefPropagation, "_is_converged", lambda self, operation: bool(self.clique_beliefs))
    answer = PgmpyJunctionTreeMarginals().run(chain(5, 0), Deadline(None), 0)
    assert not answer.nodes
    assert "uncalibrated" in answer.message


@given(network=pairwise_networks(max_nodes=6, forbidden=(0.0, 0.4), scales=(1.0, 30.0)))
@settings(max_examples=40)
def test_the_junction_trees_marginals_are_sums_over_all_states(network: PairwiseNetwork) -> None:
    nodes, pairs, log_partition = pairwise_marginals(network)
    found = marginals(network, PgmpyJunctionTreeMarginals())
    if found.status is MarginalStatus.refused:
        assert "probabilities range over exp(" in found.message
        return
    assert found.status is MarginalStatus.exact, found
    assert off(found.nodes, nodes) < 1e-9
    assert found.pairs is not None
    assert max((float(np.abs(a - b).max()) for a, b in zip(found.pairs, pairs, strict=True)), default=0.0) < 1e-9
    assert found.log_partition == pytest.approx(log_partition, rel=1e-9, abs=1e-9)


def test_the_cliques_are_those_of_our_elimination(pgmpy: Any) -> None:
    """pgmpy's own triangulation of a grid of 8 by 8 has cliques of 25 nodes."""
    place = np.arange(64).reshape(8, 8)
    edges = [*zip(place[:-1].ravel(), place[1:].ravel(), strict=True)]
    edges += [*zip(place[:, :-1].ravel(), place[:, 1:].ravel(), strict=True)]
    rng = np.random.default_rng(0)
    factors = [((int(i), int(j)), rng.standard_normal((2, 2))) for i, j in edges]
    network = PairwiseNetwork.from_factors([2] * 64, factors)
    found, right = marginals(network, PgmpyJunctionTreeMarginals()), marginals(network, JunctionTreeMarginals())
    elimination = eliminate(network)
    assert elimination is not None
    assert math.log2(found.stats["table"]) == elimination.log2_table <= 12.0
    assert off(found.nodes, right.nodes) < 1e-12


def test_trap_the_samplers_seed_comes_after_its_start(pgmpy: Any) -> None:
    sampler, firsts = pgmpy.GibbsSampling(chain(8, 0).to_pgmpy()), set()
    for before in range(6):
        np.random.seed(before)
        sampler.state = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            firsts.add(tuple(sampler.sample(size=1, seed=0).iloc[0].tolist()))
    assert len(firsts) > 1
    network = chain(4, 0)
    runs = [marginals(network, PgmpyGibbs(sweeps=50), seed=seed) for seed in (0, 0, 1)]
    assert off(runs[0].nodes, runs[1].nodes) == 0.0
    assert off(runs[0].nodes, runs[2].nodes) > 0.0


def test_gibbs_is_within_its_standard_errors() -> None:
    network = random_pairwise(2, nodes=4)
    nodes, _, _ = pairwise_marginals(network)
    found = marginals(network, PgmpyGibbs(chains=4, sweeps=400), seed=3)
    assert found.status is MarginalStatus.estimate
    assert off(found.nodes, nodes) <= 5.0 * found.stats["standard_error"] < 0.2
    assert found.stats["sweeps"] == 1600
    assert found.pairs is not None
    for (i, j), pair in zip(network.edges.tolist(), found.pairs, strict=True):
        np.testing.assert_allclose(pair.sum(axis=1), found.nodes[i])
        np.testing.assert_allclose(pair.sum(axis=0), found.nodes[j])


@pytest.mark.parametrize("method", OURS, ids=lambda method: method.name)
def test_marginals_that_pgmpy_cannot_give_are_refused(method: MarginalMethod) -> None:
    budget = marginals(random_network(4, 1).levels(3), method)
    assert budget.status is MarginalStatus.refused
    assert "budget" in budget.message
    assert "JunctionTreeMarginals" in budget.message or "GibbsSampling" in budget.message
    small = type(method)(limit=9)  # type: ignore[call-arg]
    assert marginals(chain(10, 0, states=4), small).status is MarginalStatus.refused
    late = marginals(chain(3, 0), method, deadline=0.0)
    assert late.status is MarginalStatus.timeout


def test_sizes_beyond_what_a_float_holds_are_refused_in_words() -> None:
    huge = PairwiseNetwork.from_factors([9] * 1200, [([i, i + 1], np.zeros((9, 9))) for i in range(1199)])
    assert "e+1147 rows" in marginals(huge, PgmpyGibbs()).message
    assert "1200 nodes" in marginals(huge, PgmpyJunctionTreeMarginals()).message
    assert "divides by 0" in marginals(random_pairwise(5, forbidden=0.4), PgmpyGibbs()).message
    with pytest.raises(InputError, match="0 chains"):
        PgmpyGibbs(chains=0)


# ----------------------------------------------------------------------------------------------------------------- Mplp


def test_trap_mplp_is_wrong_on_small_chains(pgmpy: Any) -> None:
    wrong = 0
    for seed in range(20):
        network = chain(3, seed)
        factors = [(scope, table.max() - table) for scope, table in zip("abc", network.unary, strict=True)]
        factors += [(scope, table.max() - table) for scope, table in zip(("ab", "bc"), network.tables, strict=True)]
        found = pgmpy.Mplp(model_of(pgmpy, factors)).map_query()
        energy = network.energy([int(found[node]) for node in "abc"])
        wrong += energy > least_pairwise_energy(network) + 1e-9
    assert wrong >= 5


def test_trap_mplp_keeps_no_point_that_is_not_above_0(pgmpy: Any) -> None:
    model = model_of(pgmpy, [("a", [0.0, 0.0]), ("b", [-1.0, 0.0]), ("ab", np.zeros((2, 2)))])
    assert pgmpy.Mplp(model).map_query() == {}
    constant = PairwiseNetwork.from_factors([2, 2], [([0, 1], np.zeros((2, 2)))], constant=3.0)
    assert solve(constant, PgmpyMplp()).energy == 3.0


def test_mplp_proves_nothing_and_what_it_claims_is_said() -> None:
    missed = 0
    for seed in range(12):
        network = chain(3, seed)
        solution, least = solve(network, PgmpyMplp()), least_pairwise_energy(network)
        assert solution.status is Status.feasible
        assert solution.bound == -np.inf
        assert solution.stats["claimed_energy"] == pytest.approx(solution.energy, abs=1e-9)
        assert solution.stats["claimed_bound"] <= least + 1e-9  # true so far; nothing rests on it
        missed += solution.energy > least + 1e-9
    assert missed >= 3


def test_mplp_would_not_pass_for_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed_check(PgmpyMplp()) == ""
    network = next(each for each in (chain(3, seed) for seed in range(20)) if gap_of_mplp(each) > 1e-6)
    rows = compare(network, [PgmpyMplp(), Exhaustive()])
    assert [(row.verdict.method, row.proved) for row in rows] == [("exhaustive", True), ("pgmpy-mplp", False)]
    assert rows[1].verdict.excess > 1e-6
    monkeypatch.setattr(PgmpyMplp, "exact", True)
    assert "of an exact method" in failed_check.__wrapped__(PgmpyMplp())


def gap_of_mplp(network: PairwiseNetwork) -> float:
    return solve(network, PgmpyMplp()).energy - least_pairwise_energy(network)


def test_mplp_refuses_budgets_and_sizes_it_is_too_slow_for() -> None:
    budget = solve(random_network(4, 1).levels(3), PgmpyMplp())
    assert budget.status is Status.refused
    assert "budget" in budget.message
    assert "302 pairs" in solve(chain(303, 0), PgmpyMplp()).message
    assert "40000 entries" in solve(chain(2, 0, states=200), PgmpyMplp()).message
    assert solve(chain(3, 0), PgmpyMplp(), deadline=0.0).status is Status.timeout


# ----------------------------------------------------------------------------------------------- files, and who imports


def test_trap_the_uai_reader_cannot_read_what_the_writer_writes(pgmpy: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.uai"
    model = model_of(pgmpy, [("a", [1e-7, 1.0]), ("ab", [[1.0, 2e-9], [3e15, 4.0]])])
    pgmpy.UAIWriter(model).write(str(path))
    with pytest.raises(Exception, match="found 'e'"):
        pgmpy.UAIReader(str(path))
    read, direct = tp.read_network(path), tp.from_pgmpy(model)
    for states in itertools.product(range(2), repeat=2):
        assert read.energy(states) == pytest.approx(direct.energy(states), abs=1e-9)


def imported(tree: ast.AST) -> set[str]:
    """The modules that a file imports when it runs, functions' own imports included."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        found |= imported(node)
    return found


def test_only_one_module_imports_pgmpy_and_only_pgmpys_methods_import_that() -> None:
    root = Path(tp.__file__).parent
    direct, through = set(), set()
    for path in root.rglob("*.py"):
        modules = imported(ast.parse(path.read_text()))
        name = path.relative_to(root).as_posix()
        direct |= {name for module in modules if module.split(".")[0] == "pgmpy"}
        through |= {name for module in modules if module == "taskpgm.pgm"}
    assert direct == {"pgm.py"}
    assert through == {
        "pairwise.py",
        "inference/pgmpy_exact.py",
        "inference/pgmpy_marginals.py",
        "inference/pgmpy_mplp.py",
    }
    for method in (*MAP, *OURS, PgmpyMplp()):
        assert method.foreign[0] == "taskpgm.pgm"  # it runs in a process of its own


# -------------------------------------------------------------------------------------------------- models of others


def test_a_model_becomes_its_energies(pgmpy: Any) -> None:
    states: dict[str, list[Any]] = {"a": [3, 1], "b": ["low", "high", "top"]}
    tables = [("b", [1.0, 2.0, 4.0]), ("ab", [[1.0, 0.0, 3.0], [2.0, 5.0, 1.0]]), ("b", [1.0, 2.0, 4.0]), ("a", [2, 1])]
    model = model_of(pgmpy, tables, states)
    network = tp.from_pgmpy(model)
    assert network.names == ("a", "b")
    assert [levels.tolist() for levels in network.levels] == [[3, 1], [0, 1, 2]]
    for a, b in itertools.product(range(2), range(3)):
        product = (1.0, 2.0, 4.0)[b] ** 2 * np.array(tables[1][1])[a, b] * (2, 1)[a]
        assert math.exp(-network.energy([a, b])) == pytest.approx(product, rel=1e-12)
    total = model.get_partition_function()
    found = marginals(network, PgmpyJunctionTreeMarginals())
    assert found.log_partition == pytest.approx(math.log(total), abs=1e-9)


def test_states_in_another_order_are_the_same_states(pgmpy: Any) -> None:
    model = pgmpy.DiscreteMarkovNetwork([("a", "b")])
    names = {"a": ["x", "y"], "b": [0, 1]}
    turned = {"a": ["y", "x"], "b": [1, 0]}
    model.add_factors(
        pgmpy.DiscreteFactor(["a", "b"], [2, 2], [1.0, 2.0, 3.0, 4.0], state_names=names),
        pgmpy.DiscreteFactor(["b", "a"], [2, 2], [5.0, 6.0, 7.0, 8.0], state_names=turned),
    )
    network = tp.from_pgmpy(model)
    products = np.array([[1.0, 2.0], [3.0, 4.0]]) * np.array([[8.0, 6.0], [7.0, 5.0]])
    np.testing.assert_allclose(np.exp(-network.tables[0]), products)


def test_a_factor_graph_becomes_a_network(pgmpy: Any) -> None:
    graph = pgmpy.FactorGraph()
    one = pgmpy.DiscreteFactor([1], [2], [1.0, 3.0])
    both = pgmpy.DiscreteFactor([1, "b"], [2, 2], [1.0, 2.0, 3.0, 4.0])
    graph.add_nodes_from([1, "b", one, both])
    graph.add_factors(one, both)
    graph.add_edges_from([(1, one), (1, both), ("b", both)])
    network = tp.from_pgmpy(graph)
    assert network.names == ("1", "b")
    assert math.exp(-network.energy([1, 1])) == pytest.approx(12.0)


@given(network=pairwise_networks(max_nodes=4, budgets=None, scales=(1.0,)))
@settings(max_examples=25)
def test_there_and_back_energies_are_scaled_and_shifted(network: PairwiseNetwork) -> None:
    back = tp.from_pgmpy(network.to_pgmpy())
    folded = network.folded()
    assert back.names == folded.names
    assert all(np.array_equal(a, b) for a, b in zip(back.levels, folded.levels, strict=True))
    points = list(itertools.product(*map(range, network.states.tolist())))
    ours = np.array([folded.energy(s) for s in points])
    theirs = np.array([back.energy(s) for s in points])
    span = sum(float(np.ptp(table)) for table in (*folded.unary, *folded.tables))
    scale = 600.0 / span if span > 0.0 else 1.0
    np.testing.assert_allclose(theirs - theirs[0], scale * (ours - ours[0]), atol=1e-9)


def test_models_that_are_no_networks_are_refused_in_words(pgmpy: Any) -> None:
    def refused(model: Any, match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            tp.from_pgmpy(model)
        assert "\n" not in str(caught.value)

    triangle = pgmpy.DiscreteMarkovNetwork(["ab", "bc", "ac"])
    triangle.add_factors(pgmpy.DiscreteFactor(list("abc"), [2, 2, 2], np.ones(8)))
    refused(triangle, "'a' and 'b' and 'c': only factors over one or two nodes")
    refused(model_of(pgmpy, [("a", [1.0, -1.0])]), "numbers from 0")
    refused(model_of(pgmpy, [("a", [1.0, np.nan])]), "numbers from 0")
    refused(model_of(pgmpy, [("a", [1.0, np.inf])]), "numbers from 0")
    refused(model_of(pgmpy, [("a", [0.0, 0.0])]), "not all 0")
    lonely = model_of(pgmpy, [("a", [1.0, 1.0])])
    lonely.add_node("b")
    refused(lonely, "node 'b' has no factor")
    clashing = pgmpy.DiscreteMarkovNetwork([("a", "b")])
    clashing.add_factors(pgmpy.DiscreteFactor(["a"], [2], [1, 1]), pgmpy.DiscreteFactor(["a", "b"], [3, 2], np.ones(6)))
    refused(clashing, "has the states")
    alike = pgmpy.DiscreteMarkovNetwork([(1, "1")])
    alike.add_factors(pgmpy.DiscreteFactor([1, "1"], [2, 2], np.ones(4)))
    refused(alike, "a name of its own")
    refused(pgmpy.DiscreteBayesianNetwork([("a", "b")]), "to_markov_model")
    refused(pgmpy.DiscreteMarkovNetwork(), "at least one node")
