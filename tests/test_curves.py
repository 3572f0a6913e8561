"""Learning curves and exposure transfer: planted ones are found again, and what cannot be told is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, random_curves

import taskpgm as tp
from taskpgm.curves import METHODS
from taskpgm.loss_noise import noise
from taskpgm.transfer import convex_envelope, exposure_transfer, start_losses, unrehearsed_losses
from taskpgm.types import FloatArray, InputError, LossCurves

STEPS = np.array([0, 2, 5, 10, 20, 30, 45, 60, 80, 100])


def planted_losses(
    curves: tp.LearningCurves, transfer: FloatArray, examples: int = 1600, deviation: float = 0.0, seed: int = 0
) -> LossCurves:
    """What experts would have left behind if transfer were all there is: [i, s, j] the loss of j after A_ij e."""
    n = len(curves)
    exposures = np.broadcast_to(examples * STEPS / 100, (n, len(STEPS)))
    worth = transfer[:, None, :] * exposures[:, :, None]
    losses = curves.losses(worth)
    rng = np.random.default_rng(seed)
    losses = losses * (1.0 + deviation * rng.standard_normal(losses.shape))
    losses[:, 0] = losses[0, 0]
    return LossCurves(curves.names, exposures.astype(np.int64), exposures.astype(np.int64), losses)


def steep(n: int) -> tp.LearningCurves:
    """Curves that fall from about 2 to under 0.3 within 1,600 examples."""
    scales = np.geomspace(40.0, 120.0, n)
    return tp.LearningCurves([f"t{i}" for i in range(n)], 1.0, 0.1, 1.9, scales[:, None], 1.0)


@given(SEEDS, st.integers(3, 6))
@settings(max_examples=20)
def test_planted_transfer_is_found_again(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    transfer = rng.choice([0.0, 0.3, 0.7, 1.0], (n, n))
    np.fill_diagonal(transfer, 1.0)
    found = exposure_transfer(planted_losses(steep(n), transfer))
    # between two snapshots the own curve is taken to be straight: exposures come out a little off
    np.testing.assert_allclose(found, transfer, atol=0.12)
    assert np.all(np.diag(found) == 1.0)
    assert found.min() >= 0.0
    assert found.max() <= 1.0


@given(SEEDS)
@settings(max_examples=20)
def test_order_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 5
    transfer = rng.random((n, n))
    losses = planted_losses(random_curves(n, seed), transfer, deviation=0.02, seed=seed)
    order = rng.permutation(n)
    moved = LossCurves(
        tuple(losses.names[i] for i in order),
        losses.examples[order],
        losses.target_tokens[order],
        losses.losses[order][:, :, order],
    )
    found, same = exposure_transfer(losses), exposure_transfer(moved)
    np.testing.assert_allclose(same, found[np.ix_(order, order)], atol=1e-12)
    at = np.full(n, 300.0)
    for method in METHODS:
        here, there = (tp.fit_curves(x, a, method=method).losses(at) for x, a in ((losses, found), (moved, same)))
        np.testing.assert_allclose(there, here[order], rtol=1e-9)


def test_a_task_that_never_fell_says_nothing_of_transfer_and_is_named() -> None:
    losses = planted_losses(steep(3), np.eye(3))
    flat = losses.losses.copy()
    flat[:, :, 2] = 2.0
    noisy = LossCurves(losses.names, losses.examples, losses.target_tokens, flat)
    assert exposure_transfer(noisy)[:2, 2].tolist() == [0.0, 0.0]
    findings = tp.diagnose(noisy)
    assert [(each.task, each.kind) for each in findings] == [("t2", "flat")]
    assert "cannot be told apart" in str(findings[0])


def test_what_every_task_teaches_first_does_not_count_as_transfer() -> None:
    """An expert learns the form of another's answers at once and then nothing more: it is worth little to it."""
    losses = planted_losses(steep(2), np.eye(2))
    alike = losses.losses.copy()
    alike[0, 1:, 1] = losses.losses[1, 1, 1]  # as far as t1's own first snapshot, after 32 of 1,600 examples
    found = exposure_transfer(LossCurves(losses.names, losses.examples, losses.target_tokens, alike))
    assert 0.0 < found[0, 1] <= 32 * 9 / losses.examples[0].sum() + 1e-9
    assert found[1, 0] == 0.0


