"""Expected losses at the end of a run that is under way: what such an energy is with or without a transfer graph.

    E(p) = sum_j v_j loss_j(e_j(p)) + tau KL(p || q)

What is left of the budget, R, is shared out by p; e_j is task j's exposure at the end. Where tasks teach each other
nothing it is done_j + R p_j (`SeparableNetwork`), with a transfer graph done_j + R sum_i A_ij p_i (`TransferNetwork`).
No curve is taken to be convex.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import Bound, array, checked_names, checked_prior, checked_scalar, checked_targets
from taskpgm.constraints import Constraint
from taskpgm.energy import MixtureEnergy
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.feasible import FeasibleSet
from taskpgm.learning_curves import LearningCurves
from taskpgm.types import FloatArray, InputError, readonly

ENERGY_FIELDS = ("curves", "done", "remaining", "target_weights", "tau", "prior")
FEASIBLE_FIELDS = ("lower", "upper", "constraints")
DEFAULT_TAU = 0.03


class ExpectedEnergy(MixtureEnergy):
    """Expected losses over the mixtures for what is left of a budget.

    curves: n tasks' expected curves. done: (n,) exposures so far. remaining: R. target_weights: (n,) v, sum 1.
    """

    curves: ExpectedCurves
    done: FloatArray
    remaining: float
    target_weights: FloatArray

    @abc.abstractmethod
    def exposures(self, mixture: ArrayLike) -> FloatArray:
        """(..., n) exposure of each task at the end of the run, from (..., n) mixtures of what is left."""

    def exposures_of(self, shares: ArrayLike) -> FloatArray:
        """(..., n) the same from (..., n) shares of what is left that count as each task's own."""
        return np.asarray(self.done + self.remaining * np.asarray(shares, dtype=np.float64))

    def losses(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the expected loss of every task at the end of the run, nats per target token."""
        return self.curves.mean(self.exposures(mixture))

    def loss_terms(self, shares: ArrayLike) -> FloatArray:
        """(m, n) v_j loss_j at (m, n) shares that count as each task's own."""
        from taskpgm.curve_kernels import means

        return np.asarray(self.target_weights * means(self.exposures_of(shares), *self.curve_arrays))

    def lines(self, shares: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Ends, both (G, n), of lines below v_j loss_j between (G + 1, n) rising shares (see `taskpgm.envelopes`)."""
        from taskpgm.curve_kernels import lines

        left, right = lines(self.exposures_of(shares), *self.curve_arrays)
        return self.target_weights * left, self.target_weights * right

    @cached_property
    def curve_arrays(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """The curves as the kernels take them."""
        from taskpgm.curve_kernels import curve_arrays

        return curve_arrays(self.curves)

    def smooth(self, p: FloatArray) -> float:
        """sum_j v_j loss_j."""
        return float(self.target_weights @ self.losses(np.maximum(p, 0.0)))

    @property
    def concavity(self) -> float:
        """0 where every curve is an average of power laws; elsewhere nothing is claimed."""
        return 0.0 if bool(self.curves.convex.all()) else float("inf")

    @property
    def scale(self) -> float:
        """1, or the mean loss without any training where that is larger."""
        return max(1.0, float(self.target_weights @ self.curves.mean(np.zeros(len(self)))))

    @cached_property
    def rounding(self) -> float:
        """What float64 may have added to or taken from an energy or a bound: far less than this.

        Every shape is a sum of positive numbers times powers in (0, 1], each right to a few dozen units in the last
        place; a thousandfold is allowed for.
        """
        largest = float(self.target_weights @ (self.curves.weights * (self.curves.floors + self.curves.drops)).sum(1))
        return 1e-12 * (largest + self.tau * (1.0 + float(np.abs(np.log(self.prior)).max())))


def checked_fields(
    curves: ExpectedCurves | LearningCurves,
    done: ArrayLike,
    remaining: float,
    *,
    target_weights: ArrayLike | Mapping[str, float] | None,
    tau: float,
    prior: ArrayLike | None,
    lower: Bound,
    upper: Bound,
    constraints: tuple[Constraint, ...],
) -> dict[str, Any]:
    """The fields of an expected energy by name, from the arguments of its constructor.

    Raises:
        InputError: sizes that do not fit, numbers that are not finite or negative, bounds that clash.
    """
    names = checked_names(curves.names, len(curves))
    return {
        "curves": ExpectedCurves.of(curves) if isinstance(curves, LearningCurves) else curves,
        "done": checked_done(done, names),
        "remaining": checked_remaining(remaining),
        "target_weights": checked_targets(target_weights, names),
        "tau": checked_scalar(tau, "tau", 0.0),
        "prior": checked_prior(prior, len(names)),
        "feasible": FeasibleSet(names, lower, upper, constraints),
    }


def checked_done(done: ArrayLike, names: tuple[str, ...]) -> FloatArray:
    """(n,) exposures so far; one number stands for all."""
    values = np.asarray(done, dtype=np.float64)
    if values.shape not in ((), (len(names),)):
        raise InputError(f"done: shape {values.shape}; expected one number a task, {len(names)} in all.")
    values = array(np.broadcast_to(values, len(names)), "done", ndim=1)
    bad = ~(np.isfinite(values) & (values >= 0.0))
    if bad.any():
        task = int(bad.argmax())
        raise InputError(f"done: task {names[task]!r} has had {values[task]}; expected a number, 0 or more.")
    return readonly(values, np.float64)


def checked_remaining(remaining: float) -> float:
    """What is left of a budget: a positive number."""
    number = checked_scalar(remaining, "remaining budget", 0.0)
    if number <= 0.0:
        raise InputError(f"remaining budget = {number:g}: nothing is left to share out; expected a positive number.")
    return number
