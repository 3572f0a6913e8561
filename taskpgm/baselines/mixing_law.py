"""The mixing law for supervised fine-tuning: a power law of a task's own data and what the others' is worth to it.

With N_j examples of task j and D_j of all the others together, each task's loss is modelled as

    L_j = E_j + C_j (N_j + k_j D_j^a_j)^-b_j

k_j D_j^a_j is the *effective data transferred*. The five numbers of each task are fitted by least squares to short runs
on perturbed mixtures, and sum_j v_j L_j at the final budget is minimised over the simplex. N_j + k_j D_j^a_j is concave
in N_j for a_j <= 1 and a negative power falls and is convex, so the sum is convex; and since each term depends on its
own weight only, one slope common to all tasks solves it, where the authors call a general solver. This is the nearest
relative of the coverage energy, in which experts take the place of perturbed mixtures and transfer is told by source.

In shares x = N_j / N of a run of N examples, N_j + k_j D_j^a_j = N (x + kappa (1 - x)^a_j), kappa = k_j N^(a_j - 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.fitting import nonnegative_lines
from taskpgm.baselines.solving import on_simplex
from taskpgm.types import FloatArray

LEAST = np.array([-6.0, 0.01, -2.0])
"""log10 kappa, a, log10 b: from no transfer and hardly any learning ..."""
MOST = np.array([1.0, 1.0, 1.0])
"""... to all data being worth ten times a task's own, and the tenth power."""

STEPS = 100


@dataclass(frozen=True, eq=False)
class Law:
    """L_j(x) = floor + height (x + kappa (1 - x)^transfer)^-decay for each task, (n,) each, at one budget."""

    floor: FloatArray
    height: FloatArray
    kappa: FloatArray
    transfer: FloatArray
    decay: FloatArray

    def losses(self, mixture: FloatArray) -> FloatArray:
        """(n,) nats per target token."""
        rest = np.maximum(1.0 - mixture, 0.0)
        return np.asarray(self.floor + self.height * (mixture + self.kappa * rest**self.transfer) ** -self.decay)

    def slopes(self, mixture: FloatArray) -> FloatArray:
        """(n,) dL_j / dx_j."""
        rest = np.maximum(1.0 - mixture, 1e-12)  # at x = 1 the slope of (1 - x)^a is infinite
        effective = mixture + self.kappa * rest**self.transfer
        rate = 1.0 - self.kappa * self.transfer * rest ** (self.transfer - 1.0)
        return np.asarray(-self.height * self.decay * effective ** (-self.decay - 1.0) * rate)

    def at(self, factor: float) -> Law:
        """The same law at a budget larger by a factor."""
        kappa = self.kappa * factor ** (self.transfer - 1.0)
        return replace(self, height=self.height * factor**-self.decay, kappa=kappa)


@dataclass(frozen=True)
class SftMixingLaw(Baseline):
    """Needs proxies, at least one for each of a law's five numbers; the authors perturb each task's share in turn."""

    name: ClassVar[str] = "sft-mixing-law"
    paper: ClassVar[str] = "Li, Liu & Xing 2025, Data Mixing Optimization for SFT, ICML, arXiv 2508.11953"
    needs: ClassVar[tuple[str, ...]] = ("proxies",)
    least_runs: ClassVar[int] = 5

    def propose(self, evidence: Evidence) -> FloatArray:
        proxies = given(evidence.proxies)
        law = fit(proxies.mixtures, proxies.losses).at(evidence.budget / proxies.budget)
        return least_sum(lambda p: evidence.target_weights * law.slopes(p), len(evidence))


def fit(mixtures: FloatArray, losses: FloatArray) -> Law:
    """The laws nearest in least squares to the (R, n) losses of (R, n) mixtures of one budget."""
    columns = zip(np.ascontiguousarray(mixtures.T), np.ascontiguousarray(losses.T), strict=True)
    return Law(*np.array([_fit_one(x, y) for x, y in columns]).T)


def _fit_one(shares: FloatArray, losses: FloatArray) -> tuple[float, float, float, float, float]:
    """(floor, height, kappa, transfer, decay): a grid, then steps from its best points; the first two are linear."""

    def lines(theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        kappa, transfer, decay = 10.0 ** theta[:, :1], theta[:, 1:2], 10.0 ** theta[:, 2:]
        z = (shares + kappa * (1.0 - shares) ** transfer) ** -decay
        z = np.minimum(z, 1e30)
        return z, *nonnegative_lines(z, losses)

    def residuals(theta: FloatArray) -> FloatArray:
        z, floor, height, _ = lines(theta[None, :])
        return np.asarray(floor[0] + height[0] * z[0] - losses)

    axes = [np.linspace(low, high, count) for low, high, count in zip(LEAST, MOST, (15, 5, 13), strict=True)]
    grid = np.stack(np.meshgrid(axes[1], axes[0], axes[2], indexing="ij"), axis=-1)[..., [1, 0, 2]].reshape(5, -1, 3)
    starts = [part[int(lines(part)[3].argmin())] for part in grid]  # the best of each transfer: valleys are long
    ends = [_descended(residuals, start) for start in starts]
    theta = min([*starts, *ends], key=lambda theta: float((residuals(theta) ** 2).sum()))
    _, floor, height, _ = lines(theta[None, :])
    return float(floor[0]), float(height[0]), float(10.0 ** theta[0]), float(theta[1]), float(10.0 ** theta[2])


def _descended(residuals: Callable[[FloatArray], FloatArray], start: FloatArray) -> FloatArray:
    from scipy.optimize import least_squares

    inside = np.clip(start, LEAST + 1e-3, MOST - 1e-3)
    return np.asarray(least_squares(residuals, inside, bounds=(LEAST, MOST), xtol=1e-10, max_nfev=STEPS).x)


def least_sum(slopes: Callable[[FloatArray], FloatArray], n: int) -> FloatArray:
    """(n,) the mixture that minimises a sum of convex functions of one weight each, from their slopes.

    slopes: of (..., n) weights. The weights at which all slopes are `common` grow with it; the `common` at which they
    add up to 1 is searched for. Weights that are not determined (a flat function) share evenly between the two ends.
    """

    def weights(common: FloatArray) -> FloatArray:
        """(K, n) for (K,) common slopes."""
        low, high = np.zeros((len(common), n)), np.ones((len(common), n))
        for _ in range(54):
            middle = 0.5 * (low + high)
            below = slopes(middle) < common[:, None]
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    even = slopes(np.full(n, 1.0 / n))  # some weight is at least 1 / n and some at most
    margin = 1e-9 * float(np.abs(even).max()) + 1e-300
    low, high = float(even.min()) - margin, float(even.max()) + margin
    for _ in range(13):
        common = np.linspace(low, high, 17)
        above = 1 + int((weights(common[1:-1]).sum(axis=1) < 1.0).sum())
        low, high = float(common[above - 1]), float(common[above])
    under, over = weights(np.array([low, high]))
    total = float((over - under).sum())
    p = under + (1.0 - under.sum()) / total * (over - under) if total > 0.0 else over
    return on_simplex(p)
