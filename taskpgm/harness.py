"""Scores of trained models on the tasks of EleutherAI's evaluation harness (lm_eval), an optional extra.

    scores = harness_scores(folder, base, settings, path)       # {"bbh": 0.41, ...}

For models of real size: BIG-Bench Hard is among its tasks ("bbh"), which the harness loads from the hub. Task files of
one's own may read local data. Scores are stored, and not computed twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from taskpgm.base import Base, device
from taskpgm.config import HarnessSettings
from taskpgm.integrity import keep_sound, read_sealed, seal, sealed_damage
from taskpgm.storage import content_hash, first_line, write_atomic
from taskpgm.types import InputError

METRICS = ("exact_match", "acc", "acc_norm", "f1")  # of a task that has several, the first is the score


def check_harness(settings: HarnessSettings) -> None:
    """Before anything is trained: the harness is there and knows the tasks.

    Raises:
        InputError: lm_eval is not installed, or has no task of some name.
    """
    manager = _task_manager(settings.folder)
    for task in settings.tasks:
        if not manager.match_tasks([task]):
            raise InputError(
                f"evaluation.harness: lm_eval has no task {task!r}; `lm_eval ls tasks` lists them, and"
                " evaluation.harness.folder adds task files of your own."
            )


def _harness() -> Any:
    try:
        return importlib.import_module("lm_eval")
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        raise InputError(
            "evaluation.harness: lm_eval is not installed; install it with: pip install 'taskpgm[harness]'."
        ) from error


@lru_cache(maxsize=1)
def _task_manager(folder: str | None) -> Any:
    """lm_eval's list of tasks, which takes seconds to make."""
    _harness()
    return importlib.import_module("lm_eval.tasks").TaskManager(include_path=folder)


def harness_scores(folder: Path, base: Base, settings: HarnessSettings) -> dict[str, float]:
    """Each harness task's score of the model in a folder: computed, or found next to the folder.

    Args:
        folder: a trained model with its tokenizer, or an adapter of the base.
        base: what an adapter is put on.
        settings: which tasks, and how many examples of each.

    Raises:
        InputError: lm_eval is not installed, or gives no known metric for a task.
    """
    asked = content_hash(settings.model_dump(mode="json"))
    path = folder.parent.parent / "harness" / f"{folder.name}-{asked}.json"
    if not (path.is_file() and keep_sound(path, sealed_damage)):
        found = _computed(_model(folder, base), settings)
        scores = {task: _score(task, values) for task, values in found.items()}
        write_atomic(path, seal({"scores": scores}))
    return {str(task): float(score) for task, score in read_sealed(path)["scores"].items()}


def _computed(model: Mapping[str, str], settings: HarnessSettings) -> Mapping[str, Mapping[str, Any]]:
    harness, manager = _harness(), _task_manager(settings.folder)
    try:
        found = harness.simple_evaluate(
            model="hf",
            model_args=model,
            device=device(),
            tasks=list(settings.tasks),
            task_manager=manager,
            limit=settings.limit,
            batch_size=settings.batch_size,
            log_samples=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # no network, no memory
        raise InputError(
            f"evaluation.harness: lm_eval failed ({type(error).__name__}: {first_line(error)})."
        ) from error
    results: Mapping[str, Mapping[str, Any]] = found["results"]
    return results


def _model(folder: Path, base: Base) -> dict[str, str]:
    """What lm_eval's loader takes. An adapter that was trained on a base in few bits goes on the base as it is."""
    if (folder / "adapter_config.json").is_file():
        return {"pretrained": str(base.path), "peft": str(folder), "tokenizer": str(folder)}
    return {"pretrained": str(folder)}


def _score(task: str, values: Mapping[str, Any]) -> float:
    """The first known metric; the harness names them "metric,filter"."""
    for metric in METRICS:
        for name, value in values.items():
            if name.split(",")[0] == metric and isinstance(value, int | float):
                return float(value)
    raise InputError(f"evaluation.harness: task {task!r} has none of the metrics {', '.join(METRICS)}.")
