"""From the settings of a run and its evidence to the network of either energy.

network = coverage_network(losses, energy, allowed, sizes, "tokens", 200_000, families)
network = pairwise_network(names, affinity.utility, affinity.similarity, energy.beta, energy, allowed)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taskpgm.affinity import ExponentialSimilarity, LinearSimilarity, Similarity
from taskpgm.choice import Rule
from taskpgm.coverage import DEFAULT_TAU, CoverageNetwork
from taskpgm.divergences import DIVERGENCES, Divergence, RenyiJensen
from taskpgm.energy_settings import EnergySettings
from taskpgm.families import family_weights
from taskpgm.feasible_settings import Allowed
from taskpgm.interplay import Interplay
from taskpgm.network import TaskNetwork, balanced_beta
from taskpgm.types import FloatArray, InputError, LossCurves, TaskSet, TaskSize
from taskpgm.utilities import HeldoutGain, Learnability, Representativeness, Supplied, Utility


def coverage_network(
    losses: LossCurves,
    energy: EnergySettings,
    allowed: Allowed,
    sizes: Mapping[str, TaskSize],
    unit: str,
    budget: float | None,
    families: Sequence[str],
    interplay: Interplay | None = None,
) -> CoverageNetwork:
    """The coverage energy of a run; target weights are the same for every family where none are given.

    budget: of the final run in `unit`; what one expert had where not given.
    """
    names = losses.names
    lengths = np.array([getattr(sizes[name], unit) / sizes[name].examples for name in names])
    if budget is None:
        budget = float(losses.examples.max() * lengths.mean())
    lower, upper, constraints = allowed
    return CoverageNetwork.from_losses(
        losses,
        budget,
        fit=energy.curves,
        target_weights=energy.target_weights or family_weights(names, families),
        lengths=lengths,
        tau=DEFAULT_TAU if energy.tau is None else energy.tau,
        prior=prior_of(energy, names),
        interplay=interplay,
        lower=lower,
        upper=upper,
        constraints=constraints,
    )


def pairwise_network(
    names: tuple[str, ...],
    utility: FloatArray,
    similarity: FloatArray,
    beta: float | None,
    energy: EnergySettings,
    allowed: Allowed,
) -> TaskNetwork:
    """The pairwise network that the settings describe over some potentials; beta is balanced where it is None."""
    if beta is None:
        beta = balanced_beta(utility, similarity, lam=energy.lam, rho=energy.rho)
    lower, upper, constraints = allowed
    return TaskNetwork(
        utility,
        similarity,
        names,
        beta=beta,
        lam=energy.lam,
        tau=energy.tau or 0.0,
        prior=prior_of(energy, names),
        lower=lower,
        upper=upper,
        constraints=constraints,
    )


def prior_of(energy: EnergySettings, names: tuple[str, ...]) -> list[float] | None:
    """The prior mixture of the settings, scaled to add up to 1; None where they give none."""
    if energy.prior is None:
        return None
    missing = [name for name in names if name not in energy.prior]
    if missing:
        raise InputError(f"energy.prior: no share for task {missing[0]!r}; every task needs a positive one.")
    total = sum(energy.prior.values())
    return [energy.prior[name] / total for name in names]


def rule_of(energy: EnergySettings) -> Rule | None:
    """The rule that chooses the trade-off; None where beta is given or balanced."""
    return None if energy.choose is None else Rule(**energy.choose.model_dump())


def utility_of(energy: EnergySettings) -> Utility:
    """The rule for the utilities that the settings name."""
    if energy.utility == "supplied":
        return Supplied(energy.supplied or {})
    if energy.utility == "heldout_gain":
        return HeldoutGain(energy.target_weights)
    return Learnability() if energy.utility == "learnability" else Representativeness()


def similarity_of(energy: EnergySettings) -> Similarity:
    """The rule for the similarities that the settings name."""
    if energy.similarity == "exponential":
        return ExponentialSimilarity(energy.kappa)
    return LinearSimilarity(measure_of(energy).largest)


def measure_of(energy: EnergySettings) -> Divergence:
    """The divergence that the settings name."""
    if energy.divergence == "renyi_jensen":
        return RenyiJensen() if energy.order is None else RenyiJensen(energy.order)
    return next(kind for kind in DIVERGENCES if kind.name == energy.divergence)()


def check_names(tasks: TaskSet, energy: EnergySettings) -> None:
    """Complain about names before hours of training, not after."""
    sections: dict[str, Mapping[str, Any] | None] = {
        "energy.supplied": energy.supplied,
        "energy.target_weights": energy.target_weights,
        "energy.prior": energy.prior,
    }
    for section, values in sections.items():
        _check_known(values or {}, tasks.names, section)
    wanted = None if energy.choose is None else energy.choose.effective_tasks
    if wanted is not None and wanted > len(tasks):
        raise InputError(f"energy.choose.effective_tasks: {wanted:g} of {len(tasks)} tasks; ask for fewer.")
    missing = [name for name in tasks.names if energy.supplied is not None and name not in energy.supplied]
    if missing:
        raise InputError(f"energy.supplied: no value for task {missing[0]!r}; every task needs one.")


def _check_known(values: Mapping[str, Any], names: tuple[str, ...], section: str) -> None:
    unknown = [name for name in values if name not in names]
    if unknown:
        raise InputError(f"{section}: {unknown[0]!r} is not a task; the tasks are {', '.join(names)}.")
