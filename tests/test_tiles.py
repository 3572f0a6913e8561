"""Divergences in tiles, in whatever order they are computed, are to the bit those of one process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from evidence import in_files, make_predictions
from hypothesis import given
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm import stored
from taskpgm.blocks import block_members
from taskpgm.divergences import streaming, tiles
from taskpgm.divergences.jensen_shannon import block_divergences
from taskpgm.divergences.tiles import Piece, blocks_elsewhere, worth_sending
from taskpgm.executors import Executor, Item, Job
from taskpgm.progress import silent
from taskpgm.types import Predictions


class Shuffled(Executor):
    """This process, in another order, that counts what it was asked for."""

    elsewhere: ClassVar[bool] = True

    def __init__(self, seed: int = 0) -> None:
        self.random, self.rounds = random.Random(seed), list[int]()

    def run(
        self,
        items: Iterable[Item],
        report: Callable[[int, int], None],
        failed: Callable[[int, str], None] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        given = list(enumerate(items))
        self.rounds.append(len(given))
        self.random.shuffle(given)
        for index, item in given:
            yield index, item.work(Job((), None, item.data, None, item.threads, lambda step: None, {}))


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    """Of five experts, in files."""
    return in_files(make_predictions(3, n=5, per_task=12), tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("exact_work", [0, 5_000, 2**23])
@pytest.mark.parametrize("slice_memory", [2_000.0, 64e6])
@pytest.mark.parametrize("tile_memory", [1.0, 700.0, 5_000.0, 64e6])
def test_tiles_in_any_order_add_up_to_the_same_bits(
    predictions: Predictions, monkeypatch: pytest.MonkeyPatch, exact_work: int, slice_memory: float, tile_memory: float
) -> None:
    monkeypatch.setattr(streaming, "EXACT_WORK", exact_work)
    monkeypatch.setattr(stored, "SLICE_MEMORY", slice_memory)
    monkeypatch.setattr(tiles, "TILE_MEMORY", tile_memory)
    for members in (block_members(predictions).members, np.arange(len(predictions.weights)) % 3):
        here = block_divergences(predictions.log_probs, predictions.weights, members)
        executor = Shuffled(int(tile_memory))
        told: list[tuple[str, int, int, str]] = []

        def tell(*report: Any, told: list[Any] = told) -> None:
            told.append(report)

        there = blocks_elsewhere(predictions.log_probs, predictions.weights, members, executor, tell)
        assert np.array_equal(here, there)
        assert told[-1] == ("divergences", 60, 60, "60 contexts")
        assert (sum(executor.rounds) > 1) == (tile_memory < 64e6)


def test_what_float32_cannot_show_is_computed_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts that are nearly equal: their divergences are of negative type only in float64."""
    close = make_predictions(3, n=4, per_task=6)
    logs = np.repeat(close.log_probs[:1], 4, axis=0)
    alike = in_files(replace(close, log_probs=logs), tmp_path)
    monkeypatch.setattr(streaming, "EXACT_WORK", 0)
    members = np.zeros(len(alike.weights), dtype=np.int64)
    executor = Shuffled()
    there = blocks_elsewhere(alike.log_probs, alike.weights, members, executor, silent)
    assert len(executor.rounds) == 2
    assert np.array_equal(there, block_divergences(alike.log_probs, alike.weights, members))


def test_an_affinity_is_the_same_to_the_bit(predictions: Predictions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "LEAST_WORK", 1)
    executor = Shuffled()
    here, there = tp.estimate_affinity(predictions), tp.estimate_affinity(predictions, executor=executor)
    assert executor.rounds == [1]
    assert here.divergence.tobytes() == there.divergence.tobytes()
    tp.estimate_affinity(predictions, divergence=tp.Hellinger(), executor=executor)
    assert executor.rounds == [1]


def test_little_work_and_what_is_in_memory_stay_here(predictions: Predictions) -> None:
    assert not worth_sending(predictions.log_probs)
    assert not worth_sending(np.zeros((1000, 1000, 1000), dtype=np.float32)[:, :0])


def test_rows_that_are_no_distributions_are_refused_there_too(
    predictions: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = np.array(predictions.log_probs)
    logs[2, 7] += 0.1
    wrong = in_files(replace(predictions, log_probs=logs), tmp_path)
    members = np.zeros(len(wrong.weights), dtype=np.int64)
    with pytest.raises(tp.InputError, match=r"log_probs\[2, 7\]: the probabilities sum to 1\.1"):
        blocks_elsewhere(wrong.log_probs, wrong.weights, members, Shuffled(), silent)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=30),
    contexts=st.integers(1, 20),
    blocks=st.integers(1, 4),
)
def test_rounds_take_every_piece_once_and_keep_the_order_within_a_block(
    sizes: list[tuple[int, int]], contexts: int, blocks: int
) -> None:
    pieces = [Piece(block, np.full(size, place), False) for place, (block, size) in enumerate(sizes)]
    order: list[int] = []
    for round_ in tiles._rounds(pieces, contexts, blocks):
        names = [{piece.block for piece in tile} for tile in round_]
        assert sum(map(len, names)) == len(set().union(*names))  # in a round no block is in two tiles
        for tile, own in zip(round_, names, strict=True):
            assert len(own) <= blocks
            assert sum(len(piece.contexts) for piece in tile) <= contexts or len(tile) == 1
        order += [int(piece.contexts[0]) for tile in round_ for piece in tile]
    assert sorted(order) == list(range(len(sizes)))
    for block in range(6):
        own = [place for place in order if sizes[place][0] == block]
        assert own == sorted(own)
