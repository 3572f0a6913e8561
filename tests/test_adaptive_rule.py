"""The rule that decides on a mixture in the middle of a run: when, within which bounds, and when it goes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_runs import Simulated, simulate
from strategies import ODD_NAMES, SEEDS

import taskpgm as tp
from taskpgm.adaptive_rule import AdaptiveRule
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.mixture_ledger import Window
from taskpgm.types import FloatArray


def rule_of(n: int, steps: int = 60, batch: int = 8, **changes: Any) -> AdaptiveRule:
    return AdaptiveRule(ODD_NAMES[:n], np.full(n, 1.0 / n), steps, steps * batch, **changes)


def truth_of(rule: AdaptiveRule, seed: int, steepness: float = 1.0) -> ExpectedCurves:
    """Curves that fall from 2 to 4 nats, over some tens or hundreds of examples."""
    rng, n = np.random.default_rng(seed), len(rule.names)
    scales = rule.examples / n * rng.uniform(0.05, 1.0, (n, 1))
    floors, drops = rng.uniform(0.1, 1.0, (n, 1)), rng.uniform(1.0, 3.0, (n, 1))
    return ExpectedCurves(rule.names, 1.0, floors, drops, scales, steepness, 1.0)


def run_of(rule: AdaptiveRule, seed: int = 0, size: float = 1e4, **changes: Any) -> Simulated:
    return simulate(rule, truth_of(rule, seed), np.full(len(rule.names), size), seed=seed, **changes)


# --------------------------------------------------------------------------------------------------------- the moments


@given(st.integers(2, 3_000), st.integers(1, 9), st.integers(1, 12), st.integers(1, 10))
def test_decisions_are_spread_over_whole_windows_and_leave_steps_to_change(
    steps: int, losses_every: int, lead: int, decisions: int
) -> None:
    rule = rule_of(2, steps, losses_every=losses_every, lead=lead, decisions=decisions)
    assert rule.every % losses_every == 0
    assert len(rule.marks) <= decisions
    assert list(rule.marks) == sorted(set(rule.marks))
    assert all(mark * rule.every + lead < steps for mark in rule.marks)
    if steps >= 120 * losses_every and lead <= 0.1 * steps:
        assert len(rule.marks) == decisions
        wanted = np.linspace(0.1, 0.8, decisions) * steps
        assert np.abs(np.array(rule.marks) * rule.every - wanted).max() <= rule.every


def test_decisions_come_after_ten_twenty_and_so_on_percent() -> None:
    run = run_of(rule_of(3, 100))
    assert [decision.step for decision in run.decisions] == [10, 20, 30, 40, 50, 60, 70, 80]
    assert len(run.windows) == 100
    assert all(decision.steps == 100 for decision in run.decisions)


def test_between_the_moments_nothing_is_decided() -> None:
    rule = rule_of(2, 40)
    run = run_of(rule)
    for count in range(1, len(run.windows) + 1):
        assert (rule(run.windows[:count]) is None) == (count not in rule.marks)
    assert rule.history(run.windows[:15]) == run.decisions[:3]


def test_the_same_windows_give_the_same_decision_and_others_do_not() -> None:
    """A trainer may train anew with what is attached to it."""
    rule = rule_of(3, 40)
    one, other = run_of(rule, seed=1), run_of(rule, seed=2)
    fresh = rule_of(3, 40)
    for run in (one, other):
        again = fresh.history(run.windows)
        assert [each.mixture.as_dict() for each in again] == [each.mixture.as_dict() for each in run.decisions]
    assert one.decisions[-1].mixture.weights != other.decisions[-1].mixture.weights


# ------------------------------------------------------------------------------------------------------------ the plans


@st.composite
def constrained(draw: st.DrawFn) -> tuple[AdaptiveRule, FloatArray]:
    """A rule with bounds, a group and epoch caps, mostly tight, and the sizes of its tasks."""
    n, steps, batch = draw(st.integers(2, 5)), draw(st.integers(12, 50)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(SEEDS))
    examples = steps * batch
    prior = rng.dirichlet(np.full(n, 4.0)) if draw(st.booleans()) else np.full(n, 1.0 / n)
    room = examples * rng.uniform(1.0, draw(st.sampled_from([1.0, 1.3, 5.0])), n) / n * 1.01
    sizes = np.ceil(room / 2.0)
    names = ODD_NAMES[:n]
    group = tp.Group(names[:2], upper=draw(st.sampled_from([0.45, 1.0])) if n > 2 else 1.0)
    tight = draw(st.booleans())
    changes: dict[str, Any] = {
        "floor": draw(st.sampled_from([0.0, 0.2, 1.0])),
        "lead": draw(st.integers(1, 4)),
        "losses_every": draw(st.sampled_from([1, 2])),
        "constraints": (group,) if not tight or n > 3 else (),
        "upper": 0.9 if tight else 1.0,
    }
    if draw(st.booleans()):
        changes |= {"max_epochs": 2.0, "sizes": sizes}
    try:
        return AdaptiveRule(names, prior, steps, examples, **changes), sizes
    except tp.InputError:  # a floor of all of the prior may be more than the group may have
        return AdaptiveRule(names, prior, steps, examples, **(changes | {"constraints": ()})), sizes


@settings(max_examples=12)
@given(constrained(), SEEDS)
def test_bounds_groups_floors_and_epoch_caps_hold_from_the_first_draw_to_the_last(
    made: tuple[AdaptiveRule, FloatArray], seed: int
) -> None:
    rule, sizes = made
    run = simulate(rule, truth_of(rule, seed), sizes, seed=seed)
    drawn = run.counts
    upper = np.full(len(sizes), float(np.max(rule.upper)) * rule.examples)
    if rule.max_epochs is not None:
        upper = np.minimum(upper, rule.max_epochs * sizes)
    lower = np.minimum(rule.floor * rule.prior * rule.examples, upper)
    parts = len(run.decisions) + 2.0  # each change of shares may round by a part of an example
    assert (drawn <= upper + 2.0).all(), (drawn - upper).max()
    assert (drawn >= lower - 2.0).all(), (lower - drawn).max()
    for group in rule.constraints:
        assert isinstance(group, tp.Group)
        members = [rule.names.index(name) for name in group.tasks]
        assert drawn[members].sum() <= group.upper * rule.examples + parts
    for decision in run.decisions[:: max(1, len(run.decisions) - 1)]:
        assert all(check.passed for check in decision.mixture.verify()), decision.mixture.verify()


@settings(max_examples=6)
@given(SEEDS, st.permutations(range(4)))
def test_the_order_of_the_tasks_changes_nothing(seed: int, order: list[int]) -> None:
    rule = rule_of(4, 30)
    windows = run_of(rule, seed).windows
    names = tuple(rule.names[i] for i in order)
    moved = tuple(
        replace(window, names=names, **{
            key: tuple(getattr(window, key)[i] for i in order)
            for key in ("shares", "examples", "tokens", "target_tokens", "measured", "loss")
        })
        for window in windows
    )  # fmt: skip
    for one, other in zip(rule.history(windows), replace(rule, names=names, _known={}).history(moved), strict=True):
        assert one.mixture.energy == pytest.approx(other.mixture.energy, abs=1e-9)
        assert other.mixture.weights == pytest.approx(one.mixture.weights, abs=1e-5)
        assert other.expected == pytest.approx(one.expected, abs=1e-6)


def test_a_task_that_learns_late_keeps_its_floor_and_what_is_learned_already_gives_to_the_others() -> None:
    n, rule = 4, rule_of(4, 120, floor=0.2)
    even = rule.examples / n
    late = [[1.0], [1.0], [1.0], [3.0]]
    truth = ExpectedCurves(
        rule.names, 1.0, 0.1, [[0.05], [3.0], [3.0], [3.0]], even * np.array([[0.1], [0.5], [0.5], [0.8]]), late, 1.0
    )
    run = simulate(rule, truth, np.full(n, 1e4))
    for decision in run.decisions:
        assert min(decision.mixture.weights.values()) >= 0.05 - 1e-12
    assert run.counts[3] >= 0.05 * rule.examples - 1.0
    final = run.decisions[-1].mixture.weights
    assert min(final, key=lambda name: final[name]) == rule.names[0]


def test_two_tasks_that_are_alike_get_alike() -> None:
    rule = rule_of(3, 40, batch=12)
    windows = tuple(
        Window(rule.names, i, i, (1 / 3,) * 3, (4, 4, 4), (90,) * 3, (60,) * 3, (60,) * 3, (a, a, 1.0))
        for i, a in enumerate((3.0 / (1.0 + 0.1 * step) + 0.5 for step in range(1, 33)), 1)
    )
    for decision in rule.history(windows):
        first, second, done = (decision.mixture.weights[name] for name in rule.names)
        assert first == pytest.approx(second, abs=1e-6)
        assert first > done


def test_what_is_left_is_shared_out_better_than_evenly() -> None:
    """Fourteen curves that fall at once or late, and are known only by their noisy losses."""
    n = 14
    names = tuple(f"task {i:02d}" for i in range(n))
    for seed in range(3):
        rule = AdaptiveRule(names, np.full(n, 1.0 / n), 240, 240 * 16, losses_every=4, lead=2)
        rng, even = np.random.default_rng(seed), 240 * 16 / n
        scales = even * np.exp(rng.uniform(np.log(0.03), np.log(3.0), (n, 1)))
        shapes = rng.choice([1.0, 1.5, 2.0, 3.0], (n, 1))
        truth = ExpectedCurves(names, 1.0, 0.3, rng.uniform(0.3, 3.0, (n, 1)), scales, shapes, 1.0)
        run = simulate(rule, truth, np.full(n, 500.0), seed=seed)
        gain = truth.mean(np.full(n, even)) - truth.mean(run.counts.astype(float))
        assert gain.mean() > 0.01
        assert abs(run.decisions[-1].mean - truth.mean(run.counts.astype(float)).mean()) < 0.2


def test_costs_are_kept_on_the_way_too() -> None:
    names = ODD_NAMES[:3]
    cost = tp.CostBound(dict(zip(names, (1.0, 2.0, 4.0), strict=True)), 2.0)
    rule = rule_of(3, 30, constraints=(cost,), decisions=3)
    run = run_of(rule)
    assert [decision.mixture.status for decision in run.decisions] == ["optimal"] * 3
    assert run.counts @ [1.0, 2.0, 4.0] <= 2.0 * rule.examples + 4.0
    assert np.dot(list(rule.start.values()), [1.0, 2.0, 4.0]) == pytest.approx(2.0, abs=1e-6)


def test_a_run_that_was_begun_otherwise_is_not_gone_on_with() -> None:
    rule = rule_of(3, 40)
    run = run_of(rule)
    assert rule.replayed(run.windows) == run.decisions
    others: list[dict[str, Any]] = [{"steps": 80, "examples": 640}, {"tau": 0.5}, {"floor": 1.0}, {"losses_every": 2}]
    for changes in others:
        with pytest.raises(tp.InputError, match=r"begun with other settings or another number of steps\. Go on"):
            replace(rule, _known={}, **changes).replayed(run.windows)


def test_what_the_next_steps_take_is_settled() -> None:
    """A plan is for what it can still change: by how much the loader runs ahead is counted as done."""
    rule = rule_of(3, 50, batch=6, lead=3)
    for decision in run_of(rule).decisions:
        network = decision.mixture.network
        assert isinstance(network, tp.SeparableNetwork)
        assert network.done.sum() == pytest.approx(6 * (decision.step + 3))
        assert network.remaining == pytest.approx(6 * (50 - decision.step - 3))


def test_a_start_that_the_bounds_forbid_is_the_nearest_that_they_allow() -> None:
    """A small task would be gone through five times by uniform shares; the rest is shared by the others evenly."""
    rule = rule_of(4, 50, batch=8, max_epochs=1.0, sizes=np.array([20.0, 1e3, 1e3, 1e3]))
    assert list(rule.start.values()) == pytest.approx([0.05, 0.95 / 3, 0.95 / 3, 0.95 / 3], abs=1e-7)
    free = rule_of(4, 50)
    assert free.start == dict.fromkeys(free.names, 0.25)


# -------------------------------------------------------------------------------------------------------- the evidence


def test_a_task_unseen_before_a_decision_puts_it_off() -> None:
    rule = rule_of(3, 40)
    run = run_of(rule, change=lambda step, losses: np.where((step <= 6) & (np.arange(3) == 1), np.nan, losses))
    assert [decision.step for decision in run.decisions] == [8, 12, 16, 20, 24, 28, 32]
    assert run.windows[2].loss[1] is None


def test_losses_that_are_missing_or_not_finite_are_left_out() -> None:
    rule = rule_of(3, 40)
    run = run_of(rule, change=lambda step, losses: np.where((step % 3 == 0) & (np.arange(3) == 2), np.nan, losses))
    assert len(run.decisions) == 8
    poisoned = tuple(
        replace(window, loss=(*window.loss[:2], float("nan") if window.loss[2] is None else window.loss[2]))
        for window in run.windows
    )
    odd = tuple(replace(window, measured=(*window.measured[:2], 99)) for window in poisoned if window.loss[2])
    assert len(odd) == len(run.windows)
    fresh = rule_of(3, 40).history(poisoned)
    assert [each.mixture.weights for each in fresh] == [each.mixture.weights for each in run.decisions]


def forgotten(step: int, losses: FloatArray) -> FloatArray:
    """From step 20 on the last task is lost again."""
    return losses + np.where((np.arange(len(losses)) == len(losses) - 1) & (step > 20), 6.0, 0.0)


def test_forecasts_that_did_worse_than_persistence_are_not_followed() -> None:
    """A loss goes up for good in the middle of its fall: curves through both expect it lower than it stays."""
    rule = rule_of(3, 40)
    run = run_of(rule, change=forgotten)
    by_step = {decision.step: decision for decision in run.decisions}
    back = by_step[28]
    assert not back.followed
    assert "training losses" in back.reason
    assert "back to the prior" in back.reason
    assert back.mixture.weights == pytest.approx(rule.start, abs=1e-8)
    assert all(check.passed for check in back.mixture.verify())
    assert all(by_step[step].followed for step in (4, 8, 12, 16, 20))
    assert back.mean > by_step[20].mean


def test_the_way_back_to_the_prior_keeps_the_bounds() -> None:
    limited = {"upper": {ODD_NAMES[0]: 0.1}, "constraints": (tp.Group(ODD_NAMES[:2], upper=0.3),)}
    rule = rule_of(3, 40, **limited)
    back = next(each for each in run_of(rule, change=forgotten).decisions if not each.followed)
    assert list(back.mixture.weights.values()) == pytest.approx([0.1, 0.2, 0.7], abs=1e-7)
    assert back.mixture.weights == pytest.approx(rule.start, abs=1e-7)


def test_held_out_losses_decide_where_they_are_known() -> None:
    """Training losses that jump say nothing where the held-out ones fall as foretold, and the other way round."""
    run = run_of(rule_of(3, 40), change=forgotten, held_out=True)
    assert all(decision.followed for decision in run.decisions)
    windows = tuple(
        window if window.held_out is None else replace(window, held_out=tuple(5.0 for _ in window.held_out))
        for window in run_of(rule_of(3, 40), held_out=True).windows
    )
    stuck = rule_of(3, 40).history(windows)
    assert "held-out losses" in stuck[1].reason
    assert not stuck[1].followed


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decisions": 0}, "expected at least one"),
        ({"first": 0.0}, "0 < first <= last < 1"),
        ({"first": 0.5, "last": 0.4}, "0 < first <= last < 1"),
        ({"floor": 1.5}, "floor = 1.5"),
        ({"floor": float("nan")}, "floor = nan"),
        ({"tau": -1.0}, "tau = -1"),
        ({"max_epochs": 0.0}, "max_epochs = 0"),
        ({"max_epochs": 2.0, "sizes": np.full(3, 10.0)}, r"that is 60 examples of all tasks, and the run takes 480"),
        ({"upper": 0.2}, "upper bounds"),
        ({"upper": {"nobody": 0.2}}, "no task of that name"),
        ({"target_weights": {"nobody": 1.0}}, "'nobody' is not a task"),
        ({"constraints": (tp.Group(ODD_NAMES[:2], upper=0.01),)}, "cannot be kept together|no mixture"),
        ({"prior": np.array([0.5, 0.5, 0.0])}, "has no share in the prior"),
    ],
)
def test_what_no_run_could_keep_is_refused_before_it_begins(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(tp.InputError, match=message):
        replace(rule_of(3), **changes)


def test_one_task_is_no_mixture() -> None:
    with pytest.raises(tp.InputError, match="one task only"):
        rule_of(1)
