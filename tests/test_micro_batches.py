"""Batches that go through a model in parts: the gradient of the whole, whatever memory allows."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import save_model, write_tasks

import taskpgm as tp
from taskpgm import expert_training, fine_tuning
from taskpgm.adapters import without_adapter
from taskpgm.base import Base, load_model, locate_base
from taskpgm.experts import tokenize_for
from taskpgm.fine_tuning import fine_tune, trainable
from taskpgm.forward import task_losses
from taskpgm.tokens import TokenExample, make_probes
from taskpgm.training_run import plan_run
from taskpgm.types import InputError

TRAINING = tp.TrainingSettings(steps=3, batch_size=8, learning_rate=0.01, warmup_steps=1)
LORA = tp.LoraSettings(rank=2, alpha=8.0)
State = dict[str, torch.Tensor]


NO_DROPOUT = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}  # which would draw otherwise for other parts


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return locate_base(save_model(tmp_path_factory.mktemp("model") / "Llama"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return locate_base(save_model(tmp_path_factory.mktemp("model") / "GPT2", "GPT2", **NO_DROPOUT))


def examples(count: int = 24) -> list[TokenExample]:
    """Of very different lengths, so that a mean of parts' means is not the mean of the whole."""
    draw = random.Random(1)
    rows = []
    for _ in range(count):
        prompt, target = draw.randrange(1, 6), draw.choice([1, 2, 12])
        rows.append(TokenExample(tuple(draw.randrange(5, 40) for _ in range(prompt + target)), prompt))
    return rows


