"""The coverage energy: what every task will have learned under a mixture, from learning curves.

For each target task j there is a factor over all tasks, its loss after the exposure that the mixture gives it:

    E(p) = sum_j v_j (loss_j(e_j(p)) + lost_j(o_j(p))) + tau KL(p || q)
    e_j(p) = T sum_i A_ij p_i / length_i,       o_j(p) = T p_j / length_j,       lost_j(o) = f_j (1 + o / 40)^-4

T is the training budget, v_j how much the user cares for task j, and A_ij how much of an example of task i counts as an
example of task j. lost_j is forgetting: a run without a single example of task j ends f_j nats above task j's curve,
whatever its other tasks have taught it, and a few dozen examples of its own end that. All terms fall convexly, so E is
convex; its minimiser predicts the loss of every task. Where losses fall with a power of effectively transferred data,
Li, Liu & Xing (2025) mix by the same objective without forgetting, fitted to runs on perturbed mixtures instead of to
experts.

    network = CoverageNetwork(curves, transfer, budget=8_000)
    solution = solve(network, CoverageProgram())
    network.losses(solution.point)      # (n,) what the run will reach by this energy, nats per target token
    network.expand(solution.point)      # the pairwise network that agrees with it to second order there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskpgm.checks import (
    Bound,
    array,
    checked_finite,
    checked_names,
    checked_prior,
    checked_scalar,
    checked_targets,
    checked_transfer,
)
from taskpgm.constraints import Constraint
from taskpgm.curves import Method, fit_curves
from taskpgm.energy import MixtureEnergy
from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.feasible import FeasibleSet
from taskpgm.interplay import Interplay, check_fits
from taskpgm.learning_curves import LearningCurves
from taskpgm.network import TaskNetwork
from taskpgm.transfer import exposure_transfer, unrehearsed_losses
from taskpgm.types import FloatArray, InputError, LossCurves, readonly

FIELDS = ("curves", "transfer", "budget", "forgetting", "target_weights", "lengths", "tau", "prior", "interplay")
FEASIBLE_FIELDS = ("lower", "upper", "constraints")
DEFAULT_TAU = 0.05
REHEARSAL, REHEARSAL_POWER = 40.0, 4.0
"""Examples of its own, and the power, with which a task's forgetting fades: 12 % of it are left after 27 examples."""


Curves: TypeAlias = LearningCurves | EnvelopeCurves


@dataclass(frozen=True, eq=False)
class Falling:
    """A part of a coverage energy, sum_k weight_k curve_k((p @ reach)_k): the learning curves, or forgetting.

    curves: m of them. reach: (n, m) examples for each unit of weight. weights: (m,) target weights. tasks: (m,)
    places of the tasks that they are about. apart: whether each is reached by its own task alone.
    """

    curves: Curves
    reach: FloatArray
    weights: FloatArray
    tasks: NDArray[np.intp]
    apart: bool = False

    def slopes(self, p: FloatArray) -> FloatArray:
        """(n, m) d curve_k / d p_i."""
        return np.asarray(self.reach * self.curves.slopes(p @ self.reach))

    def add_form(self, form: FloatArray, bends: FloatArray) -> None:
        """Add reach diag(weight bend) reach' to (n, n) second derivatives, from (m,) bends."""
        bent = self.weights * bends
        if self.apart:
            form[self.tasks, self.tasks] += bent * self.reach[self.tasks, np.arange(len(bent))] ** 2
        else:
            form += (self.reach * bent) @ self.reach.T


