"""From the settings of a run and the experts' losses to the coverage network.

network, findings = coverage_network(losses, energy, allowed, sizes, unit="tokens", budget=200_000)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from taskpgm.config import EnergySettings
from taskpgm.coverage import DEFAULT_TAU, CoverageNetwork
from taskpgm.curves import Finding, diagnose, fit_curves
from taskpgm.feasible_settings import Allowed
from taskpgm.transfer import exposure_transfer
from taskpgm.types import InputError, LossCurves, TaskSize


def coverage_network(
    losses: LossCurves,
    energy: EnergySettings,
    allowed: Allowed,
    sizes: Mapping[str, TaskSize],
    unit: str,
    budget: float | None,
) -> tuple[CoverageNetwork, tuple[Finding, ...]]:
    """The coverage energy of a run, and what the tasks' curves cannot tell.

    budget: of the final run in `unit`; what one expert had where not given.
    """
    names = losses.names
    lengths = np.array([getattr(sizes[name], unit) / sizes[name].examples for name in names])
    if budget is None:
        budget = float(losses.examples.max() * lengths.mean())
    transfer = exposure_transfer(losses)
    horizon = budget / float(lengths.sum())  # examples of each task, were the budget shared out evenly
    lower, upper, constraints = allowed
    network = CoverageNetwork(
        fit_curves(losses, transfer, method=energy.curves, horizon=horizon),
        transfer,
        budget,
        target_weights=energy.target_weights,
        lengths=lengths,
        tau=DEFAULT_TAU if energy.tau is None else energy.tau,
        prior=prior_of(energy, names),
        lower=lower,
        upper=upper,
        constraints=constraints,
    )
    return network, diagnose(losses)


def prior_of(energy: EnergySettings, names: tuple[str, ...]) -> list[float] | None:
    """The prior mixture of the settings, scaled to add up to 1; None where they give none."""
    if energy.prior is None:
        return None
    missing = [name for name in names if name not in energy.prior]
    if missing:
        raise InputError(f"energy.prior: no share for task {missing[0]!r}; every task needs a positive one.")
    total = sum(energy.prior.values())
    return [energy.prior[name] / total for name in names]
