"""Tasks that come and go: the table is what a computation from scratch gives, for the work of what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from evidence import make_predictions, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.blocks import block_members, evidence_blocks
from taskpgm.divergences import DIVERGENCES, Divergence, jensen_shannon_reference
from taskpgm.divergences.streaming import EXACT_WORK
from taskpgm.incremental import DivergenceTable, without_task
from taskpgm.progress import silent
from taskpgm.types import Predictions

ROUNDING = 1e-7  # a kernel may sum in another order for another number of experts
Work = list[int]


def reordered(predictions: Predictions, order: np.ndarray) -> Predictions:
    return replace(
        predictions,
        names=tuple(predictions.names[i] for i in order),
        log_probs=predictions.log_probs[order],
        target_log_probs=predictions.target_log_probs[order],
        context_task=np.argsort(order)[predictions.context_task],
    )


def changed_expert(predictions: Predictions, expert: int, task: int) -> Predictions:
    """Another model for one task, which differs from the old one on one task's probes only."""
    logs = predictions.log_probs.copy()
    contexts = np.flatnonzero(predictions.context_task == task)
    logs[expert, contexts, :-1] = random_log_probs(9, 1, len(contexts), logs.shape[2] - 1, 1.0, 0.0)[0]
    return replace(predictions, log_probs=logs)


