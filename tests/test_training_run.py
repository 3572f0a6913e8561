"""Training runs on mixtures: pairing, counts, held-out data only, and nothing trained twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import save_model, write_tasks

import taskpgm as tp
from taskpgm import training_run
from taskpgm.amounts import whole_counts
from taskpgm.base import Base, load_model, locate_base
from taskpgm.config import MeasureSettings, ProbeSettings, TrainingSettings
from taskpgm.experts import tokenize_for
from taskpgm.forward import task_scores
from taskpgm.sampling import mixed_sequence
from taskpgm.tokens import TokenExample, TokenTask, make_probes
from taskpgm.training_run import Outcome, held_out, model_folder, plan_run, train_on

TRAINING = TrainingSettings(steps=8, batch_size=4, learning_rate=0.01, warmup_steps=1)
MEASURE = MeasureSettings(per_task=4, curve=True)
SHARES = (0.5, 0.5, 0.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return locate_base(save_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def tasks(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenTask, ...]:
    return tokenize_for(tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks"))), base, ProbeSettings())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def outcome(base: Base, tasks: tuple[TokenTask, ...], out: Path) -> Outcome:
    return train_on(base, tasks, SHARES, TRAINING, seed=3, out=out, measure=MEASURE, keep_model=True)


def numbered(name: str, size: int, first: int) -> TokenTask:
    rows = tuple(TokenExample((first + i, 1), 1) for i in range(size))
    return TokenTask(name, rows, rows[:1], (), 0)


mixtures = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda shares: sum(shares) > 0.01)
MADE = [numbered("a", 5, 100), numbered("b", 7, 200), numbered("c", 90, 300)]


@given(mixtures, st.integers(1, 500))
def test_counts_are_whole_add_up_and_are_off_by_less_than_one(shares: list[float], total: int) -> None:
    counts = whole_counts(shares, total)
    assert sum(counts) == total
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - total * share / sum(shares)) < 1.0 + 1e-9
        assert count == 0 or share > 0.0


@given(mixtures, mixtures, st.integers(0, 3))
def test_a_seed_gives_each_task_one_order_whatever_the_mixture(one: list[float], two: list[float], seed: int) -> None:
    sequences = [mixed_sequence(MADE, shares, 10, 6, seed) for shares in (one, two)]
    for task, expected in zip(MADE, whole_counts(one, 60), strict=True):
        first, second = ([row for row in sequence if row in task.train] for sequence in sequences)
        common = min(len(first), len(second))
        assert first[:common] == second[:common]
        assert len(first) == expected
        epochs = Counter(first)
        assert max(epochs.values(), default=0) - (min(epochs.values()) if len(epochs) == len(task.train) else 0) <= 1
    assert mixed_sequence(MADE[::-1], one[::-1], 10, 6, seed) == sequences[0]


def test_another_seed_gives_another_order_and_tasks_are_spread_over_the_run() -> None:
    sequence = mixed_sequence(MADE, (1.0, 1.0, 1.0), 50, 6, 0)
    assert sequence != mixed_sequence(MADE, (1.0, 1.0, 1.0), 50, 6, 1)
    for task in MADE:
        early = sum(row in task.train for row in sequence[:150])
        assert 30 < early < 70  # of 100: hypergeometric, deviation 4


def test_an_outcome_says_what_was_sampled_and_learned(
    outcome: Outcome, base: Base, tasks: tuple[TokenTask, ...], out: Path
) -> None:
    assert outcome.names == ("copy", "upper", "reverse")
    assert outcome.examples.tolist() == [16, 16, 0]
    assert outcome.epochs.tolist() == [16 / len(tasks[0].train), 16 / len(tasks[1].train), 0.0]
    assert outcome.curve_steps == (0, 1, 2, 4, 5, 6, 8)
    assert np.array_equal(outcome.curve_losses[-1], outcome.losses)
    assert outcome.losses[0] < outcome.curve_losses[0, 0]
    probes = make_probes(tasks, 4, "eval")
    losses, exact = task_scores(load_model(model_folder(out, outcome.key)), probes, 128)
    assert np.allclose(losses, outcome.losses, atol=1e-6)
    assert np.array_equal(exact, outcome.exact)


def test_no_run_is_done_twice_nor_for_tasks_in_another_order(
    outcome: Outcome, base: Base, tasks: tuple[TokenTask, ...], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "fine_tune", lambda *a: pytest.fail("trained again"))
    again = train_on(base, tasks[::-1], SHARES[::-1], TRAINING, seed=3, out=out, measure=MEASURE)
    assert again.key == outcome.key
    assert np.array_equal(again.losses, outcome.losses[::-1])
    assert np.array_equal(again.curve_losses, outcome.curve_losses[:, ::-1])


def test_a_killed_run_starts_again_and_ends_with_the_same_bytes(
    outcome: Outcome, base: Base, tasks: tuple[TokenTask, ...], out: Path, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on(base, tasks, SHARES, TRAINING, seed=3, out=tmp_path, measure=MEASURE, on_step=stop)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    train_on(base, tasks, SHARES, TRAINING, seed=3, out=tmp_path, measure=MEASURE)
    file = f"training_runs/{outcome.key}.json"
    assert (tmp_path / file).read_bytes() == (out / file).read_bytes()


def test_every_setting_that_matters_is_in_the_key(outcome: Outcome, base: Base, tasks: tuple[TokenTask, ...]) -> None:
    def key(
        shares: tuple[float, ...] = SHARES, measure: MeasureSettings = MEASURE, seed: int = 3, **changes: float
    ) -> str:
        settings = TRAINING.model_copy(update=changes)
        return plan_run(base, tasks, shares, settings, seed=seed, out=Path("out"), measure=measure).key

    assert key() == outcome.key
    others = [key((0.4, 0.6, 0.0)), key(measure=MeasureSettings(per_task=5)), key(seed=4), key(learning_rate=0.02)]
    assert len({outcome.key, *others}) == 5
    assert key((5.0, 5.0, 0.0)) == outcome.key  # the same counts


def test_greedy_decoding_agrees_with_the_models_own(
    outcome: Outcome, base: Base, tasks: tuple[TokenTask, ...], tmp_path: Path
) -> None:
    """Exact match without generating, against transformers' generate, where some examples are right and some wrong."""
    import torch

    longer = TRAINING.model_copy(update={"steps": 150, "batch_size": 8})
    measure = MeasureSettings(per_task=8)
    trained = train_on(base, tasks, (1.0, 0.0, 0.0), longer, seed=0, out=tmp_path, measure=measure, keep_model=True)
    model = load_model(model_folder(tmp_path, trained.key))
    for i, task in enumerate(tasks):
        rows = tuple(dict.fromkeys(task.eval))[:8]
        right = 0
        for row in rows:
            ids = torch.tensor([row.ids[: row.target_start]])
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=len(row.ids), do_sample=False
            )
            right += tuple(made[0].tolist()) == row.ids
        assert trained.exact[i] == pytest.approx(right / len(rows))
    assert 0.0 < trained.exact.mean() < 1.0


