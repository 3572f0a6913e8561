"""Adapters on one base in memory: the base stays what it was, and every expert is what it would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import save_model, write_tasks

import taskpgm as tp
from taskpgm import base as base_module
from taskpgm import expert_models, expert_training, experts
from taskpgm.adapters import with_adapter, without_adapter
from taskpgm.base import load_model
from taskpgm.config import MeasureSettings
from taskpgm.expert_models import ExpertModels
from taskpgm.experts import Experts, tokenize_for
from taskpgm.forward import context_log_probs
from taskpgm.tokens import make_probes
from taskpgm.training_run import train_on
from taskpgm.types import TaskSet

LORA = tp.LoraSettings(rank=2, alpha=8.0, dropout=0.1)
TRAINING = tp.TrainingSettings(steps=4, batch_size=4, learning_rate=0.05, warmup_steps=1, lora=LORA)
PROBES = tp.ProbeSettings(per_task=4, top_k=6, batch_size=3)


@pytest.fixture(scope="module", params=["Qwen2", "GPT2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / request.param, request.param)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskSet:
    return tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks")))


@pytest.fixture(scope="module")
def trained(tasks: TaskSet, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Experts:
    return tp.train_experts(tasks, model, tmp_path_factory.mktemp("out"), training=TRAINING, probes=PROBES)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of all models that are loaded."""
    seen: list[Path] = []

    def counted(path: Path, *more: Any, **named: Any) -> Any:
        seen.append(path)
        return load_model(path, *more, **named)

    for module in (base_module, experts):
        monkeypatch.setattr(module, "load_model", counted)
    return seen


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def state(model: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_state(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert list(one) == list(two)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def logs_of(model: Any, trained: Experts, tasks: TaskSet) -> torch.Tensor:
    probes = make_probes(tokenize_for(tasks, trained.base, PROBES), 4)
    return torch.cat([logs for _, logs in context_log_probs(model, probes, 3)])


def test_all_experts_are_trained_on_one_base(
    tasks: TaskSet, trained: Experts, tmp_path: Path, loads: list[Path]
) -> None:
    again = tp.train_experts(tasks, trained.base, tmp_path, training=TRAINING, probes=PROBES)
    assert loads == [trained.base.path]
    loads.clear()
    predictions = tp.predict(again, tasks, PROBES)
    assert loads == [trained.base.path]
    assert np.array_equal(predictions.log_probs, tp.predict(trained, tasks, PROBES).log_probs)


def test_an_expert_trained_alone_or_after_others_is_the_same_to_the_byte(
    tasks: TaskSet, trained: Experts, tmp_path: Path
) -> None:
    for i, task in enumerate(tasks):
        alone = tp.train_experts(TaskSet((task,)), trained.base, tmp_path / str(i), training=TRAINING, probes=PROBES)
        assert alone.directories[0].name == trained.directories[i].name
        assert weights(alone.directories[0]) == weights(trained.directories[i])
    assert len({weights(each) for each in trained.directories}) == 3
    later = TaskSet((tasks.tasks[2], tasks.tasks[0]))
    out = tmp_path / "0"  # one of the two is there already
    found = tp.train_experts(later, trained.base, out, training=TRAINING, probes=PROBES)
    assert weights(found.directories[0]) == weights(trained.directories[2])


def test_training_and_reading_leave_the_base_as_it_was(
    tasks: TaskSet, trained: Experts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = load_model(trained.base.path)
    before = state(held)
    monkeypatch.setattr(expert_training, "load_start", lambda *a: held)
    again = tp.train_experts(tasks, trained.base, tmp_path, training=TRAINING, probes=PROBES)
    same_state(before, state(held))
    monkeypatch.setattr(expert_models, "load_base", lambda *a: held)
    models = ExpertModels(again)
    for i in (0, 1):
        models.expert(i)
    assert models.base() is held
    same_state(before, state(held))
    assert not held.training


def test_training_that_breaks_off_takes_its_adapter_along(
    tasks: TaskSet, trained: Experts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = load_model(trained.base.path)
    before = state(held)
    monkeypatch.setattr(expert_training, "load_start", lambda *a: held)

    def stop(stage: str, done: int, total: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tp.train_experts(tasks, trained.base, tmp_path, training=TRAINING, probes=PROBES, progress=stop)
    same_state(before, state(held))


def test_experts_on_one_base_predict_as_those_with_their_own(tasks: TaskSet, trained: Experts) -> None:
    models = ExpertModels(trained)
    for i in (2, 0, 0, 1):
        shared = models.expert(i)
        adapters = {name.rsplit(".", 2)[-2] for name, _ in shared.named_parameters() if "lora_A" in name}
        assert adapters == {"default"}  # one at a time
        assert torch.equal(logs_of(shared, trained, tasks), logs_of(trained.load(i), trained, tasks))
    assert torch.equal(logs_of(models.base(), trained, tasks), logs_of(load_model(trained.base.path), trained, tasks))


def test_what_is_trained_whole_is_loaded_anew(
    tasks: TaskSet, trained: Experts, tmp_path: Path, loads: list[Path]
) -> None:
    whole = TRAINING.model_copy(update={"lora": None})
    made = tp.train_experts(tasks, trained.base, tmp_path, training=whole, probes=PROBES)
    assert loads == 4 * [trained.base.path]
    loads.clear()
    tp.predict(made, tasks, PROBES)
    assert loads == [trained.base.path, *made.directories]


def test_a_final_run_reads_and_trains_one_base(
    tasks: TaskSet, trained: Experts, tmp_path: Path, loads: list[Path]
) -> None:
    tokens = tokenize_for(tasks, trained.base, PROBES)
    measure = MeasureSettings(per_task=4, curve=True)
    shares = (0.5, 0.25, 0.25)
    outcome = train_on(trained.base, tokens, shares, TRAINING, seed=0, out=tmp_path, measure=measure)
    assert loads == [trained.base.path]
    plain = train_on(trained.base, tokens, shares, TRAINING, seed=0, out=tmp_path, measure=MeasureSettings(per_task=4))
    assert np.array_equal(outcome.losses, plain.losses)


def test_a_model_without_an_adapter_is_left_alone(trained: Experts) -> None:
    plain = load_model(trained.base.path)
    assert without_adapter(plain) is plain
    assert without_adapter(with_adapter(plain, LORA)) is plain
