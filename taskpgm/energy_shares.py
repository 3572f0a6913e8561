"""A task's own share of the energy: what its utility, its redundancy with each partner, or its examples are worth.

utility, redundancy, coverage = energy_shares(network, p, 0)
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from taskpgm.coverage import CoverageNetwork
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray

Explained: TypeAlias = TaskNetwork | CoverageNetwork


def energy_shares(network: Explained, p: FloatArray, i: int) -> tuple[float, dict[str, float], dict[str, float]]:
    """(utility, redundancy by partner, coverage by task) of task i at a mixture; see `taskpgm.explanation.Explanation`.

    Over all tasks they add up to the energy without its prior, of a coverage energy less the losses without training
    (Aumann & Shapley 1974, for losses of a sum of exposures). A pairwise energy has no coverage, and the other way.
    """
    if isinstance(network, TaskNetwork):
        shares = 0.5 * network.lam * network.similarity[i] * p[i] * p
        utility = float(-network.beta * network.utility[i] * p[i])
        return utility, dict(zip(network.names, shares.tolist(), strict=True)), {}
    nothing, exposures = np.zeros(len(p)), network.exposures(p)
    part = np.divide(network.reach[i] * p[i], exposures, out=nothing.copy(), where=exposures > 0.0)
    falls = (network.curves.losses(exposures) - network.curves.losses(nothing)) * part
    falls[i] += network.lost(p)[i] - network.forgetting[i]
    falls *= network.target_weights
    return 0.0, {}, dict(zip(network.names, falls.tolist(), strict=True))
