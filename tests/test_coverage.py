"""The coverage energy: value, derivatives and certificates; solvers that agree; expansions, files and error bars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import coverage_energy_by_loops, least_coverage_energy
from strategies import SEEDS, coverages, random_coverage, random_curves

import taskpgm as tp
from taskpgm.coverage import CoverageNetwork
from taskpgm.exact import exact_certificate
from taskpgm.inference import CoverageDescent, CoverageProgram, MirrorDescent, SimplexQP, solve
from taskpgm.inference.router import convex_method
from taskpgm.judge import Certificate, certificate
from taskpgm.room import Room
from taskpgm.types import FloatArray, InputError


def any_mixture(network: CoverageNetwork, seed: int) -> FloatArray:
    """A feasible mixture: the prior pushed into the bounds by what it lacks."""
    from taskpgm.inference.active_set import into_bounds

    return into_bounds(np.random.default_rng(seed).dirichlet(np.ones(len(network))), network)


@given(network=coverages(), seed=SEEDS)
def test_the_energy_is_what_the_design_says(network: CoverageNetwork, seed: int) -> None:
    p = any_mixture(network, seed)
    assert network.energy(p) == pytest.approx(coverage_energy_by_loops(network, p.tolist()), rel=1e-12)


@given(network=coverages(envelopes=[False]), seed=SEEDS)
def test_derivatives_are_finite_differences(network: CoverageNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(len(network), 5.0)) + 0.01
    direction, step = rng.standard_normal(len(network)) * p, 1e-6
    rise = (network.energy(p + step * direction) - network.energy(p - step * direction)) / (2.0 * step)
    assert rise == pytest.approx(float(network.gradient(p) @ direction), abs=1e-6 * network.scale)
    bend = network.smooth_gradient(p + step * direction) - network.smooth_gradient(p - step * direction)
    hessian = network.smooth_hessian(p)
    np.testing.assert_allclose(bend / (2.0 * step), hessian @ direction, atol=1e-5 * max(1.0, np.abs(hessian).max()))
    assert np.linalg.eigvalsh(hessian)[0] >= -1e-9 * np.abs(hessian).max()


@given(network=coverages(envelopes=[True]), seed=SEEDS)
def test_slopes_of_envelopes_integrate_to_their_losses(network: CoverageNetwork, seed: int) -> None:
    """They are continuous, with jumps in the second derivative only: a trapezium rule over a fine grid is close."""
    curves = network.curves
    grid = np.linspace(0.0, 1.2 * float(np.random.default_rng(seed).uniform(100.0, 600.0)), 4001)
    at = np.repeat(grid[:, None], len(curves), axis=1)
    losses, slopes, bends = curves.losses(at), curves.slopes(at), curves.bends(at)
    step = grid[1]
    np.testing.assert_allclose(np.diff(losses, axis=0), 0.5 * step * (slopes[1:] + slopes[:-1]), atol=1e-4)
    assert slopes.max() <= 0.0
    assert np.diff(slopes, axis=0).min() >= -1e-12
    assert np.all(np.diff(slopes, axis=0) <= step * curves.most_bent + 1e-12)
    assert np.all(bends <= curves.most_bent * (1.0 + 1e-12))


@settings(max_examples=40)
@given(network=coverages(), seed=SEEDS)
def test_the_program_is_proved_optimal_in_exact_arithmetic(network: CoverageNetwork, seed: int) -> None:
    solution = solve(network, CoverageProgram())
    assert solution.status is tp.Status.optimal
    assert solution.gap <= 1e-9
    proof = exact_certificate(network, solution.point)
    assert 0 <= float(proof.gap) <= 1e-9
    assert float(proof.energy) == pytest.approx(solution.energy, abs=1e-12 * network.scale)
    other = any_mixture(network, seed)
    assert network.energy(other) >= solution.bound - 1e-12
    assert float(exact_certificate(network, np.maximum(other, 1e-9)).bound) <= solution.energy + 1e-6


@settings(max_examples=15)
@given(network=coverages(max_tasks=4, taus=(0.05, 1.0)))
def test_an_independent_solver_agrees(network: CoverageNetwork) -> None:
    exact, other = solve(network, CoverageProgram()), solve(network, MirrorDescent(), deadline=5.0)
    assert other.energy == pytest.approx(exact.energy, abs=other.gap + 1e-9)
    assert other.gap <= 1e-6


@given(network=coverages(max_tasks=10, taus=(0.05, 0.0, 1.0, 1e-6), envelopes=(False,)), limited=st.booleans())
def test_newton_steps_find_what_the_program_finds(network: CoverageNetwork, limited: bool) -> None:
    if limited and len(network) > 2:
        shared = float(any_mixture(network, 0)[:2].sum())
        network = network.changed(constraints=(tp.Group(tuple(network.names[:2]), upper=min(1.0, shared + 0.01)),))
    descent = solve(network, CoverageDescent())
    assert descent.status is tp.Status.optimal
    assert descent.gap <= 1e-9
    assert network.violation(descent.point) <= 1e-12
    assert descent.energy == pytest.approx(solve(network, CoverageProgram()).energy, abs=2e-9)
    assert float(exact_certificate(network, descent.point).gap) <= 2e-9


def test_newton_steps_take_what_they_can_prove() -> None:
    smooth, cornered = random_coverage(5, 2), random_coverage(5, 2, envelopes=True)
    assert "envelopes" in str(CoverageDescent().refuses(cornered))
    fixed = smooth.changed(constraints=(tp.Group(smooth.names[:2], 0.4, 0.4),))
    assert "no room" in str(CoverageDescent().refuses(fixed))
    assert "CoverageNetwork" in str(CoverageDescent().refuses(fixed.expand(np.full(5, 0.2))))
    assert CoverageDescent().refuses(smooth) is None
    assert isinstance(tp.best_method(smooth).method, CoverageProgram)
    many = random_coverage(101, 2)
    assert isinstance(tp.best_method(many).method, CoverageDescent)
    assert isinstance(convex_method(many), CoverageDescent)
    assert isinstance(tp.best_method(random_coverage(101, 2, envelopes=True)).method, CoverageProgram)


@pytest.mark.parametrize("n", [300, pytest.param(2_000, marks=pytest.mark.slow)])
def test_hundreds_of_tasks_are_proved(n: int) -> None:
    network = random_coverage(n, 5, bounds="lower")
    solution = solve(network, convex_method(network))
    assert solution.status is tp.Status.optimal
    assert solution.gap <= 1e-9


@settings(max_examples=20)
@given(network=coverages(max_tasks=2))
def test_two_tasks_have_the_oracles_energy(network: CoverageNetwork) -> None:
    assert solve(network, CoverageProgram()).energy == pytest.approx(least_coverage_energy(network), abs=1e-10)


@settings(max_examples=20)
@given(network=coverages(), seed=SEEDS)
def test_names_and_order_do_not_matter(network: CoverageNetwork, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(network))
    curves = network.curves
    rows = {field: np.asarray(values)[order] for field, values in curves.as_dict().items()}
    moved = CoverageNetwork(
        type(curves).from_dict([curves.names[i] for i in order], rows),
        network.transfer[np.ix_(order, order)],
        network.budget,
        forgetting=network.forgetting[order],
        target_weights=network.target_weights[order],
        lengths=network.lengths[order],
        tau=network.tau,
        prior=network.prior[order],
        lower=network.lower[order],
        upper=network.upper[order],
    )
    assert solve(moved, CoverageProgram()).energy == pytest.approx(solve(network, CoverageProgram()).energy, abs=1e-9)


@pytest.mark.parametrize(("n", "tau"), [(30, 0.05), (30, 0.0), (120, 0.05)])
def test_many_tasks_are_proved_too(n: int, tau: float) -> None:
    network = random_coverage(n, 5, tau=tau, bounds="lower")
    solution = solve(network, CoverageProgram())
    assert solution.gap <= 1e-9
    assert float(exact_certificate(network, solution.point).gap) <= 1e-9


def test_constraints_are_kept_and_covered_by_the_certificate() -> None:
    network = random_coverage(6, 3, tau=0.01)
    free = solve(network, CoverageProgram())
    first = [network.names[i] for i in np.argsort(-np.asarray(free.point))[:2]]
    limits = (tp.Group(tuple(first), upper=0.2), tp.EffectiveTasks(4.5))
    limited = network.changed(constraints=limits)
    solution = solve(limited, CoverageProgram())
    assert solution.status is tp.Status.optimal
    assert limited.violation(solution.point) <= 1e-9
    assert solution.energy > free.energy
    bill = tp.prices(limited, solution)
    assert bill.without.energy == pytest.approx(free.energy, abs=1e-9)
    group = next(price for price in bill.binding if "at most 0.2" in price.constraint)
    step = 1e-5
    looser = network.changed(constraints=(tp.Group(tuple(first), upper=0.2 + step), limits[1]))
    saved = (solution.energy - solve(looser, CoverageProgram()).energy) / step
    assert group.price == pytest.approx(saved, rel=1e-2)


# ------------------------------------------------------------------------------------------------------- expansions


@settings(max_examples=30)
@given(network=coverages(), seed=SEEDS)
def test_the_expansion_agrees_to_second_order(network: CoverageNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(len(network), 9.0), 2)
    near = network.expand(p)
    np.testing.assert_allclose(near.gradient(p), network.gradient(p), atol=1e-9 * network.scale)
    assert near.concavity <= 1e-9 * np.abs(near.similarity).max()
    errors = []
    for step in (1e-2, 5e-3):
        moved = p + step * (q - p)
        errors.append(abs((near.energy(moved) - near.energy(p)) - (network.energy(moved) - network.energy(p))))
    assert errors[1] <= 0.2 * errors[0] + 1e-12  # a cubic remainder falls to an eighth


@pytest.mark.parametrize("seed", range(4))
def test_expanding_again_and_again_ends_at_the_same_mixture(seed: int) -> None:
    """Sequential quadratic programming: each step is a pairwise task network."""
    network = random_coverage(5, seed, tau=0.05, bounds="lower")
    goal, p = solve(network, CoverageProgram()), any_mixture(network, seed)
    for _ in range(60):
        target = np.asarray(solve(network.expand(p), SimplexQP()).point)
        share = 1.0
        while network.energy(p + share * (target - p)) > network.energy(p) and share > 1e-9:
            share *= 0.5
        p = p + share * (target - p)
    assert network.energy(p) == pytest.approx(goal.energy, abs=1e-10)
    assert certificate(network, p).gap <= 1e-8


def test_the_expansion_is_a_network_for_every_discrete_method() -> None:
    network = random_coverage(4, 8, bounds="lower")
    p = np.asarray(solve(network, CoverageProgram()).point)
    levels = network.expand(p).levels(quanta=6)
    assert solve(levels, tp.Exhaustive()).energy == pytest.approx(solve(levels, tp.BranchAndBound()).energy, abs=1e-9)


# -------------------------------------------------------------------------------------------- explanation, error bars


@settings(max_examples=20)
@given(network=coverages())
def test_explanations_add_up_to_the_energy(network: CoverageNetwork) -> None:
    solution = solve(network, CoverageProgram())
    told = [tp.explain(network, solution, name) for name in network.names]
    start = float(network.target_weights @ network.losses(np.zeros(len(network))))
    assert start + sum(why.energy for why in told) == pytest.approx(solution.energy, abs=1e-10 * network.scale)
    assert all("nats off the mean loss" in str(why) for why in told)
    assert all(share <= 1e-15 for why in told for share in why.coverage.values())


@pytest.mark.parametrize("seed", range(3))
def test_derivatives_with_respect_to_target_weights_are_finite_differences(seed: int) -> None:
    network = random_coverage(4, seed, tau=0.1)
    solution = solve(network, CoverageProgram())
    found = tp.sensitivity(network, solution).to_targets
    step = 1e-5
    for j in range(4):
        moved = []
        for sign in (1.0, -1.0):
            v = network.target_weights.copy()
            v[j] += sign * step
            total = float(v.sum())
            shifted = network.changed(target_weights=v, tau=network.tau / total)  # E / total has the same minimiser
            moved.append(np.asarray(solve(shifted, CoverageProgram()).point))
        np.testing.assert_allclose(found[:, j], (moved[0] - moved[1]) / (2.0 * step), atol=1e-4)


def test_a_coverage_network_has_no_utilities_to_be_sensitive_to() -> None:
    network = random_coverage(3, 1)
    found = tp.sensitivity(network, solve(network, CoverageProgram()))
    with pytest.raises(InputError, match="to_targets"):
        found.to_utility  # noqa: B018


def test_forecasts_say_what_the_curves_say() -> None:
    network = random_coverage(4, 2)
    told = tp.forecast(network, [0.25] * 4)
    np.testing.assert_allclose(told.losses, network.losses([0.25] * 4))
    assert np.all(told.losses <= told.start)
    assert np.all((told.interval[:, 0] <= told.losses) & (told.losses <= told.interval[:, 1]))
    doubled = tp.forecast(network, [0.25] * 4, budget=2.0 * network.budget)
    np.testing.assert_allclose(told.losses - doubled.losses, told.doubling)
    assert np.all(told.doubling >= 0.0)
    assert told.mean == pytest.approx(float(network.target_weights @ told.losses))
    assert "twice the budget would lower it" in str(told)


@pytest.mark.parametrize("mixture", [[0.5, 0.5], [0.7, 0.7, -0.4, 0.0], [np.nan] * 4, [0.2] * 4])
def test_forecasts_of_what_is_no_mixture_are_refused(mixture: list[float]) -> None:
    with pytest.raises(InputError):
        tp.forecast(random_coverage(4, 2), mixture)


@pytest.mark.parametrize("envelopes", [False, True])
def test_a_mixture_file_proves_a_coverage_mixture_and_catches_what_breaks_it(tmp_path: Path, envelopes: bool) -> None:
    network = random_coverage(5, 6, bounds="lower", names=("été", "b", "c", "d", "e"), envelopes=envelopes)
    mixture = tp.Mixture.from_solution(network, solve(network, CoverageProgram()), unit="examples")
    path = tmp_path / "mixture.json"
    mixture.to_json(path)
    read = tp.Mixture.from_json(path)
    assert all(check.passed for check in read.verify())
    assert network.energy([0.2] * 5) == read.network.energy([0.2] * 5)
    read.to_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    names = list(read.weights)
    moved = dict(read.weights) | {names[0]: read.weights[names[0]] + 0.05, names[1]: read.weights[names[1]] - 0.05}
    assert not all(check.passed for check in replace(read, weights=moved).verify())


# ---------------------------------------------------------------------------------------------------- planted bugs


@pytest.mark.parametrize("seed", range(3))
def test_a_gradient_that_forgets_transfer_is_caught(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact certificate shares no code with the float one: a planted slope makes them disagree."""
    network = random_coverage(4, seed)
    p = np.full(4, 0.25)
    honest = float(exact_certificate(network, p).gap)
    assert certificate(network, p).gap == pytest.approx(honest, abs=1e-12)

    def wrong(self: CoverageNetwork, p: FloatArray) -> FloatArray:
        slopes = self.target_weights * self.curves.slopes(self.exposures(p))
        return np.asarray(np.diag(self.reach) * slopes)

    monkeypatch.setattr(CoverageNetwork, "smooth_gradient", wrong)
    assert abs(certificate(network, p).gap - honest) > 1e-6
    assert float(exact_certificate(network, p).gap) == honest


