"""A mixture that learns while it trains, inside transformers' Trainer: when it decides, what it keeps, and kills."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adaptive_runs import STEPS, AdaptiveRun, adapt, files_in, held_out_data
from mixture_runs import SIZES, all_data, data_of, make_trainer
from tiny import save_model
from transformers import AutoModelForCausalLM, TrainerCallback

import taskpgm as tp
from taskpgm.decisions import read_decisions
from taskpgm.step_plan import StepPlan

NAMES = sorted(SIZES)
MARKS = [1, 2, 4, 5, 6, 7, 8]  # of twelve steps; the last is so late that the loader has drawn what is left
LEAD = StepPlan(batch=4, accumulation=1).lead


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AdaptiveRun:
    """A run that nothing happened to."""
    return adapt(model, tmp_path_factory.mktemp("whole"), mixture={"held_out": held_out_data()})


def assert_same(run: AdaptiveRun, other: AdaptiveRun) -> None:
    """The same decisions, byte for byte, and the same weights, bit for bit."""
    assert run.files == other.files
    assert [each.as_dict() for each in run.mix.decisions] == [each.as_dict() for each in other.mix.decisions]
    for name, value in run.weights.items():
        assert torch.equal(value, other.weights[name]), name
    assert run.callback.state() == other.callback.state()


def test_it_decides_at_the_right_steps_and_draws_what_it_decided(model: Path, tmp_path: Path) -> None:
    run = adapt(model, tmp_path, max_steps=40, save_steps=100, mixture={"tau": 0.01})
    assert [each.step for each in run.mix.decisions] == [4, 8, 12, 16, 20, 24, 28, 32]
    starts = [0, *(each.step + LEAD for each in run.mix.decisions), 40]
    plans = [dict.fromkeys(NAMES, 1 / 3), *(each.mixture.weights for each in run.mix.decisions)]
    assert len({tuple(plan.values()) for plan in plans}) == 9
    planned, drawn = np.zeros(3), np.zeros(3)
    for first, last, plan in zip(starts, starts[1:], plans, strict=False):
        part = run.seen[4 * first : 4 * last]
        planned += 4 * (last - first) * np.array([plan[name] for name in NAMES])
        drawn += np.bincount([task for task, _ in part], minlength=3)
        assert np.abs(drawn - planned).max() < 1.0, first
    assert sorted(run.files) == sorted(f"step-{each.step}.json" for each in run.mix.decisions)
    log = run.trainer.state.log_history[-2]
    assert log[f"mixture/planned_examples/{NAMES[0]}"] == pytest.approx(planned[0] / 160)


def test_every_decision_proves_itself_and_tells_what_it_rests_on(whole: AdaptiveRun, tmp_path: Path) -> None:
    read = read_decisions(whole.trainer.args.output_dir)
    assert [each.step for each in read] == MARKS
    assert [each.as_dict() for each in read] == [each.as_dict() for each in whole.mix.decisions]
    for path in sorted(Path(whole.trainer.args.output_dir, "mixtures").glob("*.json")):
        mixture = tp.Mixture.from_json(path)
        assert all(check.passed for check in mixture.verify())
        evidence = mixture.details["decision"]["evidence"]
        assert len(evidence["losses"]) == len(evidence["held_out"]) == 3
        assert np.sum(evidence["tokens"]) == sum(
            sum(window.measured) for window in whole.callback.ledger.windows[: mixture.details["decision"]["step"]]
        )


def test_a_kill_at_any_step_changes_nothing(model: Path, tmp_path: Path, whole: AdaptiveRun) -> None:
    for step in range(1, STEPS + 1):
        out = tmp_path / str(step)
        settings: dict[str, Any] = {"mixture": {"held_out": held_out_data()}}
        died = adapt(model, out, stop=step, **settings)
        assert set(died.files) <= set(whole.files)
        rest = adapt(model, out, resume=step > 1, **settings)
        assert died.seen == whole.seen[: 4 * step]
        assert rest.seen == whole.seen[4 * (step - 1) :]
        assert_same(rest, whole)


def test_held_out_examples_are_never_drawn_and_looking_at_them_changes_no_bit(model: Path, tmp_path: Path) -> None:
    """With one decision there is no forecast to check, so that both runs decide alike."""
    once = {"first": 0.5, "last": 0.5, "decisions": 1}
    plain = adapt(model, tmp_path / "a", mixture=once)
    probed = adapt(model, tmp_path / "b", mixture={**once, "held_out": held_out_data()})
    assert plain.seen == probed.seen
    assert plain.mix.decisions[0].mixture.weights == probed.mix.decisions[0].mixture.weights
    for name, value in plain.weights.items():
        assert torch.equal(value, probed.weights[name]), name
    assert max(row for _, row in probed.seen) < 40
    assert plain.trainer.state.log_history[0]["loss"] == probed.trainer.state.log_history[0]["loss"]


class LossesOf(TrainerCallback):  # type: ignore[misc]
    """Writes down the mean loss of each task's held-out examples after a step, one by one; freezes one module."""

    def __init__(self, step: int) -> None:
        self.step, self.found, self.modes = step, [0.0] * 3, [False]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["model"].get_input_embeddings().eval()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        self.modes = [module.training for module in model.modules()]
        if state.global_step == self.step:
            for place, name in enumerate(NAMES):
                total, count = 0.0, 0
                for example in held_out_data()[name]:
                    inputs = {key: torch.tensor([value]) for key, value in example.items()}
                    targets = sum(label != -100 for label in example["labels"])
                    with torch.no_grad():
                        total += targets * float(model(**inputs).loss)
                    count += targets
                self.found[place] = total / count


