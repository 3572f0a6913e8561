"""SMART: tasks are picked greedily for a submodular function, and what each pick gains becomes its weight.

With the similarities S of the tasks, the functions of a set A of tasks are

    graph cut            f(A) = sum over all i and j in A of S_ij  -  lambda sum over i, j in A of S_ij
    facility location    f(A) = sum over all i of the largest S_ij, j in A

All tasks are picked, one by one; the gains go through the second-order Taylor softmax, 1 + g + g^2 / 2. A task that
gets more than it has examples hands the surplus to the others in equal parts, as in the authors' code, unless all data
together are too few. Graph cut with lambda = 0.4 is the authors' choice for tasks. The kernel is the affinity's
similarity instead of cosines of prompt embeddings; of equal gains the first name in the alphabet is picked.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.unimax import level
from taskpgm.types import FloatArray, InputError

PAPER = "Renduchintala, Bhatia & Ramakrishnan 2024, SMART, arXiv 2403.08370"
DIGITS = 12  # gains that agree so far are equal: rounding must not decide who is picked


class GreedyGains(Baseline):
    """The part that both functions share. Needs affinity."""

    @abc.abstractmethod
    def gains(self, similarity: FloatArray, picked: list[int]) -> FloatArray:
        """(n,) what adding each task to the picked ones adds to the function."""

    @final
    def propose(self, evidence: Evidence) -> FloatArray:
        similarity = given(evidence.affinity).similarity
        found = np.zeros(len(evidence))
        left, picked = sorted(range(len(evidence)), key=evidence.names.__getitem__), list[int]()
        while left:
            gains = self.gains(similarity, picked).round(DIGITS)
            best = max(left, key=gains.__getitem__)
            found[best] = gains[best]
            left.remove(best)
            picked.append(best)
        weights = 1.0 + found + 0.5 * found**2
        weights = weights / weights.sum()
        caps = evidence.sizes / evidence.budget
        return level(weights, caps) if caps.sum() > 1.0 else np.asarray(weights)


@dataclass(frozen=True)
class SmartGraphCut(GreedyGains):
    """Raises InputError for a redundancy (the lambda above) outside 0 to 1/2, where the function is not monotone."""

    redundancy: float = 0.4

    name: ClassVar[str] = "smart-graph-cut"
    paper: ClassVar[str] = PAPER
    needs: ClassVar[tuple[str, ...]] = ("affinity",)

    def __post_init__(self) -> None:
        if not 0.0 <= self.redundancy <= 0.5:
            raise InputError(f"smart: redundancy = {self.redundancy}; expected a number between 0 and 0.5.")

    def gains(self, similarity: FloatArray, picked: list[int]) -> FloatArray:
        repeated = 2.0 * similarity[:, picked].sum(axis=1) + np.diag(similarity)
        return np.asarray(similarity.sum(axis=1) - self.redundancy * repeated)


@dataclass(frozen=True)
class SmartFacilityLocation(GreedyGains):
    """Needs affinity, like graph cut."""

    name: ClassVar[str] = "smart-facility-location"
    paper: ClassVar[str] = PAPER
    needs: ClassVar[tuple[str, ...]] = ("affinity",)

    def gains(self, similarity: FloatArray, picked: list[int]) -> FloatArray:
        covered = similarity[:, picked].max(axis=1, initial=0.0)
        return np.asarray(np.maximum(similarity - covered[:, None], 0.0).sum(axis=0))