def test_what_other_experts_end_with_is_the_loss_without_rehearsal() -> None:
    losses = planted_losses(steep(4), np.eye(4))
    ended = losses.losses.copy()
    ended[:, -1, 0] = (0.1, 3.0, 5.0, 4.0)
    seen = LossCurves(losses.names, losses.examples, losses.target_tokens, ended)
    assert unrehearsed_losses(seen)[0] == 4.0
    single = planted_losses(steep(1), np.eye(1))
    assert unrehearsed_losses(single).tolist() == single.losses[0, 0].tolist()
    network = tp.CoverageNetwork.from_losses(seen, 400.0)
    assert network.forgetting[0] > 0.0
    assert network.losses(np.zeros(4))[0] == pytest.approx(4.0)


def test_a_late_fall_is_named() -> None:
    losses = planted_losses(steep(2), np.eye(2))
    late = losses.losses.copy()
    late[1, :, 1] = np.where(STEPS < 50, 2.0, 0.2)
    delayed = LossCurves(losses.names, losses.examples, losses.target_tokens, late)
    findings = tp.diagnose(delayed)
    assert [(each.task, each.kind) for each in findings] == [("t1", "delayed")]
    assert not tp.diagnose(losses)


def test_what_unrelated_experts_forget_is_where_a_task_starts() -> None:
    losses = planted_losses(steep(3), np.eye(3))
    forgotten = losses.losses.copy()
    forgotten[1:, -1, 0] = (4.0, 6.0)
    seen = LossCurves(losses.names, losses.examples, losses.target_tokens, forgotten)
    start = start_losses(seen, np.eye(3))
    assert start[0] == pytest.approx(5.0)
    assert start[1] == pytest.approx(2.0)
    related = np.eye(3)
    related[1, 0] = 1.0  # what a related expert ends with is no forgetting
    assert start_losses(seen, related)[0] == pytest.approx(6.0)
    assert start_losses(seen, np.ones((3, 3)))[0] == pytest.approx(2.0)


