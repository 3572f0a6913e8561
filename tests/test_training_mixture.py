"""A mixture inside transformers' Trainer: what it draws, counts and logs, and that a killed run goes on unchanged."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mixture_runs import SHARES, SIZES, Run, all_data, make_trainer, train
from tiny import save_model
from transformers import AutoModelForCausalLM, TrainerCallback

import taskpgm as tp
from taskpgm.drawing import Drawing
from taskpgm.joint_data import COLUMN
from taskpgm.mixture_ledger import Window
from taskpgm.step_plan import StepPlan
from taskpgm.training_mixture import TrainingMixture, _check_settings
from taskpgm.types import InputError, TaskSize

NAMES = sorted(SIZES)


class EvaluateAlways(TrainerCallback):  # type: ignore[misc]
    """Asks for an evaluation after every step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_evaluate = True


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def planned(count: int) -> list[tuple[int, int]]:
    """The first draws of the mixture."""
    drawing = Drawing(SIZES, SHARES, seed=3)
    return [drawing.draw() for _ in range(count)]


def steps_of(run: Run) -> list[list[tuple[int, int]]]:
    """The examples of each of the run's twelve steps."""
    size = len(run.seen) // 12
    return [run.seen[i * size : (i + 1) * size] for i in range(12)]


def assert_same_end(one: Run, other: Run) -> None:
    """The same weights bit for bit, and the same figures from every task's first example to its last."""
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name]), name
    assert one.callback.state() == other.callback.state()
    first, second = ({key: log[key] for key in log if "mixture/" in key} for log in (one.logs[-2], other.logs[-2]))
    assert first == second


def by_measured_loss(windows: Sequence[Window]) -> Mapping[str, float] | None:
    """More of what is hard: a decision that depends on every bit of the losses seen."""
    last = windows[-1]
    if len(windows) == 2:
        return None
    return {name: (loss or 1.0) ** 4 for name, loss in zip(last.names, last.loss, strict=True)}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_trainer_draws_the_mixture_whatever_its_loader_does(
    model: Path, tmp_path: Path, accumulation: int, workers: int
) -> None:
    settings = {"gradient_accumulation_steps": accumulation, "dataloader_num_workers": workers, "max_steps": 6}
    run = train(model, tmp_path, **settings)
    count = 6 * 4 * accumulation
    assert run.seen == planned(count)
    assert run.callback.position == count
    last = run.logs[-2]
    for index, name in enumerate(NAMES):
        drawn = sum(task == index for task, _ in run.seen)
        assert abs(drawn - SHARES[name] * count) < 1.0
        assert last[f"mixture/realised_examples/{name}"] == pytest.approx(drawn / count)
        assert last[f"mixture/planned_examples/{name}"] == pytest.approx(SHARES[name])
        assert last[f"mixture/epochs/{name}"] == pytest.approx(drawn / SIZES[name])
    lengths = [[4 + row % 6 for task, row in run.seen if task == index] for index in range(3)]
    for column, off in (("tokens", 0), ("target_tokens", 2)):
        amounts = np.array([sum(length - off for length in each) for each in lengths])
        shown = [last[f"mixture/realised_{column}/{name}"] for name in NAMES]
        np.testing.assert_allclose(shown, amounts / amounts.sum())


def test_losses_of_tasks_add_up_to_the_trainers_own(model: Path, tmp_path: Path) -> None:
    run = train(model, tmp_path, gradient_accumulation_steps=2)
    targets = [
        [sum(2 + row % 6 for task, row in part if task == index) for index in range(3)] for part in steps_of(run)
    ]
    logs = [log for log in run.logs if "loss" in log]
    for log, each in zip(logs, targets, strict=True):
        losses = [log.get(f"mixture/loss/{name}", 0.0) for name in NAMES]
        assert np.dot(losses, each) / sum(each) == pytest.approx(log["loss"], rel=1e-5)
    sums = run.callback.ledger.sums
    assert sums[:, 2].tolist() == sums[:, 3].tolist() == np.sum(targets, axis=0).tolist()


