"""Runs that decide their own mixture and are told what examples of one task are worth to another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from simulated_runs import Simulated, save_decided, simulate
from strategies import ODD_NAMES, SEEDS

import taskpgm as tp
from taskpgm.adaptive_rule import AdaptiveRule
from taskpgm.decisions import read_decisions
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.run_evidence import Evidence
from taskpgm.types import FloatArray

PAIR = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""Tasks 0 and 1 are one task under two names."""
HALVES = np.array([0.5, 0.5, 1.0, 1.0]) / 3.0


def rule_of(n: int, steps: int = 60, **changes: Any) -> AdaptiveRule:
    return AdaptiveRule(ODD_NAMES[:n], np.full(n, 1.0 / n), steps, steps * 12, **changes)


def truth_of(n: int, examples: int, seed: int = 0) -> ExpectedCurves:
    rng = np.random.default_rng(seed)
    scales = examples / n * rng.uniform(0.1, 1.0, (n, 1))
    return ExpectedCurves(ODD_NAMES[:n], 1.0, 0.3, rng.uniform(1.0, 3.0, (n, 1)), scales, 1.0, 1.0)


def run_of(rule: AdaptiveRule, transfer: FloatArray | None, seed: int = 0, **changes: Any) -> Simulated:
    n = len(rule.names)
    truth = truth_of(n, rule.examples, seed)
    return simulate(rule, truth, np.full(n, 1e4), seed=seed, transfer=transfer, **changes)


def shares_in(rule: AdaptiveRule, graph: FloatArray, seed: int = 0) -> tuple[FloatArray, float]:
    """((4,) shares of the examples of a run in which all tasks are as hard, the mean loss at its end)."""
    truth = ExpectedCurves(rule.names, 1.0, 0.3, 2.0, 0.25 * rule.examples, 1.0, 1.0)
    run = simulate(rule, truth, np.full(4, 1e4), seed=seed, transfer=graph)
    return np.asarray(run.counts / run.counts.sum()), float(truth.mean(run.counts @ graph).mean())


def test_two_names_of_one_task_get_one_share_together() -> None:
    """Each name counts one half, and so it is for the prior: as if it were one task of three."""
    rule = AdaptiveRule(ODD_NAMES[:4], HALVES, 120, 120 * 12, target_weights=HALVES, transfer=PAIR)
    for seed in range(2):
        shares, _ = shares_in(rule, PAIR, seed)
        assert shares[:2].sum() == pytest.approx(1.0 / 3.0, abs=0.03)
        assert shares[2] == pytest.approx(1.0 / 3.0, abs=0.03)


def test_what_one_task_teaches_another_is_used_only_where_it_is_told() -> None:
    """Task 0 is all that task 1 needs: told, a run gives it the other's share, and ends lower."""
    graph = np.eye(4)
    graph[0, 1] = 1.0
    blind = AdaptiveRule(ODD_NAMES[:4], np.full(4, 0.25), 120, 120 * 12, tau=0.01)
    (unseen, before), (seen, after) = (
        shares_in(rule, graph) for rule in (blind, replace(blind, transfer=graph, _known={}))
    )
    assert seen[1] < unseen[1] - 0.1
    assert seen[0] > unseen[0]
    assert after < before - 0.02


def test_decisions_hold_the_graph_and_are_proved_from_their_files(tmp_path: Path) -> None:
    graph = np.eye(4) + 0.5 * np.roll(np.eye(4), 1, axis=1)
    rule = rule_of(4, transfer=graph, decisions=4)
    run = run_of(rule, graph)
    assert all(decision.followed for decision in run.decisions)
    for decision in read_decisions(save_decided(run.decisions, tmp_path)):
        network = decision.mixture.network
        assert isinstance(network, tp.TransferNetwork)
        np.testing.assert_array_equal(network.transfer, graph)
        assert decision.mixture.status == "optimal"
        assert all(check.passed for check in decision.mixture.verify()), decision.mixture.verify()
        weights = np.array(list(decision.mixture.weights.values()))
        at = network.exposures(weights)
        rows = decision.mixture.details["decision"]["tasks"]
        assert [row["exposure"] for row in rows.values()] == pytest.approx(at.tolist())
        assert decision.expected == pytest.approx(dict(zip(rule.names, network.losses(weights), strict=True)))


