"""One contract for every method in METHODS, on every kind of problem, and planted bugs that it must catch.

`broken_laws` is the contract. A method that is refused on every problem fails the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
from oracles import (
    coverage_energy_by_loops,
    energy_by_loops,
    energy_scale,
    expected_energy_by_loops,
    least_coverage_energy,
    least_energy,
    least_expected_energy,
    least_pairwise_energy,
    level_energies,
    pairwise_energy_by_loops,
    pairwise_points,
)
from strategies import (
    ODD_NAMES,
    SIMILARITIES,
    indefinite,
    random_coverage,
    random_levels,
    random_network,
    random_pairwise,
    random_separable,
    random_transfer,
)

from taskpgm.capacity import CapacityMixture
from taskpgm.coverage import CoverageNetwork
from taskpgm.inference import (
    METHODS,
    Answer,
    BranchAndBound,
    Deadline,
    Exhaustive,
    Method,
    SimplexQP,
    branch_and_bound,
    branch_tree,
    solve,
)
from taskpgm.inference.branch_tree import Tree
from taskpgm.inference.method import Domain
from taskpgm.judge import FEASIBILITY_TOLERANCE, Certificate, Problem, certificate, gap_tolerance, judge
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import Solution, Status

SECONDS = 20.0


def floored(seed: int) -> TaskNetwork:
    network = random_network(5, seed, "exponential_kernel")
    return TaskNetwork(network.utility, network.similarity, lower=0.04, upper={"task 1": 0.6}, beta=0.1)


def submodular(seed: int) -> PairwiseNetwork:
    """Two states each, and neighbours that like to agree."""
    rng = np.random.default_rng(seed)
    alike = np.array([[0.0, 1.0], [1.0, 0.0]])
    factors: list[Any] = [([i], rng.standard_normal(2)) for i in range(6)]
    factors += [([i, j], rng.random() * alike) for i in range(6) for j in range(i + 1, 6)]
    return PairwiseNetwork.from_factors([2] * 6, factors)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    **{kind: lambda kind=kind: random_network(5, 3, kind, beta=0.3) for kind in SIMILARITIES},
    "bounded": lambda: random_network(5, 4, bounds="both"),
    "floored": lambda: floored(5),
    "kl term": lambda: random_network(5, 6, tau=0.3),
    "no utility": lambda: random_network(5, 7, utility="zero"),
    "no similarity": lambda: random_network(5, 8, lam=0.0),
    "small units": lambda: random_network(5, 9, scale=1e-3),
    "two tasks": lambda: random_network(2, 10),
    "odd names": lambda: random_network(5, 11, names=ODD_NAMES[5:]),
    "indefinite": lambda: TaskNetwork(np.arange(4.0), indefinite(4, np.random.default_rng(1)), beta=0.2),
    **{f"levels: {kind}": lambda kind=kind: random_network(4, 3, kind, beta=0.3).levels(5) for kind in SIMILARITIES},
    "levels: three of six": lambda: random_network(6, 12).levels(3, cap=1),
    "levels: capped": lambda: random_network(4, 13).levels(6, cap=3),
    "levels: floored": lambda: floored(14).levels(10),
    "levels: kl term": lambda: random_network(4, 15, tau=0.3).levels(5),
    "levels: one point": lambda: TaskNetwork([1.0, 0.0], np.eye(2), lower=0.5).levels(4),
    "levels: all equal": lambda: TaskNetwork(np.zeros(4), np.ones((4, 4))).levels(4),
    "levels: indefinite": lambda: TaskNetwork(np.arange(4.0), indefinite(4, np.random.default_rng(2))).levels(4),
    "levels: odd names": lambda: random_network(5, 16, names=ODD_NAMES[:5]).levels(3),
    "free: selection": lambda: random_network(6, 17).levels(None),
    "free: three levels": lambda: random_network(5, 18, beta=0.5).levels(None, cap=2),
    "free: indefinite": lambda: TaskNetwork(np.arange(4.0), indefinite(4, np.random.default_rng(3))).levels(None, 2),
    "pairwise: tree": lambda: random_pairwise(1, nodes=6, tree=True),
    "pairwise: loops": lambda: random_pairwise(2, nodes=6),
    "pairwise: all pairs": lambda: random_pairwise(3, density=1.0, most_states=4),
    "pairwise: ties": lambda: random_pairwise(4, whole=True),
    "pairwise: forbidden": lambda: random_pairwise(5, forbidden=0.4),
    "pairwise: budget": lambda: random_pairwise(6, budget=True),
    "pairwise: budget and forbidden": lambda: random_pairwise(7, budget=True, forbidden=0.2),
    "pairwise: large energies": lambda: random_pairwise(8, scale=1e3),
    "pairwise: in parts": lambda: random_pairwise(9, nodes=7, density=0.15),
    "pairwise: submodular": lambda: submodular(10),
    "pairwise: one node": lambda: random_pairwise(11, nodes=1),
    "pairwise: budget alone": lambda: random_pairwise(12, density=0.0, budget=True),
    "separable: late": lambda: random_separable(2, 22),
    "separable: bounds, no prior": lambda: random_separable(2, 23, tau=0.0, bounds="both"),
    "separable: power laws": lambda: random_separable(2, 24, tau=0.3),
    "separable: on levels": lambda: random_separable(4, 25).levels(6),
    "transfer: late": lambda: random_transfer(2, 26, late=True, tau=0.0),
    "transfer: bounds": lambda: random_transfer(2, 27, bounds="both", late=True),
    "transfer: power laws": lambda: random_transfer(2, 30, tau=0.3),
    "coverage: two tasks": lambda: random_coverage(2, 19),
    "coverage: bounds, no prior": lambda: random_coverage(2, 20, tau=0.0, bounds="both"),
    "coverage: another": lambda: random_coverage(2, 21, tau=0.5),
    "capacity: symmetric channel": lambda: CapacityMixture(np.log([[[0.9, 0.1]], [[0.1, 0.9]]])),
    "capacity: bounds": lambda: CapacityMixture(np.log([[[0.9, 0.1]], [[0.1, 0.9]]]), lower=[0.7, 0.0]),
}
CAPACITIES = {"capacity: symmetric channel": 0.5, "capacity: bounds": 0.7}  # the first weight of the best mixture


@cache
def problem_and_oracle(name: str) -> tuple[Problem, float]:
    """A problem of the table and its least energy, from oracles that share no code with any method."""
    problem = PROBLEMS[name]()
    if isinstance(problem, PairwiseNetwork):
        return problem, least_pairwise_energy(problem)
    if isinstance(problem, CoverageNetwork):
        return problem, least_coverage_energy(problem)
    if isinstance(problem, SeparableNetwork | TransferNetwork):
        return problem, least_expected_energy(problem)
    if isinstance(problem, CapacityMixture):
        share = CAPACITIES[name]
        return problem, -information_by_hand(problem, np.array([share, 1.0 - share]))
    return problem, least_energy(problem) if isinstance(problem, TaskNetwork) else min(level_energies(problem))


def information_by_hand(problem: CapacityMixture, mixture: Any) -> float:
    """H(Y) - H(Y|X) of one context, by loops."""
    rows = problem.probabilities

    def entropy(values: Any) -> float:
        return -sum(float(v) * float(np.log(v)) for v in values if v > 0.0)

    return entropy(mixture @ rows) - sum(float(p) * entropy(row) for p, row in zip(mixture, rows, strict=True))


def energy_by_hand(problem: Problem, point: Any) -> tuple[float, float]:
    """(energy, scale of its terms) of a point, by loops that share no code with any method."""
    if isinstance(problem, PairwiseNetwork):
        largest = [np.abs(table[np.isfinite(table)]).max() for table in (*problem.unary, *problem.tables)]
        return pairwise_energy_by_loops(problem, point.tolist()), float(sum(largest)) + abs(problem.constant)
    if isinstance(problem, CapacityMixture):
        return -information_by_hand(problem, point), 1.0
    if isinstance(problem, CoverageNetwork):
        return coverage_energy_by_loops(problem, point.tolist()), problem.scale
    if isinstance(problem, SeparableNetwork | TransferNetwork):
        return expected_energy_by_loops(problem, point.tolist()), problem.scale
    network = problem if isinstance(problem, TaskNetwork) else problem.network
    mixture = point / (1.0 if isinstance(problem, TaskNetwork) else problem.quanta)
    return energy_by_loops(network, mixture.tolist()), energy_scale(network)


def broken_laws(method: Method, problem: Problem, oracle: float) -> tuple[Solution, list[str]]:
    """What `solve` makes of a method, and every law of the inference seam that the outcome breaks."""
    solution = solve(problem, method, deadline=SECONDS, seed=1)
    verdict = judge(problem, solution)
    if solution.status is Status.refused:
        return solution, [] if solution.message and solution.point is None else ["a refusal gives a reason, no point"]
    if solution.status is Status.failed or solution.point is None:
        return solution, [f"no usable answer: {solution.message}"]
    by_hand, scale = energy_by_hand(problem, solution.point)
    rounding = 1e-9 * scale
    tolerance = gap_tolerance(problem, oracle) + rounding
    laws = {
        "the point is feasible": problem.violation(solution.point) <= FEASIBILITY_TOLERANCE,
        "the energy is the point's": abs(solution.energy - by_hand) <= rounding,
        "no energy is below the oracle's": solution.energy >= oracle - rounding,
        "the bound is not above the oracle's energy": solution.bound <= oracle + rounding,
        "the judge agrees": verdict.energy == solution.energy and verdict.status is solution.status,
        "the gap is energy - bound": abs(solution.gap - (solution.energy - solution.bound)) <= rounding
        or solution.gap == -solution.bound == np.inf,
        "exact methods reach the oracle's energy": not method.exact
        or solution.status is Status.timeout
        or solution.energy <= oracle + tolerance,
        "optimal means within the tolerance of the oracle": solution.status is not Status.optimal
        or solution.energy <= oracle + tolerance,
        "ties are counted from one": solution.ties is None or solution.ties >= 1,
        "the anytime trace only improves and ends above the bound": improves(solution),
        "the same seed gives the same energy": solution.status is Status.timeout
        or abs(solve(problem, method, deadline=SECONDS, seed=1).energy - solution.energy) <= rounding,
    }
    return solution, [law for law, holds in laws.items() if not holds]


def improves(solution: Solution) -> bool:
    """Whether energies only fall, bounds only rise, seconds only grow, and no note beats the answer."""
    trace = solution.trace
    ordered = all(
        a.seconds <= b.seconds and a.energy >= b.energy and a.bound <= b.bound for a, b in itertools.pairwise(trace)
    )
    slack = 1e-9 * max(1.0, abs(solution.energy))
    return ordered and all(
        each.energy >= solution.energy - slack and each.bound <= solution.energy + slack for each in trace
    )


# ------------------------------------------------------------------------------------------------------ every method


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_keeps_the_contract(method: Method, name: str) -> None:
    solution, broken = broken_laws(method, *problem_and_oracle(name))
    assert not broken, solution


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_method_is_refused_everywhere(method: Method) -> None:
    reasons = {}
    for name in PROBLEMS:
        solution = solve(problem_and_oracle(name)[0], method, deadline=SECONDS)
        if solution.status is not Status.refused:
            return
        reasons[name] = solution.message
    pytest.fail(f"{method.name} was refused on every problem: {reasons}")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_wrong_domain_is_refused_with_a_reason(method: Method) -> None:
    network = random_network(4, 0)
    solution = solve(network.levels(3) if method.domain == "mixture" else network, method)
    assert solution.status is Status.refused
    assert "takes a" in solution.message
    assert len(solution.message.splitlines()) == 1


# ------------------------------------------------------------------------------- what must not change an answer

PAIRWISE = [method for method in METHODS if method.domain == "pairwise"]
EXACT = [method for method in METHODS if method.exact and method.domain != "mixture"]
VARIED = (
    "free: three levels",
    "pairwise: tree",
    "pairwise: loops",
    "pairwise: budget",
    "pairwise: forbidden",
    "separable: on levels",
)


def answered(method: Method, problem: Problem) -> Solution:
    solution = solve(problem, method, deadline=SECONDS, seed=1)
    if solution.status is Status.refused:
        pytest.skip(f"refused: {solution.message}")
    assert solution.point is not None, solution.message
    return solution


def factors_of(network: PairwiseNetwork) -> list[tuple[list[int], Any]]:
    factors: list[tuple[list[int], Any]] = [([i], values) for i, values in enumerate(network.unary)]
    return factors + [(edge, table) for edge, table in zip(network.edges.tolist(), network.tables, strict=True)]


def remade(network: PairwiseNetwork, factors: list[tuple[list[int], Any]], constant: float) -> PairwiseNetwork:
    return PairwiseNetwork.from_factors(
        network.states.tolist(), factors, constant=constant, levels=network.levels, budget=network.budget
    )


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("method", PAIRWISE, ids=lambda method: method.name)
def test_a_constant_a_split_factor_and_the_unit_of_energy_change_no_answer(method: Method, name: str) -> None:
    problem, _ = problem_and_oracle(name)
    assert isinstance(problem, PairwiseNetwork)
    solution = answered(method, problem)
    slack = 1e-6 * max(1.0, abs(solution.energy))
    factors, constant = factors_of(problem), problem.constant
    split = [(scope, part) for scope, table in factors for part in (0.25 * table, 0.75 * table)]
    raised = answered(method, remade(problem, factors, constant + 3.0))
    assert raised.energy - 3.0 == pytest.approx(solution.energy, abs=slack)
    assert answered(method, remade(problem, split, constant)).energy == pytest.approx(solution.energy, abs=slack)
    larger = answered(method, problem.scaled(4.0))
    assert 0.25 * larger.energy == pytest.approx(solution.energy, abs=slack)
    if np.isfinite(solution.bound):
        assert raised.bound - 3.0 == pytest.approx(solution.bound, abs=1e-3 * max(1.0, abs(solution.bound)))


@pytest.mark.parametrize("name", [*VARIED, "levels: three of six", "levels: capped"])
@pytest.mark.parametrize("method", EXACT, ids=lambda method: method.name)
def test_names_and_order_of_the_nodes_do_not_matter(method: Method, name: str) -> None:
    problem, oracle = problem_and_oracle(name)
    order = np.random.default_rng(5).permutation(len(problem))
    answered(method, problem)
    if isinstance(problem, PairwiseNetwork):
        place = np.argsort(order)
        moved: Problem = PairwiseNetwork.from_factors(
            problem.states[order].tolist(),
            [([int(place[i]) for i in scope], table) for scope, table in factors_of(problem)],
            names=[f"moved {i}" for i in order],
            constant=problem.constant,
            levels=[problem.levels[i] for i in order],
            budget=problem.budget,
        )
    else:
        assert isinstance(problem, LevelsNetwork)
        net = problem.network
        similar = net.similarity[np.ix_(order, order)]
        moved = TaskNetwork(net.utility[order], similar, beta=net.beta).levels(problem.quanta, problem.cap)
    assert answered(method, moved).energy == pytest.approx(oracle, abs=1e-7 * max(1.0, abs(oracle)))


OF_TASKS = {
    "mixture": ("full_rank", "exponential_kernel", "bounded"),
    "levels": ("levels: full_rank", "levels: three of six", "levels: capped"),
}
ON_TASKS = [(method, name) for method in METHODS for name in OF_TASKS.get(method.domain, ())]


@pytest.mark.parametrize(("method", "name"), ON_TASKS, ids=[f"{method.name}-{name}" for method, name in ON_TASKS])
def test_a_similarity_common_to_all_and_the_unit_of_energy_change_no_answer(method: Method, name: str) -> None:
    """S + c adds lam c / 2 to the energy of every mixture."""
    problem, _ = problem_and_oracle(name)
    solution = answered(method, problem)
    network = problem if isinstance(problem, TaskNetwork) else problem.network  # type: ignore[union-attr]
    slack = 1e-6 * energy_scale(network)
    common = network.changed(similarity=network.similarity + 0.7)
    larger = network.changed(utility=4.0 * network.utility, similarity=4.0 * network.similarity)
    assert answered(method, as_problem(common, problem)).energy - 0.35 * network.lam == pytest.approx(
        solution.energy, abs=slack
    )
    assert 0.25 * answered(method, as_problem(larger, problem)).energy == pytest.approx(solution.energy, abs=slack)


def as_problem(network: TaskNetwork, like: Problem) -> Problem:
    return network.levels(like.quanta, like.cap) if isinstance(like, LevelsNetwork) else network


@pytest.mark.parametrize("name", ["pairwise: loops", "pairwise: budget", "free: three levels"])
@pytest.mark.parametrize("method", [method for method in PAIRWISE if method.exact], ids=lambda method: method.name)
def test_evidence_is_conditioning(method: Method, name: str) -> None:
    problem, _ = problem_and_oracle(name)
    assert isinstance(problem, PairwiseNetwork)
    for state in range(int(problem.states[1])):
        given = problem.conditioned({problem.names[1]: state})
        oracle = min(
            (problem.energy(s) for s in pairwise_points(problem) if s[1] == state),
            default=np.inf,
        )
        if np.isfinite(oracle):
            assert answered(method, given).energy == pytest.approx(oracle, abs=1e-7 * max(1.0, abs(oracle)))


def test_method_names_are_distinct_and_each_status_has_a_remedy() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert all(len(status.value) > 20 for status in Status)


# ------------------------------------------------------------------------------------------------------- planted bugs


class Planted(Method):
    """A method whose answer is given by a function of the problem."""

    name: ClassVar[str] = "planted"
    domain: ClassVar[Domain] = "mixture"
    exact: ClassVar[bool] = True
    answer: ClassVar[Callable[[Any], Answer]]

    def refuses(self, problem: Problem) -> str | None:
        return None

    def run(self, problem: Any, deadline: Deadline, seed: int) -> Answer:
        return type(self).answer(problem)


def planted(domain: str, answer: Callable[[Any], Answer]) -> Method:
    made = type("Made", (Planted,), {"domain": domain, "answer": staticmethod(answer)})
    return made()  # type: ignore[no-any-return]


def best_mixture(network: TaskNetwork) -> Any:
    return np.array(solve(network, SimplexQP()).point)


def best_levels(levels: LevelsNetwork) -> Any:
    return np.array(solve(levels, Exhaustive()).point)


def sign_error(network: TaskNetwork) -> Answer:
    flipped = TaskNetwork(-network.utility, network.similarity, beta=network.beta, lam=network.lam)
    return Answer(best_mixture(flipped))


def half_forgotten(network: TaskNetwork) -> Answer:
    """Minimises -beta u'p + lam p'Sp: the half in front of the quadratic term is missing."""
    return Answer(best_mixture(TaskNetwork(network.utility, network.similarity, lam=2.0 * network.lam)))


def stale(network: TaskNetwork) -> Answer:
    return Answer(best_mixture(random_network(len(network), 99)))


def poor_levels(levels: LevelsNetwork) -> Any:
    """A feasible point that is not the best."""
    points = [random_levels(levels, seed) for seed in range(20)]
    return max(points, key=levels.energy)


def best_states(network: PairwiseNetwork) -> Any:
    return np.array(solve(network, Exhaustive()).point)


def poor_states(network: PairwiseNetwork) -> Any:
    """Of all allowed assignments the one whose energy is the median."""
    points = sorted(pairwise_points(network), key=network.energy)
    return np.array(points[len(points) // 2])


def dropped_factor(network: PairwiseNetwork) -> Answer:
    """The best states without the pair whose energies differ most."""
    widest = max(range(len(network.edges)), key=lambda e: float(np.ptp(network.tables[e])))
    rest = [factor for factor in factors_of(network) if list(factor[0]) != network.edges[widest].tolist()]
    return Answer(best_states(remade(network, rest, network.constant)))


def without_budget(network: PairwiseNetwork) -> Answer:
    return Answer(best_states(PairwiseNetwork.from_factors(network.states.tolist(), factors_of(network))))


def forbidden_pair(network: PairwiseNetwork) -> Answer:
    """Methods see forbidden pairs as very dear ones."""
    return Answer(np.array(max(pairwise_points(network), key=network.energy)))


NETWORK, LEVELS, PAIRS = "full_rank", "levels: full_rank", "pairwise: loops"
DRIVER_CATCHES: dict[str, tuple[str, Method, str]] = {
    "sum is 1.001": (NETWORK, planted("mixture", lambda n: Answer(1.001 * best_mixture(n))), "feasible set"),
    "negative weight": (NETWORK, planted("mixture", lambda n: Answer(np.array([1.2, -0.2, 0, 0, 0]))), "feasible set"),
    "nan weight": (NETWORK, planted("mixture", lambda n: Answer(np.full(5, np.nan))), "feasible set"),
    "infinite weight": (NETWORK, planted("mixture", lambda n: Answer(np.full(5, np.inf))), "feasible set"),
    "one weight for all": (NETWORK, planted("mixture", lambda n: Answer(np.ones(1))), "shape (1,)"),
    "a column": (NETWORK, planted("mixture", lambda n: Answer(best_mixture(n)[:, None])), "shape (5, 1)"),
    "division by zero": (NETWORK, planted("mixture", lambda n: Answer(np.full(5, 1 // 0))), "ZeroDivisionError"),
    "nothing": (NETWORK, planted("mixture", lambda n: Answer(None, message="lost it")), "lost it"),
    "nan level": (LEVELS, planted("levels", lambda x: Answer(np.array([np.nan, 1, 1, 1]))), "feasible set"),
    "mixture for levels": (LEVELS, planted("levels", lambda x: Answer(best_levels(x) / x.quanta)), "feasible set"),
    "half levels": (LEVELS, planted("levels", lambda x: Answer(np.array([1.5, 1.5, 1.0, 1.0]))), "feasible set"),
    "budget exceeded": (LEVELS, planted("levels", lambda x: Answer(np.full(4, 5))), "feasible set"),
    "bound above the point": (LEVELS, planted("levels", lambda x: Answer(best_levels(x), 100.0)), "lower bound"),
    "bound above by 1e-6": (
        LEVELS,
        planted("levels", lambda x: Answer(best_levels(x), x.energy(best_levels(x)) + 1e-6)),
        "lower bound",
    ),
    "budget forgotten": ("pairwise: budget", planted("pairwise", without_budget), "feasible set"),
    "forbidden pair": ("pairwise: forbidden", planted("pairwise", forbidden_pair), "forbids"),
    "state beyond the last": (PAIRS, planted("pairwise", lambda n: Answer(np.array(n.states))), "feasible set"),
    "bound is nan": (LEVELS, planted("levels", lambda x: Answer(best_levels(x), np.nan)), "lower bound"),
}
CONTRACT_CATCHES: dict[str, tuple[str, Method, str]] = {
    "sign error": (NETWORK, planted("mixture", sign_error), "exact methods"),
    "half forgotten": (NETWORK, planted("mixture", half_forgotten), "exact methods"),
    "stale answer": (NETWORK, planted("mixture", stale), "exact methods"),
    "uniform always": (NETWORK, planted("mixture", lambda n: Answer(np.full(5, 0.2))), "exact methods"),
    "poor levels": (LEVELS, planted("levels", lambda x: Answer(poor_levels(x))), "exact methods"),
    "bound a little too high": (
        LEVELS,
        planted("levels", lambda x: Answer(poor_levels(x), x.energy(best_levels(x)) + 1e-6)),
        "the bound is not above",
    ),
    "dropped factor": (PAIRS, planted("pairwise", dropped_factor), "exact methods"),
    "sign of all factors": (PAIRS, planted("pairwise", lambda n: Answer(best_states(n.scaled(-1.0)))), "exact methods"),
    "stale states": (PAIRS, planted("pairwise", lambda n: Answer(poor_states(n))), "exact methods"),
    "bound of states a little too high": (
        PAIRS,
        planted("pairwise", lambda n: Answer(poor_states(n), n.energy(best_states(n)) + 1e-6)),
        "the bound is not above",
    ),
    "own energy as the bound": (
        LEVELS,
        planted("levels", lambda x: Answer(poor_levels(x), x.energy(poor_levels(x)))),
        "optimal means",
    ),
}


@pytest.mark.parametrize("bug", DRIVER_CATCHES)
def test_the_driver_catches_planted_bugs(bug: str) -> None:
    name, method, reason = DRIVER_CATCHES[bug]
    solution, broken = broken_laws(method, *problem_and_oracle(name))
    assert solution.status is Status.failed
    assert reason in solution.message
    assert solution.point is None
    assert broken


@pytest.mark.parametrize("bug", CONTRACT_CATCHES)
def test_the_contract_catches_planted_bugs(bug: str) -> None:
    name, method, law = CONTRACT_CATCHES[bug]
    solution, broken = broken_laws(method, *problem_and_oracle(name))
    assert any(law in each for each in broken), (solution, broken)
    if method.domain == "mixture":  # there the certificate is the driver's own: no false claim survives
        assert solution.status is not Status.optimal


def test_a_stale_incumbent_of_branch_and_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search starts from a poor point; with the bug it finds better energies and forgets their points."""
    problem, oracle = problem_and_oracle(LEVELS)
    monkeypatch.setattr(branch_and_bound, "tabu_search", lambda levels, start, moves: poor_levels(levels))
    assert broken_laws(BranchAndBound(), problem, oracle)[1] == []
    monkeypatch.setattr(Tree, "_adopt", lambda self, incumbent, before: None)
    solution, broken = broken_laws(BranchAndBound(), problem, oracle)
    assert any("exact methods" in law for law in broken)
    assert solution.status is not Status.optimal