def without_logits(model: Path) -> Any:
    """A model whose outputs hold the loss alone, as fused output layers leave them."""
    found = AutoModelForCausalLM.from_pretrained(model)
    inner = found.forward

    @wraps(inner)  # the Trainer reads its signature
    def forward(*args: Any, **kwargs: Any) -> Any:
        outputs = inner(*args, **kwargs)
        return type(outputs)(loss=outputs.loss)

    found.forward = forward
    return found


@pytest.mark.parametrize("decide", [None, by_measured_loss])
def test_losses_that_cannot_be_seen_are_told_of_once(model: Path, tmp_path: Path, decide: Any) -> None:
    with pytest.warns(UserWarning, match="neither logits nor the loss of each token.*use_liger_kernel") as told:
        run = train(without_logits(model), tmp_path, mixture={"decide": decide, "decide_every": 4})
    assert len([each for each in told if "neither logits" in str(each.message)]) == 1
    assert len(run.seen) == 48
    assert not any(key.startswith("mixture/loss/") for log in run.logs for key in log)


def test_an_adaptive_mixture_refuses_losses_that_it_cannot_see(model: Path, tmp_path: Path) -> None:
    mix = tp.AdaptiveMixture(all_data(), seed=1)
    trainer = make_trainer(without_logits(model), tmp_path, mix.dataset)
    mix.attach(trainer)
    with pytest.raises(InputError, match=r"neither logits.*loss_type='nll'\)\. An adaptive mixture decides from them"):
        trainer.train()


def test_batches_without_labels_are_told_of(model: Path, tmp_path: Path) -> None:
    mix = TrainingMixture(SHARES, all_data(), seed=1)
    trainer = make_trainer(model, tmp_path, mix.dataset)
    callback = mix.attach(trainer)
    inner = callback.begin_batch
    callback.begin_batch = lambda inputs: inner({key: inputs[key] for key in inputs if key != "labels"})
    with pytest.warns(UserWarning, match="batches have no labels, so the tasks' training losses are unknown"):
        trainer.train()


def test_evaluation_is_no_training(model: Path, tmp_path: Path) -> None:
    mix = tp.TrainingMixture(SHARES, all_data(), seed=3)
    trainer = make_trainer(model, tmp_path, mix.dataset, max_steps=3)
    trainer.eval_dataset = all_data()["upper"]
    trainer.add_callback(EvaluateAlways())
    callback = mix.attach(trainer)
    trainer.train()
    assert callback.ledger.sums[:, 0].sum() == 12
    evaluations = [log for log in trainer.state.log_history if "eval_loss" in log]
    assert len(evaluations) == 3
    assert not any(key.startswith("mixture/") for log in evaluations for key in log)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_each_task_is_its_cross_entropy(model: Path, tmp_path: Path, smoothing: float) -> None:
    run = train(model, tmp_path, max_steps=1, per_device_train_batch_size=16, label_smoothing_factor=smoothing)
    data, network = all_data(), AutoModelForCausalLM.from_pretrained(model)
    for index, name in enumerate(NAMES):
        total, count = 0.0, 0
        for row in (row for task, row in run.seen if task == index):
            example = {key: torch.tensor([value]) for key, value in data[name][row].items()}
            targets = 2 + row % 6
            total += float(network(**example).loss.detach()) * targets
            count += targets
        assert run.logs[0][f"mixture/loss/{name}"] == pytest.approx(total / count, rel=1e-5)
    if smoothing == 0.0:
        losses = [run.logs[0][f"mixture/loss/{name}"] for name in NAMES]
        assert np.dot(losses, run.callback.ledger.sums[:, 3]) / run.callback.ledger.sums[:, 3].sum() == pytest.approx(
            run.logs[0]["loss"], rel=1e-6
        )


def test_looking_on_changes_no_bit_of_the_training(model: Path, tmp_path: Path) -> None:
    run = train(model, tmp_path / "a")
    mix = tp.TrainingMixture(SHARES, all_data(), seed=3)
    starts = np.cumsum([0, *(SIZES[name] for name in NAMES)])
    data = mix.dataset.select([int(starts[task]) + row for task, row in run.seen])
    trainer = make_trainer(model, tmp_path / "b", data, train_sampling_strategy="sequential")
    trainer.train()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, run.weights[name]), name


SITUATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"gradient_accumulation_steps": 2},
    "epochs of five steps": {"mixture": {"examples_per_epoch": 23}},
    "killed right after an epoch": {"mixture": {"examples_per_epoch": 24}},
    "no skipping of data": {"ignore_data_skip": True, "mixture": {"examples_per_epoch": 20}},
    "decisions": {"mixture": {"decide": by_measured_loss, "decide_every": 2}},
    "decisions with two workers": {
        "dataloader_num_workers": 2,
        "gradient_accumulation_steps": 3,
        "mixture": {"decide": by_measured_loss, "decide_every": 1, "examples_per_epoch": 60},
    },
    "losses of every second step": {"logging_steps": 5, "mixture": {"losses_every": 2}},
}


@pytest.mark.parametrize(
    "situation",
    [pytest.param(name, marks=[pytest.mark.slow] if "workers" in name else []) for name in SITUATIONS],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(model: Path, tmp_path: Path, situation: str) -> None:
    settings = SITUATIONS[situation]
    whole = train(model, tmp_path / "whole", **settings)
    died = train(model, tmp_path / "died", stop=8, **settings)
    rest = train(model, tmp_path / "died", resume=True, **settings)
    step = len(whole.seen) // 12
    assert died.seen == whole.seen[: 8 * step]
    assert rest.seen == whole.seen[6 * step :]
    assert_same_end(whole, rest)
    if "decide" not in settings.get("mixture", {}):
        assert whole.seen == planned(12 * step)


def test_decisions_are_asked_with_what_was_seen_and_kept_from_a_few_steps_later(model: Path, tmp_path: Path) -> None:
    asked: list[Sequence[Window]] = []

    def only_one(windows: Sequence[Window]) -> Mapping[str, float]:
        asked.append(windows)
        return {name: float(name == "été") for name in SHARES}

    run = train(model, tmp_path, mixture={"decide": only_one, "decide_every": 4}, logging_steps=12)
    assert [len(windows) for windows in asked] == [1, 2, 3]
    first, second, _ = asked[-1]
    assert (first.first_step, first.last_step, second.first_step, second.last_step) == (1, 4, 5, 8)
    assert first.names == tuple(NAMES)
    assert sum(first.examples) == 16
    assert first.shares == pytest.approx([SHARES[name] for name in NAMES])
    assert first.target_tokens == tuple(
        sum(2 + row % 6 for task, row in run.seen[:16] if task == index) for index in range(3)
    )
    assert all(loss is not None and 3.0 < loss < 6.0 for loss in first.loss)
    begins = 4 * (4 + StepPlan(batch=4, accumulation=1).lead)
    assert run.seen[:begins] == planned(begins)
    assert {task for task, _ in run.seen[begins:]} == {NAMES.index("été")}
    assert second.loss[0] is not None
    assert asked[2][2].loss[0] is None  # nothing of it was drawn any more


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")  # the older name works in every version 5
@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_checkpointing": True},
        {"accelerator_config": {"split_batches": True}},
        {"accelerator_config": {"dispatch_batches": True}},
        {"dataloader_persistent_workers": True, "dataloader_num_workers": 1, "mixture": {"examples_per_epoch": 4}},
    ],
    ids=["recomputed activations", "split batches", "dispatched batches", "lasting workers"],
)
def test_how_the_trainer_runs_the_model_and_the_loader_makes_no_difference(
    model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    plain = train(model, tmp_path / "a", max_steps=3)
    run = train(model, tmp_path / "b", max_steps=3, **settings)
    assert run.seen == plain.seen == planned(12)
    np.testing.assert_allclose(run.callback.ledger.sums, plain.callback.ledger.sums, rtol=1e-5)


def test_a_trainer_can_train_anew(model: Path, tmp_path: Path) -> None:
    mix = tp.TrainingMixture(SHARES, all_data(), seed=3)
    trainer = make_trainer(model, tmp_path, mix.dataset, max_steps=3, logging_steps=3)
    callback = mix.attach(trainer)
    states = []
    for _ in range(2):
        trainer.train()
        states.append(callback.state()["attributes"]["drawing"])
    assert states[0] == states[1]
    assert not trainer.model._forward_hooks


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
def test_adapters_and_torch_data_sets_train_on_mixtures_too(model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, target_modules=["q_proj"]))
    rows = {name: list(data) for name, data in all_data().items()}
    run = train(adapted, tmp_path / "a", max_steps=3)
    mix = tp.TrainingMixture(SHARES, rows, seed=3, losses_every=1)
    trainer = make_trainer(model, tmp_path / "b", mix.dataset, max_steps=3)
    callback = mix.attach(trainer)
    trainer.train()
    assert run.seen == planned(12)
    assert run.logs[0]["mixture/loss/upper"] == pytest.approx(
        trainer.state.log_history[0]["mixture/loss/upper"], rel=1e-5
    )
    assert callback.ledger.sums[:, :4].tolist() == run.callback.ledger.sums[:, :4].tolist()