def test_the_page_of_a_run_says_that_it_was_told_what_tasks_teach_each_other(tmp_path: Path) -> None:
    for name, graph in (("told", PAIR), ("alone", None)):
        run = run_of(rule_of(4, 30, transfer=graph, decisions=2), PAIR)
        page = tp.write_page(save_decided(run.decisions, tmp_path / name)).read_text()
        assert ("the transfer graph that it was given" in " ".join(page.split())) == (graph is not None)
        assert ("what one task does for another is not in them" in " ".join(page.split())) == (graph is None)


@given(SEEDS)
@settings(max_examples=4)
def test_a_graph_without_edges_decides_as_none(seed: int) -> None:
    alone = rule_of(3, 30, decisions=3)
    windows = run_of(alone, None, seed).windows
    told = replace(alone, transfer=np.eye(3), _known={})
    for one, other in zip(alone.history(windows), told.history(windows), strict=True):
        assert other.mixture.energy == pytest.approx(one.mixture.energy, abs=1e-7)
        assert other.mixture.weights == pytest.approx(one.mixture.weights, abs=1e-3)
        assert other.followed == one.followed


def test_the_same_windows_give_the_same_decisions_to_the_last_bit() -> None:
    graph = {ODD_NAMES[0]: {ODD_NAMES[1]: 0.3}, ODD_NAMES[2]: {ODD_NAMES[0]: 0.7}}
    rule = rule_of(3, 40, transfer=graph)
    run = run_of(rule, None, held_out=True)
    again = rule_of(3, 40, transfer=graph).replayed(run.windows)
    assert [each.mixture.as_dict() for each in again] == [each.mixture.as_dict() for each in run.decisions]
    with pytest.raises(tp.InputError, match="begun with other settings"):
        rule_of(3, 40).replayed(run.windows)


def test_the_order_of_the_tasks_changes_nothing() -> None:
    graph, order = np.eye(3) + np.array([[0.0, 0.6, 0.0], [0.0, 0.0, 0.2], [0.9, 0.0, 0.0]]), [2, 0, 1]
    rule = rule_of(3, 30, transfer=graph, decisions=3)
    windows = run_of(rule, graph).windows
    names = tuple(rule.names[i] for i in order)
    keys = ("shares", "examples", "tokens", "target_tokens", "measured", "loss")
    moved = tuple(
        replace(window, names=names, **{key: tuple(getattr(window, key)[i] for i in order) for key in keys})
        for window in windows
    )
    other = replace(rule, names=names, transfer=graph[np.ix_(order, order)], _known={})
    for one, two in zip(rule.history(windows), other.history(moved), strict=True):
        assert one.mixture.energy == pytest.approx(two.mixture.energy, abs=1e-7)
        assert two.mixture.weights == pytest.approx(one.mixture.weights, abs=1e-4)


def test_exposures_are_what_curves_are_fitted_to_and_examples_what_is_counted() -> None:
    run = run_of(rule_of(4, 30, decisions=2), PAIR)
    plain, told = Evidence.of(run.windows), Evidence.of(run.windows, PAIR)
    np.testing.assert_array_equal(plain.exposed, plain.done)
    np.testing.assert_array_equal(told.done, plain.done)
    np.testing.assert_allclose(told.exposed, plain.done @ PAIR)
    np.testing.assert_allclose(told.bins[0][:, -1] / plain.bins[0][:, -1], told.exposed / plain.done)
    np.testing.assert_array_equal(told.part(10).exposures, told.exposures[10:])


def test_epochs_are_of_examples_and_the_way_back_is_the_same() -> None:
    capped = rule_of(4, 40, transfer=PAIR, max_epochs=1.0, sizes=np.array([60.0, 1e3, 1e3, 1e3]))
    run = run_of(capped, PAIR)
    assert run.counts[0] <= 62
    jump = run_of(rule_of(4, 40, transfer=PAIR), PAIR, change=lambda step, losses: losses + 6.0 * (step > 20))
    back = next(decision for decision in jump.decisions if not decision.followed)
    assert list(back.mixture.weights.values()) == pytest.approx([0.25] * 4, abs=1e-7)
    assert all(check.passed for check in back.mixture.verify())


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (np.eye(2), "shape 2 x 2, but there are 3 tasks"),
        (2.0 * np.eye(3), "expected exactly 1"),
        ({"nobody": {ODD_NAMES[0]: 0.5}}, "no task 'nobody'"),
    ],
)
def test_graphs_that_do_not_fit_are_refused_before_the_run_begins(transfer: Any, message: str) -> None:
    with pytest.raises(tp.InputError, match=message):
        rule_of(3, transfer=transfer)