@pytest.mark.parametrize("method", METHODS)
def test_long_curves_are_fitted_closely(method: str) -> None:
    truth = steep(4)
    fitted = tp.fit_curves(planted_losses(truth, np.eye(4)), np.eye(4), method=method, horizon=400.0)  # type: ignore[arg-type]
    for exposure in (50.0, 400.0, 1600.0):
        at = np.full(4, exposure)
        np.testing.assert_allclose(fitted.losses(at), truth.losses(at), atol=0.06)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Losses with the noise that the fit assumes, of curves that the grid holds: 95 % intervals at a new exposure."""
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(60):
        n = 5
        scales = np.exp(rng.uniform(np.log(30.0), np.log(600.0), (n, 1)))
        powers = rng.choice([0.5, 1.0, 2.0], (n, 1))
        truth = tp.LearningCurves(
            [f"t{i}" for i in range(n)],
            1.0,
            rng.uniform(0.1, 0.8, (n, 1)),
            rng.uniform(0.8, 2.0, (n, 1)),
            scales,
            powers,
        )
        clean = planted_losses(truth, np.eye(n), examples=800).losses
        own = clean[np.arange(n), :, np.arange(n)]
        noisy = clean.copy()
        noisy[np.arange(n), :, np.arange(n)] = own + noise(own.copy()) * rng.standard_normal(own.shape)
        noisy[:, 0] = np.diagonal(noisy[:, 0])
        exposures = (800 * STEPS / 100).astype(np.int64)
        losses = LossCurves(truth.names, np.tile(exposures, (n, 1)), np.tile(exposures, (n, 1)), noisy)
        fitted = tp.fit_curves(losses, np.ones((n, n)), horizon=200.0)
        at = np.full(n, 1500.0)
        low, high = fitted.intervals(at).T
        inside += ((low <= truth.losses(at)) & (truth.losses(at) <= high)).tolist()
    assert 0.88 <= np.mean(inside) <= 1.0


def test_drawn_curves_scatter_as_the_intervals_say() -> None:
    curves = random_curves(3, 4)
    rng, at = np.random.default_rng(0), np.full(3, 100.0)
    drawn = np.array([curves.drawn(rng).losses(at) for _ in range(3000)])
    low, high = curves.intervals(at, 0.8).T
    within = ((low <= drawn) & (drawn <= high)).mean(axis=0)
    np.testing.assert_allclose(within, 0.8, atol=0.05)
    np.testing.assert_allclose(drawn.mean(axis=0), curves.losses(at), atol=0.05)


@given(SEEDS)
@settings(max_examples=30)
def test_curves_fall_convexly(seed: int) -> None:
    curves = random_curves(4, seed)
    exposures = np.sort(np.random.default_rng(seed).uniform(0.0, 2000.0, (50, 4)), axis=0)
    values, slopes = curves.losses(exposures), curves.slopes(exposures)
    assert np.all(np.diff(values, axis=0) <= 1e-12)
    assert np.all(np.diff(slopes, axis=0) >= -1e-12)
    assert np.all(curves.bends(exposures) >= 0.0)
    again = tp.LearningCurves.from_dict(curves.names, curves.as_dict())
    assert np.array_equal(again.losses(exposures), values)


@given(SEEDS, st.integers(2, 12))
def test_the_envelope_is_the_greatest_convex_function_below(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.cumsum(rng.uniform(0.1, 2.0, count)), rng.standard_normal(count)
    corners, heights = convex_envelope(x, y)
    below = np.interp(x, corners, heights)
    assert np.all(below <= y + 1e-12)
    assert set(heights) <= set(y)  # it touches the points at its corners: nothing convex below them is greater
    slopes = np.diff(heights) / np.diff(corners)
    assert np.all(slopes < 0.0)
    assert np.all(np.diff(slopes) > -1e-12)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights", 0.5, "its weights add up to 0.5"),
        ("drops", -1.0, "drop -1"),
        ("scales", 0.0, "scale 0"),
        ("powers", np.nan, "power nan"),
        ("floors", np.inf, "floor inf"),
        ("scales", [[1.0], [2.0], [3.0]], "expected arrays of 2 tasks x shapes"),
    ],
)
def test_what_is_no_learning_curve_is_named(field: str, value: object, message: str) -> None:
    values = {"weights": 1.0, "floors": 0.1, "drops": 1.0, "scales": 10.0, "powers": 1.0} | {field: value}
    with pytest.raises(InputError, match=message):
        tp.LearningCurves(["a", "b"], **values)  # type: ignore[arg-type]


def test_fits_of_unusable_losses_are_refused() -> None:
    losses = planted_losses(steep(2), np.eye(2))
    broken = losses.losses.copy()
    broken[1, 3, 1] = np.nan
    with pytest.raises(InputError, match="'t1': a loss is not a finite number"):
        tp.fit_curves(LossCurves(losses.names, losses.examples, losses.examples, broken), np.eye(2))
    once = LossCurves(losses.names, losses.examples[:, :1], losses.examples[:, :1], losses.losses[:, :1])
    assert np.array_equal(exposure_transfer(once), np.eye(2))  # nothing can be told from it
    with pytest.raises(InputError, match="one snapshot only"):
        tp.fit_curves(once, np.eye(2))
    with pytest.raises(InputError, match="curve fit 'spline'"):
        tp.fit_curves(losses, np.eye(2), method="spline")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="horizon 0"):
        tp.fit_curves(losses, np.eye(2), horizon=0.0)


def test_a_network_is_made_of_losses_in_one_step_as_in_three() -> None:
    losses = planted_losses(steep(4), np.eye(4), deviation=0.05, seed=3)
    lengths, p = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.3, 0.4])
    transfer = exposure_transfer(losses)
    curves = tp.fit_curves(losses, transfer, horizon=80.0)
    lost = np.maximum(unrehearsed_losses(losses) - curves.losses(np.zeros(4)), 0.0)
    by_hand = tp.CoverageNetwork(curves, transfer, 800.0, forgetting=lost, lengths=lengths)
    assert tp.CoverageNetwork.from_losses(losses, 800.0, lengths=lengths).energy(p) == by_hand.energy(p)
    alone = tp.CoverageNetwork.from_losses(losses, 800.0, graph=False)
    assert np.array_equal(alone.transfer, np.eye(4))
    with pytest.raises(InputError, match="budget = 0"):
        tp.CoverageNetwork.from_losses(losses, 0.0)


def test_error_bars_of_a_coverage_mixture() -> None:
    losses = planted_losses(steep(4), np.eye(4), deviation=0.05, seed=3)
    transfer = exposure_transfer(losses)
    network = tp.CoverageNetwork(tp.fit_curves(losses, transfer, horizon=200.0), transfer, 800.0)
    spread = tp.bootstrap(losses, network, replicates=30, seed=1)
    again = tp.bootstrap(losses, network, replicates=30, seed=1)
    assert np.array_equal(spread.replicates, again.replicates)
    assert spread.probes_to_halve is None
    assert np.all(np.abs(spread.replicates.sum(axis=1) - 1.0) < 1e-9)
    low, high = spread.interval().T
    assert np.all((low <= spread.mixture) & (spread.mixture <= high))
    assert np.all(high - low > 0.0)
    with pytest.raises(InputError, match="the experts' losses"):
        tp.bootstrap(losses, tp.TaskNetwork(np.zeros(4), np.eye(4)))
    renamed = LossCurves(("a", "b", "c", "d"), losses.examples, losses.target_tokens, losses.losses)
    with pytest.raises(InputError, match="other tasks"):
        tp.bootstrap(renamed, network)
