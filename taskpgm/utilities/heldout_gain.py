"""Held-out gain: what training on a task does for the tasks that the user cares about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.types import FloatArray, InputError, Predictions
from taskpgm.utilities.utility import Utility, gain_matrix


@dataclass(frozen=True)
class HeldoutGain(Utility):
    """u_i = sum_j v_j G_ij in nats per target token, with target weights v by task name (equal where not given)."""

    target_weights: Mapping[str, float] | None = None

    name: ClassVar[str] = "heldout_gain"

    def evaluate(self, predictions: Predictions, similarity: FloatArray) -> FloatArray:
        names = predictions.names
        weights = dict.fromkeys(names, 1.0) if self.target_weights is None else self.target_weights
        unknown = [name for name in weights if name not in names]
        if unknown:
            raise InputError(f"target weight for {unknown[0]!r}: there is no task of that name.")
        v = np.array([weights.get(name, 0.0) for name in names])
        if not np.all(np.isfinite(v)) or v.min() < 0.0 or v.sum() <= 0.0:
            raise InputError("target weights: expected numbers that are not negative and not all 0.")
        return np.asarray(gain_matrix(predictions) @ (v / v.sum()))
