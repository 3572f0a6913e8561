"""Costs are what really happens: parameters, operations, tokens and bytes against torch, peft and a finished run."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SIZES, save_model, write_config

from taskpgm import base, fine_tuning, forward
from taskpgm.base import Base, load_model, load_model_config
from taskpgm.checkpointing import recompute_activations
from taskpgm.config import LoraSettings, TrainingSettings, load_config
from taskpgm.costs import (
    ModelShape,
    Saving,
    Work,
    activation_bytes,
    batch_work,
    reading_bytes,
    reading_flops,
    state_bytes,
    training_bytes,
    training_flops,
    training_work,
)
from taskpgm.experts import train_tokenised
from taskpgm.fine_tuning import trainable
from taskpgm.hardware import HARDWARE, found_hardware, machine_memory, named_hardware
from taskpgm.model_shape import built_shapes, read_shape, stored_shapes
from taskpgm.pipeline import base_of
from taskpgm.predictive import predict_tokenised
from taskpgm.progress import silent
from taskpgm.run_costs import Costing
from taskpgm.run_plan import plan_of
from taskpgm.run_work import MOST_BATCHES, expert_work, mixed_work
from taskpgm.tokens import TokenExample, TokenTask, pad_batch
from taskpgm.types import InputError

SHAPE = ModelShape(3, 64, 64, 256, 2, 1000, 300_000, 150_000)
LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)


# ---------------------------------------------------------------------------------------------------------- arithmetic


@given(lengths=LENGTHS, batch_size=st.integers(1, 9))
def test_what_is_computed_are_the_padded_batches_of_the_trainer(lengths: list[int], batch_size: int) -> None:
    rows = [[7] * length for length in lengths]
    batches = [pad_batch(rows[i : i + batch_size], 0) for i in range(0, len(rows), batch_size)]
    work = training_work(np.array(lengths), batch_size)
    assert work.tokens == sum(int(mask.sum()) for _, mask in batches) == sum(lengths)
    assert work.positions == sum(ids.size for ids, _ in batches) == work.outputs
    assert work.squares == sum(ids.shape[0] * ids.shape[1] ** 2 for ids, _ in batches)
    assert work.batches == len(batches)
    assert work.most_positions == max(ids.size for ids, _ in batches)


@given(lengths=LENGTHS, batch_size=st.integers(1, 9), times=st.integers(1, 5))
def test_work_done_again_is_so_many_times_the_cost_and_no_more_memory(
    lengths: list[int], batch_size: int, times: int
) -> None:
    work = training_work(np.array(lengths), batch_size)
    again = sum([work] * times, Work())
    assert dataclasses.astuple(again) == pytest.approx(dataclasses.astuple(work.times(times)))
    assert training_flops(SHAPE, again) == pytest.approx(times * training_flops(SHAPE, work))
    assert training_bytes(SHAPE, again, "float32") == training_bytes(SHAPE, work, "float32")


def test_training_is_six_operations_a_parameter_and_token_and_four_where_weights_are_frozen() -> None:
    short = batch_work(1000, 1000, 1, 1000)  # rows of one token: attention costs next to nothing
    n = SHAPE.active + SHAPE.output
    assert training_flops(SHAPE, short) == pytest.approx(6 * n * 1000, rel=0.01)
    assert reading_flops(SHAPE, short) == pytest.approx(2 * n * 1000, rel=0.01)
    frozen = dataclasses.replace(SHAPE, adapter=100)
    assert training_flops(frozen, short) == pytest.approx(4 * n * 1000, rel=0.01)
    long = batch_work(4096, 1, 4096, 4096)
    between = training_flops(SHAPE, long) - 6 * n * 4096
    assert between == 12 * SHAPE.layers * SHAPE.attention * 4096**2


def test_memory_is_sixteen_bytes_a_trained_parameter_and_the_activations() -> None:
    work = batch_work(512, 4, 128, 512)
    assert state_bytes(SHAPE, "float32") == 16 * SHAPE.parameters
    adapted = dataclasses.replace(SHAPE, adapter=1000)
    assert state_bytes(adapted, "bfloat16") == 2 * SHAPE.parameters + 16 * 1000
    assert training_bytes(SHAPE, work, "float32") > training_bytes(adapted, work, "float32")
    assert training_bytes(adapted, work, "bfloat16") < training_bytes(adapted, work, "float32")
    assert activation_bytes(SHAPE, 512, 0, "float32") < activation_bytes(SHAPE, 512, 512, "float32")
    assert reading_bytes(SHAPE, work, "float32") < training_bytes(SHAPE, work, "float32")


def test_few_bits_hold_the_layers_matrices_and_float32_the_rest() -> None:
    adapted = dataclasses.replace(SHAPE, adapter=1000, linear=240_000)
    eight, four = (state_bytes(adapted, "bfloat16", Saving(bits)) - 16 * 1000 for bits in ("8bit", "4bit"))
    assert eight == 240_000 + 4 * 60_000
    assert four == pytest.approx(0.516 * 240_000 + 4 * 60_000, rel=1e-3)
    work = batch_work(512, 4, 128, 512)
    saved = reading_bytes(adapted, work, "bfloat16") - reading_bytes(adapted, work, "bfloat16", Saving("4bit"))
    assert saved == pytest.approx(2 * SHAPE.parameters - four)


def test_checkpointing_keeps_one_layer_and_computes_layers_once_more() -> None:
    deep, saving = dataclasses.replace(SHAPE, layers=40), Saving(checkpointing=True)
    work = batch_work(512, 4, 128, 512)
    logits = activation_bytes(dataclasses.replace(SHAPE, layers=0), 512, 512, "float32")
    one = activation_bytes(dataclasses.replace(SHAPE, layers=1), 512, 0, "float32")
    assert activation_bytes(deep, 512, 512, "float32", saving) == logits + one + 512 * 40 * SHAPE.width * 4
    for shape in (SHAPE, dataclasses.replace(SHAPE, adapter=10)):
        more = training_flops(shape, work, saving) - training_flops(shape, work)
        assert more == pytest.approx(reading_flops(shape, work) - 2 * SHAPE.output * 512)


@given(batch=st.integers(1, 40), micro=st.one_of(st.none(), st.integers(1, 60)))
def test_parts_of_a_batch_need_their_share_of_its_memory(batch: int, micro: int | None) -> None:
    work = training_work(np.full(4 * batch, 7), batch)
    parts = work.in_parts(batch, micro)
    size = min(micro or batch, batch)
    assert (parts.tokens, parts.positions) == (work.tokens, work.positions)
    assert parts.most_positions == pytest.approx(7 * size)
    assert parts.batches == 4 * -(-batch // size)


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_what_checkpointing_keeps_is_what_torch_saves(tmp_path: Path, kind: str) -> None:
    """Bytes that the forward pass leaves for the backward one, without weights; the layer in work is not among them."""
    import torch

    sizes = {"hidden_size": 64, "num_hidden_layers": 6, "intermediate_size": 128}
    model = load_model(save_model(tmp_path / kind, kind, **sizes)).train()
    recompute_activations(model)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point() and tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = max(kept.get(tensor.data_ptr(), 0), tensor.numel() * tensor.element_size())
        return tensor

    ids = torch.randint(4, 50, (8, 32))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=ids, labels=ids)
    shape = read_shape(tmp_path / kind)
    logits = activation_bytes(dataclasses.replace(shape, layers=0), 256, 256, "float32")
    layers = shape.layers * shape.width * 256 * 4
    assert logits / 3 + layers < sum(kept.values()) < 1.1 * (logits + layers)


# --------------------------------------------------------------------------------------------------------------- shapes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    folder = tmp_path_factory.mktemp("models")
    for kind in ("Llama", "Qwen2", "Mixtral"):
        save_model(folder / kind, kind)
    config = transformers.GPT2Config(vocab_size=79, n_embd=16, n_layer=1, n_head=2, n_positions=48)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder / "GPT2")
    return folder


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Qwen2", "Mixtral"])
def test_parameters_are_exact_with_and_without_the_weights(models: Path, kind: str) -> None:
    folder = models / kind
    model = load_model(folder)
    real = sum(parameter.numel() for parameter in model.parameters())
    assert read_shape(folder).parameters == real
    built = built_shapes(load_model_config(Base(folder, "")), folder)
    assert sum(int(np.prod(shape)) for shape in built.values()) == real
    assert stored_shapes(folder / "nothing") == {}


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
def test_adapters_have_as_many_parameters_as_peft_makes(models: Path, targets: Any) -> None:
    lora = LoraSettings(rank=3, target_modules=targets)
    made = trainable(Base(models / "Llama", ""), TrainingSettings(lora=lora))
    trained = sum(parameter.numel() for parameter in made.parameters() if parameter.requires_grad)
    assert read_shape(models / "Llama", lora).adapter == trained


def test_adapters_of_gpt2_are_counted_too(models: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # peft sets what Conv1D needs, and says so
        made = trainable(Base(models / "GPT2", ""), TrainingSettings(lora=LoraSettings(rank=3)))
    trained = sum(parameter.numel() for parameter in made.parameters() if parameter.requires_grad)
    assert read_shape(models / "GPT2", LoraSettings(rank=3)).adapter == trained


def test_adapters_on_what_is_not_there_are_refused(models: Path) -> None:
    with pytest.raises(InputError, match=r"training\.lora does not fit the model: it has no modules nonsense"):
        read_shape(models / "Llama", LoraSettings(target_modules=("nonsense",)))


def test_a_token_meets_only_the_experts_that_are_chosen_for_it(models: Path) -> None:
    shape = read_shape(models / "Mixtral")
    outer = sum(int(np.prod(s)) for name, s in stored_shapes(models / "Mixtral").items() if "experts" in name)
    chosen = load_model_config(Base(models / "Mixtral", "")).num_experts_per_tok
    of = load_model_config(Base(models / "Mixtral", "")).num_local_experts
    assert chosen < of
    assert shape.active == pytest.approx(shape.parameters - 2 * shape.output - outer * (1 - chosen / of), rel=0.02)


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Qwen2"])
def test_operations_are_those_that_torch_counts(models: Path, kind: str) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = load_model(models / kind)
    model.set_attn_implementation("eager")
    ids = torch.randint(4, 50, (4, 32))
    with FlopCounterMode(display=False) as counter:
        loss = model(input_ids=ids, labels=ids).loss
    ahead = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    work, shape = batch_work(128, 4, 32, 128), read_shape(models / kind)
    assert ahead == pytest.approx(reading_flops(shape, work), rel=0.02)
    assert ahead + counter.get_total_flops() == pytest.approx(training_flops(shape, work), rel=0.02)


# ---------------------------------------------------------------------------------------------------------- a whole run


class Counter:
    """Real tokens and padded positions that pass, in training and in reading."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.trained, self.read = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
        collate, pad = fine_tuning.collate, forward.pad_batch

        def collating(rows: Any) -> dict[str, Any]:
            batch = collate(rows)
            self.trained += (int(batch["attention_mask"].sum()), batch["input_ids"].numel())
            return batch

        def padding(rows: Any, padding: int) -> Any:
            ids, mask = pad(rows, padding)
            self.read += (int(mask.sum()), ids.size)
            return ids, mask

        patch.setattr(fine_tuning, "collate", collating)
        patch.setattr(forward, "pad_batch", padding)


