"""RegMix: a regression of each task's loss on the mixture, and the mixtures whose target loss it expects to be least.

The authors fit linear models and boosted trees to hundreds of proxy runs. Trees need that many; here each task's loss,
or its logarithm, is fitted by ridge regression on Scheffe's polynomials of a mixture, sum_i c_i p_i and perhaps
+ sum_{i<j} c_ij p_i p_j. Degree, logarithm and ridge are those that foretell left-out runs best.

As in the authors' code, 100,000 candidates are drawn from a Dirichlet distribution about the size-proportional mixture,
and the mean of the 128 with the least predicted loss is the answer. Their distribution has the concentration 1, under
which most candidates are nearly a single task; the default here is n, which fills the simplex evenly where tasks are of
one size. The candidates are drawn for the tasks in the order of their names: reordering tasks reorders the answer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.types import FloatArray, InputError

RIDGES = np.logspace(-8.0, 2.0, 21)


@dataclass(frozen=True)
class RegMix(Baseline):
    """concentration: of the Dirichlet distribution, n where not given. Needs proxies.

    Raises:
        InputError: fewer than one candidate kept, fewer candidates than that, or no concentration.
    """

    candidates: int = 100_000
    kept: int = 128
    concentration: float | None = None
    seed: int = 0

    name: ClassVar[str] = "regmix"
    paper: ClassVar[str] = "Liu et al. 2025, RegMix: Data Mixture as Regression, ICLR, arXiv 2407.01492"
    needs: ClassVar[tuple[str, ...]] = ("proxies",)
    least_runs: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if not 1 <= self.kept <= self.candidates:
            raise InputError(f"regmix: {self.kept} of {self.candidates} candidates kept; expected 1 to all of them.")
        if self.concentration is not None and not self.concentration > 0.0:
            raise InputError(f"regmix: concentration = {self.concentration}; expected a positive number.")

    def propose(self, evidence: Evidence) -> FloatArray:
        proxies = given(evidence.proxies)
        drawn = self._drawn(evidence)
        expected = np.zeros(self.candidates)
        for weight, losses in zip(evidence.target_weights, np.ascontiguousarray(proxies.losses.T), strict=True):
            if weight > 0.0:
                expected += weight * fit(proxies.mixtures, losses).losses(drawn)
        best = np.argsort(expected, kind="stable")[: self.kept]
        p = drawn[best].mean(axis=0)
        return np.asarray(p / p.sum())

    def _drawn(self, evidence: Evidence) -> FloatArray:
        """(candidates, n) mixtures."""
        by_name = sorted(range(len(evidence)), key=evidence.names.__getitem__)
        concentration = len(evidence) if self.concentration is None else self.concentration
        drawn = np.empty((self.candidates, len(evidence)))
        rng = np.random.default_rng(self.seed)
        drawn[:, by_name] = rng.dirichlet(concentration * evidence.proportions[by_name], self.candidates)
        return drawn


@dataclass(frozen=True, eq=False)
class Surface:
    """A task's loss p'Mp, or exp(p'Mp), at a mixture p. quadratic: (n, n) upper triangular M."""

    quadratic: FloatArray
    logarithm: bool

    def losses(self, mixtures: FloatArray) -> FloatArray:
        """(R,) nats per target token of (R, n) mixtures."""
        values = ((mixtures @ self.quadratic) * mixtures).sum(axis=1)
        return np.asarray(np.exp(values) if self.logarithm else values)


def fit(mixtures: FloatArray, losses: FloatArray) -> Surface:
    """The surface that foretells left-out runs best, of (R, n) mixtures with (R,) losses in nats."""
    best, least = Surface(np.zeros((0, 0)), False), np.inf
    for degree, logarithm in itertools.product((1, 2), (False, True)):
        if logarithm and losses.min() <= 0.0:
            continue
        values = np.log(losses) if logarithm else losses
        centre = float(values.mean())
        x = features(mixtures, degree)
        for ridge in RIDGES:
            inverse = np.linalg.inv(x @ x.T + ridge * np.eye(len(x)))
            dual = inverse @ (values - centre)
            foretold = values - dual / np.diag(inverse)  # each run from a fit without it (Allen 1974)
            error = float((((np.exp(foretold) if logarithm else foretold) - losses) ** 2).sum())
            if error < least:
                best, least = Surface(_quadratic(x.T @ dual, centre, mixtures.shape[1]), logarithm), error
    return best


def features(mixtures: FloatArray, degree: int) -> FloatArray:
    """(R, n) the weights themselves, and for degree 2 beside them the (R, n (n - 1) / 2) products of any two."""
    if degree == 1:
        return mixtures
    first, second = np.triu_indices(mixtures.shape[1], 1)
    return np.concatenate([mixtures, mixtures[:, first] * mixtures[:, second]], axis=1)


def _quadratic(coefficients: FloatArray, centre: float, n: int) -> FloatArray:
    """(n, n) M of centre + sum_i c_i p_i + sum_{i<j} c_ij p_i p_j: on the simplex p_i = p_i sum_j p_j."""
    linear = coefficients[:n] + centre
    quadratic = np.triu(linear[:, None] + linear[None, :])
    np.fill_diagonal(quadratic, linear)
    if len(coefficients) > n:
        quadratic[np.triu_indices(n, 1)] += coefficients[n:]
    return np.asarray(quadratic)
