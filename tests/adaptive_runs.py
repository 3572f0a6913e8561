"""Small runs of transformers' Trainer on a mixture that learns while it trains, and what they left behind.

As a program it is one process of such a run, which dies the hard way at a step: python adaptive_runs.py MODEL OUT STOP.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mixture_runs import SIZES, StopAt, all_data, data_of, make_trainer, watched
from transformers import TrainerCallback

import taskpgm as tp

STEPS = 12


@dataclass
class AdaptiveRun:
    """seen: (task, row) of every example that went through the model, in order; rows from 100 on are held out."""

    seen: list[tuple[int, int]]
    weights: dict[str, torch.Tensor]
    files: dict[str, bytes]
    mix: tp.AdaptiveMixture
    trainer: Any
    callback: Any


class KillAt(TrainerCallback):  # type: ignore[misc]
    """Kills its own process when a step ends, before that step is saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def held_out_data() -> dict[str, Any]:
    """Four examples of each task that are in no training data."""
    return {name: data_of(name, 44).select(range(40, 44)) for name in SIZES}


def adapt(
    model: Any,
    out: Path,
    *,
    stop: int | None = None,
    resume: bool = False,
    data: dict[str, Any] | None = None,
    callbacks: Any = (),
    mixture: dict[str, Any] | None = None,
    **settings: Any,
) -> AdaptiveRun:
    """One run, perhaps one that dies at a step or goes on from a checkpoint."""
    mix = tp.AdaptiveMixture(data or all_data(), **{"seed": 3, "losses_every": 1, **(mixture or {})})
    arguments = {"max_steps": STEPS, "save_steps": 1, "logging_steps": 4, **settings}
    trainer = make_trainer(model, out, mix.dataset, [StopAt(stop), *callbacks], **arguments)
    callback = mix.attach(trainer)
    seen, weights = watched(trainer, stop, resume)
    return AdaptiveRun(seen, weights, files_in(out), mix, trainer, callback)


def files_in(out: Path) -> dict[str, bytes]:
    """The decisions that a run wrote."""
    return {path.name: path.read_bytes() for path in (out / "mixtures").glob("*")}


if __name__ == "__main__":
    folder, stop_at = Path(sys.argv[2]), int(sys.argv[3])
    run = adapt(
        Path(sys.argv[1]),
        folder,
        resume=any(folder.glob("checkpoint-*")),
        callbacks=[KillAt(stop_at)],
        mixture={"held_out": held_out_data()},
        max_steps=20,
        dataloader_num_workers=1,
    )
    told = {
        "seen": run.seen,
        "weights": {name: value.double().sum().item() for name, value in run.weights.items()},
        "decisions": [decision.as_dict() for decision in run.mix.decisions],
    }
    (folder.parent / f"{folder.name}-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(told))