def test_the_judge_is_not_fooled_by_a_method() -> None:
    found = certificate(random_coverage(3, 4), [1.0, 0.0, 0.0])
    assert isinstance(found, Certificate)
    assert found.bound == -np.inf  # a weight of 0 under a prior


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"transfer": np.eye(2)}, "transfer: shape 2 x 2, but there are 3 tasks"),
        ({"transfer": -np.eye(3)}, "transfer from 'task 0' to 'task 0' is -1.0"),
        ({"transfer": np.full((3, 3), np.nan)}, "transfer from 'task 0' to 'task 0' is nan"),
        ({"budget": 0.0}, "budget = 0"),
        ({"target_weights": [1.0, 1.0]}, "target weights: 2 numbers for 3 tasks"),
        ({"target_weights": {"nobody": 1.0}}, "'nobody' is not a task"),
        ({"target_weights": [0.0, 0.0, 0.0]}, "not all 0"),
        ({"lengths": [1.0, 0.0, 1.0]}, "length of task 'task 1' is 0"),
        ({"tau": -1.0}, "tau = -1"),
        ({"lower": 0.5}, "no mixture is feasible"),
    ],
)
def test_bad_numbers_are_one_clear_line(settings_: dict[str, object], message: str) -> None:
    given_ = {"transfer": np.eye(3), "budget": 300.0} | settings_
    with pytest.raises(InputError, match=message) as caught:
        CoverageNetwork(random_curves(3, 0), given_.pop("transfer"), given_.pop("budget"), **given_)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1


