"""Held-out gain: what training on a task does for the tasks that the user cares about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.checks import checked_targets
from taskpgm.types import FloatArray, Predictions
from taskpgm.utilities.utility import Utility, gain_matrix


@dataclass(frozen=True)
class HeldoutGain(Utility):
    """u_i = sum_j v_j G_ij in nats per target token, with target weights v by task name (equal where not given)."""

    target_weights: Mapping[str, float] | None = None

    name: ClassVar[str] = "heldout_gain"

    def evaluate(self, predictions: Predictions, similarity: FloatArray) -> FloatArray:
        return np.asarray(gain_matrix(predictions) @ checked_targets(self.target_weights, predictions.names))
