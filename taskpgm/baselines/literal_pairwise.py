"""The pairwise energy to the letter: utilities against similarities, nothing scaled, nothing held back.

E(p) = -u'p + 1/2 p'Sp with S = 1 - J / ln 2 and no floor. Here to show what the careful version is for: a task with
weight 0 is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taskpgm.affinity import LinearSimilarity
from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.solving import minimiser
from taskpgm.inference import SimplexQP
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class LiteralPairwise(Baseline):
    """beta = lam = 1, linear similarity, no bounds. Needs affinity, and uses its utility (learnability by default)."""

    name: ClassVar[str] = "pairwise-literal"
    paper: ClassVar[str] = "TaskPGM, arXiv 2507.12612, as reconstructed in this project from its abstract"
    needs: ClassVar[tuple[str, ...]] = ("affinity",)

    def propose(self, evidence: Evidence) -> FloatArray:
        affinity = given(evidence.affinity)
        similarity = LinearSimilarity().of(affinity.divergence)
        return minimiser(TaskNetwork(affinity.utility, similarity, affinity.names), SimplexQP())
