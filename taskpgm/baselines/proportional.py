"""Every example counts the same: tasks in proportion to their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taskpgm.baselines.baseline import Baseline
from taskpgm.baselines.evidence import Evidence
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class Proportional(Baseline):
    """p_i = sizes_i / sum of sizes. Needs nothing."""

    name: ClassVar[str] = "proportional"
    paper: ClassVar[str] = "examples-proportional mixing, Raffel et al. 2020 (T5), JMLR 21(140), section 3.5.2"

    def propose(self, evidence: Evidence) -> FloatArray:
        return evidence.proportions
