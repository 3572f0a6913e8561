"""A base in few bits under adapters, for real where bitsandbytes is; one spread over cards; and what is refused."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import save_model, write_config, write_tasks

import taskpgm as tp
from taskpgm import base as base_module
from taskpgm import expert_training
from taskpgm.base import check_placed, load_base, load_model, locate_base
from taskpgm.config import load_config
from taskpgm.fine_tuning import trainable
from taskpgm.types import InputError, TaskSet

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="bitsandbytes is not installed (pip install 'taskpgm[few-bits]')",
)
LORA = tp.LoraSettings(rank=2, alpha=8.0)
TRAINING = tp.TrainingSettings(steps=4, batch_size=4, learning_rate=0.02, warmup_steps=1, lora=LORA)
PROBES = tp.ProbeSettings(per_task=4, top_k=6)
WIDER = {"hidden_size": 64, "intermediate_size": 128}  # a block of 64 weights shares its constants


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m", "Qwen2", **WIDER)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskSet:
    return tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks"), ("copy", "upper")))


def bits(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}


@needs_bitsandbytes
@pytest.mark.parametrize(("load_in", "stored"), [("8bit", torch.int8), ("4bit", torch.uint8)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")
def test_experts_learn_on_a_base_in_few_bits(
    model: Path, tasks: TaskSet, tmp_path: Path, load_in: Any, stored: torch.dtype, precision: Any
) -> None:
    base, training = locate_base(model, load_in=load_in), TRAINING.model_copy(update={"precision": precision})
    loaded = load_base(base, precision)
    assert loaded.model.layers[0].mlp.up_proj.weight.dtype == stored
    assert loaded.model.norm.weight.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    before = bits(loaded)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert_training, "load_start", lambda *a: loaded)
        experts = tp.train_experts(tasks, base, tmp_path / "all", training=training, probes=PROBES)
    for name, value in bits(loaded).items():
        assert torch.equal(value, before[name]), name
    losses = experts.curves().losses
    assert all(losses[i, -1, i] < losses[i, 0, i] for i in range(2))
    alone = tp.train_experts(TaskSet((tasks.tasks[1],)), base, tmp_path / "one", training=training, probes=PROBES)
    name = "adapter_model.safetensors"
    assert (alone.directories[0] / name).read_bytes() == (experts.directories[1] / name).read_bytes()
    predictions = tp.predict(experts, tasks, PROBES)
    rounded = 0.05 if precision == "float32" else 0.2
    found = [-predictions.target_log_probs[i, predictions.context_task == i].mean() for i in range(2)]
    assert np.allclose(found, [losses[i, -1, i] for i in range(2)], atol=rounded)


@needs_bitsandbytes
def test_few_bits_are_another_model(model: Path) -> None:
    found = [locate_base(model, load_in=load_in).fingerprint for load_in in (None, "8bit", "4bit")]
    assert len(set(found)) == 3
    assert locate_base(model, device_map="auto").fingerprint == found[0]


def test_what_is_asked_for_reaches_the_loader(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    asked: list[dict[str, Any]] = []
    whole = load_model(model)

    def loader(path: Path, **how: Any) -> Any:
        asked.append(how)
        return whole

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loader)
    monkeypatch.setattr(base_module, "quantisation", lambda load_in, precision: (load_in, precision))
    monkeypatch.setattr(base_module, "prepared", lambda model: model)
    base = locate_base(model)
    load_base(base, "float32")
    load_base(replace(base, load_in="4bit"), "bfloat16")
    load_base(replace(base, load_in="8bit", device_map="auto"), "float32")
    load_base(replace(base, device_map="auto"), "float32")
    assert [how.get("quantization_config") for how in asked] == [None, ("4bit", "bfloat16"), ("8bit", "float32"), None]
    assert [how.get("device_map") for how in asked] == [None, {"": "cpu"}, "auto", "auto"]
    assert [how["dtype"] for how in asked] == [torch.float32, torch.bfloat16, torch.float32, torch.float32]


def test_without_bitsandbytes_one_line_says_how_to_get_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"model.load_in: 4bit needs bitsandbytes.*pip install 'taskpgm\[few-bits\]'"):
        locate_base(model, load_in="4bit")


def test_a_device_that_it_does_not_support_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    def loader(path: Path, **how: Any) -> Any:
        raise RuntimeError("None of the available devices are supported\nby bitsandbytes")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loader)
    monkeypatch.setattr(base_module, "quantisation", lambda load_in, precision: None)
    with pytest.raises(InputError, match=r"cannot be loaded with model.load_in: 8bit \(None of the available .*\)\.$"):
        load_base(replace(locate_base(model), load_in="8bit"), "float32")


def test_no_room_for_a_model_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    def loader(path: Path, **how: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loader)
    with pytest.raises(InputError, match=r"^model '.*': memory runs out; what helps: .*load_in: 4bit"):
        load_model(model)


def test_few_bits_are_never_trained_whole(model: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, model={"name": str(model), "load_in": "4bit"})
    with pytest.raises(InputError, match=r"model.load_in: 4bit is for a frozen base; add training: \{lora"):
        load_config(config)
    with pytest.raises(InputError, match=r"model.load_in: 8bit is for a frozen base"):
        trainable(replace(locate_base(model), load_in="8bit"), TRAINING.model_copy(update={"lora": None}))
    known = yaml.safe_load(config.read_text()) | {"model": {"name": str(model), "load_in": "2bit"}}
    config.write_text(yaml.safe_dump(known))
    with pytest.raises(InputError, match=r"model.load_in"):
        load_config(config)


def test_a_model_spread_over_cards_is_the_same_model(model: Path, tasks: TaskSet, tmp_path: Path) -> None:
    """Here over the one device that there is."""
    spread = locate_base(model, device_map="auto")
    made = [
        tp.train_experts(tasks, base, tmp_path / name, training=TRAINING, probes=PROBES)
        for name, base in (("one", locate_base(model)), ("spread", spread))
    ]
    assert made[0].directories[0].name == made[1].directories[0].name
    assert np.array_equal(made[0].curves().losses, made[1].curves().losses)


def test_a_model_that_the_cards_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Placed:
        hf_device_map: dict[str, Any]

    placed = Placed()
    placed.hf_device_map = {"model.embed_tokens": 0, "lm_head": "disk"}
    with pytest.raises(InputError, match=r"model 'm': the cards have no room for all of it; what helps: .*4bit"):
        check_placed(placed, "model 'm'")
    placed.hf_device_map = {"": "cpu"}
    check_placed(placed, "model 'm'")
    monkeypatch.setattr(base_module, "device", lambda: "cuda")
    with pytest.raises(InputError, match="no room"):
        check_placed(placed, "model 'm'")
    placed.hf_device_map = {"model.embed_tokens": 0, "lm_head": 1}
    check_placed(placed, "model 'm'")