def disk_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "changes",
    [
        {"probes": {"per_task": 4, "top_k": "full", "batch_size": 3}},
        {"probes": {"per_task": 6, "top_k": 8}, "energy": {"kind": "pairwise"}},
        {"training": {"steps": 6, "batch_size": 5, "learning_rate": 0.01, "warmup_steps": 1, "lora": {"rank": 2}}},
        {"training": {"steps": 3, "batch_size": 4, "learning_rate": 0.01, "precision": "bfloat16"}},
        {"training": {"steps": 3, "batch_size": 4, "micro_batch": 3, "gradient_checkpointing": True}},
        {"tasks": ["tasks/copy.jsonl", "tasks/upper.jsonl", {"name": "again", "path": "tasks/copy.jsonl"}]},
    ],
)
def test_a_run_does_what_the_plan_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Tokens exactly; disk within a fifth, though a tiny model's files are mostly headers."""
    config = load_config(write_config(tmp_path, **changes))
    plan = plan_of(config, hardware="h100-sxm", out=tmp_path / "out")
    stages = {stage.name: stage for stage in plan.stages}
    counter = Counter(monkeypatch)
    covering = config.energy.kind == "coverage"
    tokens, training, probes = plan.costing.tasks, config.training, config.probes
    made_experts = train_tokenised(tokens, base_of(config), tmp_path / "out", training, probes, silent, curves=covering)
    predict_tokenised(made_experts, tokens, probes, silent)
    told = sum(stages[name].tokens for name in ("base on probes", "experts", "predictions"))
    assert counter.trained[0] + counter.read[0] == told
    costing = plan.costing
    trained = [expert_work(costing.tasks[i], config.training) for i in costing.different]
    assert counter.trained.tolist() == [sum(work.tokens for work in trained), sum(work.positions for work in trained)]
    made = {name: disk_of(tmp_path / "out" / name) for name in ("experts", "predictions")}
    assert stages["experts"].disk == pytest.approx(made["experts"], rel=0.2)
    predicted = stages["base on probes"].disk + stages["predictions"].disk
    assert predicted == pytest.approx(made["predictions"], rel=0.2)