def test_held_out_losses_are_the_models_and_its_modes_are_left(model: Path, tmp_path: Path) -> None:
    watching = LossesOf(5)
    run = adapt(model, tmp_path, callbacks=[watching], mixture={"held_out": held_out_data()}, max_steps=10)
    told = run.mix.decisions[4].mixture.details["decision"]
    assert told["step"] == 5
    assert told["evidence"]["held_out"] == pytest.approx(watching.found, rel=1e-5)
    assert sum(watching.modes) > 5
    windows = run.callback.state()["attributes"]["ledger"]["windows"]
    assert [window["held_out"] is not None for window in windows] == [n in [1, 2, 3, 4, 5, 6, 7] for n in range(1, 11)]


def test_epoch_caps_count_the_whole_run(model: Path, tmp_path: Path) -> None:
    """Seven and eleven rows cannot give a third of eighty examples each in two epochs."""
    run = adapt(model, tmp_path, max_steps=20, save_steps=100, mixture={"max_epochs": 2.0, "floor": 0.0})
    counts = np.bincount([task for task, _ in run.seen], minlength=3)
    assert counts.sum() == 80
    for count, name in zip(counts, NAMES, strict=True):
        assert count <= 2 * SIZES[name] + 1
    assert counts[NAMES.index("été")] >= 7


def test_the_order_in_which_tasks_are_given_changes_nothing(model: Path, tmp_path: Path, whole: AdaptiveRun) -> None:
    data, probes = all_data(), held_out_data()
    turned = dict(reversed(data.items()))
    assert list(turned) != list(data)
    mixture = {"held_out": dict(reversed(probes.items())), "prior": dict.fromkeys(turned, 2.0)}
    assert_same(adapt(model, tmp_path, data=turned, mixture=mixture), whole)


