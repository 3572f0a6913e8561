"""A bound for every number of quanta that a problem without a budget may use, from one split of the couplings.

counts = CountBounds(products, tolerance=1e-10)
counts.bound_all(*counts.no_split(), deadline)
counts.waiting()                                    # the counts that may still hold something better, best first
"""

from __future__ import annotations

import numpy as np

from taskpgm.inference.branch_tree import convex_part, eigenvalue_error
from taskpgm.inference.method import Deadline
from taskpgm.inference.rounding import even_levels
from taskpgm.inference.sharing import Products
from taskpgm.types import FloatArray, IntArray

COUNTS_AT_ONCE = 32


class CountBounds:
    """best and energy: the incumbent, of whatever count. A count is done with once its bound is energy - tolerance.

    bounds: (m,) for `counts`, those from one quantum on; that with none has a single point. points: (m, n) relaxed
    levels. split: (remainder, diagonal) of the last bounds that were better.
    """

    def __init__(self, products: Products, tolerance: float) -> None:
        self.products, self.tolerance = products, tolerance
        self.counts = np.array([count for count in products.counts if count > 0], dtype=np.int64)
        self.bounds = np.full(len(self.counts), -np.inf)
        self.points = np.zeros((len(self.counts), len(products.top)))
        self.error = 0.0
        self.split = self.no_split()
        count = products.counts[len(products.counts) // 2]
        self.best = even_levels(products.sharing(count)) if count else np.zeros_like(products.top)
        self.energy = products.energy(self.best)
        if 0 in products.counts:
            self.offer(np.zeros_like(products.top))

    def no_split(self) -> tuple[FloatArray, FloatArray]:
        """The remainder and diagonal that leave all couplings to the relaxation."""
        return np.zeros_like(self.products.coupling), np.zeros(len(self.products.top))

    def offer(self, levels: IntArray) -> bool:
        """Another incumbent; whether it is better."""
        energy = self.products.energy(levels)
        if energy >= self.energy:
            return False
        self.best, self.energy = np.array(levels, dtype=np.int64), energy
        return True

    def waiting(self) -> IntArray:
        """The places of the counts that are not done with, that of the least bound first."""
        order = np.argsort(self.bounds, kind="stable")
        return np.asarray(order[self.bounds[order] < self.energy - self.tolerance])

    @property
    def bound(self) -> float:
        """A lower bound of the least energy, less what rounding may have added to it."""
        reached = min(self.energy - self.tolerance, float(self.bounds.min(initial=np.inf)))
        return reached - 1e-12 * (1.0 + abs(self.energy)) - self.error

    def bound_all(self, remainder: FloatArray, diagonal: FloatArray, deadline: Deadline) -> float:
        """Bound the counts that wait with a split of the couplings; by how much the least bound rose."""
        from taskpgm.inference.branch_count_kernels import bound_counts

        coupling, nodes = convex_part(self.products.coupling, self.products.nodes, remainder, diagonal)
        before, upper = float(self.bounds.min(initial=np.inf)), self.products.top.astype(np.int32)
        self.error = max(self.error, eigenvalue_error(coupling, int(self.counts.max(initial=0))))
        places = np.sort(self.waiting())
        for chunk in np.split(places, range(COUNTS_AT_ONCE, len(places), COUNTS_AT_ONCE)):
            if deadline.passed() or not len(chunk):
                break
            incumbent, points = self.best.copy(), self.points[chunk]
            arrays = coupling, remainder, nodes, self.counts[chunk], upper, incumbent
            bounds, _ = bound_counts(*arrays, self.energy, self.tolerance, points)
            self.bounds[chunk], self.points[chunk] = np.maximum(self.bounds[chunk], bounds), points
            self.offer(incumbent)
        gained = float(self.bounds.min(initial=np.inf)) - before
        if gained > 0.0:
            self.split = remainder, diagonal
        return gained
