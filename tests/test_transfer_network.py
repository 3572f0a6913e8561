"""Expected losses with a transfer graph: the energy, the bound, the descents, plans and their files."""

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
from strategies import (
    ODD_NAMES,
    SEEDS,
    feasible_mixtures,
    random_curves,
    random_expected,
    random_separable,
    random_transfer,
    transfers,
)
from typer.testing import CliRunner

import taskpgm as tp
from taskpgm import transfer_bound as bounds
from taskpgm.cli import app
from taskpgm.curve_kernels import curve_arrays, derivatives
from taskpgm.envelopes import Cells, grid_points, lower_hull
from taskpgm.hull_kernels import lower_hulls
from taskpgm.interior import SharedLosses, descended
from taskpgm.judge import certificate
from taskpgm.room import Room
from taskpgm.shared_envelopes import Envelopes
from taskpgm.transfer_bound import reachable, transfer_bound
from taskpgm.types import FloatArray, InputError, IntArray


def gapped() -> tp.TransferNetwork:
    """Three tasks that learn late: the envelopes leave a gap of 0.04 nats, and half a dozen cuts close it."""
    return random_transfer(3, 3, tau=0.0, late=True)


def simplex(n: int, parts: int) -> FloatArray:
    """Every mixture of n tasks in whole parts."""
    points = itertools.product(range(parts + 1), repeat=n - 1)
    return np.array([[*x, parts - sum(x)] for x in points if sum(x) <= parts]) / parts


def least_on_grid(network: tp.TransferNetwork, parts: int) -> float:
    """The least energy of the feasible mixtures in whole parts; infinite where none are feasible."""
    allowed = [p for p in simplex(len(network), parts) if network.violation(p) <= 1e-12]
    return min((network.energy(p) for p in allowed), default=np.inf)


# ---------------------------------------------------------------------------------------------------------- the energy


@given(transfers(), SEEDS)
@settings(max_examples=40)
def test_the_energy_its_gradient_and_its_second_derivatives_are_those_of_the_formula(
    network: tp.TransferNetwork, seed: int
) -> None:
    p, q = np.random.default_rng(seed).dirichlet(np.full(len(network), 5.0), 2)
    assert network.energy(p) == pytest.approx(expected_energy_by_loops(network, p.tolist()), abs=1e-12)
    step = 1e-5
    up, down = p + step * (q - p), p - step * (q - p)
    along = (network.energy(up) - network.energy(down)) / (2.0 * step)
    assert network.gradient(p) @ (q - p) == pytest.approx(along, abs=1e-5 * network.scale)
    bend = (network.smooth_gradient(up) - network.smooth_gradient(down)) / (2.0 * step)
    np.testing.assert_allclose(network.smooth_hessian(p) @ (q - p), bend, atol=1e-3 * network.scale)
    values, slopes, bends = network.derivatives(network.shares(p))
    assert values.sum() == pytest.approx(network.smooth(p), abs=1e-12)
    np.testing.assert_allclose(network.transfer @ slopes, network.smooth_gradient(p), rtol=1e-9, atol=1e-12)
    hessian = (network.transfer * bends) @ network.transfer.T
    np.testing.assert_allclose(hessian, network.smooth_hessian(p), rtol=1e-9, atol=1e-9)