def check(table: DivergenceTable, measure: Divergence) -> None:
    """Every field that depends on divergences is that of a computation from scratch."""
    found = table.affinity(utility=tp.HeldoutGain())
    expected = tp.estimate_affinity(table.predictions, utility=tp.HeldoutGain(), divergence=measure)
    assert found.names == expected.names
    for name in ("divergence", "divergence_lower", "divergence_upper", "similarity", "utility", "gain"):
        assert np.allclose(getattr(found, name), getattr(expected, name), rtol=0.0, atol=ROUNDING), name
    assert found.blocks is not None
    assert expected.blocks is not None
    assert np.array_equal(found.blocks.members, expected.blocks.members)
    assert np.array_equal(found.blocks.stratum, expected.blocks.stratum)
    assert np.allclose(found.blocks.divergence, expected.blocks.divergence, rtol=0.0, atol=ROUNDING)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """What every call of the kernel was about: pairs of experts times contexts."""
    done: Work = []
    blocks: Callable[..., Any] = tp.JensenShannon.blocks

    def counted(self: Divergence, log_probs: Any, weights: Any, members: Any, progress: Any = silent) -> Any:
        n, contexts, _ = np.shape(log_probs)
        done.append(n * (n - 1) // 2 * contexts)
        return blocks(self, log_probs, weights, members, progress)

    monkeypatch.setattr(tp.JensenShannon, "blocks", counted)
    return done


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_a_task_comes_and_goes(kind: type[Divergence]) -> None:
    five = make_predictions(1, n=5, per_task=4)
    four = without_task(five, "task 2")
    table = DivergenceTable.of(four, kind())
    check(table, kind())
    more = table.updated(five)
    check(more, kind())
    check(more.updated(without_task(five, "task 0")), kind())
    again = more.updated(four)
    check(again, kind())


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_any_change_is_seen_and_any_order_is_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predictions = make_predictions(seed % 7, n=5, per_task=3)
    table = DivergenceTable.of(predictions)
    for _ in range(4):
        step = int(rng.integers(3))
        if step == 0 and len(predictions.names) > 3:
            predictions = without_task(predictions, str(rng.choice(predictions.names)))
        elif step == 1:
            n = len(predictions.names)
            predictions = changed_expert(predictions, *rng.integers(n, size=2))
        else:
            predictions = reordered(predictions, rng.permutation(len(predictions.names)))
        table = table.updated(predictions)
        check(table, tp.JensenShannon())


def test_one_task_more_costs_one_row_and_its_own_probes(work: Work) -> None:
    n, per_task = 11, 3
    larger = make_predictions(2, n=n + 1, per_task=per_task)
    smaller = without_task(larger, "task 5")
    table = DivergenceTable.of(smaller)
    assert sum(work) == n * (n - 1) // 2 * n * per_task
    work.clear()
    table = table.updated(larger)
    row, own_probes = n * (n * per_task), (n + 1) * n // 2 * per_task
    assert sum(work) == row + own_probes
    assert sum(work) < 0.3 * ((n + 1) * n // 2 * (n + 1) * per_task)
    check(table, tp.JensenShannon())


def test_what_is_known_costs_nothing(work: Work) -> None:
    predictions = make_predictions(3, n=6)
    table = DivergenceTable.of(predictions)
    work.clear()
    table.updated(without_task(predictions, "task 3"))
    table.updated(reordered(predictions, np.array([3, 1, 0, 5, 4, 2])))
    table.updated(predictions)
    assert work == []


def test_names_alone_are_not_believed(work: Work) -> None:
    """The same names, with one expert trained again: its pairs on the probes where it differs, and no others."""
    predictions = make_predictions(4, n=6, per_task=3)
    table = DivergenceTable.of(predictions)
    work.clear()
    table = table.updated(changed_expert(predictions, 2, 4))
    assert sum(work) == 5 * 3
    check(table, tp.JensenShannon())
    renamed = replace(predictions, names=("other", *predictions.names[1:]))
    check(table.updated(renamed), tp.JensenShannon())


def test_only_what_is_computed_is_checked_and_named() -> None:
    predictions = make_predictions(6, n=5)
    table = DivergenceTable.of(without_task(predictions, "task 4"))
    broken = predictions.log_probs.copy()
    broken[4, 2, 3] = np.nan
    with pytest.raises(tp.InputError, match="sum to nan"):
        table.updated(replace(predictions, log_probs=broken))
    with pytest.raises(tp.InputError, match="'nobody' is not a task"):
        without_task(predictions, "nobody")
    with pytest.raises(tp.InputError, match="a single task is left"):
        without_task(make_predictions(0, n=2), "task 0")


def test_served_predictions_can_lose_a_task() -> None:
    full = random_log_probs(1, 3, 6, 8, 2.0, 0.0)
    models = {
        name: [{str(v): float(row[v]) for v in np.argsort(-row)[:3]} for row in rows]
        for name, rows in zip("abc", full, strict=True)
    }
    served = tp.predictions_from_logprobs(models, tasks=list("aabbcc"), top_k=3)
    table = DivergenceTable.of(served).updated(without_task(served, "b"))
    found = table.affinity(utility=tp.Representativeness())
    exact = tp.jensen_shannon(full[[0, 2]][:, [0, 1, 4, 5]])
    assert np.all(found.divergence_lower <= exact + 1e-12)
    assert np.all(exact <= found.divergence_upper + 1e-12)


def test_where_groups_of_tasks_share_blocks_everything_is_computed_again(
    monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    larger = make_predictions(3, n=12, per_task=8)
    smaller = without_task(larger, "task 4")
    of_their_own = DivergenceTable.of(smaller)
    little = 9 * 8 * 12**2  # room for nine blocks: one group of 12 tasks
    monkeypatch.setattr("taskpgm.incremental.block_members", partial(block_members, memory=little))
    for module in ("incremental", "affinity"):
        monkeypatch.setattr(f"taskpgm.{module}.evidence_blocks", partial(evidence_blocks, memory=little))
    shared = DivergenceTable.of(smaller)
    for table in (of_their_own, shared):
        work.clear()
        updated = table.updated(larger)
        assert updated.blocks.note != ""
        assert sum(work) == 12 * 11 // 2 * 12 * 8
        check(updated, tp.JensenShannon())


def test_float32_entries_do_not_make_similarities_of_equal_experts_indefinite() -> None:
    different = make_predictions(5, n=8, per_task=4, vocabulary=11_000)
    logs = different.log_probs.copy()
    logs[7] = logs[0]
    larger = replace(different, log_probs=logs)
    smaller = without_task(larger, "task 7")
    assert EXACT_WORK < 28 * 28 * 11_001
    found = DivergenceTable.of(smaller).updated(larger).affinity()
    assert np.allclose(found.divergence, jensen_shannon_reference(logs, larger.weights), rtol=0.0, atol=1e-12)
    assert np.linalg.eigvalsh(found.similarity)[0] >= -1e-12
