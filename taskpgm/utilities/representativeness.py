"""Representativeness: how much a task's expert behaves like the others on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.types import FloatArray, Predictions
from taskpgm.utilities.utility import Utility


@dataclass(frozen=True)
class Representativeness(Utility):
    """u = S 1/n, the mean similarity to all tasks. With beta = lam it gives the uniform mixture (DESIGN fact 8).

    Beware: it rewards experts that barely moved away from the base, since these are like everything.
    """

    name: ClassVar[str] = "representativeness"

    def evaluate(self, predictions: Predictions, similarity: FloatArray) -> FloatArray:
        return np.asarray(similarity.mean(axis=1))
