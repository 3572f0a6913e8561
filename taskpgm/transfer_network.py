"""Expected losses at the end of a run that is under way, where tasks teach each other: a transfer graph in the energy.

An example of task i counts as A_ij examples of task j. What is left of the budget, R, is shared out by p:

    E(p) = sum_j v_j loss_j(done_j + R sum_i A_ij p_i) + tau KL(p || q)

That two tasks are one under two names is an edge of weight 1 both ways: losses then depend on what both get together.
Tasks meet in their exposures, so nothing solves this exactly in general: `TransferDescent` starts from many mixtures,
and the judge's bound (`taskpgm.transfer_bound`) says how far from the least the best of them can be.

    network = TransferNetwork(curves, done, remaining=1e6, transfer=tp.exposure_transfer(losses))
    solution = solve(network, TransferDescent())        # status optimal, or bound with the gap that is left
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import Bound, Transfer, checked_graph
from taskpgm.constraints import Constraint
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.expected_energy import DEFAULT_TAU, ENERGY_FIELDS, FEASIBLE_FIELDS, ExpectedEnergy, checked_fields
from taskpgm.feasible import FeasibleSet
from taskpgm.learning_curves import LearningCurves
from taskpgm.separable import SeparableNetwork
from taskpgm.types import FloatArray


@dataclass(frozen=True, eq=False, init=False)
class TransferNetwork(ExpectedEnergy):
    """Expected losses over the mixtures for what is left of a budget, by exposures that tasks give each other.

    Args:
        curves: the tasks' expected curves over exposures; learning curves of experts are taken too.
        done: (n,) exposures so far: sum_i A_ij times the examples of task i. One number for all is taken too.
        remaining: R, what is left to be shared out, in the same unit.
        transfer: (n, n) A in [0, 1], 1 on the diagonal: A[i, j] examples of task j are worth one of task i, as from
            `exposure_transfer`; or by names, {task: {other: worth}}.
        target_weights, tau, prior, lower, upper, constraints: as in `SeparableNetwork`.

    Raises:
        InputError: sizes that do not fit, numbers outside their ranges, bounds that clash.
    """

    curves: ExpectedCurves
    done: FloatArray
    remaining: float
    transfer: FloatArray
    target_weights: FloatArray
    tau: float
    prior: FloatArray
    feasible: FeasibleSet

    def __init__(
        self,
        curves: ExpectedCurves | LearningCurves,
        done: ArrayLike,
        remaining: float,
        transfer: Transfer,
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
        for field, value in (fields | {"transfer": checked_graph(transfer, fields["feasible"].names)}).items():
            object.__setattr__(self, field, value)

    @classmethod
    def of(cls, network: SeparableNetwork, transfer: Transfer) -> TransferNetwork:
        """A separable network's energy with a graph: what was done of a task counts for those that it teaches too."""
        kept = {name: getattr(network, name) for name in (*ENERGY_FIELDS, *FEASIBLE_FIELDS)}
        graph = checked_graph(transfer, network.names)
        return cls(**(kept | {"transfer": graph, "done": counted(network.done, graph)}))

    def changed(self, **fields: Any) -> TransferNetwork:
        """This network with some of its constructor's arguments replaced."""
        kept = {name: getattr(self, name) for name in (*ENERGY_FIELDS, "transfer", *FEASIBLE_FIELDS)}
        return TransferNetwork(**(kept | fields))

    @cached_property
    def alone(self) -> SeparableNetwork:
        """The same energy as if no task taught another from here on."""
        kept = {name: getattr(self, name) for name in (*ENERGY_FIELDS, *FEASIBLE_FIELDS)}
        return SeparableNetwork(**kept)

    def shares(self, mixture: ArrayLike) -> FloatArray:
        """(..., n) the shares of what is left that count as each task's own, from (..., n) mixtures: A'p."""
        return np.asarray(np.asarray(mixture, dtype=np.float64) @ self.transfer)

    def exposures(self, mixture: ArrayLike) -> FloatArray:
        """(..., n) exposure of each task at the end of the run, from (..., n) mixtures of what is left."""
        return self.exposures_of(self.shares(mixture))

    def derivatives(self, shares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(..., n) v_j loss_j at (..., n) shares that count as each task's own, its slope and its bend.

        No bend is told at no exposure, where it may be infinite: 0 stands there.
        """
        from taskpgm.curve_kernels import derivatives

        at = np.ascontiguousarray(self.exposures_of(shares).reshape(-1, len(self)))
        found = self.target_weights * derivatives(at, *self.curve_arrays)
        losses, slopes, bends = found.reshape(3, *shares.shape)
        return losses, self.remaining * slopes, self.remaining**2 * bends

    def smooth_gradient(self, p: FloatArray) -> FloatArray:
        """(n,) A times R v slope."""
        slopes = self.curves.slopes(self.exposures(np.maximum(p, 0.0)))
        return np.asarray(self.transfer @ (self.remaining * self.target_weights * slopes))

    def smooth_hessian(self, p: FloatArray) -> FloatArray:
        """(n, n) A diag(R^2 v bend) A', which need not be positive semidefinite."""
        bends = self.curves.bends(self.exposures(np.maximum(p, 0.0)))
        return np.asarray((self.transfer * (self.remaining**2 * self.target_weights * bends)) @ self.transfer.T)


def counted(amounts: FloatArray, transfer: FloatArray) -> FloatArray:
    """(..., n) what (..., n) amounts of the tasks count as: A'amounts, added up in the same order on every machine."""
    return np.asarray(np.einsum("...i,ij->...j", amounts, transfer))