@dataclass(frozen=True, eq=False, init=False)
class CoverageNetwork(MixtureEnergy):
    """Expected losses over the simplex, with a pull towards a prior mixture.

    Args:
        curves: the tasks' learning curves, with exposures in examples.
        transfer: (n, n) A, not negative: A[i, j] examples of task j are worth one of task i, as far as j can tell.
        budget: T, the length of the training run in the unit of the weights.
        forgetting: (n,) f, not negative: nats that a run with no example of a task ends above the task's curve.
        target_weights: (n,) v, not negative, or by task name; scaled to add up to 1; equal where not given.
        lengths: (n,) how many units one example of a task takes: 1 where weights are shares of examples, the mean
            number of tokens where they are shares of tokens.
        tau: the weight of the pull to the prior, nats of loss per nat of divergence. Without it, and without lower
            bounds, a task family can be starved, which was seen to do harm.
        prior: (n,) positive mixture; uniform where not given.
        interplay: what tasks do to each other in one run, beyond this energy. It is no part of the energy: forecasts
            alone know it.
        lower, upper, constraints: as in `FeasibleSet`.

    Raises:
        InputError: sizes that do not fit, numbers that are not finite or negative, bounds that clash.
    """

    curves: Curves
    transfer: FloatArray
    budget: float
    forgetting: FloatArray
    target_weights: FloatArray
    lengths: FloatArray
    tau: float
    prior: FloatArray
    interplay: Interplay | None
    feasible: FeasibleSet

    def __init__(
        self,
        curves: Curves,
        transfer: ArrayLike,
        budget: float,
        *,
        forgetting: ArrayLike = 0.0,
        target_weights: ArrayLike | Mapping[str, float] | None = None,
        lengths: ArrayLike | None = None,
        tau: float = DEFAULT_TAU,
        prior: ArrayLike | None = None,
        interplay: Interplay | None = None,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        constraints: tuple[Constraint, ...] = (),
    ) -> None:
        names = checked_names(curves.names, len(curves))
        fields = {
            "curves": _checked_curves(curves),
            "transfer": checked_transfer(transfer, names),
            "budget": _positive(budget, "budget"),
            "forgetting": _checked_forgetting(forgetting, names),
            "target_weights": checked_targets(target_weights, names),
            "lengths": _checked_lengths(lengths, names),
            "tau": checked_scalar(tau, "tau", 0.0),
            "prior": checked_prior(prior, len(names)),
            "interplay": interplay,
            "feasible": FeasibleSet(names, lower, upper, constraints),
        }
        if interplay is not None:
            check_fits(interplay, names)
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @classmethod
    def from_losses(
        cls,
        losses: LossCurves,
        budget: float,
        *,
        fit: Method = "posterior",
        graph: bool = True,
        target_weights: ArrayLike | Mapping[str, float] | None = None,
        lengths: ArrayLike | None = None,
        tau: float = DEFAULT_TAU,
        prior: ArrayLike | None = None,
        interplay: Interplay | None = None,
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        constraints: tuple[Constraint, ...] = (),
    ) -> CoverageNetwork:
        """The network of the experts' losses: transfer and forgetting read off them, curves fitted near an even share.

        Args:
            losses: of every expert on every task during its training.
            budget, target_weights, lengths, tau, prior, lower, upper, constraints: as in the constructor.
            fit: see `fit_curves`.
            graph: False leaves transfer between tasks out, for comparison.
            interplay: for forecasts; the answers' lengths alone, as the experts saw them, where not given.

        Raises:
            InputError: as the constructor and `fit_curves`.
        """
        counted = _checked_lengths(lengths, losses.names)
        transfer = exposure_transfer(losses) if graph else np.eye(len(losses.names))
        even = _positive(budget, "budget") / float(counted.sum())  # examples of each task
        curves = fit_curves(losses, transfer, method=fit, horizon=even)
        return cls(
            curves,
            transfer,
            budget,
            forgetting=np.maximum(unrehearsed_losses(losses) - curves.losses(np.zeros(len(curves))), 0.0),
            target_weights=target_weights,
            lengths=counted,
            tau=tau,
            prior=prior,
            interplay=Interplay.of(losses) if interplay is None else interplay,
            lower=lower,
            upper=upper,
            constraints=constraints,
        )

    def changed(self, **fields: Any) -> CoverageNetwork:
        """This network with some of its constructor's arguments replaced."""
        kept = {name: getattr(self, name) for name in (*FIELDS, *FEASIBLE_FIELDS)}
        if set(fields).isdisjoint(FEASIBLE_FIELDS):  # the same mixtures are known to be feasible: not checked again
            made = CoverageNetwork(**(kept | fields | {"lower": 0.0, "upper": 1.0, "constraints": ()}))
            object.__setattr__(made, "feasible", self.feasible)
            return made
        return CoverageNetwork(**(kept | fields))

    @cached_property
    def reach(self) -> FloatArray:
        """(n, n) how many examples' worth of task j a whole budget of task i is: T A_ij / length_i."""
        return readonly(self.budget * self.transfer / self.lengths[:, None], np.float64)

    @cached_property
    def falling(self) -> tuple[Falling, ...]:
        """The learning curves, and forgetting of the tasks that have any."""
        losing = np.flatnonzero(self.forgetting > 0.0)
        learning = Falling(self.curves, self.reach, self.target_weights, np.arange(len(self)))
        if not len(losing):
            return (learning,)
        names = [self.names[task] for task in losing]
        lost = LearningCurves(names, 1.0, 0.0, self.forgetting[losing, None], REHEARSAL, REHEARSAL_POWER)
        own = np.zeros((len(self), len(losing)))
        own[losing, np.arange(len(losing))] = self.budget / self.lengths[losing]
        return learning, Falling(
            lost, readonly(own, np.float64), readonly(self.target_weights[losing], float), losing, apart=True
        )

    def exposures(self, mixture: ArrayLike) -> FloatArray:
        """(n,) how many examples' worth of each task a mixture gives it."""
        return np.asarray(np.asarray(mixture, dtype=np.float64) @ self.reach)

    def lost(self, mixture: ArrayLike) -> FloatArray:
        """(n,) what forgetting adds to each task's loss, nats per target token."""
        p, lost = np.asarray(mixture, dtype=np.float64), np.zeros(len(self))
        for part in self.falling[1:]:
            lost[part.tasks] = part.curves.losses(p @ part.reach)
        return lost

    def losses(self, mixture: ArrayLike) -> FloatArray:
        """(n,) the loss of every task that the energy expects, nats per target token; `forecast` knows more."""
        return self.curves.losses(self.exposures(mixture)) + self.lost(mixture)

    def smooth(self, p: FloatArray) -> float:
        """sum_j v_j (loss_j + lost_j)."""
        return float(self.target_weights @ self.losses(np.maximum(p, 0.0)))

    def smooth_gradient(self, p: FloatArray) -> FloatArray:
        """(n,) the sum of reach (v slope)."""
        inside = np.maximum(p, 0.0)
        return np.asarray(sum(part.slopes(inside) @ part.weights for part in self.falling))

    def smooth_hessian(self, p: FloatArray) -> FloatArray:
        """(n, n) the sum of reach diag(v bend) reach': positive semidefinite."""
        inside = np.maximum(p, 0.0)
        return self._hessian([part.curves.bends(inside @ part.reach) for part in self.falling])

    def _hessian(self, bends: Sequence[FloatArray]) -> FloatArray:
        form = np.zeros((len(self), len(self)))
        for part, each in zip(self.falling, bends, strict=True):
            part.add_form(form, each)
        return form

    @property
    def relative_smoothness(self) -> float:
        """An L with E(q) <= E(p) + gradient'(q - p) + L KL(q || p) for all mixtures.

        v'Hv <= max H_ij |v|_1^2 <= 2 max H_ij KL (Pinsker), with every curve where it bends most.
        """
        return float(self._hessian([part.curves.most_bent for part in self.falling]).max()) + self.tau

    @property
    def concavity(self) -> float:
        """None: every curve is convex."""
        return 0.0

    @property
    def scale(self) -> float:
        """1, or the mean loss without any training where that is larger."""
        return max(1.0, float(self.target_weights @ self.losses(np.zeros(len(self)))))

    def expand(self, mixture: ArrayLike) -> TaskNetwork:
        """The pairwise network with the same gradient and second derivatives at a mixture, and the same feasible set.

        Its similarity is T^2 A diag(v loss'') A', and on the diagonal what forgetting bends: positive semidefinite by
        construction. Its energy differs from this one's by a constant, to second order.
        """
        p = np.asarray(mixture, dtype=np.float64)
        hessian = self.smooth_hessian(p)
        utility = hessian @ p - self.smooth_gradient(p)
        network = TaskNetwork(utility, hessian, self.names, tau=self.tau, prior=self.prior)
        return network.changed(feasible=self.feasible)


