"""Chameleon: weights from kernel ridge leverage scores of the tasks, how much each adds that the others lack.

With K the centred similarity of the tasks and mu a ridge, task i's score is the i-th diagonal entry of K (K + mu I)^-1:
high for a task that the others do not span, low for one of a crowd. The paper uses *inverse* scores for pretraining,
where common ground is worth more, and for *fine-tuning the scores themselves*: unique tasks get more. This is the
fine-tuning rule: a softmax of the normalised scores at temperature 0.2, as in the authors' code.

Two things differ from the paper for lack of its embeddings: the kernel is the affinity's similarity instead of inner
products of hidden states, and since that has no scale to set the paper's ridge against, mu is in units of K's mean
eigenvalue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.types import FloatArray, InputError


@dataclass(frozen=True)
class Chameleon(Baseline):
    """p_i in proportion to exp(score_i / temperature), scores with sum 1. Needs affinity.

    Raises:
        InputError: a ridge or a temperature that is not positive.
    """

    ridge: float = 1.0
    temperature: float = 0.2

    name: ClassVar[str] = "chameleon"
    paper: ClassVar[str] = "Xie, Tonin & Cevher 2025, Chameleon, ICML, arXiv 2505.24844"
    needs: ClassVar[tuple[str, ...]] = ("affinity",)

    def __post_init__(self) -> None:
        if not (self.ridge > 0.0 and self.temperature > 0.0):
            raise InputError(f"chameleon: ridge {self.ridge} and temperature {self.temperature} must be positive.")

    def propose(self, evidence: Evidence) -> FloatArray:
        scores = leverage_scores(given(evidence.affinity).similarity, self.ridge)
        weights = np.exp((scores - scores.max()) / self.temperature)
        return np.asarray(weights / weights.sum())


def leverage_scores(similarity: FloatArray, ridge: float) -> FloatArray:
    """(n,) ridge leverage scores of the centred (n, n) kernel, scaled to sum 1; equal where no two tasks differ."""
    n = len(similarity)
    centring = np.eye(n) - 1.0 / n
    values, vectors = np.linalg.eigh(centring @ similarity @ centring)
    values = np.maximum(values, 0.0)
    if values.sum() <= 1e-12 * np.abs(similarity).sum():
        return np.full(n, 1.0 / n)
    scores = vectors**2 @ (values / (values + ridge * values.mean()))
    return np.asarray(scores / scores.sum())