def test_planned_tokens_are_shown_where_lengths_are_known(model: Path, tmp_path: Path) -> None:
    sizes = {name: TaskSize(size, size * (5 + i), size * (3 + i)) for i, (name, size) in enumerate(SIZES.items())}
    network = tp.TaskNetwork(np.zeros(3), np.eye(3), tuple(SIZES))
    mixture = tp.Mixture(network, dict(SHARES), 0.0, 0.0, 0.0, "feasible", "test", sizes=sizes)
    mix = tp.TrainingMixture(mixture, all_data(), losses_every=1)
    trainer = make_trainer(model, tmp_path, mix.dataset, max_steps=5)
    mix.attach(trainer, decide=lambda windows: SHARES, decide_every=1)
    trainer.train()
    log = trainer.state.log_history[-2]
    for name in NAMES:
        assert log[f"mixture/planned_tokens/{name}"] == pytest.approx(SHARES[name])
        assert log[f"mixture/planned_examples/{name}"] == pytest.approx(mixture.shares("examples")[name])
        assert log[f"mixture/planned_target_tokens/{name}"] == pytest.approx(mixture.shares("target_tokens")[name])


# ------------------------------------------------------------------------------------------------------------ refusals


def test_data_without_the_tasks_column_is_refused(model: Path, tmp_path: Path) -> None:
    mix = tp.TrainingMixture(SHARES, all_data())
    with pytest.raises(tp.InputError, match=r"no column 'taskpgm_task'.*packing"):
        mix.attach(make_trainer(model, tmp_path, mix.dataset.remove_columns(COLUMN)))
    with pytest.raises(tp.InputError, match="counts from 1"):
        mix.attach(make_trainer(model, tmp_path, mix.dataset), decide_every=0)
    shorter = make_trainer(model, tmp_path, mix.dataset.filter(lambda task: task != 1, input_columns=COLUMN))
    with pytest.raises(tp.InputError, match="'upper' has a share and no examples"):
        mix.attach(shorter)


def test_a_checkpoint_without_a_mixture_or_with_other_data_is_refused(model: Path, tmp_path: Path) -> None:
    mix = tp.TrainingMixture(SHARES, all_data())
    make_trainer(model, tmp_path / "a", mix.dataset, max_steps=3).train()
    with pytest.raises(tp.InputError, match="checkpoint of step 3 knows of no mixture"):
        train(model, tmp_path / "a", resume=True)
    train(model, tmp_path / "b", max_steps=3)
    with pytest.raises(tp.InputError, match="has seed 3, not 4"):
        train(model, tmp_path / "b", resume=True, mixture={"seed": 4})


