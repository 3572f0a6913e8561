"""What a utility is, and the means over a task's probes that several of them use."""

from __future__ import annotations

import abc
from typing import ClassVar

import numpy as np

from taskpgm.types import Float32Array, FloatArray, Predictions


class Utility(abc.ABC):
    """One rule for the unary potentials."""

    name: ClassVar[str]

    @abc.abstractmethod
    def evaluate(self, predictions: Predictions, similarity: FloatArray) -> FloatArray:
        """(n,) utilities in the order of predictions.names; similarity is (n, n)."""


def task_means(predictions: Predictions, values: Float32Array) -> FloatArray:
    """(..., n) the mean of (..., C) values over each task's contexts, in float64."""
    n = len(predictions.names)
    members = predictions.context_task[:, None] == np.arange(n)
    return np.asarray(values.astype(np.float64) @ (members / members.sum(axis=0)))


def gain_matrix(predictions: Predictions) -> FloatArray:
    """(n, n) G: what training on task i does for task j, in nats per target token of j's probes.

    G_ij = mean over j's contexts of log P_i(y) - log P_0(y), with P_0 the base model.
    """
    return task_means(predictions, predictions.target_log_probs - predictions.base_target_log_probs)
