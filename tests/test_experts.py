"""Experts and predictions on tiny random models: right losses, right distributions, nothing trained twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import save_model, write_tasks

import taskpgm as tp
from taskpgm import expert_training
from taskpgm.base import load_model, load_tokenizer, locate_base, torch_threads
from taskpgm.experts import Experts, tokenize_for
from taskpgm.fine_tuning import collate, training_sequence
from taskpgm.forward import context_log_probs, task_losses
from taskpgm.tokens import TokenExample, make_probes
from taskpgm.types import TaskSet

TRAINING = tp.TrainingSettings(steps=10, batch_size=4, learning_rate=0.01, warmup_steps=1)
PROBES = tp.ProbeSettings(per_task=4, top_k="full", batch_size=8)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskSet:
    return tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks")))


@pytest.fixture(scope="module", params=["Llama", "Qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / request.param, request.param)


@pytest.fixture(scope="module")
def trained(tasks: TaskSet, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Experts:
    return tp.train_experts(tasks, model, tmp_path_factory.mktemp("out"), training=TRAINING, probes=PROBES)


def forbidden(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("this was already done and must not be done again")


def test_experts_learn_their_own_task(trained: Experts) -> None:
    for i in range(3):
        losses = trained.curves().losses[i]
        assert losses[-1, i] < 0.85 * losses[0, i]


def test_curves_hold_exposure_and_losses_on_every_task(trained: Experts, tasks: TaskSet) -> None:
    probes = make_probes(tokenize_for(tasks, trained.base, PROBES), 4)
    start = task_losses(load_model(trained.base.path), probes, 8)
    curves = trained.curves()
    assert curves.names == tasks.names
    for i in range(3):
        steps = [0, 1, 2, 3, 4, 6, 8, 10]  # 2 %, 5 % and 10 % of ten steps are steps 0, 0 and 1
        assert curves.examples[i].tolist() == [4 * step for step in steps]
        assert curves.target_tokens[i].tolist() == [4 * 4 * step for step in steps]  # three letters and the end token
        assert curves.losses[i].shape == (8, 3)
        assert np.allclose(curves.losses[i, 0], start)
        assert np.allclose(curves.losses[i, -1], task_losses(trained.load(i), probes, 8), atol=1e-6)


def test_loss_is_on_target_tokens_only() -> None:
    rows = [TokenExample((5, 6, 7, 8), 2), TokenExample((9, 10), 1)]
    batch = collate(rows)
    assert batch["labels"].tolist() == [[-100, -100, 7, 8], [-100, 10, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_training_order_is_seeded_and_reshuffled_every_epoch() -> None:
    examples = [TokenExample((i, i), 1) for i in range(20)]
    sequence = training_sequence(examples, TRAINING)
    assert len(sequence) == 40
    assert sorted(row.ids for row in sequence[:20]) == [row.ids for row in examples]
    assert sequence[:20] != sequence[20:]
    assert sequence == training_sequence(examples, TRAINING)
    assert sequence != training_sequence(examples, TRAINING.model_copy(update={"seed": 1}))


def test_nothing_is_trained_twice(
    trained: Experts, tasks: TaskSet, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expert_training, "fine_tune", forbidden)
    again = tp.train_experts(tasks, model, trained.out, training=TRAINING, probes=PROBES)
    assert again.directories == trained.directories
    reordered = TaskSet(tuple(reversed(tasks.tasks)))
    swapped = tp.train_experts(reordered, model, trained.out, training=TRAINING, probes=PROBES)
    assert swapped.directories == tuple(reversed(trained.directories))
    assert np.array_equal(swapped.curves().losses[0], trained.curves().losses[2][:, ::-1])
    other = TRAINING.model_copy(update={"learning_rate": 0.02})
    with pytest.raises(AssertionError, match="already done"):
        tp.train_experts(tasks, model, trained.out, training=other, probes=PROBES)


def test_training_that_breaks_off_leaves_nothing_half_done(
    trained: Experts, tasks: TaskSet, model: Path, tmp_path: Path
) -> None:
    def stop(stage: str, done: int, total: int, text: str) -> None:
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tp.train_experts(tasks, model, tmp_path, training=TRAINING, probes=PROBES, progress=stop)
    assert len(list((tmp_path / "experts").iterdir())) == 1
    finished = tp.train_experts(tasks, model, tmp_path, training=TRAINING, probes=PROBES)
    for one, two in zip(finished.directories, trained.directories, strict=True):
        assert one.name == two.name
        for file in ("model.safetensors", "curve.json"):
            assert (one / file).read_bytes() == (two / file).read_bytes()


def test_predictions_are_the_models_own(trained: Experts, tasks: TaskSet) -> None:
    """Against one unpadded forward pass per probe, without any of the batching."""
    import torch

    predictions = tp.predict(trained, tasks, PROBES)
    probes = make_probes(tokenize_for(tasks, trained.base, PROBES), 4)
    assert predictions.weights.sum() == pytest.approx(1.0)
    for i in range(3):
        loaded = trained.load(i)
        expected = []
        for ids, start in zip(probes.tokens, probes.target_start, strict=True):
            with torch.inference_mode():
                logits = loaded(torch.tensor(ids[None])).logits[0, start - 1 : -1]
            expected.append(torch.log_softmax(logits.double(), dim=-1).numpy())
        logs = np.concatenate(expected)
        assert np.allclose(predictions.log_probs[i, :, :-1], logs, atol=2e-5)
        assert np.all(np.isneginf(predictions.log_probs[i, :, -1]))
        assert np.allclose(predictions.target_log_probs[i], logs[np.arange(len(logs)), probes.targets], atol=2e-5)


def test_a_subset_keeps_the_bases_top_tokens_and_pools_the_rest(trained: Experts, tasks: TaskSet) -> None:
    full = tp.predict(trained, tasks, PROBES)
    top = tp.predict(trained, tasks, PROBES.model_copy(update={"top_k": 5}))
    assert top.log_probs.shape[2] == 6
    assert np.allclose(np.exp(top.log_probs.astype(float)).sum(axis=2), 1.0, atol=1e-5)
    assert np.array_equal(top.target_log_probs, full.target_log_probs)
    exact, interval = tp.estimate_affinity(full).divergence, tp.estimate_affinity(top)
    assert np.all(interval.divergence_lower <= exact)
    assert np.all(exact <= interval.divergence_upper)


def test_models_are_asked_for_more_tokens_until_the_interval_holds(trained: Experts, tasks: TaskSet) -> None:
    few = PROBES.model_copy(update={"top_k": 1})
    coarse, exact = (tp.estimate_affinity(tp.predict(trained, tasks, probes)) for probes in (few, PROBES))
    at_first = float((coarse.divergence_upper - coarse.divergence_lower).max())
    width = 0.25 * at_first
    found = tp.predict_within(trained, tasks, width, few)
    affinity = tp.estimate_affinity(found)
    assert (affinity.divergence_upper - affinity.divergence_lower).max() <= width
    assert np.all(affinity.divergence_lower <= exact.divergence)
    assert np.all(exact.divergence <= affinity.divergence_upper)
    assert 2 < found.log_probs.shape[2] < tp.predict(trained, tasks, PROBES).log_probs.shape[2]
    with pytest.raises(tp.InputError, match="width 1e-09"):
        tp.predict_within(trained, tasks, 1e-9, few)


def test_batch_size_changes_only_rounding(trained: Experts, tasks: TaskSet) -> None:
    probes = make_probes(tokenize_for(tasks, trained.base, PROBES), 4)
    loaded = trained.load(0)
    one, many = (
        np.concatenate([logs.numpy() for _, logs in context_log_probs(loaded, probes, size)]) for size in (1, 64)
    )
    assert np.allclose(one, many, atol=2e-5)


def test_predictions_are_stored_and_found_again(
    trained: Experts, tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tp.predict(trained, tasks, PROBES)
    monkeypatch.setattr("taskpgm.expert_models.load_base", forbidden)
    monkeypatch.setattr(Experts, "load", forbidden)
    again = tp.predict(trained, tasks, PROBES)
    assert np.array_equal(first.log_probs, again.log_probs)
    with pytest.raises(tp.InputError, match="do not belong"):
        tp.predict(trained, TaskSet(tuple(reversed(tasks.tasks))), PROBES)


def test_predictions_follow_the_order_of_the_tasks(trained: Experts, tasks: TaskSet, model: Path) -> None:
    reordered = TaskSet(tuple(reversed(tasks.tasks)))
    swapped = tp.train_experts(reordered, model, trained.out, training=TRAINING, probes=PROBES)
    first, second = tp.predict(trained, tasks, PROBES), tp.predict(swapped, reordered, PROBES)
    assert second.names == tuple(reversed(first.names))
    assert np.array_equal(second.log_probs, first.log_probs[::-1])
    assert np.array_equal(second.target_log_probs, first.target_log_probs[::-1])
    assert np.array_equal(second.context_task, 2 - first.context_task)
    for name in ("base_target_log_probs", "marginal_log_probs", "context_probe", "weights"):
        assert np.array_equal(getattr(second, name), getattr(first, name)), name


def test_lora_experts_are_small_and_differ_from_the_base(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    training = TRAINING.model_copy(update={"lora": tp.LoraSettings(rank=2, alpha=8.0), "learning_rate": 0.05})
    trained = tp.train_experts(tasks, model, tmp_path, training=training, probes=PROBES)
    for directory in trained.directories:
        names = {file.name for file in directory.iterdir()}
        assert "adapter_model.safetensors" in names
        assert "model.safetensors" not in names
    predictions = tp.predict(trained, tasks, PROBES)
    assert np.all(tp.estimate_affinity(predictions).divergence[~np.eye(3, dtype=bool)] > 1e-6)
    probes = make_probes(tokenize_for(tasks, trained.base, PROBES), 4)
    losses = trained.curves().losses
    for i in range(3):
        assert np.allclose(losses[i, -1], task_losses(trained.load(i), probes, 8), atol=1e-6)
        assert losses[i, -1, i] < losses[i, 0, i]


def test_equal_tasks_share_an_expert_and_are_at_distance_zero(tmp_path: Path) -> None:
    paths = write_tasks(tmp_path / "a", ("copy", "upper"))
    twin = tmp_path / "twin.jsonl"
    twin.write_bytes(paths[0].read_bytes())
    tasks = tp.load_tasks([*paths, twin])
    assert tasks.notes[-1] == "tasks 'copy' and 'twin' share 60 example(s)."
    trained = tp.train_experts(tasks, save_model(tmp_path / "m"), tmp_path / "o", training=TRAINING, probes=PROBES)
    assert trained.directories[0] == trained.directories[2]
    affinity = tp.estimate_affinity(tp.predict(trained, tasks, PROBES))
    assert affinity.divergence[0, 2] == pytest.approx(0.0, abs=1e-15)
    assert affinity.utility[0] == affinity.utility[2]


def test_other_libraries_threads_do_not_reach_the_weights(
    tasks: TaskSet, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba's parallel kernels change the number of threads that torch would use, and with it the last digits."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    used: set[int] = set()

    def note_threads(*report: object) -> None:
        used.add(torch.get_num_threads())

    short, runs = TRAINING.model_copy(update={"steps": 2}), []
    for left_behind in (1, 2):
        with torch_threads(left_behind):
            out = tmp_path / str(left_behind)
            runs.append(tp.train_experts(tasks, model, out, training=short, probes=PROBES, progress=note_threads))
    assert used == {1}
    for one, two in zip(runs[0].directories, runs[1].directories, strict=True):
        assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
        assert (one / "curve.json").read_bytes() == (two / "curve.json").read_bytes()


def test_adapters_for_modules_that_the_model_lacks_are_refused(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    training = TRAINING.model_copy(update={"lora": tp.LoraSettings(target_modules=("nope",))})
    with pytest.raises(tp.InputError, match=r"training\.lora does not fit the model"):
        tp.train_experts(tasks, model, tmp_path, training=training, probes=PROBES)


def test_training_that_diverges_names_the_task(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    wild = TRAINING.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(tp.InputError, match=r"task 'copy'.*diverged"):
        tp.train_experts(tasks, model, tmp_path, training=wild, probes=PROBES)
    assert not list(tmp_path.glob("experts/*"))


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_model_is_refused(broken: str, tasks: TaskSet, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m")
    (folder / broken).unlink()
    with pytest.raises(tp.InputError, match=r"model .*m'"):
        tp.train_experts(tasks, folder, tmp_path / "o", training=TRAINING, probes=PROBES)


def test_an_unknown_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(tp.InputError, match="'nobody/nothing'"):
        locate_base("nobody/nothing", revision="0" * 40)


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    first, second = save_model(tmp_path / "a"), save_model(tmp_path / "b")
    assert locate_base(first).fingerprint == locate_base(second).fingerprint
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**config, "rope_theta": 99.0}))
    assert locate_base(first).fingerprint != locate_base(second).fingerprint
    assert load_tokenizer(locate_base(first)).decode([7, 8]) != ""
