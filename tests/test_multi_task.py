"""Multi-task experts: one run on all tasks together, and from there a few steps on each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import save_model, write_config, write_tasks

import taskpgm as tp
from taskpgm import shared_run
from taskpgm.base import load_model, torch_threads
from taskpgm.config import load_config
from taskpgm.experts import Experts, tokenize_for
from taskpgm.fine_tuning import fine_tune, trainable, training_sequence
from taskpgm.inventory import artefacts
from taskpgm.pipeline import run
from taskpgm.run_plan import plan_of
from taskpgm.types import TaskSet

SHARED = tp.ExpertSettings(kind="multi_task", own_steps=2)
TRAINING = tp.TrainingSettings(steps=6, batch_size=4, learning_rate=0.01, warmup_steps=3, threads=1)
ADAPTED = TRAINING.model_copy(update={"lora": tp.LoraSettings(rank=2, alpha=8.0), "learning_rate": 0.05})
PROBES = tp.ProbeSettings(per_task=4, top_k="full", batch_size=8)
both = pytest.mark.parametrize("training", [TRAINING, ADAPTED], ids=["whole", "adapters"])


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskSet:
    return tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


def experts_of(tasks: TaskSet, model: Path, out: Path, training: tp.TrainingSettings, **more: Any) -> Experts:
    return tp.train_experts(tasks, model, out, training=training, probes=PROBES, experts=SHARED, **more)


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@both
def test_an_expert_is_the_shared_runs_end_trained_on(
    tasks: TaskSet, model: Path, tmp_path: Path, training: tp.TrainingSettings
) -> None:
    """Against the same two trainings done here one after the other, each from the disk."""
    found = experts_of(tasks, model, tmp_path, training)
    own = training.model_copy(update={"steps": 2, "warmup_steps": 1})
    rows = tokenize_for(tasks, found.base, PROBES)[1].train
    with torch_threads(own.threads):
        again = trainable(found.base, own, None, found.shared[0])
        fine_tune(again, training_sequence(rows, own), own, lambda step: None)
    expected, got = dict(again.named_parameters()), dict(found.load(1).named_parameters())
    assert set(expected) == set(got)
    for name, values in expected.items():
        assert np.array_equal(values.detach().numpy(), got[name].detach().numpy()), name
    for directory in found.directories:
        assert weights(directory) != weights(found.shared[0])
    kept = {"adapter_model.safetensors"} if training.lora else {"model.safetensors"}
    assert set(weights(found.shared[0])) == set(weights(found.directories[0])) == kept


@both
def test_order_and_names_of_tasks_change_nothing_and_nothing_is_trained_twice(
    tasks: TaskSet, model: Path, tmp_path: Path, training: tp.TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = experts_of(tasks, model, tmp_path / "a", training)
    turned = TaskSet(tuple(replace(task, name=f"{task.name}</script>\n'é") for task in reversed(tasks.tasks)))
    other = experts_of(turned, model, tmp_path / "b", training)
    for one, two in zip(found.directories, reversed(other.directories), strict=True):
        assert (one.name, weights(one)) == (two.name, weights(two))
    first, second = tp.predict(found, tasks, PROBES), tp.predict(other, turned, PROBES)
    assert np.array_equal(np.asarray(second.log_probs), np.asarray(first.log_probs)[::-1])
    monkeypatch.setattr(shared_run, "fine_tune", lambda *a: pytest.fail("trained again"))
    assert experts_of(turned, model, tmp_path / "a", training).directories == other_in(other, tmp_path / "a")


def other_in(experts: Experts, out: Path) -> tuple[Path, ...]:
    return tuple(out / "experts" / path.name for path in experts.directories)


def test_a_run_that_breaks_off_goes_on_with_what_is_missing(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    whole = experts_of(tasks, model, tmp_path / "whole", ADAPTED)

    def stop(stage: str, done: int, total: int, text: str) -> None:
        assert done <= total
        if (stage, done) == ("experts", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experts_of(tasks, model, tmp_path / "cut", ADAPTED, progress=stop)
    assert len(list((tmp_path / "cut" / "experts").iterdir())) == 2  # the shared run's, and one expert
    cut = experts_of(tasks, model, tmp_path / "cut", ADAPTED)
    for one, two in zip(whole.directories, cut.directories, strict=True):
        assert (one.name, weights(one)) == (two.name, weights(two))


def test_tasks_with_the_same_data_share_an_expert(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    twins = TaskSet((*tasks.tasks, replace(tasks["copy"], name="twin")))
    found = experts_of(twins, model, tmp_path, TRAINING)
    assert found.directories[0] == found.directories[3]
    assert tp.estimate_affinity(tp.predict(found, twins, PROBES)).divergence[0, 3] == pytest.approx(0.0, abs=1e-12)


def test_the_shared_run_learns_all_tasks(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    from taskpgm.forward import task_losses
    from taskpgm.tokens import make_probes

    found = experts_of(tasks, model, tmp_path, TRAINING)
    probes = make_probes(tokenize_for(tasks, found.base, PROBES), 4)
    before, after = (task_losses(load_model(path), probes, 8) for path in (model, found.shared[0]))
    assert np.all(after < before)


def test_training_that_diverges_is_one_line(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    wild = TRAINING.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(tp.InputError, match="the run on all tasks: training diverged"):
        experts_of(tasks, model, tmp_path, wild)
    assert not list(tmp_path.glob("experts/*"))


def test_a_run_ends_proved_refers_to_all_and_is_planned(tmp_path: Path) -> None:
    changes = {"experts": {"kind": "multi_task", "own_steps": 2}, "energy": {"kind": "pairwise"}}
    config = load_config(write_config(tmp_path, **changes))
    mixture, _, _ = run(config, tmp_path / "out")
    assert all(check.passed for check in mixture.verify())
    kept = [each.key for each in artefacts(tmp_path / "out") if each.kind == "experts"]
    assert len(kept) == 4
    assert mixture.details["artefacts"]["experts"] == sorted(kept)
    assert run(config, tmp_path / "out")[1] is False
    experts = next(each for each in plan_of(config, hardware="h100-sxm").stages if each.name == "experts")
    longest = 4 + 1 + 3 + 1 + 3 + 1  # every row of the tiny tasks is as long as the others
    assert experts.tokens == pytest.approx((6 + 3 * 2) * 4 * longest, rel=0.1)
    assert config.experts.examples(config.training, 3) == (6 + 3 * 2) * 4


def test_the_coverage_energy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tp.InputError, match=r"experts\.kind: multi_task leaves no learning curves"):
        load_config(write_config(tmp_path, experts={"kind": "multi_task"}))
