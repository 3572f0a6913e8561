"""Curves from training losses: planted ones are found again, sums agree with slow twins, bad numbers are named."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from strategies import ODD_NAMES, SEEDS, random_curves, random_expected

import taskpgm as tp
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.shape_fitting import DROP_PRIOR, FLOOR_PRIOR, fit_shapes
from taskpgm.training_curves import bin_losses, fit_training_curves
from taskpgm.types import FloatArray, InputError

BUDGET = 2_000.0


def planted(n: int, seed: int, tokens: float, bins: int = 12) -> tuple[ExpectedCurves, dict[str, Any]]:
    """One shape a task, and bins of its losses with the noise that the tokens bring, over half of the budget."""
    rng = np.random.default_rng(seed)
    curves = ExpectedCurves(
        ODD_NAMES[:n],
        1.0,
        rng.uniform(0.1, 0.5, (n, 1)),
        rng.uniform(1.5, 2.5, (n, 1)),
        BUDGET / n * np.exp(rng.uniform(np.log(0.1), np.log(0.5), (n, 1))),
        rng.choice([1.0, 2.0, 3.0], (n, 1)),
        1.0,
    )
    at = BUDGET / n * (np.arange(bins) + 0.5) / bins * np.ones((n, 1))
    losses = curves.mean(at.T).T
    losses = losses * (1.0 + 0.8 * rng.standard_normal(losses.shape) / np.sqrt(tokens))
    evidence = {
        "exposures": at,
        "losses": losses,
        "tokens": np.full(at.shape, tokens),
        "start_losses": curves.mean(np.zeros(n)),
        "budget": BUDGET,
        "names": curves.names,
    }
    return curves, evidence


@given(SEEDS)
@settings(max_examples=20)
def test_planted_curves_are_found_again_where_they_were_seen_and_a_little_beyond(seed: int) -> None:
    truth, evidence = planted(5, seed, tokens=10_000.0)
    found = fit_training_curves(**evidence)
    for share in (0.1, 0.5, 1.0, 1.5):
        at = np.full(5, share * BUDGET / 5)
        np.testing.assert_array_less(np.abs(found.mean(at) - truth.mean(at)), 5.0 * found.spread(at) + 0.03)
        np.testing.assert_allclose(found.mean(at), truth.mean(at), atol=0.35)


@given(SEEDS)
@settings(max_examples=20)
def test_more_tokens_make_a_curve_surer(seed: int) -> None:
    _, evidence = planted(4, seed, tokens=10_000.0)
    few = fit_training_curves(**(evidence | {"tokens": evidence["tokens"] / 1_000.0}))
    at = np.full(4, BUDGET / 8)
    assert np.all(fit_training_curves(**evidence).spread(at) < few.spread(at))


@given(SEEDS, st.integers(1, 8))
@settings(max_examples=30)
def test_the_closed_form_is_least_squares_under_the_prior_without_negative_numbers(seed: int, seen: int) -> None:
    rng = np.random.default_rng(seed)
    falls = np.sort(rng.random((1, 3, seen)), axis=-1)[..., ::-1]
    losses, noise = rng.uniform(-0.5, 2.0, (1, seen)), rng.uniform(0.01, 1.0, (1, seen))
    start = rng.uniform(0.5, 3.0, 1)
    fits = fit_shapes(falls, losses, noise, start)
    floor, drop = FLOOR_PRIOR[1] * start[0], DROP_PRIOR[1] * start[0]
    for k in range(3):
        rows = np.vstack(
            [np.column_stack([np.ones(seen), falls[0, k]]) / noise[0, :, None], np.diag([1 / floor, 1 / drop])]
        )
        goal = np.concatenate([losses[0] / noise[0], [FLOOR_PRIOR[0] / FLOOR_PRIOR[1], DROP_PRIOR[0] / DROP_PRIOR[1]]])
        best, residual = nnls(rows, goal)
        assert fits.cost[0, k] == pytest.approx(residual**2, rel=1e-9, abs=1e-9)
        assert [fits.floors[0, k], fits.drops[0, k]] == pytest.approx(best.tolist(), rel=1e-6, abs=1e-9)


@given(SEEDS, st.integers(2, 6))
@settings(max_examples=20)
def test_the_order_of_tasks_and_what_empty_bins_hold_do_not_matter(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    _, evidence = planted(n, seed, tokens=500.0)
    empty = rng.random(evidence["tokens"].shape) < 0.4
    evidence["tokens"] = np.where(empty, 0.0, evidence["tokens"])
    curves, at = fit_training_curves(**evidence), np.full(n, 700.0)
    garbage = {key: np.where(empty, -7.0, evidence[key]) for key in ("exposures", "losses")}
    assert np.array_equal(fit_training_curves(**(evidence | garbage)).mean(at), curves.mean(at))
    order = rng.permutation(n)
    arrays = ("exposures", "losses", "tokens", "start_losses")
    moved = {key: evidence[key][order] for key in arrays} | {"names": [evidence["names"][i] for i in order]}
    np.testing.assert_allclose(fit_training_curves(**(evidence | moved)).mean(at), curves.mean(at)[order], rtol=1e-9)


def test_a_task_without_any_bin_is_believed_to_fall_as_the_prior_says() -> None:
    curves = fit_training_curves(np.zeros((2, 0)), np.zeros((2, 0)), np.zeros((2, 0)), [2.0, 4.0], 100.0)
    assert curves.mean(np.zeros(2)) == pytest.approx([2.0, 4.0], rel=0.05)
    assert np.all(curves.mean(np.full(2, 1e9)) == pytest.approx([0.6, 1.2], rel=0.05))
    assert np.all(curves.spread(np.full(2, 50.0)) > 0.2)


@given(SEEDS)
@settings(max_examples=30)
def test_expected_curves_fall_and_their_slopes_and_bends_are_derivatives(seed: int) -> None:
    curves, rng = random_expected(4, seed), np.random.default_rng(seed)
    at = rng.uniform(0.5, 500.0, (40, 4))
    ordered = np.sort(at, axis=0)
    assert np.all(np.diff(curves.mean(ordered), axis=0) <= 1e-12)
    step = 1e-4 * at
    slope = (curves.mean(at + step) - curves.mean(at - step)) / (2.0 * step)
    np.testing.assert_allclose(curves.slopes(at), slope, rtol=1e-4, atol=1e-9)
    bend = (curves.slopes(at + step) - curves.slopes(at - step)) / (2.0 * step)
    np.testing.assert_allclose(curves.bends(at), bend, rtol=1e-3, atol=1e-9)
    if curves.convex.all():
        assert np.all(curves.bends(at) >= 0.0)
    again = ExpectedCurves.from_dict(curves.names, curves.as_dict())
    assert np.array_equal(again.mean(at), curves.mean(at))


def test_a_late_curve_is_not_called_convex_and_no_coverage_energy_takes_it() -> None:
    late = ExpectedCurves(("a", "b"), 1.0, 0.1, 2.0, 50.0, [[1.0], [2.0]], 1.0)
    assert late.convex.tolist() == [True, False]
    assert late.bends([1.0, 1.0])[1] < 0.0
    with pytest.raises(InputError, match="ExpectedCurves need not be convex"):
        tp.CoverageNetwork(late, np.eye(2), 100.0)  # type: ignore[arg-type]


@given(SEEDS)
@settings(max_examples=20)
def test_the_curves_of_experts_are_the_same_as_expected_curves(seed: int) -> None:
    curves, at = random_curves(3, seed), np.random.default_rng(seed).uniform(0.0, 500.0, 3)
    expected = ExpectedCurves.of(curves)
    assert expected.convex.all()
    np.testing.assert_allclose(expected.mean(at), curves.losses(at), rtol=1e-12)
    np.testing.assert_allclose(expected.slopes(at), curves.slopes(at), rtol=1e-12)
    np.testing.assert_allclose(expected.bends(at), curves.bends(at), rtol=1e-12)


def test_the_spread_is_the_deviation_of_a_mixture_of_normals() -> None:
    rng = np.random.default_rng(0)
    covariance = np.broadcast_to([0.04, -0.01, 0.09], (1, 2, 3))
    curves = ExpectedCurves(["a"], [[0.3, 0.7]], [[0.5, 1.0]], [[2.0, 1.0]], 10.0, [[1.0, 2.0]], 1.0, covariance)
    shape = (rng.random(400_000) < 0.7).astype(int)
    floor, drop = rng.multivariate_normal([0.0, 0.0], [[0.04, -0.01], [-0.01, 0.09]], len(shape)).T
    fall = np.array([1.0 / (1.0 + 0.5), 1.0 / (1.0 + 0.25)])[shape]
    drawn = np.array([0.5, 1.0])[shape] + floor + (np.array([2.0, 1.0])[shape] + drop) * fall
    assert curves.mean([5.0])[0] == pytest.approx(drawn.mean(), abs=0.01)
    assert curves.spread([5.0])[0] == pytest.approx(drawn.std(), abs=0.01)


def bins_by_loops(amounts: FloatArray, losses: FloatArray, tokens: FloatArray, bins: int) -> list[FloatArray]:
    steps, n = amounts.shape
    middle, mean, count = np.zeros((n, bins)), np.zeros((n, bins)), np.zeros((n, bins))
    for j in range(n):
        total, seen = float(amounts[:, j].sum()), 0.0
        for t in range(steps):
            place = int((seen + 0.5 * amounts[t, j]) / (total / bins)) if total > 0.0 else 0
            seen += amounts[t, j]
            count[j, min(place, bins - 1)] += tokens[t, j]
            mean[j, min(place, bins - 1)] += tokens[t, j] * losses[t, j] if tokens[t, j] else 0.0
        for b in range(bins):
            middle[j, b] = (b + 0.5) * (total if total > 0.0 else 1.0) / bins
            mean[j, b] = mean[j, b] / count[j, b] if count[j, b] else 0.0
    return [middle, mean, count]


@given(SEEDS, st.integers(1, 4), st.integers(0, 30), st.integers(1, 12))
@settings(max_examples=40)
def test_bins_agree_with_loops_and_lose_no_token(seed: int, n: int, steps: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.1, 5.0, (steps, n)) * (rng.random((steps, n)) < 0.6)
    tokens = np.rint(50.0 * amounts)
    losses = np.where(tokens > 0.0, rng.uniform(0.0, 3.0, (steps, n)), np.nan)
    found = bin_losses(amounts, losses, tokens, bins)
    for mine, theirs in zip(found, bins_by_loops(amounts, losses, tokens, bins), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
    np.testing.assert_allclose(found[2].sum(axis=1), tokens.sum(axis=0))


def test_three_hundred_tasks_are_fitted_in_less_than_a_second() -> None:
    rng = np.random.default_rng(0)
    at = np.sort(rng.uniform(0.0, 3_000.0, (300, 12)), axis=1)
    losses = 0.3 + 2.0 / (1.0 + (at / 500.0) ** 2) + 0.05 * rng.standard_normal(at.shape)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        fit_training_curves(at, losses, np.full(at.shape, 500.0), np.full(300, 2.3), 1e6)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 1.0


GOOD: dict[str, Any] = {
    "exposures": [[1.0, 2.0], [1.0, 2.0]],
    "losses": [[1.0, 0.5], [1.0, 0.9]],
    "tokens": [[10, 10], [10, 0]],
    "start_losses": [2.0, 2.0],
    "budget": 10.0,
    "names": ("copy", "</script>"),
}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("losses", [[1.0, 0.5], [np.nan, 0.9]], "task '</script>': the loss of bin 0 is nan"),
        ("exposures", [[1.0, -2.0], [1.0, 2.0]], "task 'copy': the exposure of bin 1 is -2.0"),
        ("tokens", [[10, 10], [-1, 0]], "task '</script>': the number of tokens of bin 0 is -1.0"),
        ("tokens", [[10], [10]], "expected \\(tasks, bins\\) three times"),
        ("start_losses", [2.0, 0.0], "start loss of task '</script>' is 0: expected more than 0"),
        ("start_losses", [np.inf, 1.0], "start loss of task 'copy' is inf"),
        ("budget", 0.0, "budget = 0: expected a positive number"),
        ("names", ("copy",), "1 names"),
    ],
)
def test_losses_that_cannot_be_used_are_named(field: str, value: object, message: str) -> None:
    fit_training_curves(**GOOD)
    with pytest.raises(InputError, match=message) as refused:
        fit_training_curves(**(GOOD | {field: value}))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steepness", 0.5, "steepness 0.5"),
        ("floors", -0.1, "floor -0.1"),
        ("powers", 0.0, "power 0"),
        ("covariance", np.zeros((2, 1)), "covariance of shape"),
    ],
)
def test_what_is_no_expected_curve_is_named(field: str, value: object, message: str) -> None:
    values = {"weights": 1.0, "floors": 0.1, "drops": 1.0, "scales": 10.0, "steepness": 1.0, "powers": 1.0}
    with pytest.raises(InputError, match=message):
        ExpectedCurves(["a", "b"], **(values | {field: value}))


def test_records_that_cannot_be_cut_into_bins_are_named() -> None:
    with pytest.raises(InputError, match="an amount is negative"):
        bin_losses([[-1.0]], [[1.0]], [[1.0]])
    with pytest.raises(InputError, match="for 0 bins"):
        bin_losses([[1.0]], [[1.0]], [[1.0]], bins=0)