def test_long_runs_are_counted_from_their_first_batches() -> None:
    rows = tuple(TokenExample((1,) * (3 + i % 5), 1) for i in range(50))
    task = TokenTask('a "quoted" </script>\n名', rows, rows[:3], rows[:3], 0)
    training = TrainingSettings(steps=3 * MOST_BATCHES, batch_size=2)
    mean = sum(len(row.ids) for row in rows) / len(rows)
    for work in (expert_work(task, training), mixed_work([task, task], training)):
        assert work.tokens == pytest.approx(mean * training.steps * training.batch_size, rel=0.01)
        assert work.batches == training.steps


# ------------------------------------------------------------------------------------------------------------- hardware


def test_hardware_is_named_or_measured() -> None:
    assert len({each.name for each in HARDWARE}) == len(HARDWARE)
    for each in HARDWARE:
        assert each.rate("bfloat16") > each.rate("float32") > 1e12
        assert 20e9 < each.memory < 200e9
        assert each.source
    assert named_hardware("H100-SXM").rate("bfloat16") == 989e12
    with pytest.raises(InputError, match="--hardware 'h100-smx' is not in the table; did you mean 'h100-sxm'"):
        named_hardware("h100-smx")


def test_the_machine_here_is_measured_in_the_precision_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "device", lambda: "cpu")
    found = found_hardware(1, {"float32"})
    assert 1e8 < found.rate("float32") < 1e14
    assert found.name == "this processor, 1 thread"
    assert 1e8 < found.memory == machine_memory()
    with pytest.raises(InputError, match="its speed in bfloat16 is not known"):
        found.rate("bfloat16")


@pytest.mark.parametrize("wrong", [{"utilisation": 0.0}, {"utilisation": 1.5}, {"devices": 0}])
def test_a_share_of_the_peak_that_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    config = load_config(write_config(tmp_path))
    with pytest.raises(InputError, match=next(iter(wrong))):
        Costing(config, (), SHAPE, named_hardware("l4"), **wrong)


def test_the_sizes_of_tiny_models_are_read_from_their_configuration(models: Path) -> None:
    shape = read_shape(models / "Llama")
    assert (shape.width, shape.inner, shape.layers) == (
        SIZES["hidden_size"],
        SIZES["intermediate_size"],
        SIZES["num_hidden_layers"],
    )
    assert shape.inner_kept == 4  # gated
    assert read_shape(models / "GPT2").inner_kept == 5  # its activation is written out
