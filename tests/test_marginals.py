"""One contract for every marginal method, against sums over all assignments, and planted bugs that it must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from oracles import pairwise_marginals
from strategies import random_network, random_pairwise

from taskpgm.inference import (
    MARGINAL_METHODS,
    GibbsSampling,
    JunctionTreeMarginals,
    MarginalAnswer,
    MarginalMethod,
    marginals,
)
from taskpgm.inference.method import Deadline
from taskpgm.levels import LevelsNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, Marginals, MarginalStatus

SECONDS = 20.0
Discrete = LevelsNetwork | PairwiseNetwork
PROBLEMS: dict[str, Callable[[], Discrete]] = {
    "tree": lambda: random_pairwise(1, nodes=6, tree=True),
    "loops": lambda: random_pairwise(2, nodes=6),
    "all pairs": lambda: random_pairwise(3, density=1.0, scale=0.3),
    "forbidden": lambda: random_pairwise(5, forbidden=0.3),
    "budget": lambda: random_pairwise(6, budget=True),
    "in parts": lambda: random_pairwise(9, nodes=7, density=0.15),
    "one node": lambda: random_pairwise(11, nodes=1),
    "free levels": lambda: random_network(5, 18, beta=0.5).levels(None, cap=2),
    "levels": lambda: random_network(4, 12).levels(5),
}


@cache
def problem_and_oracle(name: str) -> tuple[Discrete, tuple[list[FloatArray], list[FloatArray], float]]:
    problem = PROBLEMS[name]()
    return problem, pairwise_marginals(problem.pairwise if isinstance(problem, LevelsNetwork) else problem)


def broken_laws(
    method: MarginalMethod, problem: Discrete, oracle: tuple[Any, Any, float]
) -> tuple[Marginals, list[str]]:
    """What `marginals` makes of a method, and every law that the outcome breaks."""
    found = marginals(problem, method, deadline=SECONDS, seed=1)
    if found.status is MarginalStatus.refused:
        return found, [] if found.message and not found.nodes else ["a refusal gives a reason, no marginals"]
    if found.status is MarginalStatus.failed or not found.nodes:
        return found, [f"no usable answer: {found.message}"]
    nodes, pairs, log_partition = oracle
    slack = 1e-8 * max(1.0, abs(log_partition))
    off = max(float(np.abs(a - b).max()) for a, b in zip(found.nodes, nodes, strict=True))
    exact = found.status is MarginalStatus.exact
    laws = {
        "log Z is not below its lower bound": found.lower <= log_partition + slack,
        "log Z is not above its upper bound": found.upper >= log_partition - slack,
        "exact marginals are those of the oracle": not exact or off <= 1e-8,
        "an exact log Z is the oracle's": not exact or abs(found.log_partition - log_partition) <= slack,
        "marginals are nowhere near nonsense": off <= 0.6,
        "pairs add up to nodes": found.pairs is None or not exact or pairs_fit(problem, found, pairs),
    }
    return found, [law for law, holds in laws.items() if not holds]


def pairs_fit(problem: Discrete, found: Marginals, pairs: list[FloatArray]) -> bool:
    assert found.pairs is not None
    network = problem.pairwise if isinstance(problem, LevelsNetwork) else problem
    for (i, j), pair, oracle in zip(network.edges.tolist(), found.pairs, pairs, strict=True):
        sums = np.abs(pair.sum(axis=1) - found.nodes[i]).max() + np.abs(pair.sum(axis=0) - found.nodes[j]).max()
        if sums > 1e-8 or np.abs(pair - oracle).max() > 1e-8:
            return False
    return True


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", MARGINAL_METHODS, ids=lambda method: method.name)
def test_every_marginal_method_keeps_the_contract(method: MarginalMethod, name: str) -> None:
    found, broken = broken_laws(method, *problem_and_oracle(name))
    assert not broken, found


@pytest.mark.parametrize("method", MARGINAL_METHODS, ids=lambda method: method.name)
def test_no_marginal_method_is_refused_everywhere(method: MarginalMethod) -> None:
    reasons = {name: marginals(PROBLEMS[name](), method, deadline=SECONDS).message for name in PROBLEMS}
    assert not all(reasons.values()), reasons


@pytest.mark.parametrize("method", MARGINAL_METHODS, ids=lambda method: method.name)
def test_a_constant_energy_moves_log_z_alone(method: MarginalMethod) -> None:
    network, _ = problem_and_oracle("loops")
    assert isinstance(network, PairwiseNetwork)
    plain, raised = (
        marginals(each, method, deadline=SECONDS, seed=1) for each in (network, replace(network, constant=5.0))
    )
    for a, b in zip(plain.nodes, raised.nodes, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    if np.isfinite(plain.log_partition):
        assert plain.log_partition + network.constant == pytest.approx(raised.log_partition + 5.0, abs=1e-6)


def test_energies_are_divided_by_the_temperature() -> None:
    network, _ = problem_and_oracle("loops")
    assert isinstance(network, PairwiseNetwork)
    oracle = pairwise_marginals(network.scaled(0.25))
    exact = next(method for method in MARGINAL_METHODS if method.bounds == "both")
    found = marginals(network, exact, temperature=4.0)
    assert found.log_partition == pytest.approx(oracle[2], abs=1e-9)
    for a, b in zip(found.nodes, oracle[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    with pytest.raises(InputError, match="positive"):
        marginals(network, exact, temperature=0.0)


# ------------------------------------------------------------------------------------------------------- planted bugs


class Planted(MarginalMethod):
    """A method whose answer is given by a function of the network."""

    name: ClassVar[str] = "planted"
    bounds: ClassVar[Literal["", "lower", "upper", "both"]] = "both"
    answer: ClassVar[Callable[[PairwiseNetwork], MarginalAnswer]]

    def refuses(self, problem: PairwiseNetwork) -> str | None:
        return None

    def run(self, problem: PairwiseNetwork, deadline: Deadline, seed: int) -> MarginalAnswer:
        return type(self).answer(problem)


def planted(answer: Callable[[PairwiseNetwork], MarginalAnswer], bounds: str = "both") -> MarginalMethod:
    return type("Made", (Planted,), {"answer": staticmethod(answer), "bounds": bounds})()  # type: ignore[no-any-return]


def right(network: PairwiseNetwork) -> MarginalAnswer:
    nodes, pairs, log_partition = pairwise_marginals(network)
    return MarginalAnswer(tuple(nodes), tuple(pairs), log_partition)


def with_log(off: float) -> Callable[[PairwiseNetwork], MarginalAnswer]:
    def answer(network: PairwiseNetwork) -> MarginalAnswer:
        true = right(network)
        assert true.log_partition is not None
        return replace(true, log_partition=true.log_partition + off)

    return answer


def with_nodes(change: Callable[[FloatArray], FloatArray]) -> Callable[[PairwiseNetwork], MarginalAnswer]:
    return lambda network: replace(right(network), nodes=tuple(change(node) for node in right(network).nodes))


CAUGHT: dict[str, tuple[MarginalMethod, str]] = {
    "log Z too high": (planted(with_log(1e-6)), "an exact log Z"),
    "upper bound too low": (planted(with_log(-1e-6), "upper"), "upper bound"),
    "lower bound too high": (planted(with_log(1e-6), "lower"), "lower bound"),
    "log Z is nan": (planted(with_log(np.nan)), "log Z is nan"),
    "sum is not one": (planted(with_nodes(lambda node: 1.01 * node)), "add up to"),
    "a negative probability": (planted(with_nodes(lambda node: node - 0.5)), "not"),
    "uniform": (planted(with_nodes(lambda node: np.full(len(node), 1.0 / len(node)))), "exact marginals"),
    "sign error": (planted(lambda network: right(network.scaled(-1.0))), "exact marginals"),
    "one node missing": (planted(lambda network: replace(right(network), nodes=right(network).nodes[1:])), "there are"),
    "it raises": (planted(lambda network: MarginalAnswer((np.ones(1 // 0),))), "ZeroDivisionError"),
}


@pytest.mark.parametrize("bug", CAUGHT)
def test_planted_bugs_are_caught(bug: str) -> None:
    method, reason = CAUGHT[bug]
    found, broken = broken_laws(method, *problem_and_oracle("loops"))
    assert any(reason in each for each in [*broken, found.message]), (found, broken)


def test_the_contract_passes_what_is_right() -> None:
    for name in PROBLEMS:
        assert broken_laws(planted(right), *problem_and_oracle(name))[1] == []


def test_marginals_of_levels_off_the_budget_are_no_answer() -> None:
    def off_budget(network: PairwiseNetwork) -> MarginalAnswer:
        return MarginalAnswer(tuple(np.full(count, 1.0 / count) for count in network.states.tolist()), None, 0.0)

    found = marginals(random_network(4, 12).levels(5), planted(off_budget))
    assert found.status is MarginalStatus.failed
    assert "the expected sum of levels is 10" in found.message


def test_what_the_parts_counted_is_kept() -> None:
    """Two chains that have nothing to do with each other: sizes are the larger part's, counts are added."""
    factors = [([0, 1], np.eye(2)), ([2, 3], np.ones((3, 3)) - np.eye(3))]
    network = PairwiseNetwork.from_factors([2, 2, 3, 3], factors)
    found = marginals(network, JunctionTreeMarginals())
    assert found.stats == {"parts": 2, "width": 1, "table": 9}
    sampled = marginals(network, GibbsSampling(chains=4, burn_in=10, sweeps=40))
    assert sampled.stats["parts"] == 2
    assert 0.0 < sampled.stats["standard_error"] < 0.5