def test_a_curvature_claimed_too_high_by_branch_and_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Couplings that are not made convex give bounds above energies, and prune the best point."""
    problems = [random_network(10, seed, "indefinite").levels(5, cap=1) for seed in range(20)]
    oracles = [min(level_energies(problem)) for problem in problems]
    monkeypatch.setattr(branch_and_bound, "tabu_search", lambda levels, start, moves: poor_levels(levels))

    def broken() -> list[list[str]]:
        return [broken_laws(BranchAndBound(), *each)[1] for each in zip(problems, oracles, strict=True)]

    assert not any(broken())
    monkeypatch.setattr(branch_tree, "least_eigenvalue", lambda matrix: 0.0)
    assert any(broken())


def test_a_mixture_methods_own_bound_is_not_used() -> None:
    problem, _ = problem_and_oracle(NETWORK)
    uniform = np.full(5, 0.2)
    claimed = planted("mixture", lambda n: Answer(uniform, n.energy(uniform)))
    solution = solve(problem, claimed)
    assert solution.status is Status.bound
    assert solution.gap > 1e-3


def test_the_contract_catches_a_certificate_with_a_sign_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def flipped(network: TaskNetwork, mixture: Any) -> Certificate:
        gap = max(0.0, -certificate(network, mixture).gap)
        return Certificate(network.energy(mixture), network.energy(mixture) - gap, gap, 0.0)

    monkeypatch.setattr("taskpgm.inference.driver.certificate", flipped)
    uniform = planted("mixture", lambda n: Answer(np.full(5, 0.2)))
    solution, broken = broken_laws(uniform, *problem_and_oracle(NETWORK))
    assert solution.status is Status.optimal
    assert any("the bound is not above" in law for law in broken)


@pytest.mark.parametrize("domain", ["mixture", "levels"])
def test_the_contract_passes_methods_that_are_right(domain: str) -> None:
    name = NETWORK if domain == "mixture" else LEVELS
    right = planted(domain, lambda p: Answer(best_mixture(p) if domain == "mixture" else best_levels(p)))
    assert broken_laws(right, *problem_and_oracle(name))[1] == []


def test_a_level_that_is_whole_up_to_rounding_is_rounded_not_truncated() -> None:
    problem, oracle = problem_and_oracle(LEVELS)
    solution, broken = broken_laws(planted("levels", lambda x: Answer(best_levels(x) - 1e-10)), problem, oracle)
    assert broken == []
    assert solution.point is not None
    assert solution.point.sum() == 5


def test_a_weight_below_zero_by_rounding_has_no_certificate_under_a_kl_term() -> None:
    network = random_network(4, 0, tau=1.0)
    nearly = planted("mixture", lambda n: Answer(np.array([-1e-12, 0.5, 0.5, 1e-12])))
    solution = solve(network, nearly)
    assert solution.status is Status.feasible
    assert solution.bound == -np.inf


def test_the_judge_recomputes_what_a_solution_says() -> None:
    problem, oracle = problem_and_oracle(NETWORK)
    forged = Solution("forged", Status.optimal, np.full(5, np.nan), energy=oracle, bound=oracle, gap=0.0)
    assert judge(problem, forged).status is Status.failed
    shifted = Solution("shifted", Status.optimal, np.full(5, 0.2), energy=oracle, bound=oracle, gap=0.0)
    verdict = judge(problem, shifted, reference=solve(problem, SimplexQP()))
    assert not verdict.proved
    assert verdict.excess > 1e-3
    assert "against the reference" in str(verdict)
