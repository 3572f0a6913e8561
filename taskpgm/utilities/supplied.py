"""Utilities that the user supplies, by task name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.types import FloatArray, InputError, Predictions
from taskpgm.utilities.utility import Utility


@dataclass(frozen=True)
class Supplied(Utility):
    """u_i as given; every task needs a value."""

    values: Mapping[str, float]

    name: ClassVar[str] = "supplied"

    def evaluate(self, predictions: Predictions, similarity: FloatArray) -> FloatArray:
        missing = [name for name in predictions.names if name not in self.values]
        unknown = [name for name in self.values if name not in predictions.names]
        if missing:
            raise InputError(f"supplied utilities: no value for task {missing[0]!r}.")
        if unknown:
            raise InputError(f"supplied utilities: {unknown[0]!r} is not a task.")
        return np.array([float(self.values[name]) for name in predictions.names])
