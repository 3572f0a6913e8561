"""Small runs of transformers' Trainer on a mixture, written down: what they drew, logged and ended with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

from taskpgm import TrainingMixture
from taskpgm.suite import build_tokenizer

SHARES = {"upper": 0.5, 'a/b "</script>"\n': 0.3, "été": 0.2}
SIZES = {"upper": 11, 'a/b "</script>"\n': 40, "été": 7}


class StopError(Exception):
    """A run that dies in the middle."""


class StopAt(TrainerCallback):  # type: ignore[misc]
    """Dies when a step ends, before that step is saved."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise StopError


def data_of(name: str, size: int) -> Dataset:
    """Examples of 4 to 9 tokens; the first two of each name task and row, so that a batch says what is in it."""
    rng = np.random.default_rng(size)
    tasks = sorted(SIZES)
    rows = [[10 + tasks.index(name), 20 + row, *rng.integers(4, 60, 2 + row % 6)] for row in range(size)]
    return Dataset.from_dict(
        {
            "input_ids": [list(map(int, row)) for row in rows],
            "attention_mask": [[1] * len(row) for row in rows],
            "labels": [[-100, -100, *map(int, row[2:])] for row in rows],
        }
    )


def all_data() -> dict[str, Dataset]:
    return {name: data_of(name, size) for name, size in SIZES.items()}


@dataclass
class Run:
    """What a run did. seen: (task, row) of every example that went through the model, in order."""

    seen: list[tuple[int, int]]
    weights: dict[str, torch.Tensor]
    logs: list[dict[str, float]]
    callback: Any


def make_trainer(model: Any, out: Path, data: Any, callbacks: Any = (), **settings: Any) -> Trainer:
    """A Trainer over data; the model is one, or the folder of one."""
    tokenizer = build_tokenizer()
    arguments = {
        "output_dir": str(out),
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "save_steps": 3,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": True,
        **settings,
    }
    return Trainer(
        model=AutoModelForCausalLM.from_pretrained(model) if isinstance(model, Path) else model,
        args=TrainingArguments(**arguments),
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=list(callbacks),
    )


def train(
    model: Any,
    out: Path,
    *,
    stop: int | None = None,
    resume: bool = False,
    mixture: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """One training run, perhaps one that dies at a step or goes on from a checkpoint."""
    given = {"seed": 3, "losses_every": 1, **(mixture or {})}
    decisions = {key: given.pop(key) for key in ("decide", "decide_every") if key in given}
    mix = TrainingMixture(SHARES, all_data(), **given)
    trainer = make_trainer(model, out, mix.dataset, [StopAt(stop)], **settings)
    callback = mix.attach(trainer, **decisions)
    seen, weights = watched(trainer, stop, resume)
    return Run(seen, weights, trainer.state.log_history, callback)


def watched(trainer: Any, stop: int | None, resume: bool) -> tuple[list[tuple[int, int]], dict[str, torch.Tensor]]:
    """Train, perhaps until a step where it dies: (task, row) of every example in order, and the weights at the end."""
    seen: list[tuple[int, int]] = []
    inner = trainer.training_step

    def noting(model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        seen.extend((int(row[0]) - 10, int(row[1]) - 20) for row in inputs["input_ids"])
        return inner(model, inputs, num_items_in_batch)

    trainer.training_step = noting
    try:
        trainer.train(resume_from_checkpoint=resume)
    except StopError:
        assert stop is not None
    weights = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
    return seen, weights
