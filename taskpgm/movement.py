"""How alike experts changed the base model: cosines between the changes of their attention weights.

Losses show what an expert answers. Two tasks that share a mechanism and no answer (copying letters as they are, and
copying each shifted by one) change the same heads in the same way, which shows here alone.

    expert_movement(experts)            # (n, n) in [0, 1], 1 on the diagonal; None for adapters

Of larger models every k-th row and column of every matrix is taken, half a million numbers in all: cosines to about
0.0014. Of hundreds of experts fewer, so that all of them together take 256 megabytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from taskpgm.contradictions import contested_prompts
from taskpgm.interplay import Interplay
from taskpgm.types import FloatArray, LossCurves, Task, readonly

if TYPE_CHECKING:
    from taskpgm.experts import Experts

Matrices: TypeAlias = dict[str, tuple[int, int]]

ATTENTION = re.compile(r"(\b|_)att(n|ention)\b")
SAMPLED, SAMPLED_TOGETHER = 2**19, 2**25
DIGITS = 6
"""So that the order in which a machine adds up is not seen in files."""


def interplay_of(experts: Experts, tasks: Iterable[Task], losses: LossCurves) -> Interplay:
    """All that experts, their learning curves, and the tasks' texts tell of the tasks in one run."""
    return Interplay.of(losses, contested_prompts(tasks), expert_movement(experts))


def expert_movement(experts: Experts) -> FloatArray | None:
    """(n, n) how alike the experts changed their base.

    None where adapters were trained, or nothing was: what those say of tasks in one run was not studied.
    """
    if not experts.settings.have_curves or experts.training.lora is not None:
        return None
    return movement(experts.directories, experts.base.path)


def movement(experts: Sequence[Path], base: Path) -> FloatArray | None:
    """(n, n) cosines of the changes from the model in one folder to those in others, 0 where they point apart.

    Of all matrices where none is named as attention's; None where the folders name no matrix alike.
    """
    shared = set(_matrices(base).items()).intersection(*(_matrices(folder).items() for folder in set(experts)))
    chosen = {name: shape for name, shape in sorted(shared) if ATTENTION.search(name)} or dict(sorted(shared))
    if not chosen:
        return None
    kept = min(SAMPLED, SAMPLED_TOGETHER // len(experts))
    step = max(1, math.ceil(math.sqrt(sum(map(math.prod, chosen.values())) / kept)))
    start = _sample(base, chosen, step)
    moved = np.array([_sample(folder, chosen, step) - start for folder in experts])
    products = moved @ moved.T
    lengths = np.sqrt(np.diag(products))
    cosines = products / np.maximum(np.outer(lengths, lengths), np.finfo(np.float64).tiny)
    np.fill_diagonal(cosines, 1.0)
    return readonly(np.clip(cosines.round(DIGITS), 0.0, 1.0), np.float64)


def _matrices(folder: Path) -> Matrices:
    """The shapes of a model's matrices."""
    shapes = {name: tuple(file.get_slice(name).get_shape()) for file in _files(folder) for name in file.keys()}  # noqa: SIM118
    return {name: (shape[0], shape[1]) for name, shape in shapes.items() if len(shape) == 2}


def _sample(folder: Path, chosen: Matrices, step: int) -> FloatArray:
    """Every step-th row and column of the chosen matrices, one after the other in the order of their names."""
    parts = {}
    for file in _files(folder):
        for name in chosen.keys() & set(file.keys()):
            rows = file.get_slice(name)
            kept = [rows[:]] if step == 1 else [rows[k : k + 1] for k in range(step // 2, chosen[name][0], step)]
            parts[name] = np.concatenate([row[:, step // 2 :: step].double().numpy().ravel() for row in kept] or [[]])
    return np.concatenate([parts[name] for name in chosen])


def _files(folder: Path) -> list[Any]:
    from safetensors import safe_open

    return [safe_open(path, framework="pt") for path in sorted(folder.glob("*.safetensors"))]
