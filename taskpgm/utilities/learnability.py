"""Learnability: the share of a task's loss that its own expert removes beyond what the answer frequencies explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.types import FloatArray, Predictions
from taskpgm.utilities.utility import Utility, task_means


@dataclass(frozen=True)
class Learnability(Utility):
    """u_i = max(0, 1 - loss of expert i on task i / loss of task i's target marginal), between 0 and 1.

    The target marginal predicts each target position from the training targets alone, without the prompt. A task of
    pure noise scores 0: its best expert knows the marginal and nothing more.
    """

    name: ClassVar[str] = "learnability"

    def evaluate(self, predictions: Predictions, similarity: FloatArray) -> FloatArray:
        expert_loss = -np.diag(task_means(predictions, predictions.target_log_probs))
        marginal_loss = -task_means(predictions, predictions.marginal_log_probs)
        # a task whose answer never varies has nothing to learn: its marginal loss is (nearly) zero
        share = 1.0 - expert_loss / np.maximum(marginal_loss, 1e-3)
        return np.asarray(np.clip(share, 0.0, 1.0))