def test_adapters_are_trained_where_the_settings_ask_for_them(
    base: Base, tasks: tuple[TokenTask, ...], tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"lora": tp.LoraSettings(rank=2), "learning_rate": 0.05})
    run = train_on(base, tasks, SHARES, training, seed=0, out=tmp_path, measure=MEASURE, keep_model=True)
    assert (model_folder(tmp_path, run.key) / "adapter_model.safetensors").is_file()
    assert run.losses[0] < run.curve_losses[0, 0]


def test_what_is_trained_on_is_never_measured(base: Base, tasks: tuple[TokenTask, ...], tmp_path: Path) -> None:
    """Planted: a task whose held-out part is its training part."""
    planted = replace(tasks[0], eval=tasks[0].train)
    with pytest.raises(tp.InputError, match=r"task 'copy': nothing to measure on .*also trained on"):
        train_on(base, [planted, *tasks[1:]], SHARES, TRAINING, seed=0, out=tmp_path)
    mixed = replace(tasks[0], eval=(*tasks[0].eval, *tasks[1].train))  # of another task
    assert held_out([mixed, *tasks[1:]], MEASURE)[0].eval == tasks[0].eval
    with pytest.raises(tp.InputError, match=r"task 'copy'.*its eval part \(it is empty\); set splits\.eval"):
        train_on(base, [replace(tasks[0], eval=()), *tasks[1:]], SHARES, TRAINING, seed=0, out=tmp_path)
    probe = MeasureSettings(part="probe")
    assert held_out([replace(tasks[0], eval=()), *tasks[1:]], probe)[0].probe == tasks[0].probe


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 0.0, 0.0), (1.0, -0.1, 0.1), (float("nan"), 1.0, 0.0)])
def test_shares_that_are_no_mixture_are_refused(
    shares: tuple[float, ...], base: Base, tasks: tuple[TokenTask, ...], tmp_path: Path
) -> None:
    with pytest.raises(tp.InputError, match="shares of a mixture: expected 3 finite shares"):
        train_on(base, tasks, shares, TRAINING, seed=0, out=tmp_path)


def test_a_run_that_diverges_is_refused_and_leaves_nothing(
    base: Base, tasks: tuple[TokenTask, ...], tmp_path: Path
) -> None:
    wild = TRAINING.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(tp.InputError, match="diverged"):
        train_on(base, tasks, SHARES, wild, seed=0, out=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
