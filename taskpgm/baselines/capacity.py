"""Capacity: the mixture under which a prediction tells most about the expert that it comes from.

The mutual information of `taskpgm.CapacityMixture`, maximised over the simplex without utilities: redundancy is
measured on the predictive distributions themselves, of which pairwise divergences are the second order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.solving import minimiser
from taskpgm.capacity import CapacityMixture
from taskpgm.inference import MirrorDescent
from taskpgm.judge import GAP_TOLERANCE
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class Capacity(Baseline):
    """Each task's contexts weigh as much as the user cares about it. Needs predictions."""

    name: ClassVar[str] = "capacity"
    paper: ClassVar[str] = "Arimoto 1972; Blahut 1972: the capacity of a channel, here from tasks to tokens"
    needs: ClassVar[tuple[str, ...]] = ("predictions",)

    def propose(self, evidence: Evidence) -> FloatArray:
        predictions = given(evidence.predictions)
        weights = predictions.weights * evidence.target_weights[predictions.context_task]
        problem = CapacityMixture(predictions.log_probs, weights, names=evidence.names)
        return minimiser(problem, MirrorDescent(gap=GAP_TOLERANCE))
