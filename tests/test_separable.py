"""Separable energies: dynamic programming against enumeration and pgmpy, bounds against energies, plans and files."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import expected_energy_by_loops, least_expected_energy
from strategies import ODD_NAMES, SEEDS, feasible_mixtures, random_curves, random_expected, random_separable, separables
from typer.testing import CliRunner

import taskpgm as tp
from taskpgm import envelope_bound as bounds
from taskpgm.chains import partial_sums, states_of_sums
from taskpgm.cli import app
from taskpgm.curve_kernels import curve_arrays, lines, means
from taskpgm.envelopes import Cells, lower_hull, start_points
from taskpgm.inference import JunctionTree
from taskpgm.inference.min_plus import QuantaGroup, allocate, crossing
from taskpgm.inference.min_plus_kernels import convolve
from taskpgm.judge import certificate
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray


def least_by_enumeration(levels: PairwiseNetwork) -> float:
    points = itertools.product(*(range(int(count)) for count in levels.states))
    return min(levels.energy(s) for s in points if levels.used(s) == levels.budget)


def small_levels(seed: int) -> PairwiseNetwork:
    """Two to four tasks on three to six quanta, every other time with bounds."""
    rng = np.random.default_rng(seed)
    n, quanta = int(rng.integers(2, 5)), int(rng.integers(3, 7))
    network = random_separable(n, seed, tau=float(rng.choice([0.0, 0.03, 1.0])), names=ODD_NAMES[:n])
    if seed % 2:
        network = network.changed(lower=np.floor(rng.dirichlet(np.ones(n)) * quanta) / quanta)
    return network.levels(quanta)


# ------------------------------------------------------------------------------------------------- dynamic programming


def agree(seed: int) -> None:
    """Dynamic programming, enumeration, pgmpy's elimination and our junction tree on the chain: one least energy."""
    from taskpgm.pgm import map_by_elimination, map_resolution

    levels = small_levels(seed)
    least = least_by_enumeration(levels)
    solution = tp.solve(levels, tp.DynamicProgram())
    assert solution.status is tp.Status.optimal
    assert solution.energy == pytest.approx(least, abs=1e-12)
    chain = partial_sums(levels)
    states = map_by_elimination(chain)
    assert chain.energy(states) == pytest.approx(least, abs=1e-12 + map_resolution(chain))
    there = states_of_sums(levels, chain, states)
    assert levels.used(there) == levels.budget
    assert levels.energy(there) == pytest.approx(chain.energy(states), abs=1e-12)
    assert tp.solve(chain, JunctionTree()).energy == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("block", range(5))
