"""How many probes are enough: widths are those of fresh samples, fall with the root, and every task counts the same."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from evidence import make_predictions

import taskpgm as tp
from taskpgm.blocks import evidence_blocks
from taskpgm.types import Predictions


def only(predictions: Predictions, contexts: np.ndarray) -> Predictions:
    """Some of the contexts, with the same mass for each task."""
    task = predictions.context_task[contexts]
    return replace(
        predictions,
        log_probs=predictions.log_probs[:, contexts],
        target_log_probs=predictions.target_log_probs[:, contexts],
        base_target_log_probs=predictions.base_target_log_probs[contexts],
        marginal_log_probs=predictions.marginal_log_probs[contexts],
        context_task=task,
        context_probe=predictions.context_probe[contexts],
        weights=1.0 / (len(predictions.names) * np.bincount(task)[task]),
    )


def sampled(population: Predictions, per_task: int, rng: np.random.Generator) -> np.ndarray:
    tasks = range(len(population.names))
    own = [np.flatnonzero(population.context_task == task) for task in tasks]
    return np.concatenate([rng.choice(each, per_task, replace=False) for each in own])


@pytest.mark.parametrize("per_task", [6, 24])
def test_the_width_is_that_of_fresh_samples(per_task: int) -> None:
    population = make_predictions(0, n=3, per_task=1500, vocabulary=6)
    rng = np.random.default_rng(1)
    fresh, widths = [], []
    for repeat in range(150):
        contexts = sampled(population, per_task, rng)
        fresh.append(tp.jensen_shannon(population.log_probs[:, contexts])[np.triu_indices(3, 1)])
        if repeat % 10 == 0:
            affinity = tp.estimate_affinity(only(population, contexts))
            widths.append(tp.enough_probes(affinity, width=0.1, seed=repeat).widths[-1])
    low, high = np.quantile(fresh, [0.025, 0.975], axis=0)
    assert np.median(widths) == pytest.approx((high - low).max(), rel=0.25)


def test_widths_fall_with_the_root_and_tell_what_is_needed() -> None:
    affinity = tp.estimate_affinity(make_predictions(3, n=4, per_task=32))
    found = tp.enough_probes(affinity, width=0.05, replicates=400)
    assert found.probes.tolist() == [2, 4, 8, 16, 32]
    assert found.widths[2] / found.widths[4] == pytest.approx(2.0, rel=0.4)
    last = float(found.widths[-1])
    met = tp.enough_probes(affinity, width=1.001 * float(found.widths[3]), replicates=400)
    assert met.enough == 16
    assert met.needed == 16
    assert "; 16 are enough for" in str(met)
    half = tp.enough_probes(affinity, width=0.5 * last, replicates=400)
    assert half.enough is None
    assert half.needed == 128
    assert f"about {128 - 32} more a task are needed" in str(half)
    assert all(repr(name) in str(half) for name in half.widest)
    again = tp.enough_probes(affinity, width=0.05, replicates=400)
    assert np.array_equal(again.widths, found.widths)


def test_every_task_counts_the_same_however_many_probes_it_has() -> None:
    """A task with few probes is what is uncertain; more probes of the other do not hide it."""
    predictions = make_predictions(5, n=2, per_task=30)
    logs = predictions.log_probs.copy()
    logs[:, 30:] = logs[:, 30:31]  # the second task's probes are all alike: they add no width
    alike = replace(predictions, log_probs=logs)
    keep = np.concatenate([np.arange(4), np.arange(30, 60)])
    few = tp.enough_probes(tp.estimate_affinity(only(alike, keep)), width=0.1, replicates=500)
    own = tp.jensen_shannon(alike.log_probs[:, :4])[0, 1]
    parts = [tp.jensen_shannon(alike.log_probs[:, c : c + 1])[0, 1] for c in range(4)]
    assert np.mean(parts) == pytest.approx(own)
    draws = np.random.default_rng(0).choice(parts, size=(4000, 4)).mean(axis=1)
    low, high = np.quantile(0.5 * draws, [0.025, 0.975])  # half of all mass is this task's
    assert few.widths[-1] == pytest.approx((high - low) * np.sqrt(4 / 3), rel=0.15)


def test_experts_that_are_alike_need_no_more() -> None:
    predictions = make_predictions(5, n=3)
    alike = replace(predictions, log_probs=np.repeat(predictions.log_probs[:1], 3, axis=0))
    found = tp.enough_probes(tp.estimate_affinity(alike), width=1e-6)
    assert found.enough == 2
    assert found.widths.max() <= 1e-12


def test_what_cannot_be_answered_is_refused() -> None:
    affinity = tp.estimate_affinity(make_predictions(0))
    for wrong, message in (
        ({"width": 0.0}, "width = 0.0"),
        ({"width": float("nan")}, "width = nan"),
        ({"width": 0.1, "level": 1.0}, "level 1.0"),
        ({"width": 0.1, "replicates": 1}, "1 replicates"),
    ):
        with pytest.raises(tp.InputError, match=message):
            tp.enough_probes(affinity, **wrong)
    with pytest.raises(tp.InputError, match="keeps no blocks"):
        tp.enough_probes(replace(affinity, blocks=None), width=0.1)
    with pytest.raises(tp.InputError, match="task 'task 0' has one probe"):
        tp.enough_probes(tp.estimate_affinity(make_predictions(0, per_task=1)), width=0.1)


def test_blocks_that_groups_of_tasks_share_tell_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = make_predictions(7, n=10, per_task=24)
    fine = tp.enough_probes(tp.estimate_affinity(predictions), width=0.05)
    monkeypatch.setattr("taskpgm.affinity.evidence_blocks", partial(evidence_blocks, memory=16 * 8 * 10**2))
    affinity = tp.estimate_affinity(predictions)
    assert affinity.blocks is not None
    assert affinity.blocks.note != ""
    coarse = tp.enough_probes(affinity, width=0.05)
    assert coarse.probes.tolist() == [6, 12, 24]
    assert 0.6 < coarse.widths[-1] / fine.widths[-1] < 1.5
    kept = np.flatnonzero((predictions.context_task != 3) | (predictions.context_probe % 24 == 0))
    alone = tp.estimate_affinity(only(predictions, kept))
    with pytest.raises(tp.InputError, match="task 'task 3' has one probe"):
        tp.enough_probes(alone, width=0.05)


def test_without_a_width_it_is_told_how_wide_they_are() -> None:
    affinity = tp.estimate_affinity(make_predictions(3, n=4, per_task=8))
    found, asked = tp.enough_probes(affinity), tp.enough_probes(affinity, width=0.05)
    assert (found.enough, found.needed) == (None, None)
    assert str(found).endswith("; four times as many would halve that.")
    assert found.as_dict() == asked.as_dict() | {"width": None, "enough": None, "needed": None, "text": str(found)}
    assert asked.as_dict()["probes"] == [2, 4, 8]
