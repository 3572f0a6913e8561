"""Tokens and losses of each task in a batch, against one example at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS
from torch.nn.functional import cross_entropy

import taskpgm as tp
from taskpgm import batch_losses
from taskpgm.batch_losses import IGNORED, Batch

VOCABULARY = 7


def random_batch(seed: int, rows: int, tasks: int) -> tuple[list[Any], list[Any], list[torch.Tensor], Any]:
    """(ids, labels, logits) of each example, by lengths of 1 to 6 tokens, and its task."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, rows)
    ids = [torch.as_tensor(rng.integers(0, VOCABULARY, length)) for length in lengths]
    labels = [torch.where(torch.as_tensor(rng.random(len(each)) < 0.4), IGNORED, each) for each in ids]
    logits = [torch.as_tensor(rng.standard_normal((length, VOCABULARY))).float() for length in lengths]
    return ids, labels, logits, rng.integers(0, tasks, rows)


def expected(labels: list[Any], logits: list[torch.Tensor], tasks: Any, count: int, shifted: bool) -> Any:
    """(count, 3) tokens, target tokens and summed losses, example by example."""
    sums = np.zeros((count, 3))
    for label, scores, task in zip(labels, logits, tasks, strict=True):
        target, score = (label[1:], scores[:-1]) if shifted else (label, scores)
        valid = target != IGNORED
        loss = cross_entropy(score[valid].double(), target[valid], reduction="sum") if valid.any() else 0.0
        sums[task] += [len(label), int(valid.sum()), float(loss)]
    return sums


def padded(values: list[Any], filler: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=filler)


@given(SEEDS, st.integers(1, 6), st.integers(1, 4), st.booleans(), st.sampled_from([1, 3 * VOCABULARY, 10_000]))
def test_padded_batches_are_summed_by_task(seed: int, rows: int, count: int, shifted: bool, chunk: int) -> None:
    ids, labels, logits, tasks = random_batch(seed, rows, count)
    inputs = {
        "input_ids": padded(ids, 0),
        "labels": padded(labels, IGNORED),
        "attention_mask": padded([torch.ones_like(each) for each in ids], 0),
    }
    batch = Batch(inputs, tasks, count, shifted)
    wanted = expected(labels, logits, tasks, count, shifted)
    np.testing.assert_array_equal(batch.amounts().numpy(), wanted[:, :2])
    virtual = torch.zeros(rows, 2, VOCABULARY)  # what a learned prompt puts in front
    scores = padded(logits, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_losses, "CPU_CHUNK", chunk)
        for outputs in ({"logits": scores}, (torch.tensor(0.0), scores), {"logits": torch.cat([virtual, scores], 1)}):
            measured = batch.losses(outputs)
            assert measured is not None
            np.testing.assert_allclose(measured.numpy(), wanted[:, 1:], rtol=1e-5, atol=1e-5)


@given(SEEDS, st.integers(2, 6), st.booleans())
def test_batches_without_padding_are_taken_apart(seed: int, rows: int, fused: bool) -> None:
    ids, labels, logits, tasks = random_batch(seed, rows, 3)
    labels = [torch.cat([torch.tensor([IGNORED]), each[1:]]) for each in labels]  # as collators of such batches do
    inputs = {
        "input_ids": torch.cat(ids)[None],
        "labels": torch.cat(labels)[None],
        "position_ids": torch.cat([torch.arange(len(each)) for each in ids])[None],
    }
    batch = Batch(inputs, tasks, 3, shifted=True)
    wanted = expected(labels, logits, tasks, 3, shifted=True)
    np.testing.assert_array_equal(batch.amounts().numpy(), wanted[:, :2])
    scores = torch.cat(logits)[None]
    logs = -cross_entropy(scores[0, :-1], inputs["labels"][0, 1:], reduction="none", ignore_index=IGNORED)[None]
    measured = batch.losses({"log_probs": logs} if fused else {"logits": scores}, free=fused)
    assert measured is not None
    np.testing.assert_allclose(measured.numpy(), wanted[:, 1:], rtol=1e-5, atol=1e-5)


def test_labels_that_are_shifted_already_are_taken_as_they_are() -> None:
    ids, labels, logits, tasks = random_batch(3, 4, 2)
    inputs = {"input_ids": padded(ids, 0), "shift_labels": padded(labels, IGNORED)}
    measured = Batch(inputs, tasks, 2, shifted=True).losses({"logits": padded(logits, 0.0)})
    assert measured is not None
    np.testing.assert_allclose(measured.numpy(), expected(labels, logits, tasks, 2, False)[:, 1:], rtol=1e-5)


def test_what_tells_no_loss_is_not_made_up() -> None:
    ids, labels, logits, tasks = random_batch(5, 4, 2)
    inputs = {"input_ids": padded(ids, 0), "labels": padded(labels, IGNORED)}
    batch = Batch(inputs, tasks, 2, shifted=True)
    assert batch.losses({"loss": torch.tensor(1.0)}) is None
    assert batch.losses({"logits": padded(logits, 0.0)}, free=True) is None
    assert batch.losses({"logits": padded(logits, 0.0)[:, :1]}) is None
    unlabelled = Batch({"input_ids": padded(ids, 0)}, tasks, 2, shifted=True)
    assert unlabelled.losses({"logits": padded(logits, 0.0)}) is None
    assert unlabelled.amounts()[:, 1].tolist() == [0.0, 0.0]


def test_labels_of_whole_examples_are_no_targets_and_batches_without_tokens_are_refused() -> None:
    batch = Batch({"input_ids": torch.ones(3, 2, dtype=torch.long), "labels": torch.ones(3)}, np.zeros(3, int), 1, True)
    assert batch.amounts().tolist() == [[6.0, 0.0]]
    with pytest.raises(tp.InputError, match="no input_ids, only chosen_ids"):
        Batch({"chosen_ids": torch.ones(1, 1)}, np.zeros(1, int), 1, True)


def test_an_example_whose_loss_is_not_finite_is_left_out() -> None:
    ids, logits = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.zeros(2, 3, VOCABULARY)
    logits[0, 0, 0] = float("nan")
    batch = Batch({"input_ids": ids, "labels": ids}, np.array([0, 1]), 2, shifted=True)
    measured = batch.losses({"logits": logits})
    assert measured is not None
    np.testing.assert_allclose(measured.numpy(), [[0, 0], [2, 2 * np.log(VOCABULARY)]], rtol=1e-6)


@pytest.mark.parametrize("positions", [None, [0, 1, 2, 3, 0, 1]])
def test_a_batch_of_another_number_of_examples_is_refused(positions: list[int] | None) -> None:
    inputs: dict[str, Any] = {"input_ids": torch.ones(1, 6, dtype=torch.long)}
    if positions is not None:
        inputs["position_ids"] = torch.tensor([positions])
    with pytest.raises(tp.InputError, match="a batch has 1 rows for 3 examples"):
        Batch(inputs, np.array([0, 1, 0]), 2, shifted=True)
