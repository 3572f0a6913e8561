"""The same weight for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline
from taskpgm.baselines.evidence import Evidence
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class Uniform(Baseline):
    """p_i = 1 / n. Needs nothing."""

    name: ClassVar[str] = "uniform"
    paper: ClassVar[str] = "equal mixing, as in Raffel et al. 2020 (T5), JMLR 21(140), section 3.5.2"

    def propose(self, evidence: Evidence) -> FloatArray:
        return np.full(len(evidence), 1.0 / len(evidence))
