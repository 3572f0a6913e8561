"""The pairwise energy on gains: two tasks are alike if training on one helps the other as much as itself.

S_ij = 1/2 (G_ij + G_ji) / sqrt(G_ii G_jj), clipped to [0, 1]: without units, and blind to harm. An expert that does not
help its own task has nothing in common with any other. Nothing makes this S positive semidefinite, so the network that
is solved is `taskpgm.shifted`: the multiple of the identity that makes the energy convex on the simplex is added, which
favours even mixtures a little; where S is convex already nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskpgm.baselines.baseline import Baseline, given
from taskpgm.baselines.evidence import Evidence
from taskpgm.baselines.solving import minimiser
from taskpgm.curvature import shifted
from taskpgm.inference import SimplexQP
from taskpgm.network import DEFAULT_FLOOR, TaskNetwork, balanced_beta
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class PmiPairwise(Baseline):
    """Balanced beta and the usual floor, on scale-free gains. Needs affinity, and uses its utility."""

    name: ClassVar[str] = "pairwise-pmi"
    paper: ClassVar[str] = (
        "TaskPGM, arXiv 2507.12612, as reconstructed in this project, on pointwise mutual information"
    )
    needs: ClassVar[tuple[str, ...]] = ("affinity",)

    def propose(self, evidence: Evidence) -> FloatArray:
        affinity = given(evidence.affinity)
        similarity = scale_free(affinity.gain)
        beta = balanced_beta(affinity.utility, similarity)
        lower = DEFAULT_FLOOR / len(evidence)
        network = TaskNetwork(affinity.utility, similarity, affinity.names, beta=beta, lower=lower)
        return minimiser(shifted(network).network, SimplexQP())


def scale_free(gain: FloatArray) -> FloatArray:
    """(n, n) symmetric similarities in [0, 1] with unit diagonal, from (n, n) gains in nats."""
    own = np.sqrt(np.maximum(np.diag(gain), 0.0))
    scale = np.outer(own, own)
    mean = 0.5 * (gain + gain.T)
    similarity = np.clip(np.divide(mean, scale, out=np.zeros_like(mean), where=scale > 0.0), 0.0, 1.0)
    np.fill_diagonal(similarity, 1.0)
    return np.asarray(similarity)
