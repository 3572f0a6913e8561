"""Expected losses at the end of a run that is under way, without transfer: a separable energy that need not be convex.

What is left of the budget, R, is shared out; task j has had done_j of it so far:

    E(p) = sum_j v_j loss_j(done_j + R p_j) + tau KL(p || q)

Tasks meet in the budget alone: a resource allocation problem (Ibaraki & Katoh 1988). On K quanta it is a Markov chain
over partial sums (`taskpgm.chains`), and dynamic programming is exact; over all mixtures the convex envelope of each
task's term gives a lower bound (`taskpgm.envelope_bound`), which the judge computes for every answer.

    network = SeparableNetwork(curves, done, remaining=1e6, tau=0.03)
    solution = solve(network, Allocation())             # status optimal, or bound: never convex by assumption
    exact = solve(network.levels(40), DynamicProgram())
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import Bound
from taskpgm.constraints import Constraint
from taskpgm.energy import relative_entropy
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.expected_energy import DEFAULT_TAU, ENERGY_FIELDS, FEASIBLE_FIELDS, ExpectedEnergy, checked_fields
from taskpgm.feasible import FeasibleSet
from taskpgm.learning_curves import LearningCurves
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError, IntArray

LEVEL_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False, init=False)
class SeparableNetwork(ExpectedEnergy):
    """Expected losses over the mixtures for what is left of a budget, with a pull towards a prior mixture.

    Args:
        curves: the tasks' expected curves; learning curves of experts are taken too.
        done: (n,) exposures so far, not negative, in the unit of the curves; one number for all.
        remaining: R, what is left to be shared out, in the same unit.
        target_weights: (n,) v, not negative, or by task name; scaled to add up to 1; equal where not given.
        tau: the weight of the pull to the prior, nats of loss per nat of divergence.
        prior: (n,) positive mixture; uniform where not given.
        lower, upper, constraints: of the shares of what is left, as in `FeasibleSet`.

    Raises:
        InputError: sizes that do not fit, numbers that are not finite or negative, bounds that clash.
    """

    curves: ExpectedCurves
    done: FloatArray
    remaining: float
    target_weights: FloatArray
    tau: float
    prior: FloatArray
    feasible: FeasibleSet

    def __init__(
        self,
        curves: ExpectedCurves | LearningCurves,
        done: ArrayLike,
        remaining: float,
        *,
        target_weights: ArrayLike | Mapping[str, float] | None = None,
        tau: float = DEFAULT_TAU,
        prior: ArrayLike | None = None,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        constraints: tuple[Constraint, ...] = (),
    ) -> None:
        fields = checked_fields(
            curves,
            done,
            remaining,
            target_weights=target_weights,
            tau=tau,
            prior=prior,
            lower=lower,
            upper=upper,
            constraints=constraints,
        )
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def changed(self, **fields: Any) -> SeparableNetwork:
        """This network with some of its constructor's arguments replaced."""
        kept = {name: getattr(self, name) for name in (*ENERGY_FIELDS, *FEASIBLE_FIELDS)}
        return SeparableNetwork(**(kept | fields))

    def exposures(self, mixture: ArrayLike) -> FloatArray:
        """(..., n) exposure of each task at the end of the run, from (..., n) mixtures of what is left."""
        return self.exposures_of(mixture)

    def terms(self, weights: ArrayLike) -> FloatArray:
        """(m, n) what each task adds to the energy at (m, n) weights of its own, whatever the others have."""
        p = np.asarray(weights, dtype=np.float64)
        terms = self.loss_terms(p)
        return np.asarray(terms + self.tau * relative_entropy(p, self.prior) if self.tau > 0.0 else terms)

    def smooth_gradient(self, p: FloatArray) -> FloatArray:
        """(n,) R v_j slope_j."""
        slopes = self.curves.slopes(self.exposures(np.maximum(p, 0.0)))
        return np.asarray(self.remaining * self.target_weights * slopes)

    def smooth_hessian(self, p: FloatArray) -> FloatArray:
        """(n, n) diagonal: R^2 v_j bend_j, which may be negative."""
        bends = self.curves.bends(self.exposures(np.maximum(p, 0.0)))
        return np.diag(self.remaining**2 * self.target_weights * bends)

    def levels(self, quanta: int) -> PairwiseNetwork:
        """The network on p = x / quanta, with the budget sum x = quanta: nodes without edges.

        Level x of a task runs from ceil(quanta lower) to floor(quanta upper); state s is the least level + s.

        Raises:
            InputError: fewer than one quantum, constraints on several tasks, or no levels that add up to the budget.
        """
        if quanta < 1:
            raise InputError(f"levels: quanta = {quanta}; expected at least 1.")
        if not self.only_bounds:
            raise InputError("levels: constraints on several tasks have no levels here; solve the network itself.")
        low = np.ceil(quanta * self.lower - LEVEL_TOLERANCE).astype(np.int64)
        high = np.floor(quanta * self.upper + LEVEL_TOLERANCE).astype(np.int64)
        if (low > high).any() or not low.sum() <= quanta <= high.sum():
            raise InputError(f"levels: no multiples of 1/{quanta} within the bounds add up to 1; use more quanta.")
        levels = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
        tables = self.tables(low, high, 1.0 / quanta)
        factors = [([i], tables[i, : len(x)]) for i, x in enumerate(levels)]
        sizes = [len(x) for x in levels]
        return PairwiseNetwork.from_factors(sizes, factors, names=self.names, levels=levels, budget=quanta)

    def tables(self, low: IntArray, high: IntArray, step: float, origin: ArrayLike = 0.0) -> FloatArray:
        """(n, D) each task's term at weights origin + step x, within its bounds, for x = low..high; infinite beyond."""
        x = low[:, None] + np.arange(int((high - low).max()) + 1)
        weights = np.broadcast_to(origin, (len(self),))[:, None] + step * x
        inside = np.clip(weights, self.lower[:, None], self.upper[:, None])
        return np.where(x <= high[:, None], self.terms(inside.T).T, np.inf)
