"""ADO: more of the task whose loss falls fastest just now, forecast by a scaling law for each task.

The paper's rule runs inside training: every task k has a law L_k(n) = eps_k + b_k n^-a_k of the examples n seen so far
from all tasks together, and each step's mixture mixes the running mean of the past (90 %) with the preference

    rho_k in proportion to  mu_k  sqrt(h_k)  -dL_k/dn,         -dL_k/dn = a_k (L_k(n) - eps_k) / n

with mu the size-proportional prior and h the recent mixtures (credit: a task that was not trained on did not cause its
progress; the authors' code has h (1 - h) under the root); no preference is below 0.01.

Here is the *offline* variant: the laws are fitted once, to a pilot run on the uniform mixture, the rule is integrated
over the final budget in equal steps, and the mixture is its mean. What the online rule would learn on the way is not in
it, and neither is the paper's warm-up on the prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.fitting import nonnegative_lines
from taskpgm.types import FloatArray, InputError

EXPONENTS = np.linspace(0.05, 0.8, 76)
"""The range within which the authors' code holds a_k."""
RECENT = 0.1  # the paper's two smoothing factors, and its least preference
LEAST = 0.01


@dataclass(frozen=True)
class Ado(Baseline):
    """`steps`: into how many equal parts the budget is cut. Needs a pilot run.

    Raises:
        InputError: less than one step.
    """

    steps: int = 1_000

    name: ClassVar[str] = "ado"
    paper: ClassVar[str] = "Jiang et al. 2025, Adaptive Data Optimization, ICLR, arXiv 2410.11820; offline variant"
    needs: ClassVar[tuple[str, ...]] = ("pilot",)
    least_snapshots: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"ado: {self.steps} steps; expected at least one.")

    def propose(self, evidence: Evidence) -> FloatArray:
        pilot = given(evidence.pilot)
        seen = pilot.examples > 0
        laws = [scaling_law(pilot.examples[seen].astype(np.float64), y) for y in pilot.losses[seen].T]
        _, height, exponent = np.array(laws).T
        slopes = height * exponent * _exposures(self.steps, evidence.budget)[:, None] ** (-exponent - 1.0)
        return integrate(slopes, evidence.proportions)


def scaling_law(examples: FloatArray, losses: FloatArray) -> tuple[float, float, float]:
    """(eps, b, a) of the law eps + b n^-a with eps, b >= 0 that is nearest in least squares.

    examples: (S,) positive. losses: (S,) nats.
    """
    unit = float(examples[-1])  # powers of n / unit stay near 1
    intercept, slope, error = nonnegative_lines((examples / unit) ** -EXPONENTS[:, None], losses)
    best = int(error.argmin())
    return float(intercept[best]), float(slope[best] * unit ** EXPONENTS[best]), float(EXPONENTS[best])


def integrate(slopes: FloatArray, prior: FloatArray) -> FloatArray:
    """(n,) the mean mixture of the rule over (T, n) slopes -dL/dn at the steps, from a prior mixture."""
    mean, credit, total = prior.copy(), prior.copy(), np.zeros(len(prior))
    for step, slope in enumerate(slopes, start=1):
        preference = prior * np.sqrt(credit) * slope
        preference = preference / preference.sum() if preference.sum() > 0.0 else prior
        preference = np.maximum(preference, LEAST)
        preference /= preference.sum()
        mixture = RECENT * preference + (1.0 - RECENT) * mean
        mean += (preference - mean) / (step + 1)
        credit = RECENT * mixture + (1.0 - RECENT) * credit
        total += mixture
    return np.asarray(total / total.sum())


def _exposures(steps: int, budget: int) -> FloatArray:
    return np.asarray(budget * np.arange(1, steps + 1) / steps, dtype=np.float64)