def trained(base: Base, change: Callable[[Any], None] | None = None, **settings: Any) -> State:
    training = TRAINING.model_copy(update=settings)
    model = trainable(base, training)
    if change is not None:
        change(model)
    fine_tune(model, examples(), training, lambda step: None)
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def apart(one: State, two: State) -> float:
    assert list(one) == list(two)
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def limited(most: int) -> Callable[[Any], None]:
    """A model that has memory for so many rows."""

    def limit(model: Any) -> None:
        def check(module: Any, arguments: Any, named: dict[str, Any]) -> None:
            if len(named["input_ids"]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        model.register_forward_pre_hook(check, with_kwargs=True)

    return limit


def no_memory(*arguments: Any, **named: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


@contextmanager
def no_memory_in_backward(once: int) -> Iterator[list[int]]:
    """The backward pass runs out of memory at its `once`-th time."""
    calls: list[int] = []
    real = torch.Tensor.backward

    def backward(self: torch.Tensor, *more: Any, **named: Any) -> None:
        calls.append(1)
        real(self, *more, **named)
        if len(calls) == once:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", backward)
        yield calls


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("kind", ["base", "gpt2"])
def test_a_split_batch_has_the_gradient_of_the_whole(
    kind: str, lora: tp.LoraSettings | None, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(kind)
    whole = trained(base, lora=lora)
    for size in (1, 3, 8, 100):
        assert apart(trained(base, lora=lora, micro_batch=size), whole) < 2e-5
    assert apart(trained(base, lora=lora, micro_batch=8), whole) == 0.0


def test_models_that_take_the_mean_themselves_are_weighted(base: Base) -> None:
    """Their loss is the mean over a part's own targets."""

    def own_mean(model: Any) -> None:
        model.accepts_loss_kwargs = False

    assert apart(trained(base, own_mean, micro_batch=3), trained(base, own_mean)) < 2e-5


def test_out_of_memory_halves_and_changes_no_more_than_asking_for_it(
    base: Base, caplog: pytest.LogCaptureFixture
) -> None:
    assert apart(trained(base, limited(3)), trained(base, micro_batch=2)) == 0.0
    assert [record.getMessage() for record in caplog.records if record.name == "taskpgm.halving"] == [
        "training: memory runs out with 8 examples at a time; going on with 4.",
        "training: memory runs out with 4 examples at a time; going on with 2.",
    ]


def test_gradients_of_a_step_that_broke_off_are_forgotten(base: Base) -> None:
    with no_memory_in_backward(once=2) as calls:  # after a part was added, and with another half added
        found = trained(base, micro_batch=4)
    assert len(calls) == 2 + 3 * 4
    assert apart(found, trained(base, micro_batch=2)) == 0.0


def test_no_memory_for_one_example_is_one_line(base: Base) -> None:
    with pytest.raises(InputError, match=r"training: memory runs out with one example .*gradient_checkpointing"):
        trained(base, limited(0))


def test_of_a_task_whose_examples_are_too_much_the_name_is_told(base: Base, tmp_path: Path) -> None:
    tasks = tp.load_tasks(write_tasks(tmp_path / "tasks", ("copy", "upper")))
    held, training = load_model(base.path), TRAINING.model_copy(update={"lora": LORA})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert_training, "load_start", lambda *a: held)
        patch.setattr(torch.Tensor, "backward", no_memory)
        with pytest.raises(InputError, match=r"^task 'copy': training: memory runs out with one example at a time"):
            tp.train_experts(tasks, base, tmp_path, training=training, probes=tp.ProbeSettings(per_task=4))


def test_no_memory_for_the_optimiser_is_one_line(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", no_memory)
    with pytest.raises(InputError, match=r"training: memory runs out; what helps: .*lora"):
        trained(base)


def test_reading_halves_too(base: Base, tmp_path: Path) -> None:
    tokens = tokenize_for(tp.load_tasks(write_tasks(tmp_path)), base, tp.ProbeSettings())
    probes, free, tight = make_probes(tokens, 6), load_model(base.path), load_model(base.path)
    limited(5)(tight)
    found = task_losses(tight, probes, 16)
    assert np.array_equal(found, task_losses(free, probes, 4))
    assert np.allclose(found, task_losses(free, probes, 16), atol=1e-6)
    limited(0)(tight)
    with pytest.raises(InputError, match=r"reading probes: memory runs out with one example at a time; what helps:"):
        task_losses(tight, probes, 16)


@pytest.mark.parametrize("lora", [None, LORA.model_copy(update={"dropout": 0.2})], ids=["whole", "lora"])
def test_checkpointing_computes_twice_and_changes_nothing(base: Base, lora: tp.LoraSettings | None) -> None:
    calls: list[bool] = []

    def count(model: Any) -> None:
        norm = next(module for name, module in model.named_modules() if name.endswith(("input_layernorm", "ln_1")))
        norm.register_forward_hook(lambda *given: calls.append(torch.is_grad_enabled()))

    plain = trained(base, count, lora=lora)
    assert len(calls) == TRAINING.steps
    calls.clear()
    assert apart(trained(base, count, lora=lora, gradient_checkpointing=True), plain) == 0.0
    assert len(calls) == 2 * TRAINING.steps


def test_how_it_is_made_to_fit_is_no_part_of_what_comes_out(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tp.load_tasks(write_tasks(tmp_path / "tasks", ("copy", "upper")))
    probes, fitted = tp.ProbeSettings(per_task=4), {"micro_batch": 2, "gradient_checkpointing": True}
    first = tp.train_experts(tasks, base, tmp_path, training=TRAINING, probes=probes)
    monkeypatch.setattr(expert_training, "fine_tune", lambda *a: pytest.fail("trained again"))
    again = tp.train_experts(tasks, base, tmp_path, training=TRAINING.model_copy(update=fitted), probes=probes)
    assert again.directories == first.directories
    runs = [
        plan_run(base, tokenize_for(tasks, base, probes), (0.5, 0.5), each, seed=0, out=tmp_path)
        for each in (TRAINING, TRAINING.model_copy(update=fitted), TRAINING.model_copy(update={"batch_size": 4}))
    ]
    assert runs[0].key == runs[1].key != runs[2].key


def test_checkpointing_does_not_stay_on_a_base_that_others_use(base: Base) -> None:
    held, calls = load_model(base.path), []
    held.model.layers[0].input_layernorm.register_forward_hook(lambda *given: calls.append(torch.is_grad_enabled()))
    for checkpointing, times in ((True, 2), (False, 1)):
        training = TRAINING.model_copy(update={"lora": LORA, "gradient_checkpointing": checkpointing})
        calls.clear()
        model = trainable(base, training, held)
        fine_tune(model, examples(), training, lambda step: None)
        without_adapter(model)
        assert len(calls) == times * TRAINING.steps


def test_checkpointed_adapters_on_one_base_are_the_same_to_the_byte(base: Base, tmp_path: Path) -> None:
    tasks = tp.load_tasks(write_tasks(tmp_path / "tasks", ("copy", "upper")))
    training = TRAINING.model_copy(update={"lora": LORA, "gradient_checkpointing": True})
    probes = tp.ProbeSettings(per_task=4)
    both = tp.train_experts(tasks, base, tmp_path / "both", training=training, probes=probes)
    plain = TRAINING.model_copy(update={"lora": LORA})
    each = tp.train_experts(tasks, base, tmp_path / "plain", training=plain, probes=probes)
    for one, two in zip(both.directories, each.directories, strict=True):
        assert one.name == two.name
        name = "adapter_model.safetensors"
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_more_cards_in_sight_do_not_make_the_batch_larger(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = trained(base)
    monkeypatch.setattr(fine_tuning, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert apart(trained(base), alone) == 0.0


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_a_curve_in_bfloat16_is_read_alike_from_start_to_end(
    base: Base, tmp_path: Path, lora: tp.LoraSettings | None
) -> None:
    """With a learning rate that changes no weight it is flat to the last digit."""
    tasks = tp.load_tasks(write_tasks(tmp_path / "tasks", ("copy", "upper")))
    still = TRAINING.model_copy(update={"learning_rate": 1e-30, "precision": "bfloat16", "lora": lora})
    curves = tp.train_experts(tasks, base, tmp_path, training=still, probes=tp.ProbeSettings(per_task=4)).curves()
    assert np.array_equal(curves.losses, np.broadcast_to(curves.losses[:, :1], curves.losses.shape))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs Linux, to tell and limit its own memory")
def test_a_process_that_is_really_out_of_memory_goes_on(tmp_path: Path) -> None:
    script = Path(__file__).with_name("real_memory.py")
    arguments = [sys.executable, "-W", "ignore", str(script), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {line.split(":")[0] for line in found["told"]} == {"training", "reading probes"}
    assert all("memory runs out with" in line for line in found["told"])
    assert found["weights"] < 1e-4
    assert found["loss"] < 1e-6
