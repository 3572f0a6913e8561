"""The numba kernel that bounds a problem without a budget, one count of quanta after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskpgm.inference.branch_box_kernels import jit
from taskpgm.inference.branch_kernels import relax


@jit
def bound_counts(
    coupling: Any,
    remainder: Any,
    nodes: Any,
    counts: Any,
    upper: Any,
    incumbent: Any,
    energy: float,
    tolerance: float,
    points: Any,
) -> Any:
    """(a bound for each count, the incumbent's energy).

    coupling, remainder, nodes: as in `taskpgm.inference.branch_box_kernels`. counts: (m,) in rising order, from 1 on.
    upper: (n,) the greatest levels; the least are 0. incumbent: (n,), changed in place. points: (m, n) receives the
    relaxed levels, each begun at those before.
    """
    n = len(upper)
    extra, values, slopes = np.zeros(n), np.zeros(nodes.shape), np.zeros(nodes.shape)
    bounds, p = np.empty(len(counts)), np.zeros(n)
    for k in range(len(counts)):
        low, high = np.zeros_like(upper), upper.copy()
        bounds[k], energy = relax(
            coupling,
            remainder,
            nodes,
            counts[k],
            low,
            high,
            p,
            -np.inf,
            incumbent,
            energy,
            tolerance,
            extra,
            values,
            slopes,
        )
        points[k] = p
    return bounds, energy
