"""Where tasks go in a picture: an order that puts like tasks side by side, and a map where distance means difference.

    order = clustered_order(distances)          # (n,) places; neighbours are alike
    places = classical_scaling(distances)       # .points (n, 2), .share of the squared distances that they show
    strongest_pairs(similarity, each=2)         # the couplings worth drawing

Distances of tasks are the square roots of Jensen-Shannon divergences, which are Euclidean (Fuglede & Topsøe 2004), so
that enough dimensions would show them exactly; classical scaling (Torgerson 1952) keeps the two that show most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskpgm.types import FloatArray, IntArray, readonly


@dataclass(frozen=True, eq=False)
class TaskMap:
    """points: (n, 2). share: of the sum of squared distances, how much the two dimensions hold, in [0, 1]."""

    points: FloatArray
    share: float


def clustered_order(distances: FloatArray) -> IntArray:
    """(n,) the order of the leaves of an average-linkage tree, turned so that neighbours are as alike as can be.

    distances: (n, n) symmetric, not negative.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

    n = len(distances)
    if n < 3:
        return np.arange(n)
    condensed = distances[np.triu_indices(n, 1)]
    return np.asarray(leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed)), dtype=np.int64)


def classical_scaling(distances: FloatArray) -> TaskMap:
    """The two dimensions that show most of (n, n) symmetric distances; equal distances always give the same map."""
    n = len(distances)
    centred = np.eye(n) - 1.0 / n
    values, vectors = np.linalg.eigh(-0.5 * centred @ distances**2 @ centred)
    kept = [-1, -2][: min(2, n)]
    points = np.zeros((n, 2))
    points[:, : len(kept)] = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0.0))
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    points *= np.where(largest < 0.0, -1.0, 1.0)  # an eigenvector's sign is arbitrary
    total = float(np.maximum(values, 0.0).sum())
    share = float(np.maximum(values[kept], 0.0).sum()) / total if total > 0.0 else 1.0
    return TaskMap(readonly(points, np.float64), share)


def kernel_distances(similarity: FloatArray) -> FloatArray:
    """(n, n) distances between tasks as the points whose inner products a similarity is; 0 where those are none."""
    own = np.diag(similarity)
    return np.asarray(np.sqrt(np.maximum(own[:, None] + own[None, :] - 2.0 * similarity, 0.0)))


def strongest_pairs(coupling: FloatArray, each: int) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, that are among the `each` strongest positive couplings of either task.

    coupling: (n, n); where it is not symmetric the stronger direction counts.
    """
    strong = np.maximum(coupling, coupling.T).astype(np.float64)
    np.fill_diagonal(strong, 0.0)
    chosen = set()
    for i, row in enumerate(strong):
        for j in np.argsort(-row, kind="stable")[:each].tolist():
            if row[j] > 0.0:
                chosen.add((min(i, j), max(i, j)))
    return sorted(chosen)
