"""Between size-proportional and uniform: sizes to the power 1 / T.

T = 1 is proportional, T = 2 the square root of the sizes, and as T grows the mixture becomes uniform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline
from taskpgm.baselines.evidence import Evidence
from taskpgm.types import FloatArray, InputError


@dataclass(frozen=True)
class Temperature(Baseline):
    """p_i in proportion to sizes_i^(1 / T). Needs nothing.

    Raises:
        InputError: a temperature that is not positive.
    """

    temperature: float = 2.0

    paper: ClassVar[str] = "Arivazhagan et al. 2019, Massively Multilingual NMT in the Wild, arXiv 1907.05019"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0.0):
            raise InputError(f"temperature = {self.temperature}: expected a positive number.")

    @property
    def name(self) -> str:
        return f"temperature-{self.temperature:g}"

    def propose(self, evidence: Evidence) -> FloatArray:
        largest = evidence.sizes / evidence.sizes.max()  # powers of at most 1 cannot overflow
        weights = largest ** (1.0 / self.temperature)
        return np.asarray(weights / weights.sum())
