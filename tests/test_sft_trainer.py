"""A mixture inside TRL's SFTTrainer: its own preparation of the data, its output layer, batches without padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from mixture_runs import StopAt, StopError
from tiny import OPERATIONS, save_model

import taskpgm as tp
from taskpgm.drawing import Drawing
from taskpgm.joint_data import COLUMN

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'trl>=1.16'")

WORDS = ["".join(letters) for letters in zip("abcdefghij" * 3, "bcadefhigj" * 3, "fedcbaghij" * 3, strict=True)]
SHARES = {"copy": 0.25, "reverse": 0.35, "upper": 0.4}
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft asks transformers for it
    pytest.mark.filterwarnings("ignore:.*deprecated.*:FutureWarning"),  # what TRL says of label smoothing
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def texts() -> dict[str, Dataset]:
    """Prompts and completions as they are before any trainer prepares them."""
    return {
        name: Dataset.from_list(
            [{"prompt": f"{name[:4]}:{word}=", "completion": operation(word)} for word in WORDS[: 20 + len(name)]]
        )
        for name, operation in OPERATIONS.items()
    }


def make(model: Path, out: Path, mix: tp.TrainingMixture, stop: int | None = None, **settings: Any) -> Any:
    arguments = {
        "output_dir": str(out),
        "max_steps": 8,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "save_steps": 3,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": True,
        "bf16": False,
        **settings,
    }
    peft = arguments.pop("peft_config", None)
    return trl.SFTTrainer(
        model=str(model),
        args=trl.SFTConfig(**arguments),
        train_dataset=mix.dataset,
        peft_config=peft,
        callbacks=[StopAt(stop)],
    )


def prompts_seen(trainer: Any, seen: list[str]) -> None:
    """Write down the text of every example that is trained on."""
    inner = trainer.training_step

    def noting(model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        ids = inputs["input_ids"]
        seen.extend(text for row in ids for text in trainer.processing_class.decode(row).split("<eos>") if ":" in text)
        return inner(model, inputs, num_items_in_batch)

    trainer.training_step = noting


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"gradient_accumulation_steps": 2, "dataloader_num_workers": 1},
            id="accumulation and a worker",
            marks=pytest.mark.slow,
        ),
        pytest.param({"shuffle_dataset": True}, id="shuffled", marks=pytest.mark.slow),
    ],
)
def test_it_draws_the_mixture_and_goes_on_after_a_kill(model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    runs = []
    for out, stop, resume in (("a", None, False), ("b", 5, False), ("b", None, True)):
        mix = tp.TrainingMixture(SHARES, texts(), seed=1)
        trainer = make(model, tmp_path / out, mix, stop, **settings)
        callback = mix.attach(trainer)
        seen: list[str] = []
        prompts_seen(trainer, seen)
        try:
            trainer.train(resume_from_checkpoint=resume)
        except StopError:
            assert stop == 5
        runs.append((seen, {k: v.clone() for k, v in trainer.model.state_dict().items()}, callback, trainer))
    (whole, weights, callback, trainer), (died, *_), (rest, resumed, again, _) = runs
    step = len(whole) // 8
    assert step == 4 * trainer.args.gradient_accumulation_steps
    assert (died, rest) == (whole[: 5 * step], whole[3 * step :])
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())
    assert callback.state() == again.state()
    drawing = Drawing({name: len(data) for name, data in texts().items()}, SHARES, seed=1)
    tasks = [drawing.names[task] for task in drawing.draw_tasks(len(whole))]
    assert [text.split(":")[0].removeprefix("<bos>") for text in whole] == [name[:4] for name in tasks]
    logs = [log for log in trainer.state.log_history if "loss" in log]
    for log in logs:
        assert {f"mixture/realised_tokens/{name}" for name in SHARES} <= set(log)
    assert callback.ledger.sums[:, 2].sum() == callback.ledger.sums[:, 3].sum() > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_of_tasks_add_up_to_the_trainers_own(model: Path, tmp_path: Path, smoothing: float) -> None:
    """Those of the plain cross-entropy, which smoothing does not change in the first step."""
    logs = []
    for factor in (0.0, smoothing):
        mix = tp.TrainingMixture(SHARES, texts(), seed=1)
        trainer = make(model, tmp_path, mix, max_steps=1, label_smoothing_factor=factor)
        callback = mix.attach(trainer)
        trainer.train()
        logs.append(trainer.state.log_history[0])
    measured = callback.ledger.sums[:, 3]
    losses = [logs[1][f"mixture/loss/{name}"] for name in SHARES]
    assert float(losses @ measured) / measured.sum() == pytest.approx(logs[0]["loss"], rel=1e-5)


def test_batches_without_padding_and_adapters_are_seen_through(model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    logs, sums = [], []
    for settings in ({}, {"padding_free": True, "max_length": None}, {"peft_config": LoraConfig(r=2)}):
        mix = tp.TrainingMixture(SHARES, texts(), seed=1)
        trainer = make(model, tmp_path, mix, max_steps=1, **settings)
        callback = mix.attach(trainer)
        trainer.train()
        logs.append(trainer.state.log_history[0])
        sums.append(callback.ledger.sums[:, :4].tolist())
    assert sums[1][0][0] == sums[0][0][0]
    assert sums[2] == sums[0]
    assert sums[1] == sums[0]
    for name in SHARES:
        assert logs[2][f"mixture/loss/{name}"] == pytest.approx(logs[0][f"mixture/loss/{name}"], rel=1e-4)


def test_held_out_texts_are_prepared_by_the_trainer_and_looked_at(model: Path, tmp_path: Path) -> None:
    """Padding, which the collator decides on, makes no difference."""
    told = []
    for settings in ({}, {"padding_free": True, "max_length": None}):
        held_out = {name: data.select(range(6, 10)) for name, data in texts().items()}
        training = {name: data.select(range(6)) for name, data in texts().items()}
        mix = tp.AdaptiveMixture(training, seed=1, held_out=held_out, losses_every=1)
        trainer = make(model, tmp_path, mix, max_steps=10, save_steps=100, **settings)
        seen: list[str] = []
        mix.attach(trainer)
        prompts_seen(trainer, seen)
        trainer.train()
        assert len(mix.decisions) == 7
        assert not {row["prompt"] for data in held_out.values() for row in data} & {text[:9] for text in seen}
        first = mix.decisions[0].mixture.details["decision"]
        told.append(first["evidence"]["held_out"])
    assert all(3.0 < value < 6.0 for value in told[0])
    assert told[1] == pytest.approx(told[0], rel=1e-4)


def test_examples_that_the_trainer_drops_are_not_drawn(model: Path, tmp_path: Path) -> None:
    """A prompt that fills the length leaves no target."""
    data = texts()
    long = Dataset.from_list([{"prompt": "copy:" + "a" * 40, "completion": "b"}] * 5)
    from datasets import concatenate_datasets

    data["copy"] = concatenate_datasets([long, data["copy"]])
    mix = tp.TrainingMixture(SHARES, data, seed=1)
    trainer = make(model, tmp_path, mix, max_length=20)
    assert len(trainer.train_dataset) == len(mix.dataset) - 5
    callback = mix.attach(trainer)
    trainer.train()
    assert callback.state()["attributes"]["drawing"]["sizes"]["copy"] == len(texts()["copy"])


def test_packing_is_refused(model: Path, tmp_path: Path) -> None:
    mix = tp.TrainingMixture(SHARES, texts())
    trainer = make(model, tmp_path, mix, packing=True, max_length=32, packing_strategy="wrapped")
    assert COLUMN not in trainer.train_dataset.column_names
    with pytest.raises(tp.InputError, match="switch packing off"):
        mix.attach(trainer)
