"""What one task more, or less, costs: trainings are counted, and tokens that go through the models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import save_model, write_config, write_tasks

import taskpgm as tp
from taskpgm import expert_training, forward, prediction_parts
from taskpgm.config import load_config
from taskpgm.experts import Experts, tokenize_for
from taskpgm.integrity import read_sealed, seal
from taskpgm.pipeline import run
from taskpgm.terminal import print_energy
from taskpgm.tokens import make_probes
from taskpgm.types import Predictions, Probes, TaskSet

TRAINING = tp.TrainingSettings(steps=3, batch_size=4, learning_rate=0.01, warmup_steps=1)
PROBES = tp.ProbeSettings(per_task=4, top_k=6, batch_size=3)
Tokens = list[int]
Trainings = list[int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskSet:
    return tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks")))


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """How many tokens each call of a model on probes was about."""
    seen: Tokens = []
    real = forward.context_log_probs

    def counted(model: Any, probes: Probes, batch_size: int) -> Iterator[Any]:
        seen.append(sum(map(len, probes.tokens)))
        return real(model, probes, batch_size)

    monkeypatch.setattr(forward, "context_log_probs", counted)
    return seen


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """How many steps each training had."""
    seen: Trainings = []
    real = expert_training.fine_tune

    def counted(model: Any, sequence: Any, training: tp.TrainingSettings, on_step: Any) -> None:
        seen.append(training.steps)
        real(model, sequence, training, on_step)

    monkeypatch.setattr(expert_training, "fine_tune", counted)
    return seen


def only(tasks: TaskSet, *names: str) -> TaskSet:
    return TaskSet(tuple(tasks[name] for name in names))


def trained(
    tasks: TaskSet, model: Path, out: Path, training: tp.TrainingSettings = TRAINING, curves: bool = True
) -> Experts:
    return tp.train_experts(tasks, model, out, training=training, probes=PROBES, curves=curves)


def weights_in(out: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in out.glob("experts/*/*.safetensors")}


def same(one: Predictions, two: Predictions) -> None:
    np.testing.assert_array_equal(one.log_probs, two.log_probs)
    for name in ("target_log_probs", "base_target_log_probs", "context_task", "context_probe", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_task_more_costs_its_expert_all_probes_and_the_others_its_own(
    tasks: TaskSet, model: Path, tmp_path: Path, tokens: Tokens
) -> None:
    two, three = only(tasks, "copy", "upper"), only(tasks, "reverse", "copy", "upper")
    few = trained(two, model, tmp_path)
    tokens.clear()
    tp.predict(few, two, PROBES)
    of_two = sum(tokens) // 3  # two experts and the base
    assert sum(tokens) == 3 * of_two
    more = trained(three, model, tmp_path)
    assert more.fingerprint(1) == few.fingerprint(0)
    tokens.clear()
    predictions = tp.predict(more, three, PROBES)
    own = sum(len(ids) for ids in make_probes(tokenize_for(only(three, "reverse"), more.base, PROBES), 4).tokens)
    assert sum(tokens) == 3 * own + (of_two + own)  # the base and two old experts; the new one
    scratch = trained(three, model, tmp_path / "scratch")
    tokens.clear()
    same(predictions, tp.predict(scratch, three, PROBES))  # not a digit depends on what came first
    assert sum(tokens) == 4 * (of_two + own)


def test_a_task_less_another_order_and_other_names_cost_nothing(
    tasks: TaskSet, model: Path, tmp_path: Path, tokens: Tokens
) -> None:
    predictions = tp.predict(trained(tasks, model, tmp_path), tasks, PROBES)
    renamed = TaskSet(tuple(replace(task, name=f"{task.name}</script>\n\"/'é") for task in tasks))
    for other in (only(tasks, "upper", "copy"), renamed):
        experts = trained(other, model, tmp_path)
        tokens.clear()
        found = tp.predict(experts, other, PROBES)
        assert tokens == []
        assert found.names == other.names
    np.testing.assert_array_equal(found.log_probs, predictions.log_probs)


def test_other_probes_another_model_and_other_tokens_are_asked_for(
    tasks: TaskSet, model: Path, tmp_path: Path, tokens: Tokens
) -> None:
    two = only(tasks, "copy", "upper")
    experts = trained(two, model, tmp_path)
    tp.predict(experts, two, PROBES)
    tokens.clear()
    fewer = tp.predict(experts, two, PROBES.model_copy(update={"per_task": 3}))
    assert len(tokens) == 6
    assert fewer.log_probs.shape[1] == 2 * 3 * 4
    tp.predict(experts, two, PROBES.model_copy(update={"top_k": 5}))
    assert len(tokens) == 12
    longer = trained(two, model, tmp_path, TRAINING.model_copy(update={"steps": 4}))
    assert longer.fingerprint(0) != experts.fingerprint(0)
    tokens.clear()
    tp.predict(longer, two, PROBES)
    assert len(tokens) == 4  # the base is known


def test_a_fingerprint_is_that_of_the_weights(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    experts = trained(only(tasks, "copy", "upper"), model, tmp_path)
    before = [experts.fingerprint(i) for i in range(2)]
    assert before[0] != before[1]
    adapted = TRAINING.model_copy(update={"lora": tp.LoraSettings(rank=2)})
    scaled = TRAINING.model_copy(update={"lora": tp.LoraSettings(rank=2, alpha=8.0)})
    low, high = (replace(experts, training=each) for each in (adapted, scaled))
    assert len({low.fingerprint(1), high.fingerprint(1), before[1]}) == 3


def test_a_task_more_trains_its_own_expert_alone_where_no_curves_are_needed(
    tasks: TaskSet, model: Path, tmp_path: Path, trainings: Trainings
) -> None:
    two, three = only(tasks, "copy", "upper"), only(tasks, "reverse", "copy", "upper")
    assert trained(two, model, tmp_path, curves=False).have_curves  # all were seen at no cost
    more = trained(three, model, tmp_path, curves=False)
    assert len(trainings) == 2 + 1
    assert not more.have_curves
    with pytest.raises(tp.InputError, match=r"'copy' was trained before the probes of 'reverse'"):
        more.curves()
    before = weights_in(tmp_path)
    complete = trained(three, model, tmp_path)
    assert len(trainings) == 3 + 2  # the two old ones once more
    assert complete.have_curves
    assert weights_in(tmp_path) == before
    scratch = trained(three, model, tmp_path / "scratch")
    for name in ("losses", "examples", "target_tokens"):
        np.testing.assert_array_equal(getattr(complete.curves(), name), getattr(scratch.curves(), name))
    for one, two_ in zip(complete.directories, scratch.directories, strict=True):
        assert (one / "curve.json").read_bytes() == (two_ / "curve.json").read_bytes()


def test_a_task_less_trains_nothing(tasks: TaskSet, model: Path, tmp_path: Path, trainings: Trainings) -> None:
    whole = trained(tasks, model, tmp_path)
    trainings.clear()
    less = trained(only(tasks, "reverse", "copy"), model, tmp_path)
    assert trainings == []
    places = [tasks.names.index(name) for name in less.names]
    expected = whole.curves().losses[places][:, :, places]
    np.testing.assert_array_equal(less.curves().losses, expected)


def test_an_expert_that_comes_out_otherwise_the_second_time_is_not_mixed_with_the_first(
    tasks: TaskSet, model: Path, tmp_path: Path
) -> None:
    experts = trained(only(tasks, "copy", "upper"), model, tmp_path)
    curve = experts.directories[0] / "curve.json"
    curve.write_bytes(seal({**read_sealed(curve), "weights": "0" * 32}))
    before = curve.read_bytes()
    with pytest.raises(tp.InputError, match=r"has other weights.* delete the folder"):
        trained(tasks, model, tmp_path)
    assert curve.read_bytes() == before


def test_a_pairwise_run_with_a_task_more_trains_one_expert_and_says_what_it_cannot_tell(
    tmp_path: Path, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(write_config(tmp_path, energy={"kind": "pairwise"}))
    run(config.model_copy(update={"tasks": config.tasks[:2]}), tmp_path / "out")
    assert len(trainings) == 2
    mixture, _, _ = run(config, tmp_path / "out")
    assert len(trainings) == 3
    print_energy(mixture)
    assert "No forecast: experts were trained before all tasks were there" in capsys.readouterr().out
    scratch, _, _ = run(config, tmp_path / "scratch")
    assert dict(scratch.weights) == dict(mixture.weights)
    history = ("forecast", "findings", "no_forecast")
    one, two = ({k: v for k, v in each.details.items() if k not in history} for each in (mixture, scratch))
    assert one == two
    covering = load_config(write_config(tmp_path))
    trainings.clear()
    covered, _, _ = run(covering, tmp_path / "out")
    assert len(trainings) == 2
    assert "forecast" in covered.details
    run(covering, tmp_path / "scratch")
    assert (tmp_path / "out" / "mixture.json").read_bytes() == (tmp_path / "scratch" / "mixture.json").read_bytes()


def test_predicting_that_breaks_off_leaves_whole_parts_only(
    tasks: TaskSet, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = trained(tasks, model, tmp_path)
    real = prediction_parts._pooled
    calls: list[int] = []

    def killed(log_probs: Any, subset: Any) -> Any:
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return real(log_probs, subset)

    monkeypatch.setattr(prediction_parts, "_pooled", killed)
    with pytest.raises(KeyboardInterrupt):
        tp.predict(experts, tasks, PROBES)
    assert len(list(tmp_path.glob("predictions/*/*"))) == 2  # the base's and the first expert's
    found = tp.predict(experts, tasks, PROBES)
    assert len(calls) == 9 + 2 * 6
    same(found, tp.predict(trained(tasks, model, tmp_path / "other"), tasks, PROBES))
    assert not list(tmp_path.rglob(".partial-*"))


def test_what_a_killed_process_left_behind_is_removed(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    two = only(tasks, "copy", "upper")
    experts = trained(two, model, tmp_path)
    tp.predict(experts, two, PROBES)
    for folder in (tmp_path / "predictions").iterdir():
        whole = next(folder.iterdir())
        whole.rename(folder / ".partial-x")  # killed while it was written
    tp.predict(experts, two, PROBES)
    assert not list(tmp_path.rglob(".partial-*"))
