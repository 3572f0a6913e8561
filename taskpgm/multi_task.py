"""Experts from one run on all tasks together, each trained on for a few steps on its own task.

    directories, point = multi_task_experts(tasks, base, out, training, settings, progress, executor)

Each goes on from the end of the shared run for `own_steps`, whole or, with `training.lora`, in the adapter that the
shared run left. So an expert's folder holds what any expert's does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taskpgm.base import Base
from taskpgm.config import TrainingSettings
from taskpgm.executors import Executor, Item
from taskpgm.expert_settings import ExpertSettings
from taskpgm.fine_tuning import training_sequence
from taskpgm.progress import Progress
from taskpgm.shared_run import Memory, Stretch, from_shared_run, stretch_item, train_stretch
from taskpgm.tokens import TokenTask


def multi_task_experts(
    tasks: Sequence[TokenTask],
    base: Base,
    out: Path,
    training: TrainingSettings,
    settings: ExpertSettings,
    progress: Progress,
    executor: Executor,
) -> tuple[list[Path], Path]:
    """(the folder of each expert, that of the shared run), trained where they are missing.

    Raises:
        InputError: training diverges.
    """
    own = settings.own_training(training)

    def item(task: TokenTask, directory: Path, point: Path, memory: Memory) -> Item:
        sequence = tuple(training_sequence(task.train, own))
        stretch = Stretch(f"the expert of task {task.name!r}", sequence, base, own)
        return stretch_item(stretch, train_stretch, directory, point, memory)

    return from_shared_run(tasks, base, out, training, {"training": own.determining()}, item, progress, executor)