@given(SEEDS, st.integers(1, 4))
@settings(max_examples=20)
def test_the_compiled_derivatives_are_those_of_numpy(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    curves = random_expected(n, seed)
    exposures = np.where(rng.random(n) < 0.3, 0.0, rng.uniform(0.0, 400.0, n))
    losses, slopes, bends = derivatives(exposures[None, :], *curve_arrays(curves))[:, 0]
    np.testing.assert_allclose(losses, curves.mean(exposures), rtol=1e-13)
    np.testing.assert_allclose(slopes, curves.slopes(exposures), rtol=1e-11, atol=1e-14)
    moved = exposures > 0.0  # no bend is told at no exposure, where it may be infinite
    np.testing.assert_allclose(bends[moved], curves.bends(exposures)[moved], rtol=1e-10, atol=1e-14)
    assert not bends[~moved].any()


@given(st.integers(2, 5), SEEDS, st.sampled_from([0.0, 0.03]), st.sampled_from(["none", "both"]))
@settings(max_examples=15)
def test_a_graph_without_edges_is_no_graph(n: int, seed: int, tau: float, kind: str) -> None:
    alone = random_separable(n, seed, tau=tau, bounds=kind)
    network = tp.TransferNetwork.of(alone, np.eye(n))
    for p in feasible_mixtures(alone, 5, seed):  # type: ignore[arg-type]
        assert network.energy(p) == alone.energy(p)
        np.testing.assert_array_equal(network.gradient(p), alone.gradient(p))
    allocated, descended = tp.solve(alone, tp.Allocation()), tp.solve(network, tp.TransferDescent())
    assert descended.bound <= allocated.energy + 1e-9
    if tp.Status.optimal is allocated.status is descended.status:
        assert descended.energy == pytest.approx(allocated.energy, abs=2e-7)
    assert allocated.bound <= descended.energy + 1e-9


@given(transfers(max_tasks=3), st.floats(0.0, 1.0))
@settings(max_examples=15)
def test_it_does_not_matter_which_of_two_names_of_one_task_an_example_has(
    network: tp.TransferNetwork, share: float
) -> None:
    """Task 1 is split into itself and a double: losses depend on what both get together."""
    kept, n = [*range(len(network)), 1], len(network)
    names = [*network.names, "double"]
    rows = {key: np.asarray(value)[kept] for key, value in network.curves.as_dict().items()}
    doubled = tp.TransferNetwork(
        tp.ExpectedCurves.from_dict(names, rows),
        network.done[kept],
        network.remaining,
        network.transfer[np.ix_(kept, kept)],
        target_weights=network.target_weights[kept],
        tau=0.0,
    )
    p = np.random.default_rng(n).dirichlet(np.ones(n))
    split = np.append(p, p[1] * share)
    split[1] -= split[-1]
    np.testing.assert_allclose(doubled.losses(split), network.losses(p)[kept], rtol=1e-12)
    weights = network.target_weights[kept] / network.target_weights[kept].sum()
    assert doubled.energy(split) == pytest.approx(float(weights @ network.losses(p)[kept]), abs=1e-12)


@given(st.integers(2, 4), SEEDS)
@settings(max_examples=12)
def test_where_curves_are_convex_and_nothing_is_done_it_is_the_coverage_energy(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = rng.random((n, n)) * (rng.random((n, n)) < 0.5)
    np.fill_diagonal(graph, 1.0)
    curves, shared = random_curves(n, seed), {"target_weights": rng.random(n) + 0.1, "tau": 0.04, "lower": 0.02}
    coverage = tp.CoverageNetwork(curves, graph, 100.0 * n, **shared)
    network = tp.TransferNetwork(curves, 0.0, 100.0 * n, graph, **shared)
    goal, found = tp.solve(coverage, tp.CoverageProgram()), tp.solve(network, tp.TransferDescent())
    assert found.status is tp.Status.optimal
    assert network.concavity == 0.0
    assert found.energy == pytest.approx(goal.energy, abs=1e-8)
    assert found.point == pytest.approx(goal.point, abs=1e-4)
    for p in rng.dirichlet(np.ones(n), 3):
        assert network.energy(p) == pytest.approx(coverage.energy(p), abs=1e-12)


# ------------------------------------------------------------------------------------------------------------ the bound


@given(transfers(), SEEDS)
@settings(max_examples=20)
def test_no_mixture_is_below_the_bound_wherever_the_grid_is_finest(network: tp.TransferNetwork, seed: int) -> None:
    mixtures = feasible_mixtures(network, 20, seed)  # type: ignore[arg-type]
    least = min(least_on_grid(network, {2: 200, 3: 30, 4: 12}[len(network)]), *map(network.energy, mixtures))
    solution = tp.solve(network, tp.TransferDescent())
    for p in mixtures[:2]:
        assert certificate(network, p).bound <= min(least, solution.energy) + 1e-12
    assert solution.bound <= least + 1e-12
    assert solution.energy <= least + 1e-9
    assert solution.status is tp.Status.optimal or solution.gap < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_late_curves_are_solved_as_enumeration_of_fine_mixtures_does_and_mostly_proved(block: int) -> None:
    proved = 0
    for seed in range(20 * block, 20 * block + 20):
        network = random_transfer(2 + seed % 3, seed, tau=0.02 * (seed % 2), late=True)
        least, solution = least_on_grid(network, (400, 60, 20)[seed % 3]), tp.solve(network, tp.TransferDescent())
        assert solution.bound <= least + 1e-12
        assert solution.energy <= least + 1e-9
        proved += solution.status is tp.Status.optimal
    assert proved >= 15


@given(SEEDS, st.sampled_from([0.0, 0.03]), st.sampled_from(["none", "both"]), st.booleans())
@settings(max_examples=12)
def test_two_tasks_are_solved_to_the_last_digits_and_proved(seed: int, tau: float, kind: str, late: bool) -> None:
    network = random_transfer(2, seed, tau=tau, bounds=kind, late=late)
    least = least_expected_energy(network)
    solution = tp.solve(network, tp.TransferDescent())
    assert solution.status is tp.Status.optimal
    assert solution.energy == pytest.approx(least, abs=2e-9)
    assert solution.bound <= least + 1e-12


@given(transfers(bounds=("none", "both")), SEEDS)
@settings(max_examples=25)
def test_shares_stay_within_reach_and_envelopes_are_convex(network: tp.TransferNetwork, seed: int) -> None:
    low, high = reachable(network, network.lower, network.upper)
    for p in feasible_mixtures(network, 20, seed):  # type: ignore[arg-type]
        assert np.all(low <= network.shares(p) + 1e-15)
        assert np.all(network.shares(p) <= high + 1e-15)
    points = grid_points(low[:, None], high[:, None], network.shares(network.prior))
    envelopes, before = Envelopes.of(network, points, 1e7), np.full(len(network), -np.inf)
    for column in points.T[::7]:
        values, slopes, bends = envelopes.derivatives(column)
        assert np.all(before - 1e-9 <= slopes)
        assert np.all(slopes <= 1e-12)
        assert np.all(bends >= 0.0)
        moved = envelopes.derivatives(column + 1e-6)
        assert moved[0] - values == pytest.approx(0.5e-6 * (slopes + moved[1]), abs=1e-12)
        assert np.all(envelopes.excess(network, column) >= 0.0)
        before = slopes


@given(SEEDS, st.integers(1, 3), st.integers(2, 12))
@settings(max_examples=30)
def test_the_compiled_hulls_are_those_by_lists(seed: int, n: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points, heights = np.cumsum(rng.choice([0.0, 0.5, 1.0], (n, count)), axis=1), rng.standard_normal((n, count))
    places, counts = lower_hulls(points, heights)
    for j in range(n):
        own = places[j, : counts[j]]
        corners, values = lower_hull(points[j], heights[j])
        assert points[j, own].tolist() == corners.tolist()
        assert heights[j, own].tolist() == values.tolist()


def test_cutting_closes_the_gap_that_the_envelopes_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    network = gapped()
    closed = tp.solve(network, tp.TransferDescent())
    assert closed.status is tp.Status.optimal
    monkeypatch.setattr(bounds, "WORK", 0)
    left = tp.solve(network, tp.TransferDescent())
    assert left.energy == pytest.approx(closed.energy, abs=1e-9)
    assert left.status is tp.Status.bound
    assert closed.bound - left.bound > 1e-4


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_bounds_hold_for_curves_that_are_very_steep_or_hardly_fall(unit: float) -> None:
    network = random_transfer(4, 2, tau=0.0)
    values = network.curves.as_dict()
    values["scales"] = unit * np.asarray(values["scales"])
    network = network.changed(curves=tp.ExpectedCurves.from_dict(network.names, values), done=0.0)
    solution = tp.solve(network, tp.TransferDescent())
    assert solution.point is not None
    exact = tp.exact_certificate(network, solution.point)
    assert exact.bound <= exact.energy
    assert exact.gap < 1e-5


@given(transfers(bounds=("none", "both")))
@settings(max_examples=10)
def test_the_exact_certificate_encloses_the_energy(network: tp.TransferNetwork) -> None:
    solution = tp.solve(network, tp.TransferDescent())
    assert solution.point is not None
    exact = tp.exact_certificate(network, solution.point)
    assert float(exact.energy) == pytest.approx(solution.energy, abs=1e-11)
    assert exact.bound <= exact.energy
    assert float(exact.gap) == pytest.approx(solution.gap, abs=1e-8 * network.scale)
    assert float(exact.violation) <= 1e-9


def test_a_bound_that_takes_chords_of_convex_curves_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: lines from point to point are above a convex curve, and so the bound may be above energies."""

    def chords(network: tp.TransferNetwork, points: FloatArray) -> Cells:
        losses = network.loss_terms(points.T).T
        return Cells(points, losses[:, :-1], losses[:, 1:])

    networks = [random_transfer(3, seed, tau=0.0) for seed in range(6)]
    best = [tp.solve(each, tp.TransferDescent()).energy for each in networks]
    assert all(transfer_bound(each, each.prior) <= energy for each, energy in zip(networks, best, strict=True))
    monkeypatch.setattr(bounds, "ROUNDS", 1)
    monkeypatch.setattr(Cells, "of", chords)
    monkeypatch.setattr(bounds, "grid_points", lambda *args: grid_points(*args)[:, ::20])
    wrong = [transfer_bound(each, each.prior) for each in networks]
    assert any(bound > energy + 1e-6 for bound, energy in zip(wrong, best, strict=True))


def test_prices_of_one_task_for_another_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: an energy whose graph is turned round has another least value, and a bound above this one's."""
    graph = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    network = tp.TransferNetwork(random_curves(3, 5), 0.0, 60.0, graph, tau=0.0)
    solution = tp.solve(network, tp.TransferDescent())
    assert solution.point is not None
    assert transfer_bound(network, solution.point) <= solution.energy
    turned = network.changed(transfer=graph.T)
    assert transfer_bound(turned, solution.point) > solution.energy + 1e-3


# --------------------------------------------------------------------------------------------------------- the descents


@given(transfers(max_tasks=3, taus=(0.03, 0.0)), SEEDS)
@settings(max_examples=8)
def test_the_order_of_the_tasks_does_not_matter(network: tp.TransferNetwork, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(network))
    solution = tp.solve(network, tp.TransferDescent())
    moved = tp.solve(relabelled(network, order), tp.TransferDescent())
    slack = 1e-7 if solution.status is moved.status is tp.Status.optimal else solution.gap + moved.gap
    assert moved.energy == pytest.approx(solution.energy, abs=slack)


def relabelled(network: tp.TransferNetwork, order: IntArray) -> tp.TransferNetwork:
    rows = {key: np.asarray(value)[order] for key, value in network.curves.as_dict().items()}
    curves = tp.ExpectedCurves.from_dict([network.names[i] for i in order], rows)
    arrays = {key: getattr(network, key)[order] for key in ("done", "target_weights", "prior", "lower", "upper")}
    return network.changed(curves=curves, transfer=network.transfer[np.ix_(order, order)], **arrays)


CONSTRAINTS: dict[str, tuple[Any, ...]] = {
    "a group": (tp.Group(("task 0", "task 1"), upper=0.2),),
    "groups that overlap": (tp.Group(("task 0", "task 1"), upper=0.3), tp.Group(("task 1", "task 2"), lower=0.6)),
    "a fixed group": (tp.Group(("task 0", "task 1"), 0.3, 0.3),),
    "epochs": (tp.EpochCap({"task 3": 100.0}, budget=1000.0, most=1.0),),
    "a cost": (tp.CostBound({f"task {i}": 1.0 + i for i in range(4)}, most=2.0),),
    "diversity": (tp.EffectiveTasks(3.0),),
    "trust": (tp.TrustRegion(dict.fromkeys(("task 0", "task 1", "task 2", "task 3"), 0.25), within=0.05),),
}


LEFT_OPEN = {"a group": 1e-7, "groups that overlap": 1e-6, "a fixed group": 1e-5, "diversity": 0.2}
"""What late curves may leave to prove, nats."""


@pytest.mark.parametrize(
    ("kind", "late"), [*((kind, False) for kind in CONSTRAINTS), *((kind, True) for kind in LEFT_OPEN)]
)
def test_constraints_are_kept_and_the_answer_is_proved(kind: str, late: bool) -> None:
    network = random_transfer(4, 4, tau=0.0 if late else 0.03, late=late).changed(constraints=CONSTRAINTS[kind])
    solution = tp.solve(network, tp.best_method(network).method)
    assert solution.point is not None
    assert solution.status is tp.Status.optimal or (late and solution.gap < LEFT_OPEN[kind]), solution
    drawn = np.random.default_rng(1).dirichlet(np.ones(4), 2000)
    if kind == "a fixed group":
        drawn *= np.repeat([0.3, 0.7] / (drawn @ np.kron(np.eye(2), np.ones((2, 1)))), 2, axis=1)
    allowed = [p for p in drawn if network.violation(p) <= 1e-12]
    assert len(allowed) > 20
    assert min(network.energy(p) for p in allowed) >= solution.energy - 1e-7
    exact = tp.exact_certificate(network, solution.point)
    assert float(exact.gap) <= max(2e-7, solution.gap + 1e-8)


def test_constraints_without_room_between_them_are_left_to_the_program() -> None:
    network = random_transfer(4, 4).changed(constraints=CONSTRAINTS["a fixed group"])
    assert Room.of(network.feasible) is None
    assert Room.of(network.feasible, 1e-6) is not None
    assert "use EnvelopeProgram" in tp.solve(network, tp.TransferDescent()).message
    assert isinstance(tp.best_method(network).method, tp.EnvelopeProgram)


@given(transfers(max_tasks=3, taus=(0.03,), bounds=("none", "both")))
@settings(max_examples=6)
def test_the_two_methods_agree_where_both_are_proved(network: tp.TransferNetwork) -> None:
    descent, program = tp.solve(network, tp.TransferDescent()), tp.solve(network, tp.EnvelopeProgram(starts=1))
    assert descent.bound <= program.energy + 1e-9
    assert program.bound <= descent.energy + 1e-9
    if program.status is tp.Status.optimal:
        assert descent.energy == pytest.approx(program.energy, abs=2e-7)


def test_fixed_weights_and_bounds_with_hardly_any_room_are_solved() -> None:
    fixed = random_transfer(2, 3).changed(lower=[0.3, 0.7])
    point = tp.solve(fixed, tp.TransferDescent()).point
    assert point is not None
    assert point == pytest.approx([0.3, 0.7], abs=1e-15)
    tight = random_transfer(3, 5).changed(upper=[1 / 3 + 1e-4, 1 / 3, 1 / 3])
    assert tp.solve(tight, tp.TransferDescent()).status is tp.Status.optimal
    held = random_transfer(4, 6).changed(lower=[0.25, 0.0, 0.0, 0.0], upper=[0.25, 1.0, 1.0, 0.0])
    solution = tp.solve(held, tp.TransferDescent())
    assert solution.status is tp.Status.optimal
    assert solution.point is not None
    assert (solution.point[0], solution.point[3]) == pytest.approx((0.25, 0.0), abs=1e-15)


def test_a_descent_only_goes_down_and_a_deadline_stops_it_with_what_there_is() -> None:
    network = random_transfer(4, 3, tau=0.0, late=True)
    room = Room.of(network.feasible)
    assert room is not None
    for start in np.random.default_rng(0).dirichlet(np.ones(4), 5):
        inside = room.inwards(start, 1e-2)
        assert (
            network.energy(descended(SharedLosses(network, network.derivatives), room, start))
            <= network.energy(inside) + 1e-6
        )
    stopped = tp.solve(network, tp.TransferDescent(), deadline=0.0)
    assert stopped.point is not None
    assert stopped.status in (tp.Status.timeout, tp.Status.optimal)


def test_three_hundred_tasks_that_all_teach_each_other_take_seconds() -> None:
    rng = np.random.default_rng(1)
    graph = rng.random((300, 300))
    np.fill_diagonal(graph, 1.0)
    network = tp.TransferNetwork.of(random_separable(300, 1), graph)
    solution = tp.solve(network, tp.TransferDescent())
    assert solution.status is tp.Status.optimal


# --------------------------------------------------------------------------------------------------- refusals and names


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (np.eye(3), "transfer: shape 3 x 3, but there are 2 tasks"),
        ([[1.0, -0.1], [0.0, 1.0]], "transfer from 'a' to 'b' is -0.1: expected a number, 0 or more"),
        ([[1.0, 1.5], [0.0, 1.0]], "transfer from 'a' to 'b' is 1.5: expected at most 1"),
        ([[1.0, 0.5], [0.0, 0.5]], "transfer from 'b' to 'b' is 0.5: expected exactly 1"),
        ([[1.0, np.nan], [0.0, 1.0]], "transfer from 'a' to 'b' is nan"),
        ({"a": {"c": 0.5}}, "transfer: there is no task 'c'"),
        ({"c": {"a": 0.5}}, "transfer: there is no task 'c'"),
        ({"a": {"b": 2.0}}, "transfer from 'a' to 'b' is 2: expected at most 1"),
    ],
)
def test_graphs_that_cannot_be_are_named(transfer: Any, message: str) -> None:
    curves = tp.ExpectedCurves(("a", "b"), 1.0, 0.1, 2.0, 50.0, 1.0, 1.0)
    with pytest.raises(InputError) as refused:
        tp.TransferNetwork(curves, 0.0, 1.0, transfer)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_graph_by_names_is_the_matrix() -> None:
    curves = random_expected(3, 2, names=ODD_NAMES[:3])
    a, b, c = ODD_NAMES[:3]
    named = tp.TransferNetwork(curves, 0.0, 100.0, {a: {b: 0.5}, c: {a: 0.25, b: 1.0}})
    assert named.transfer.tolist() == [[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.25, 1.0, 1.0]]


def test_the_wrong_network_is_refused_by_methods_for_separable_ones() -> None:
    assert "takes a SeparableNetwork" in tp.solve(gapped(), tp.Allocation()).message
    assert "takes a TransferNetwork" in tp.solve(random_separable(2, 1), tp.TransferDescent()).message


# ---------------------------------------------------------------------------------------------------------------- plans


def plan(**options: Any) -> tp.Mixture:
    network = random_transfer(4, 7, names=ODD_NAMES[2:6])
    given = {"done": [20.0, 0.0, 5.0, 10.0], "remaining": 400.0, "lower": 0.02, "transfer": network.transfer}
    return tp.plan_mixture(network.curves, **(given | options))


def test_a_plan_is_proved_again_from_its_file_alone(tmp_path: Path) -> None:
    mixture = plan()
    mixture.to_json(tmp_path / "plan.json")
    again = tp.Mixture.from_json(tmp_path / "plan.json")
    assert isinstance(again.network, tp.TransferNetwork)
    assert again.as_dict() == mixture.as_dict()
    assert all(check.passed for check in again.verify()), again.verify()
    assert CliRunner().invoke(app, ["verify", str(tmp_path / "plan.json")]).exit_code == 0
    told, weights = mixture.details["plan"]["tasks"], np.array(list(mixture.weights.values()))
    exposure = (np.array([20.0, 0.0, 5.0, 10.0]) + 400.0 * weights) @ again.network.transfer
    assert [row["exposure"] for row in told.values()] == pytest.approx(exposure.tolist())
    np.testing.assert_allclose(again.network.done, [20.0, 0.0, 5.0, 10.0] @ again.network.transfer)


FORGERIES: dict[str, Any] = {
    "energy": lambda value: value["network"]["transfer"][0].__setitem__(1, 0.9),
    "claim": lambda value: value["certificate"].update(status="feasible"),
    "gap": lambda value: value.update(weights=dict.fromkeys(value["weights"], 0.25)),
}


@pytest.mark.parametrize("check", FORGERIES)
def test_a_forged_plan_is_not_proved(check: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan().to_json(path)
    value = json.loads(path.read_text())
    FORGERIES[check](value)
    path.write_text(json.dumps(value))
    assert check in [each.name for each in tp.Mixture.from_json(path).verify() if not each.passed]
    assert CliRunner().invoke(app, ["verify", str(path)]).exit_code == 1


def test_a_damaged_graph_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan().to_json(path)
    value = json.loads(path.read_text())
    value["network"]["transfer"][0][0] = 0.5
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match="expected exactly 1"):
        tp.Mixture.from_json(path)


def test_epochs_count_examples_and_not_what_they_are_worth() -> None:
    task = ODD_NAMES[2]
    capped = plan(sizes={task: 30.0}, epochs=2.0, lower=0.0)
    assert capped.weights[task] <= 40.0 / 400.0 + 1e-9


def test_a_plan_whose_constraints_leave_no_room_is_made_by_the_program() -> None:
    mixture = plan(constraints=(tp.Group(ODD_NAMES[2:4], 0.3, 0.3),))
    assert mixture.method == "envelope-program"
    assert sum(mixture.weights[name] for name in ODD_NAMES[2:4]) == pytest.approx(0.3, abs=1e-9)
    assert all(check.passed for check in mixture.verify()), mixture.verify()


def test_what_is_left_open_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from taskpgm.terminal import print_energy, print_mixture

    network = random_transfer(3, 2).changed(transfer=[[1.0, 0.8, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mixture = tp.Mixture.from_solution(network, tp.solve(network, tp.TransferDescent()))
    print_mixture(mixture)
    print_energy(mixture)
    proved = capsys.readouterr().out
    assert "learns from" in proved
    assert "task 0 (0.80)" in proved
    assert "Tasks teach each other" in proved
    assert "Certified" in proved
    monkeypatch.setattr(bounds, "WORK", 0)
    left = tp.Mixture.from_solution(gapped(), tp.solve(gapped(), tp.TransferDescent()))
    print_energy(left)
    assert "the best of many descents; the envelope bound leaves a gap of" in capsys.readouterr().out
    assert all(check.passed for check in left.verify())


def test_a_plan_with_a_graph_is_nothing_to_compare_methods_on_and_has_no_page(tmp_path: Path) -> None:
    from taskpgm.problems import load_model

    plan().to_json(tmp_path / "plan.json")
    with pytest.raises(InputError, match="not in pairs"):
        load_model(tmp_path / "plan.json")
    with pytest.raises(InputError, match="has no page"):
        tp.write_page(tmp_path / "plan.json")


def test_what_a_binding_group_costs_is_told() -> None:
    group = tp.Group(("task 0", "task 1"), upper=0.1, name="first")
    network = random_transfer(4, 1).changed(constraints=(group,))
    told = tp.prices(network, tp.solve(network, tp.TransferDescent()))
    assert "one percent more for group 'first' would lower the energy" in str(told)
