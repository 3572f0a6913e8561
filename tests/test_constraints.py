"""Feasible sets of every kind: proved optimal, priced as finite differences say, clashes named minimally."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import energy_scale
from strategies import SEEDS, random_network

import taskpgm as tp
from taskpgm.constraints import Constraint, as_dict, from_dict
from taskpgm.exact import exact_certificate
from taskpgm.exact_path import effective_tasks
from taskpgm.infeasible import TOLERANCE, irreducible, least_miss
from taskpgm.inference import METHODS, SimplexQP, solve
from taskpgm.judge import certificate
from taskpgm.mixture import Mixture
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Solution, Status

KINDS = ("group", "cost", "epochs", "trust", "effective")


def random_constraints(names: Sequence[str], inside: FloatArray, kinds: Sequence[str], seed: int) -> list[Constraint]:
    """Constraints that a mixture keeps with some room."""
    rng = np.random.default_rng(seed)
    n = len(names)
    found: list[Constraint] = []
    for kind in kinds:
        if kind == "group":
            members = rng.choice(n, size=int(rng.integers(1, n)), replace=False)
            total = float(inside[members].sum())
            tasks = tuple(names[i] for i in members)
            found.append(tp.Group(tasks, 0.8 * total, min(1.0, 1.05 * total), name="some"))
        elif kind == "cost":
            costs = rng.normal(size=n)
            found.append(tp.CostBound(dict(zip(names, costs.tolist(), strict=True)), float(costs @ inside) + 0.05))
        elif kind == "epochs":
            sizes = dict(zip(names, (1000.0 * inside * rng.uniform(0.4, 2.0, size=n)).tolist(), strict=True))
            found.append(tp.EpochCap(sizes, 1000.0, 2.6))
        elif kind == "trust":
            centre = 0.7 * inside + 0.3 * rng.dirichlet(np.ones(n))
            divergence = float((inside * np.log(inside / centre)).sum())
            weights = dict(zip(names, (centre / centre.sum()).tolist(), strict=True))
            found.append(tp.TrustRegion(weights, divergence + 0.05))
        else:
            found.append(tp.EffectiveTasks(max(1.01, 0.9 * float(effective_tasks(inside)))))
    return found


@st.composite
def constrained(draw: st.DrawFn, *, kinds: Sequence[str] = KINDS, taus: Sequence[float] = (0.0, 0.2)) -> TaskNetwork:
    """A small convex network with up to three constraints that some mixture keeps with room."""
    n, seed = draw(st.integers(3, 7)), draw(SEEDS)
    kind = draw(st.sampled_from(["full_rank", "low_rank", "exponential_kernel", "duplicated"]))
    network = random_network(n, seed, kind, beta=draw(st.sampled_from([1.0, 0.1])), tau=draw(st.sampled_from(taus)))
    inside = 0.9 * np.random.default_rng(seed).dirichlet(np.ones(n)) + 0.1 / n
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True))
    return network.changed(constraints=random_constraints(network.names, inside, chosen, seed))


def solved(network: TaskNetwork) -> Solution:
    solution = solve(network, SimplexQP())
    assert solution.point is not None
    return solution


# ----------------------------------------------------------------------------------------------------------- optimality


@given(constrained())
@settings(max_examples=80)
def test_the_mixture_is_feasible_and_proved_in_exact_arithmetic(network: TaskNetwork) -> None:
    solution = solved(network)
    scale = energy_scale(network)
    assert solution.status is Status.optimal
    assert network.violation(solution.point) <= 1e-9
    proof = exact_certificate(network, solution.point)
    assert float(proof.gap) <= 1e-7 * scale
    assert abs(float(proof.bound) - solution.bound) <= 1e-8 * scale
    assert float(proof.violation) <= 1e-9


@given(constrained(), SEEDS)
@settings(max_examples=40)
def test_another_solver_finds_the_same_energy(network: TaskNetwork, seed: int) -> None:
    rough = solve(network, SimplexQP(solvers=("SCS",), polish=False))
    assume(rough.point is not None)
    assert rough.energy == pytest.approx(solved(network).energy, abs=2e-4 * energy_scale(network))


@given(constrained(), SEEDS)
@settings(max_examples=60)
def test_the_bound_of_any_mixture_is_below_every_feasible_one(network: TaskNetwork, seed: int) -> None:
    """Whatever mixture the certificate is taken at, and whether or not that is feasible itself."""
    best = solved(network)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        p = np.clip(rng.dirichlet(np.ones(len(network))), network.lower, network.upper)
        p = np.clip(p + (1.0 - p.sum()) / len(p), 1e-6, 1.0)
        assert certificate(network, p / p.sum()).bound <= best.energy + 1e-9 * energy_scale(network)


@given(constrained(kinds=("group", "cost", "trust", "effective")), SEEDS)
@settings(max_examples=30)
def test_names_and_order_do_not_matter(network: TaskNetwork, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(network))
    other = TaskNetwork(
        network.utility[order],
        network.similarity[np.ix_(order, order)],
        [network.names[i] for i in order],
        beta=network.beta,
        lam=network.lam,
        tau=network.tau,
        prior=network.prior[order],
        constraints=network.constraints,
    )
    assert solved(other).energy == pytest.approx(solved(network).energy, abs=1e-8 * energy_scale(network))


@given(constrained(kinds=("group", "cost")), SEEDS)
@settings(max_examples=25)
def test_a_task_split_in_two_keeps_its_total_in_any_feasible_set(network: TaskNetwork, seed: int) -> None:
    """Two halves count as one wherever weights are added up; what counts tasks or has a prior is left out."""
    n, task = len(network), int(np.random.default_rng(seed).integers(len(network)))
    strict = network.similarity + 0.1 * np.eye(n)  # one minimiser only
    whole = network.changed(similarity=strict, tau=0.0)
    name, parts = network.names[task], [*range(n), task]
    constraints: list[Constraint] = []
    for each in network.constraints:
        if isinstance(each, tp.Group):
            extra = ("half",) if name in each.tasks else ()
            constraints.append(tp.Group((*each.tasks, *extra), each.lower, each.upper, each.name))
        elif isinstance(each, tp.CostBound):
            constraints.append(tp.CostBound({**each.costs, "half": each.costs[name]}, each.most))
    split = TaskNetwork(
        whole.utility[parts],
        strict[np.ix_(parts, parts)],
        (*whole.names, "half"),
        beta=whole.beta,
        lam=whole.lam,
        constraints=constraints,
    )
    one, two = solved(whole), solved(split)
    assert two.energy == pytest.approx(one.energy, abs=1e-9 * energy_scale(whole))
    merged = np.array(two.point[:n])
    merged[task] += two.point[n]
    np.testing.assert_allclose(merged, one.point, atol=1e-5)


def test_a_task_split_in_two_keeps_its_total() -> None:
    similarity = np.array([[1.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 1.0]])
    whole = TaskNetwork([0.3, 0.1, 0.2], similarity, ("a", "b", "c"), constraints=[tp.Group(("a", "b"), upper=0.4)])
    again = np.ix_([0, 0, 1, 2], [0, 0, 1, 2])
    constraints = [tp.Group(("a1", "a2", "b"), upper=0.4)]
    split = TaskNetwork([0.3, 0.3, 0.1, 0.2], similarity[again], ("a1", "a2", "b", "c"), constraints=constraints)
    one, two = solved(whole), solved(split)
    assert two.energy == pytest.approx(one.energy, abs=1e-10)
    assert two.point[:2].sum() == pytest.approx(one.point[0], abs=1e-6)


def test_effective_tasks_are_effective() -> None:
    network = random_network(8, 1, "full_rank").changed(constraints=[tp.EffectiveTasks(6.0)])
    assert float(effective_tasks(solved(network).point)) == pytest.approx(6.0, abs=1e-6)


def test_an_epoch_cap_is_an_upper_bound() -> None:
    network = random_network(4, 2, "full_rank", beta=2.0)
    sizes = dict(zip(network.names, (40.0, 30.0, 20.0, 80.0), strict=True))
    capped = network.changed(constraints=[tp.EpochCap(sizes, budget=100.0, most=1.5)])
    bounded = network.changed(upper=[0.6, 0.45, 0.3, 1.0])
    assert capped.only_bounds
    np.testing.assert_allclose(capped.upper, bounded.upper)
    assert solved(capped).energy == pytest.approx(solved(bounded).energy, abs=1e-12)


# --------------------------------------------------------------------------------------------------------------- prices


def moved(constraint: Constraint, row: str, step: float) -> Constraint:
    """The constraint with the limit of one of its rows moved out by `step`."""
    if isinstance(constraint, tp.Group):
        if row.startswith("at least"):
            return tp.Group(constraint.tasks, constraint.lower - step, constraint.upper, constraint.name)
        return tp.Group(constraint.tasks, constraint.lower, constraint.upper + step, constraint.name)
    if isinstance(constraint, tp.CostBound):
        return tp.CostBound(constraint.costs, constraint.most + step)
    if isinstance(constraint, tp.TrustRegion):
        return tp.TrustRegion(constraint.centre, constraint.within + step)
    assert isinstance(constraint, tp.EffectiveTasks)
    return tp.EffectiveTasks(constraint.least * math.exp(-step))


@given(constrained(kinds=("group", "cost", "trust", "effective")))
@settings(max_examples=25)
def test_prices_are_finite_differences(network: TaskNetwork) -> None:
    solution = solved(network)
    bill = tp.prices(network, solution)
    found = {price.constraint: price.price for price in bill.binding}
    step = 1e-5
    for place, constraint in enumerate(network.constraints):
        for row in constraint.rows(network.names):
            ends = []
            for change in (step, -step):
                others = [*network.constraints]
                others[place] = moved(constraint, row.name, change)
                try:
                    ends.append(solved(network.changed(constraints=others)).energy)
                except InputError:
                    assume(False)
            saved, cost = solution.energy - ends[0], ends[1] - solution.energy
            # the least energy is convex in the limits: the price lies between the slopes on either side
            slack = 1e-6 * energy_scale(network) / step * 1e-3 + 1e-4 * (1.0 + found.get(row.name, 0.0))
            assert saved / step - slack <= found.get(row.name, 0.0) <= cost / step + slack


def test_prices_of_epochs_and_bounds_are_in_words() -> None:
    network = TaskNetwork(
        [1.0, 0.2, 0.1],
        np.eye(3),
        ("maths", "chat", "code"),
        lower={"code": 0.3},
        constraints=[tp.EpochCap({"maths": 100.0}, budget=1000.0, most=4.0)],
    )
    solution = solved(network)
    bill = tp.prices(network, solution)
    assert [price.constraint for price in bill.binding] == ["at most 4 epochs of 'maths'", "at least 0.3 for 'code'"]
    more = network.changed(constraints=[tp.EpochCap({"maths": 100.0}, budget=1000.0, most=4.001)], upper=1.0)
    saved = (solution.energy - solved(more).energy) / 0.001
    assert bill.binding[0].saving == pytest.approx(saved, rel=1e-3)
    text = str(bill)
    assert "one more epoch of 'maths' would lower the energy by" in text
    assert "Without any constraint the energy would be lower by" in text
    assert bill.without.energy < solution.energy
    assert bill.cost == pytest.approx(solution.energy - bill.without.energy)


def test_where_nothing_binds_it_is_said() -> None:
    network = TaskNetwork(np.zeros(3), np.eye(3), constraints=[tp.Group(("task 0", "task 1"), upper=0.9)])
    bill = tp.prices(network, solved(network))
    assert bill.binding == ()
    assert str(bill) == "No constraint binds."
    assert bill.cost == pytest.approx(0.0, abs=1e-12)


@given(constrained(kinds=("group", "cost", "trust", "effective")))
@settings(max_examples=12)
def test_explanations_add_up_to_the_energy(network: TaskNetwork) -> None:
    solution = solved(network)
    reasons = [tp.explain(network, solution, name) for name in network.names]
    scale = energy_scale(network)
    assert sum(why.energy for why in reasons) == pytest.approx(solution.energy, abs=1e-10 * scale)
    for why in reasons:
        if not why.bound:  # with what the constraints add, all tasks between their bounds have one slope
            assert why.slope == pytest.approx(why.budget_price, abs=1e-5 * scale)
        for name in why.constraints:
            assert name in str(why)


@given(SEEDS, st.sampled_from(["group", "cost", "trust"]))
@settings(max_examples=12)
def test_derivatives_under_constraints_are_finite_differences(seed: int, kind: str) -> None:
    plain = random_network(5, seed, "full_rank", beta=0.3)
    inside = 0.8 * np.random.default_rng(seed).dirichlet(np.full(5, 3.0)) + 0.04
    network = plain.changed(constraints=random_constraints(plain.names, inside, [kind], seed))
    found = tp.sensitivity(network, solved(network))
    step = 1e-5
    binding = np.array([price.price for price in tp.prices(network, found.mixture).binding])
    margin = np.minimum(found.mixture - network.lower, network.upper - found.mixture)[found.free]
    assume(found.unique and not found.undecided and margin.min(initial=1.0) > 1e-3 and (binding > 1e-2).all())
    slack = [row.limit - row.coefficients @ found.mixture for row in network.halfspaces]
    slack += [ball.limit - ball.divergence(found.mixture) for ball in network.balls]
    assume(all(left < 1e-9 or left > 1e-3 for left in slack))
    for j in range(5):
        change = step * np.eye(5)[j]
        up = solved(network.changed(utility=network.utility + change)).point
        down = solved(network.changed(utility=network.utility - change)).point
        np.testing.assert_allclose(found.to_utility[:, j], (up - down) / (2.0 * step), atol=1e-3, rtol=1e-3)


# ----------------------------------------------------------------------------------------------------------- infeasible


@given(SEEDS)
@settings(max_examples=30)
def test_clashing_constraints_are_named_minimally(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"t{i}" for i in range(5)]
    rows = [
        row
        for _ in range(4)
        for constraint in random_constraints(
            names, rng.dirichlet(np.ones(5)) * 0.9 + 0.02, KINDS[:2], int(rng.integers(999))
        )
        for row in constraint.rows(names)
    ]
    if seed % 3 == 0:
        rows += tp.EffectiveTasks(4.9).rows(names)
    assume(least_miss(rows, 5) > TOLERANCE)
    clash = irreducible(rows, 5)
    assert least_miss(clash, 5) > TOLERANCE
    for row in clash:
        assert least_miss([other for other in clash if other is not row], 5) <= TOLERANCE


CLASHES = (
    ({"constraints": [tp.Group(("a", "b"), upper=0.3), tp.Group(("c",), upper=0.5)]}, ["'a' + 'b'", "for 'c'"]),
    (
        {"lower": {"a": 0.5}, "constraints": [tp.EpochCap({"a": 10.0, "b": 500.0, "c": 500.0}, 100.0, 4.0)]},
        ["at least 0.5 for 'a'", "at most 4 epochs of 'a'"],
    ),
    (
        {"lower": {"a": 0.8, "b": 0.01}, "constraints": [tp.EffectiveTasks(2.5)]},
        ["at least 0.8 for 'a'", "at least 2.5 effective tasks"],
    ),
    (
        {"lower": {"c": 0.01}, "constraints": [tp.CostBound({"a": 3.0, "b": 2.0, "c": 9.0}, 1.5)]},
        ["a mean cost of at most 1.5"],
    ),
)


@pytest.mark.parametrize(("settings_", "named"), CLASHES)
def test_clashes_are_said_in_the_users_words(settings_: dict[str, object], named: list[str]) -> None:
    with pytest.raises(InputError, match="no mixture is feasible: these clash") as caught:
        TaskNetwork(np.zeros(3), np.eye(3), ("a", "b", "c"), **settings_)
    listed = str(caught.value).split("loosen one of them: ")[1].split("; ")
    assert len(listed) == len(named)
    assert all(name in str(caught.value) for name in named)


WRONG: tuple[tuple[Constraint, str], ...] = (
    (tp.Group((), upper=0.5), "no tasks are named"),
    (tp.Group(("a", "zebra"), upper=0.5), "no task 'zebra'"),
    (tp.Group(("a", "a"), upper=0.5), "named twice"),
    (tp.Group(("a",), lower=0.5, upper=0.2), "0 <= lower <= upper <= 1"),
    (tp.EpochCap({"a": -1.0}, 10.0, 2.0), "task 'a' has a size of -1"),
    (tp.EpochCap({"a": 1.0}, 0.0, 2.0), "both must be positive"),
    (tp.CostBound({"a": 1.0}, 2.0), "none is given for task 'b'"),
    (tp.CostBound({"a": 1.0, "b": math.nan, "c": 1.0}, 2.0), "of task 'b' is not a finite number"),
    (tp.TrustRegion({"a": 0.5, "b": 0.5, "c": 0.0}, 0.1), "positive and add up to 1"),
    (tp.TrustRegion({"a": 0.4, "b": 0.4, "c": 0.2}, 0.0), "expected a positive number"),
    (tp.EffectiveTasks(3.0), "more than 1 and fewer than 3"),
)


@pytest.mark.parametrize(("constraint", "message"), WRONG)
def test_wrong_constraints_are_one_clear_line(constraint: Constraint, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TaskNetwork(np.zeros(3), np.eye(3), ("a", "b", "c"), constraints=[constraint])


# ------------------------------------------------------------------------------------------------ elsewhere in the tool


def test_what_cannot_keep_constraints_says_so() -> None:
    network = TaskNetwork(np.zeros(3), np.eye(3), ("a", "b", "c"), constraints=[tp.Group(("a", "b"), upper=0.5)])
    for method in METHODS:
        if method.domain == "mixture" and method.name != "simplex-qp":
            assert solve(network, method).status is Status.refused
    with pytest.raises(InputError, match="levels keep bounds on single tasks only"):
        network.levels(4)
    with pytest.raises(InputError, match="no exact path"):
        tp.trade_off(network)


@given(constrained())
@settings(max_examples=20)
def test_constraints_survive_their_file_form(network: TaskNetwork) -> None:
    for constraint in network.constraints:
        assert from_dict(json.loads(json.dumps(as_dict(constraint)))) == constraint


def test_a_mixture_file_proves_constraints_and_catches_what_breaks_them(tmp_path: Path) -> None:
    constraints = [tp.Group(("a", "b"), upper=0.4, name="both"), tp.EffectiveTasks(2.0)]
    network = TaskNetwork([0.5, 0.4, 0.0], np.eye(3), ("a", "b", "c"), constraints=constraints)
    path = tmp_path / "mixture.json"
    Mixture.from_solution(network, solved(network)).to_json(path)
    assert all(check.passed for check in Mixture.from_json(path).verify())
    stored = json.loads(path.read_text())
    stored["network"]["constraints"][0]["upper"] = 0.3
    path.write_text(json.dumps(stored))
    checks = {check.name: check.passed for check in Mixture.from_json(path).verify()}
    assert not checks["feasible"]
