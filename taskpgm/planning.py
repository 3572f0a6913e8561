"""The mixture for what is left of a run, from what its training losses have told so far, as a file that proves itself.

curves = fit_training_curves(*bin_losses(amounts, losses, tokens), start_losses, budget=1e6, names=names)
mixture = plan_mixture(curves, done, remaining=6e5, lower=0.01)
mixture.weights, mixture.status, mixture.gap
mixture.details["plan"]["tasks"]["copy"]        # the loss expected at the end, its spread, and exposures
mixture.to_json("plan.json")                    # taskpgm verify plan.json
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import Bound, Transfer, checked_bound
from taskpgm.constraints import Constraint
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.expected_energy import DEFAULT_TAU, checked_done, checked_remaining
from taskpgm.inference import EnvelopeProgram, best_method, solve
from taskpgm.learning_curves import LearningCurves
from taskpgm.mixture import Mixture, Unit
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray, InputError


def plan_mixture(
    curves: ExpectedCurves | LearningCurves,
    done: ArrayLike,
    remaining: float,
    *,
    target_weights: ArrayLike | Mapping[str, float] | None = None,
    tau: float | None = None,
    prior: ArrayLike | None = None,
    lower: Bound = 0.0,
    upper: Bound = 1.0,
    sizes: Mapping[str, float] | None = None,
    epochs: float | None = None,
    constraints: tuple[Constraint, ...] = (),
    transfer: Transfer | None = None,
    unit: Unit = "tokens",
    deadline: float | None = None,
    seed: int = 0,
    details: Mapping[str, Any] | None = None,
) -> Mixture:
    """The shares of what is left that make the expected losses at the end of the run least, with their certificate.

    Args:
        curves: the expected curve of every task, with exposures in the unit of the budget; with `transfer`, over what
            counts as each task's own.
        done: (n,) what has been trained on of each task.
        remaining: what is left of the budget.
        target_weights, prior, lower, upper, constraints: as in `SeparableNetwork`, of what is left.
        tau: the pull to the prior; 0.03 times the share of the budget that is left, where not given.
        sizes, epochs: by task, one epoch in the unit of the budget, and how many of them the whole run may take: what
            was consumed counts. Tasks without a size are not capped.
        transfer: (n, n) what an example of one task counts as one of another, or by names, as in `TransferNetwork`.
        unit: what the budget counts.
        deadline, seed: as in `solve`.
        details: evidence to keep in the file, plain JSON values by name.

    Returns:
        A mixture with status optimal (proved), or bound, feasible or timeout with a gap as wide as it says.
        details["plan"] holds the budget, and for each task the exposure so far and at the end, and the loss expected
        there with its spread.

    Raises:
        InputError: as `SeparableNetwork` and `TransferNetwork`; epochs that leave less than the remaining budget; no
            mixture found.
    """
    left, had = checked_remaining(remaining), checked_done(done, curves.names)
    total = float(had.sum()) + left
    alone = SeparableNetwork(
        curves,
        had,
        left,
        target_weights=target_weights,
        tau=DEFAULT_TAU * left / total if tau is None else tau,
        prior=prior,
        lower=lower,
        upper=_capped(upper, curves.names, had, left, sizes, epochs),
        constraints=constraints,
    )
    network = alone if transfer is None else TransferNetwork.of(alone, transfer)
    solution = solve(network, best_method(network).method, deadline=deadline, seed=seed)
    if solution.point is None:  # groups whose bounds no whole quanta keep together
        solution = solve(network, EnvelopeProgram(), deadline=deadline, seed=seed)
    if solution.point is None:
        raise InputError(f"no plan: {solution.method} {solution.status.name}: {solution.message}.")
    known = {**(details or {}), "plan": _told(network, solution.point)}
    return Mixture.from_solution(network, solution, unit=unit, details=known)


def _capped(
    upper: Bound,
    names: tuple[str, ...],
    done: FloatArray,
    left: float,
    sizes: Mapping[str, float] | None,
    epochs: float | None,
) -> FloatArray:
    """(n,) upper bounds on shares of what is left that no task's data is repeated more often than allowed."""
    bound = np.array(checked_bound(upper, names, "upper", 1.0))
    if (sizes is None) != (epochs is None):
        raise InputError("epoch caps: give both sizes and epochs, or neither.")
    if sizes is None or epochs is None:
        return bound
    if not (np.isfinite(epochs) and epochs > 0.0):
        raise InputError(f"epochs = {epochs:g}: expected a positive number.")
    for task, size in sizes.items():
        if task not in names:
            raise InputError(f"epoch caps: there is no task {task!r}.")
        if not (np.isfinite(size) and size > 0.0):
            raise InputError(f"epoch caps: task {task!r} has a size of {size:g}; expected a positive number.")
        place = names.index(task)
        bound[place] = min(bound[place], max(epochs * size - float(done[place]), 0.0) / left)
    if bound.sum() < 1.0:
        raise InputError(
            f"epoch caps: {epochs:g} epochs leave data for {bound.sum():.4g} of the remaining budget; allow more epochs"
            " or shorten the run."
        )
    return bound


def _told(network: SeparableNetwork | TransferNetwork, point: FloatArray) -> dict[str, Any]:
    """What the plan expects, as plain JSON values."""
    at = network.exposures(point)
    columns = (network.done, at, network.losses(point), network.curves.spread(at))
    rows = zip(network.names, *(column.tolist() for column in columns), strict=True)
    tasks = {
        name: {"done": done, "exposure": exposure, "loss": loss, "spread": spread}
        for name, done, exposure, loss, spread in rows
    }
    mean = float(network.target_weights @ network.losses(point))
    return {"remaining": network.remaining, "mean": mean, "tasks": tasks}