def test_settings_that_would_draw_other_examples_are_refused(model: Path, tmp_path: Path) -> None:
    mix = tp.TrainingMixture(SHARES, all_data())
    trainer = make_trainer(model, tmp_path, mix.dataset)
    mix.attach(trainer)
    with pytest.raises(tp.InputError, match="attached to this trainer already"):
        mix.attach(trainer)
    for settings, message in [
        ({"train_sampling_strategy": "group_by_length"}, "group_by_length"),
        ({"restore_callback_states_from_checkpoint": True}, "restore_callback_states"),
    ]:
        with pytest.raises(tp.InputError, match=message):
            mix.attach(make_trainer(model, tmp_path, mix.dataset, **settings))
    good = {"train_sampling_strategy": "random", "restore_callback_states_from_checkpoint": False, "n_gpu": 2}
    several = SimpleNamespace(
        args=SimpleNamespace(**good),
        callback_handler=SimpleNamespace(callbacks=[]),
        accelerator=SimpleNamespace(parallelism_config=None),
    )
    with pytest.raises(tp.InputError, match="several GPUs in one process"):
        _check_settings(several)


def test_weights_and_data_that_do_not_fit_are_refused() -> None:
    data = all_data()
    with pytest.raises(tp.InputError, match="no share for task 'upper'"):
        tp.TrainingMixture({"été": 1.0, NAMES[0]: 0.0}, data)
    with pytest.raises(tp.InputError, match="'upper' has columns"):
        tp.TrainingMixture(SHARES, {**data, "upper": data["upper"].remove_columns("labels")})
    with pytest.raises(tp.InputError, match=r"is no datasets\.Dataset"):
        tp.TrainingMixture(SHARES, {**data, "upper": [1] * 11})
    joined = {name: each.add_column(COLUMN, [0] * len(each)) for name, each in data.items()}
    with pytest.raises(tp.InputError, match="already; remove it"):
        tp.TrainingMixture(SHARES, joined)
    with pytest.raises(tp.InputError, match="count from 1"):
        tp.TrainingMixture(SHARES, data, losses_every=0)


# ------------------------------------------------------------------------------------------------------ many processes


def run_processes(model: Path, out: Path, stop: int) -> list[dict[str, Any]]:
    """What each of two processes of one run wrote down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    resumed = any(out.glob("checkpoint-*"))
    processes = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("distributed_mixture.py")), str(model), str(out), str(stop)],
            env=os.environ
            | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stdout=subprocess.DEVNULL,
        )
        for rank in "01"
    ]
    assert [process.wait() for process in processes] == [0, 0]
    part = "rest" if resumed else "first"
    return [json.loads((out.parent / f"{out.name}-{part}-{rank}.json").read_text()) for rank in "01"]


@pytest.mark.slow
def test_two_processes_draw_count_and_decide_as_one(model: Path, tmp_path: Path) -> None:
    whole = run_processes(model, tmp_path / "whole", 0)
    run_processes(model, tmp_path / "died", 8)
    rest = run_processes(model, tmp_path / "died", 0)
    assert whole[0]["state"] == whole[1]["state"] == rest[0]["state"]
    for rank in range(2):
        assert rest[rank]["seen"] == whole[rank]["seen"][6 * 8 :]
        assert rest[rank]["weights"] == whole[0]["weights"]
    # micro-batches of four are dealt out in turn
    batches = zip(*(np.array(each["seen"]).reshape(-1, 4, 2) for each in whole), strict=True)
    sequence = [tuple(row) for pair in batches for batch in pair for row in batch.tolist()]
    drawing = Drawing(SIZES, SHARES, seed=3)
    before = 16 * (2 + StepPlan(4, 2, prefetched=2).lead)
    assert sequence[:before] == [drawing.draw() for _ in range(before)]
    assert len(sequence) == 12 * 16
    sums = np.array(whole[0]["state"]["attributes"]["ledger"]["sums"])
    assert sums[:, 0].tolist() == [sum(task == index for task, _ in sequence) for index in range(3)]
    assert sums[:, 2].tolist() == [sum(2 + row % 6 for task, row in sequence if task == i) for i in range(3)]
    assert sums[:, 3].tolist() == sums[:, 2].tolist()