def test_a_solve_looks_once_for_the_inside_of_its_feasible_set(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, centred = [], Room._centred
    monkeypatch.setattr(Room, "_centred", lambda room: (looked.append(room), centred(room))[1])
    network = random_coverage(5, 0)
    network = network.changed(constraints=(tp.Group(network.names[:2], upper=0.5),))
    for _ in range(2):
        assert solve(network, CoverageDescent()).status.name == "optimal"
    assert len(looked) == 1


@given(st.integers(2, 5), SEEDS)
@settings(max_examples=10)
def test_two_names_of_one_task_share_its_weight_without_a_prior(n: int, seed: int) -> None:
    """With full transfer between two tasks, and nothing to forget, only their total matters."""
    network = random_coverage(n, seed, tau=0.0)
    twin = network.transfer.copy()
    twin[:, 1], twin[1] = twin[:, 0], twin[0]
    twin[:2, :2] = 1.0
    curves = network.curves
    rows = [0, 0, *range(2, n)]
    copied = tp.LearningCurves(
        curves.names, *(getattr(curves, f)[rows] for f in ("weights", "floors", "drops", "scales", "powers"))
    )
    shared = network.changed(curves=copied, transfer=twin, forgetting=0.0, lengths=network.lengths[rows])
    p = np.asarray(solve(shared, CoverageProgram()).point)
    swapped = p.copy()
    swapped[:2] = p[1::-1]
    assert shared.energy(swapped) == pytest.approx(shared.energy(p), abs=1e-12)


def test_forgetting_keeps_every_task_in_the_mixture_without_a_floor_or_a_prior() -> None:
    """Two names of one task share all they learn: one of them is dropped, unless it would be forgotten."""
    curves = tp.LearningCurves(("a", "b", "c"), 1.0, 0.1, 1.9, 50.0, 1.0)
    transfer = [[1.0, 0.9, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    weights = {}
    for forgetting in (0.0, 2.0):
        network = CoverageNetwork(curves, transfer, 1_000.0, forgetting=forgetting, tau=0.0)
        weights[forgetting] = np.asarray(solve(network, CoverageProgram()).point)
    assert weights[0.0].min() < 1e-6
    assert weights[2.0].min() * 1_000 > 20.0  # a few dozen examples of its own
    network = CoverageNetwork(curves, transfer, 1_000.0, forgetting=2.0)
    told = network.losses([0.0, 0.5, 0.5]) - network.changed(forgetting=0.0).losses([0.0, 0.5, 0.5])
    assert told[0] == pytest.approx(2.0)
    assert told[1:].max() < 1e-3
    ends = tp.forecast(network, [0.0, 0.5, 0.5])
    np.testing.assert_allclose(ends.losses, network.losses([0.0, 0.5, 0.5]), rtol=1e-12)
    assert ends.interval[0, 0] <= ends.losses[0] <= ends.interval[0, 1]


@given(network=coverages(), seed=SEEDS)
@settings(max_examples=30)
def test_forecasts_leave_room_for_exposure_that_counts_four_times_as_much_or_little(
    network: CoverageNetwork, seed: int
) -> None:
    p = any_mixture(network, seed)
    told = tp.forecast(network, p)
    for factor in (0.25, 0.5, 2.0, 4.0):
        real = network.curves.losses(network.exposures(p) * factor) + network.lost(p)
        assert np.all((told.interval[:, 0] <= real) & (real <= told.interval[:, 1]))
    assert told.interval.min() >= 0.0


@pytest.mark.parametrize(
    ("forgetting", "said"),
    [([1.0, 2.0], "forgetting: shape"), ([0.0, -0.5, 0.0], "forgetting of task 't1' is -0.5"), (np.nan, "forgetting")],
)
def test_forgetting_that_is_none_is_refused(forgetting: object, said: str) -> None:
    curves = tp.LearningCurves(("t0", "t1", "t2"), 1.0, 0.1, 1.9, 50.0, 1.0)
    with pytest.raises(InputError, match=said):
        CoverageNetwork(curves, np.eye(3), 100.0, forgetting=forgetting)  # type: ignore[arg-type]
