"""A task network with its strongest couplings only, and what that can change.

Each task keeps its k strongest couplings, and those of which it is one of the k strongest of the other. The rest, D, is
dropped: E - E_sparse = 1/2 lam p'Dp. On the simplex, with entries of D between a and b and a zero diagonal,
sum over i != j of p_i p_j is at most 1 - 1/n, so that the difference lies between 1/2 lam min(a, 0) (1 - 1/n) and
1/2 lam max(b, 0) (1 - 1/n) (Motzkin & Straus 1965); eigenvalues and bounds on the weights give other limits, and the
best count.

    sparse = sparsified(network, neighbours=5)
    sparse.network, sparse.error                # E - E_sparse lies in this interval, for every mixture
    sparse.network.levels(None, cap=2)          # of small tree-width, perhaps: exact by elimination
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, InputError, Solution


@dataclass(frozen=True, eq=False)
class SparseNetwork:
    """network: with the couplings that were kept; it may bend downwards where the full one did not (see `curvature`).

    dropped: how many pairs lost their coupling. error: E(p) - E_sparse(p) lies between these for every mixture.
    error_free: the same over all weights within the bounds, whatever their sum: for levels with a free budget.
    """

    network: TaskNetwork
    dropped: int
    error: tuple[float, float]
    error_free: tuple[float, float]

    def least_energy_between(self, solution: Solution, *, free: bool = False) -> tuple[float, float]:
        """Bounds on the least energy of the full network, from a judged solution of this one or of its levels."""
        low, high = self.error_free if free else self.error
        return solution.bound + low, solution.energy + high


def sparsified(network: TaskNetwork, neighbours: int) -> SparseNetwork:
    """Keep each task's strongest couplings, by absolute value; of equal ones the first task's.

    Raises:
        InputError: a negative number of neighbours.
    """
    if neighbours < 0:
        raise InputError(f"{neighbours} neighbours: expected a number from 0.")
    kept = _strongest(network.similarity, neighbours)
    similarity = np.where(kept, network.similarity, 0.0)
    dropped = network.similarity - similarity
    sparse = network.changed(similarity=similarity)
    low, high = _least_and_most(dropped, network)
    half = 0.5 * network.lam
    spread = np.outer(network.upper, network.upper)
    rounding = 1e-14 * len(network) * float(np.abs(dropped).sum())
    free = (float((np.minimum(dropped, 0.0) * spread).sum()), float((np.maximum(dropped, 0.0) * spread).sum()))
    return SparseNetwork(
        sparse,
        int((~kept).sum()) // 2,
        (half * low, half * high),
        (half * (free[0] - rounding * (free[0] < 0.0)), half * (free[1] + rounding * (free[1] > 0.0))),
    )


def _strongest(similarity: FloatArray, neighbours: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """(n, n) symmetric: which couplings stay, the diagonal included."""
    n = len(similarity)
    kept = np.eye(n, dtype=bool)
    if neighbours > 0:
        strength = np.abs(similarity) - np.diag(np.full(n, np.inf))
        first = np.argsort(-strength, axis=1, kind="stable")[:, : min(neighbours, n - 1)]
        kept[np.arange(n)[:, None], first] = True
    return kept | kept.T


def _least_and_most(dropped: FloatArray, network: TaskNetwork) -> tuple[float, float]:
    """Bounds on p'Dp over the mixtures: the best of entries, eigenvalues and weights, with room for roundings."""
    n, scale = len(dropped), float(np.abs(dropped).max())
    if scale == 0.0:
        return 0.0, 0.0
    values = np.linalg.eigvalsh(dropped)
    rows = np.minimum(dropped, 0.0) @ network.upper, np.maximum(dropped, 0.0) @ network.upper
    share = 1.0 - 1.0 / n
    low = max(min(float(dropped.min()), 0.0) * share, min(float(values[0]), 0.0), float(rows[0].min()))
    high = min(max(float(dropped.max()), 0.0) * share, max(float(values[-1]), 0.0), float(rows[1].max()))
    slack = 1e-13 * n * scale
    return (low - slack if low < 0.0 else 0.0), (high + slack if high > 0.0 else 0.0)