def test_dynamic_programming_agrees_with_enumeration_and_with_pgmpy_on_the_chain(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        agree(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_it_does_on_a_thousand_problems(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        agree(seed)


@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_the_compiled_convolution_is_the_one_by_loops(seed: int, m: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.where(rng.random(k) < 0.2, np.inf, rng.integers(-3, 4, k).astype(float)) for k in (m, n))
    for size in range(1, m + n):
        values, choice = convolve(a, b, size)
        for s in range(size):
            pairs = [(a[s - t] + b[t], t) for t in range(n) if 0 <= s - t < m]
            assert values[s] == min(value for value, _ in pairs)
            if np.isfinite(values[s]):
                assert (values[s], choice[s]) == min(pairs)


def random_groups(rng: np.random.Generator, n: int, quanta: int) -> list[QuantaGroup]:
    """Groups of neighbours, nested or apart, with bounds around a random point that keeps them all."""
    inside = rng.multinomial(quanta, np.full(n, 1.0 / n))
    cut = int(rng.integers(1, n))
    spans = [(0, cut), (cut, n), (0, max(1, cut - 1)), (0, n)]
    chosen = [spans[k] for k in range(4) if rng.random() < 0.6]
    groups = []
    for a, b in chosen:
        held = int(inside[a:b].sum())
        low, high = int(rng.integers(0, held + 1)), int(rng.integers(held, quanta + 1))
        groups.append(QuantaGroup(frozenset(range(a, b)), low, high))
    return groups


@given(SEEDS, st.integers(2, 4), st.integers(1, 6))
@settings(max_examples=60)
def test_allocation_keeps_nested_groups_and_is_the_best_that_does(seed: int, n: int, quanta: int) -> None:
    rng = np.random.default_rng(seed)
    groups = random_groups(rng, n, quanta)
    tables = rng.standard_normal((n, quanta + 1))

    def kept(x: tuple[int, ...]) -> bool:
        return sum(x) == quanta and all(each.low <= sum(x[i] for i in each.tasks) <= each.high for each in groups)

    def energy(x: Any) -> float:
        return float(sum(tables[i, k] for i, k in enumerate(x)))

    assert crossing(groups) is None
    least = min(energy(x) for x in itertools.product(range(quanta + 1), repeat=n) if kept(x))
    found = allocate(list(tables), [0] * n, quanta, groups)
    assert found is not None
    assert kept(tuple(found.tolist()))
    assert energy(found) == pytest.approx(least, abs=1e-12)


def test_nothing_is_allocated_where_groups_leave_nothing() -> None:
    tables = [np.zeros(3), np.zeros(3)]
    assert allocate(tables, [0, 0], 5) is None
    assert allocate(tables, [0, 0], 2, [QuantaGroup(frozenset([0]), 2, 2), QuantaGroup(frozenset([1]), 1, 2)]) is None
    assert crossing([QuantaGroup(frozenset([0, 1]), 0, 1), QuantaGroup(frozenset([1, 2]), 0, 1)]) is not None


def test_dynamic_programming_refuses_pairs_and_takes_forbidden_levels() -> None:
    edges = tp.PairwiseNetwork.from_factors([2, 2], [((0, 1), np.eye(2))], budget=1)
    assert "takes nodes that a budget alone couples" in tp.solve(edges, tp.DynamicProgram()).message
    gaps = tp.PairwiseNetwork.from_factors(
        [3, 3], [([0], [0.0, np.inf, 5.0]), ([1], [1.0, 0.0, 2.0])], levels=[[4, 2, 2], [0, 3, 1]], budget=5
    )
    solution = tp.solve(gaps, tp.DynamicProgram())
    assert solution.point is not None
    assert solution.point.tolist() == [0, 2]  # the levels 4 and 1; 2 and 3 cost more, and one of the 2s is forbidden
    none = tp.PairwiseNetwork.from_factors([2, 2], [], levels=[[0, 2], [0, 2]], budget=1)
    assert tp.solve(none, tp.DynamicProgram()).status is tp.Status.failed


@given(separables(max_tasks=5), st.integers(1, 12))
@settings(max_examples=30)
def test_twice_as_many_quanta_never_raise_the_least_energy(network: tp.SeparableNetwork, quanta: int) -> None:
    try:
        coarse = tp.solve(network.levels(quanta), tp.DynamicProgram())
    except InputError:
        return  # no multiples within the bounds
    fine = tp.solve(network.levels(2 * quanta), tp.DynamicProgram())
    assert fine.energy <= coarse.energy + 1e-12
    assert certificate(network, np.full(len(network), 1.0 / len(network))).bound <= fine.energy + 1e-12


# -------------------------------------------------------------------------------------------------------------- bounds


@given(separables(), SEEDS)
@settings(max_examples=40)
def test_no_mixture_is_below_the_bound_wherever_the_grid_is_finest(network: tp.SeparableNetwork, seed: int) -> None:
    mixtures = feasible_mixtures(network, 20, seed)  # type: ignore[arg-type]
    bound = certificate(network, mixtures[0]).bound
    assert bound <= min(network.energy(p) for p in mixtures) + 1e-12
    solution = tp.solve(network, tp.Allocation())
    assert bound <= solution.energy + 1e-12
    assert solution.status is tp.Status.optimal or solution.gap < 1e-2
    for p in mixtures:
        assert network.energy(p) == pytest.approx(expected_energy_by_loops(network, p.tolist()), abs=1e-9)


@given(separables(bounds=("none", "both")), SEEDS)
@settings(max_examples=30)
def test_lines_are_below_terms_between_the_points_of_any_grid(network: tp.SeparableNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = len(network)
    inner = network.lower[:, None] + (network.upper - network.lower)[:, None] * np.sort(rng.random((n, 5)), axis=1)
    points = np.column_stack([network.lower, inner, network.upper])
    price = rng.standard_normal(n)
    minima = Cells.of(network, points).minima(network, price)
    for share in rng.random(12):
        p = points[:, :-1] + share * np.diff(points, axis=1)
        terms = network.terms(p.T).T + price[:, None] * p
        assert np.all(minima <= terms + network.rounding)


@given(SEEDS, st.integers(1, 4))
@settings(max_examples=30)
def test_the_compiled_curves_and_lines_are_those_of_numpy(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    curves = random_expected(n, seed)
    if seed % 2:  # exponents without a formula of their own
        curves = tp.ExpectedCurves.from_dict(
            curves.names, curves.as_dict() | {"steepness": curves.steepness + 0.25, "powers": 1.3 * curves.powers}
        )
    exposures = np.sort(np.where(rng.random((9, n)) < 0.2, 0.0, rng.uniform(0.0, 400.0, (9, n))), axis=0)
    arrays = curve_arrays(curves)
    np.testing.assert_allclose(means(exposures, *arrays), curves.mean(exposures), rtol=1e-13)
    falls, slopes = curves.falls(exposures), curves.fall_slopes(exposures)
    tangent = falls[1:] + slopes[1:] * (exposures[:-1] - exposures[1:])[..., None]
    shapes = (np.minimum(falls[:-1], tangent), falls[1:])
    for found, ends in zip(lines(exposures, *arrays), shapes, strict=True):
        slow = (curves.weights * (curves.floors + curves.drops * ends)).sum(axis=-1)
        np.testing.assert_allclose(found, slow, rtol=1e-12, atol=1e-13)


@given(SEEDS)
@settings(max_examples=12)
def test_two_tasks_are_solved_to_the_last_digits_and_proved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_separable(2, seed, tau=float(rng.choice([0.0, 0.03])), bounds=str(rng.choice(["none", "both"])))
    least = least_expected_energy(network)
    solution = tp.solve(network, tp.Allocation())
    assert solution.status is tp.Status.optimal
    assert solution.energy == pytest.approx(least, abs=2e-9)
    assert solution.bound <= least + 1e-12


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_bounds_hold_for_curves_that_are_very_steep_or_hardly_fall(unit: float) -> None:
    """Prices of millions of nats for the whole budget: what rounding adds is taken off the bound."""
    network = random_separable(4, 2, tau=0.0)
    values = network.curves.as_dict()
    values["scales"] = unit * np.asarray(values["scales"])
    network = network.changed(curves=tp.ExpectedCurves.from_dict(network.names, values), done=0.0)
    solution = tp.solve(network, tp.Allocation())
    assert solution.point is not None
    exact = tp.exact_certificate(network, solution.point)
    assert exact.bound <= exact.energy
    assert exact.gap < 1e-5
    assert certificate(network, solution.point).bound <= float(exact.energy)


def late(n: int = 3) -> tp.SeparableNetwork:
    """Tasks that learn late and all alike: whoever gets a share should get a large one, so the energy has a gap."""
    curves = tp.ExpectedCurves([f"task {i}" for i in range(n)], 1.0, 0.1, 2.0, 60.0, 3.0, 1.0)
    return tp.SeparableNetwork(curves, 0.0, 100.0, tau=0.0)


def test_cutting_closes_the_gap_that_the_envelopes_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    network = late()
    closed = tp.solve(network, tp.Allocation())
    assert closed.status is tp.Status.optimal
    monkeypatch.setattr(bounds, "CUTS", 1)
    monkeypatch.setattr(bounds, "WORK", 0)
    left = tp.solve(network, tp.Allocation())
    assert left.energy == closed.energy
    assert left.status is tp.Status.bound
    assert closed.bound - left.bound > 1e-3


def test_a_bound_that_takes_chords_of_convex_curves_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: lines from point to point are above a convex curve, and so the bound may be above energies."""

    def chords(network: tp.SeparableNetwork, points: FloatArray) -> Cells:
        losses = (network.target_weights * network.curves.mean(network.exposures(points.T))).T
        return Cells(points, losses[:, :-1], losses[:, 1:])

    networks = [random_separable(3, seed, tau=0.0) for seed in range(6)]
    monkeypatch.setattr(bounds, "ROUNDS", 1)
    right = [bounds.envelope_bound(each, np.full(3, 1.0 / 3.0)) for each in networks]
    best = [tp.solve(each, tp.Allocation(halvings=30)).energy for each in networks]
    assert all(bound <= energy for bound, energy in zip(right, best, strict=True))
    monkeypatch.setattr(Cells, "of", chords)
    monkeypatch.setattr(bounds, "start_points", lambda network, p: start_points(network, p)[:, ::20])
    wrong = [bounds.envelope_bound(each, np.full(3, 1.0 / 3.0)) for each in networks]
    assert any(bound > energy + 1e-6 for bound, energy in zip(wrong, best, strict=True))


@given(SEEDS, st.integers(2, 12))
def test_the_lower_hull_is_convex_below_the_points_and_touches_its_corners(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.cumsum(rng.choice([0.0, 0.5, 1.0], count)), rng.standard_normal(count)
    y = y[np.searchsorted(x, x)]  # equal points, equal heights
    corners, heights = lower_hull(x, y)
    assert np.all(np.interp(x, corners, heights) <= y + 1e-12)
    assert np.all(np.diff(np.diff(heights) / np.diff(corners)) > -1e-12)
    assert set(heights) <= set(y)


# -------------------------------------------------------------------------------------------------------------- methods


@given(separables(max_tasks=4, taus=(0.03, 0.0)))
@settings(max_examples=12)
def test_the_two_methods_agree_where_both_are_proved(network: tp.SeparableNetwork) -> None:
    allocated, program = tp.solve(network, tp.Allocation()), tp.solve(network, tp.EnvelopeProgram(starts=2))
    assert program.point is not None
    assert program.bound <= allocated.energy + 1e-9
    if program.status is tp.Status.optimal:
        assert allocated.energy == pytest.approx(program.energy, abs=2e-7)


@given(separables(max_tasks=6), SEEDS)
@settings(max_examples=20)
def test_the_order_of_the_tasks_does_not_matter(network: tp.SeparableNetwork, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(network))
    solution = tp.solve(network, tp.Allocation())
    moved = tp.solve(relabelled(network, order), tp.Allocation())
    assert moved.energy == pytest.approx(solution.energy, abs=1e-9)
    assert moved.bound == pytest.approx(solution.bound, abs=1e-6)


def relabelled(network: tp.SeparableNetwork, order: IntArray) -> tp.SeparableNetwork:
    values = network.curves.as_dict()
    curves = tp.ExpectedCurves.from_dict(
        [network.names[i] for i in order], {key: np.asarray(rows)[order] for key, rows in values.items()}
    )
    arrays = ("done", "target_weights", "prior", "lower", "upper")
    return network.changed(curves=curves, **{key: getattr(network, key)[order] for key in arrays})


CONSTRAINTS: dict[str, tuple[Any, ...]] = {
    "a group": (tp.Group(("task 0", "task 1"), upper=0.2),),
    "nested groups": (tp.Group(("task 0", "task 1", "task 2"), lower=0.7), tp.Group(("task 0", "task 1"), upper=0.3)),
    "groups of one size": (tp.Group(("task 0", "task 1"), 0.3, 0.3), tp.Group(("task 2", "task 3"), 0.7, 0.7)),
    "epochs": (tp.EpochCap({"task 3": 100.0}, budget=1000.0, most=1.0),),
    "groups that overlap": (tp.Group(("task 0", "task 1"), upper=0.3), tp.Group(("task 1", "task 2"), lower=0.6)),
    "a cost": (tp.CostBound({f"task {i}": 1.0 + i for i in range(4)}, most=2.0),),
    "diversity": (tp.EffectiveTasks(3.0),),
}


@pytest.mark.parametrize(("kind", "tau"), [*((kind, 0.0) for kind in CONSTRAINTS), ("nested groups", 0.03)])
def test_constraints_are_kept_and_the_answer_is_proved(kind: str, tau: float) -> None:
    network = random_separable(4, 1, tau=tau).changed(constraints=CONSTRAINTS[kind])
    choice = tp.best_method(network)
    solution = tp.solve(network, choice.method)
    assert solution.status is tp.Status.optimal
    assert solution.point is not None
    drawn = np.random.default_rng(1).dirichlet(np.ones(4), 2000)
    if kind == "groups of one size":
        drawn *= np.repeat([0.3, 0.7] / (drawn @ np.kron(np.eye(2), np.ones((2, 1)))), 2, axis=1)
    allowed = [p for p in drawn if network.violation(p) <= 1e-12]
    assert len(allowed) > 20
    assert min(network.energy(p) for p in allowed) >= solution.energy - 1e-7
    if isinstance(choice.method, tp.Allocation):
        assert tp.solve(network, tp.EnvelopeProgram(starts=1)).energy >= solution.energy - 1e-7
    else:
        assert "EnvelopeProgram" in tp.solve(network, tp.Allocation()).message


def test_fixed_weights_and_bounds_with_hardly_any_room_are_solved() -> None:
    fixed = late(2).changed(lower=[0.3, 0.7])
    point = tp.solve(fixed, tp.Allocation()).point
    assert point is not None
    assert point.tolist() == [0.3, 0.7]
    tight = random_separable(3, 5).changed(upper=[1 / 3 + 1e-4, 1 / 3, 1 / 3])
    assert tp.solve(tight, tp.Allocation()).status is tp.Status.optimal


def test_what_a_binding_group_costs_is_told() -> None:
    network = random_separable(4, 1).changed(constraints=(tp.Group(("task 0", "task 1"), upper=0.2, name="first"),))
    told = tp.prices(network, tp.solve(network, tp.Allocation()))
    assert "one percent more for group 'first' would lower the energy" in str(told)


def test_what_is_done_matters() -> None:
    """A task that has had its share gets less of what is left; what is left is spread as the whole would have been."""
    curves = tp.ExpectedCurves(("a", "b"), 1.0, 0.1, 2.0, 50.0, 1.0, 1.0)
    ahead = tp.solve(tp.SeparableNetwork(curves, [100.0, 0.0], 300.0, tau=0.0), tp.Allocation()).point
    assert ahead is not None
    assert ahead * 300.0 == pytest.approx([100.0, 200.0], abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"done": [1.0]}, "done: shape \\(1,\\)"),
        ({"done": [1.0, -1.0]}, "done: task 'b' has had -1.0"),
        ({"remaining": 0.0}, "nothing is left to share out"),
        ({"tau": -1.0}, "tau = -1.0"),
        ({"lower": 0.6}, "no mixture is feasible"),
    ],
)
def test_what_cannot_be_shared_out_is_named(fields: dict[str, Any], message: str) -> None:
    curves = tp.ExpectedCurves(("a", "b"), 1.0, 0.1, 2.0, 50.0, 1.0, 1.0)
    with pytest.raises(InputError, match=message):
        tp.SeparableNetwork(**({"curves": curves, "done": 0.0, "remaining": 1.0} | fields))


def test_levels_that_do_not_exist_are_refused() -> None:
    network = late(3)
    with pytest.raises(InputError, match="expected at least 1"):
        network.levels(0)
    with pytest.raises(InputError, match="no multiples of 1/2"):
        network.changed(lower=0.3).levels(2)
    with pytest.raises(InputError, match="have no levels here"):
        network.changed(constraints=(tp.Group(("task 0", "task 1"), upper=0.5),)).levels(4)
    with pytest.raises(InputError, match="expected two nodes or more"):
        partial_sums(random_separable(3, 1).levels(3).folded())


# ---------------------------------------------------------------------------------------------------------------- plans


def plan(**options: Any) -> tp.Mixture:
    network = random_separable(4, 7, names=ODD_NAMES[2:6])
    settings = {"done": network.done, "remaining": 400.0, "lower": 0.02} | options
    return tp.plan_mixture(network.curves, **settings)


def test_a_plan_is_proved_again_from_its_file_alone(tmp_path: Path) -> None:
    mixture = plan(details={"evidence": {"bins": 12}})
    mixture.to_json(tmp_path / "plan.json")
    again = tp.Mixture.from_json(tmp_path / "plan.json")
    assert again.as_dict() == mixture.as_dict()
    assert all(check.passed for check in again.verify())
    assert CliRunner().invoke(app, ["verify", str(tmp_path / "plan.json")]).exit_code == 0
    told = mixture.details["plan"]
    assert mixture.details["evidence"] == {"bins": 12}
    assert set(told["tasks"]) == set(mixture.weights)
    task = ODD_NAMES[3]
    assert told["tasks"][task]["exposure"] == told["tasks"][task]["done"] + 400.0 * mixture.weights[task]
    assert told["tasks"][task]["spread"] > 0.0
    assert sum(each["loss"] for each in told["tasks"].values()) / 4.0 == pytest.approx(told["mean"])


def tampered(path: Path, change: Any) -> Path:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return path


FORGERIES: dict[str, Any] = {
    "energy": lambda value: value["certificate"].update(energy=value["certificate"]["energy"] - 1e-6),
    "claim": lambda value: value["certificate"].update(status="feasible"),
    "gap": lambda value: value.update(weights=dict.fromkeys(value["weights"], 0.25)),
    "feasible": lambda value: value["weights"].update({next(iter(value["weights"])): 0.0}),
}


@pytest.mark.parametrize("check", FORGERIES)
def test_a_forged_plan_is_not_proved(check: str, tmp_path: Path) -> None:
    plan().to_json(tmp_path / "plan.json")
    path = tampered(tmp_path / "plan.json", FORGERIES[check])
    failed = [each.name for each in tp.Mixture.from_json(path).verify() if not each.passed]
    assert check in failed
    assert CliRunner().invoke(app, ["verify", str(path)]).exit_code == 1


def test_a_plan_with_a_gap_proves_no_more_and_no_less_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "CUTS", 1)
    monkeypatch.setattr(bounds, "WORK", 0)
    network = late()
    mixture = tp.Mixture.from_solution(network, tp.solve(network, tp.Allocation()))
    assert mixture.status == "bound"
    assert mixture.gap > 1e-3
    mixture.to_json(tmp_path / "plan.json")
    assert all(check.passed for check in tp.Mixture.from_json(tmp_path / "plan.json").verify())

    def claims_half(value: dict[str, Any]) -> None:
        value["certificate"]["gap"] /= 2.0

    narrow = tp.Mixture.from_json(tampered(tmp_path / "plan.json", claims_half)).verify()
    assert [check.name for check in narrow if not check.passed] == ["gap"]


def test_epochs_count_what_was_consumed() -> None:
    task = ODD_NAMES[2]
    had = random_separable(4, 7, names=ODD_NAMES[2:6]).done
    capped = plan(sizes={task: 25.0}, epochs=2.0, lower=0.0)
    assert capped.weights[task] == pytest.approx(max(50.0 - had[0], 0.0) / 400.0, abs=1e-9)
    assert plan(lower=0.0).weights[task] > capped.weights[task]
    spent = plan(sizes={task: 1.0}, epochs=1.0, lower=0.0, done=[5.0, 0.0, 0.0, 0.0])
    assert spent.weights[task] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {"copy": 1.0}}, "give both sizes and epochs"),
        ({"sizes": {"copy": 1.0}, "epochs": 1.0}, "there is no task 'copy'"),
        ({"sizes": {ODD_NAMES[2]: 0.0}, "epochs": 1.0}, "has a size of 0"),
        ({"sizes": {ODD_NAMES[2]: 1.0}, "epochs": 0.0}, "epochs = 0"),
        ({"sizes": dict.fromkeys(ODD_NAMES[2:6], 10.0), "epochs": 1.0, "done": 0.0}, "leave data for 0.1 of"),
        ({"remaining": -1.0}, "remaining budget"),
    ],
)
def test_plans_that_cannot_be_made_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        plan(**options)
    assert len(str(refused.value).splitlines()) == 1


def test_the_pull_to_the_prior_fades_with_what_is_left() -> None:
    curves = random_curves(3, 1)
    early, late_on = (tp.plan_mixture(curves, done, left) for done, left in ((0.0, 300.0), (90.0, 30.0)))
    taus = [each.network.tau for each in (early, late_on)]
    assert taus == pytest.approx([0.03, 0.003])


def test_a_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from taskpgm.terminal import print_energy, print_mixture

    mixture = plan()
    print_mixture(mixture)
    print_energy(mixture)
    out = capsys.readouterr().out
    assert "expected" in out
    assert "what is left of the budget, 400" in out
    assert "Certified" in out


def test_a_plan_is_nothing_to_compare_methods_on(tmp_path: Path) -> None:
    from taskpgm.problems import load_model

    plan().to_json(tmp_path / "plan.json")
    with pytest.raises(InputError, match="dynamic programming solves exactly"):
        load_model(tmp_path / "plan.json")