def test_a_trainer_can_train_anew(model: Path, tmp_path: Path) -> None:
    run = adapt(model, tmp_path, save_steps=100)
    weights = [each.mixture.weights for each in run.mix.decisions]
    run.trainer.train()  # from where its weights are now: other losses
    again = [each.mixture.weights for each in run.mix.decisions]
    assert len(again) == len(weights)
    assert again != weights


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
def test_adapters_on_a_model_of_another_kind_learn_their_mixture_too(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    qwen = save_model(tmp_path / "model", kind="Qwen2")
    runs = []
    for out, stop, resume in (("a", None, False), ("b", 7, False), ("b", None, True)):
        adapted = get_peft_model(
            AutoModelForCausalLM.from_pretrained(qwen), LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
        )
        torch.manual_seed(0)
        for name, value in adapted.named_parameters():
            if "lora_A" in name:
                torch.nn.init.normal_(value, std=0.2)
        settings: dict[str, Any] = {"mixture": {"held_out": held_out_data()}, "gradient_accumulation_steps": 2}
        runs.append(adapt(adapted, tmp_path / out, stop=stop, resume=resume, **settings))
    one, _, rest = runs
    assert_same(rest, one)
    assert len(one.mix.decisions) == 8
    assert all(check.passed for check in one.mix.decisions[-1].mixture.verify())


def test_torch_data_sets_may_be_held_out_too(model: Path, tmp_path: Path, whole: AdaptiveRun) -> None:
    lists = [{name: list(data) for name, data in part.items()} for part in (all_data(), held_out_data())]
    run = adapt(model, tmp_path, data=lists[0], mixture={"held_out": lists[1]})
    assert run.seen == whole.seen
    told = [each.mixture.details["decision"]["evidence"]["held_out"] for each in run.mix.decisions]
    assert told[0] == pytest.approx(whole.mix.decisions[0].mixture.details["decision"]["evidence"]["held_out"])


def test_a_run_with_a_transfer_graph_goes_on_to_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """Rows and columns are in the order of the data, which is not that of the sorted names."""
    names = list(all_data())
    graph = np.eye(3)
    graph[0, 2], graph[1, 0] = 0.5, 0.25
    given = {"transfer": graph}
    whole = adapt(model, tmp_path / "whole", mixture=given)
    adapt(model, tmp_path / "again", stop=9, mixture=given)
    again = adapt(model, tmp_path / "again", resume=True, mixture=given)
    assert again.files == whole.files
    network = whole.mix.decisions[-1].mixture.network
    assert isinstance(network, tp.TransferNetwork)
    place = [network.names.index(name) for name in names]
    np.testing.assert_array_equal(network.transfer[np.ix_(place, place)], graph)
    by_name = {names[0]: {names[2]: 0.5}, names[1]: {names[0]: 0.25}}
    assert adapt(model, tmp_path / "named", mixture={"transfer": by_name}).files == whole.files


def test_a_checkpoint_of_a_run_with_other_settings_is_refused(model: Path, tmp_path: Path) -> None:
    adapt(model, tmp_path, stop=9)
    with pytest.raises(tp.InputError, match="Go on with those of its beginning"):
        adapt(model, tmp_path, resume=True, max_steps=30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": {"upper": data_of("upper", 11)}}, "one task only"),
        ({"prior": {"upper": 1.0, "été": 1.0}}, "has no share in the prior"),
        ({"prior": {"nobody": 1.0}}, "no data of a task 'nobody'"),
        ({"prior": dict.fromkeys(SIZES, 0.0)}, "expected finite shares"),
        ({"held_out": {"upper": data_of("upper", 3)}}, "held-out data of every task"),
        ({"held_out": {name: [1] for name in SIZES}}, r"held-out data of task .* is no datasets\.Dataset"),
        ({"held_out": {name: data_of(name, 3).remove_columns("labels") for name in SIZES}}, "the same columns"),
        ({"floor": 2.0}, "floor = 2"),
        ({"transfer": {"nobody": {"upper": 1.0}}}, "no task 'nobody'"),
        ({"transfer": [[1.0]]}, "shape 1 x 1, but there are 3 tasks"),
        ({"losses_every": 0}, "count from 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    datasets = changes.pop("datasets", None) or all_data()
    with pytest.raises(tp.InputError, match=message):
        tp.AdaptiveMixture(datasets, **changes)


def test_a_run_that_the_epochs_cannot_feed_is_refused_before_it_begins(model: Path, tmp_path: Path) -> None:
    mix = tp.AdaptiveMixture(all_data(), max_epochs=0.5)
    with pytest.raises(tp.InputError, match="allow more epochs, or shorten the run"):
        mix.attach(make_trainer(model, tmp_path, mix.dataset, max_steps=50))


# ----------------------------------------------------------------------------------------------- processes of their own


def start(model: Path, out: Path, stop: int, rank: int = 0, port: int | None = None) -> subprocess.Popen[bytes]:
    several = {} if port is None else {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("adaptive_runs.py")), str(model), str(out), str(stop)],
        env=os.environ | several | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if several else dict(os.environ),
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_a_run_killed_by_the_system_goes_on_to_the_same_bytes(model: Path, tmp_path: Path) -> None:
    assert start(model, tmp_path / "whole", 0).wait() == 0
    for step in (2, 9, 17):
        out = tmp_path / f"killed-{step}"
        assert start(model, out, step).wait() == -signal.SIGKILL
        assert start(model, out, 0).wait() == 0
        assert files_in(out) == files_in(tmp_path / "whole")
        ends = [(tmp_path / f"{name}-0.json").read_text() for name in (out.name, "whole")]
        assert ends[0].split('"weights"')[1] == ends[1].split('"weights"')[1]


@pytest.mark.slow
def test_two_processes_decide_as_one(model: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [start(model, tmp_path / "two", 0, rank, port) for rank in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    ends = [(tmp_path / f"two-{rank}.json").read_text().split('"weights"')[1] for rank in range(2)]
    assert ends[0] == ends[1]
    assert len(files_in(tmp_path / "two")) >= 7