def _positive(value: float, label: str) -> float:
    number = checked_scalar(value, label, 0.0)
    if number <= 0.0:
        raise InputError(f"{label} = {number:g}: expected a positive number.")
    return number


def _checked_curves(curves: Curves) -> Curves:
    if not isinstance(curves, LearningCurves | EnvelopeCurves):
        raise InputError(
            f"coverage: {type(curves).__name__} need not be convex, and this energy's certificate needs it; use a"
            " SeparableNetwork, or curves of fit_curves."
        )
    return curves


def _checked_forgetting(forgetting: ArrayLike, names: tuple[str, ...]) -> FloatArray:
    values = np.asarray(forgetting, dtype=np.float64)
    if values.shape not in ((), (len(names),)):
        raise InputError(f"forgetting: shape {values.shape}, expected one number a task, {len(names)} in all.")
    values = readonly(np.broadcast_to(values, len(names)), np.float64)
    checked_finite(values, "forgetting", names)
    if values.min(initial=0.0) < 0.0:
        raise InputError(f"forgetting of task {names[int(values.argmin())]!r} is {values.min():g}: expected 0 or more.")
    return values


def _checked_lengths(lengths: ArrayLike | None, names: tuple[str, ...]) -> FloatArray:
    values = array(np.ones(len(names)) if lengths is None else lengths, "lengths", ndim=1)
    if len(values) != len(names):
        raise InputError(f"lengths: {len(values)} numbers for {len(names)} tasks.")
    checked_finite(values, "length", names)
    if values.min() <= 0.0:
        raise InputError(f"length of task {names[int(values.argmin())]!r} is {values.min():g}: expected more than 0.")
    return values
