"""The pairwise energy with this package's defaults: sharpened similarity, balanced beta, a floor under every weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.solving import minimiser
from taskpgm.inference import SimplexQP
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class CarefulPairwise(Baseline):
    """`TaskNetwork.from_affinity` and nothing else. Needs affinity."""

    name: ClassVar[str] = "pairwise-careful"
    paper: ClassVar[str] = "TaskPGM, arXiv 2507.12612, as reconstructed in this project, with its defaults"
    needs: ClassVar[tuple[str, ...]] = ("affinity",)

    def propose(self, evidence: Evidence) -> FloatArray:
        return minimiser(TaskNetwork.from_affinity(given(evidence.affinity)), SimplexQP())
