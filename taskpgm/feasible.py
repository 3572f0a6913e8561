"""Where a mixture may lie: bounds on every task's weight, and constraints on several together.

    allowed = FeasibleSet(("copy", "sort", "echo"), lower=0.05, constraints=[Group(("copy", "echo"), upper=0.5)])
    allowed.violation([0.5, 0.3, 0.2])  # 0.4: copy and echo have more than one half

What no mixture can keep together is an error that names a smallest set of clashing constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.checks import Bound, check_bounds_meet, checked_bound
from taskpgm.constraints import Ball, Constraint, Halfspace, Rows
from taskpgm.infeasible import check_feasible
from taskpgm.types import FloatArray, readonly


@dataclass(frozen=True, eq=False, init=False)
class FeasibleSet:
    """Mixtures p with sum p = 1, lower <= p <= upper, and every constraint kept.

    Args:
        names: (n,) distinct task names.
        lower, upper: bounds on each weight: one number for all, or (n,), or a mapping from name to bound.
        constraints: on groups of tasks, epochs, cost, nearness to a mixture, diversity. Epoch caps are upper bounds,
            and `upper` says so afterwards.

    Raises:
        InputError: bounds outside [0, 1], or bounds and constraints that no mixture satisfies.
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    constraints: tuple[Constraint, ...]

    def __init__(
        self,
        names: tuple[str, ...],
        lower: Bound = 0.0,
        upper: Bound = 1.0,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "lower", checked_bound(lower, names, "lower", 0.0))
        object.__setattr__(self, "upper", checked_bound(upper, names, "upper", 1.0))
        object.__setattr__(self, "constraints", tuple(constraints))
        check_bounds_meet(names, self.lower, self.upper)
        if self.constraints:
            check_feasible(names, self.lower, self.upper, self._rows)
            capped = self.upper.copy()
            for cap in self.caps:
                place = int(cap.coefficients.argmax())
                capped[place] = min(capped[place], cap.limit)
            object.__setattr__(self, "upper", readonly(np.maximum(capped, self.lower), np.float64))

    def changed(self, **fields: Any) -> FeasibleSet:
        """This set with some of its constructor's arguments replaced; the set itself where none is."""
        kept: dict[str, Any] = {"lower": self.lower, "upper": self.upper, "constraints": self.constraints}
        return FeasibleSet(self.names, **(kept | fields)) if fields else self

    @cached_property
    def _rows(self) -> Rows:
        return [row for constraint in self.constraints for row in constraint.rows(self.names)]

    @cached_property
    def caps(self) -> tuple[Halfspace, ...]:
        """The constraints on single tasks, p_i <= limit, which `upper` holds already."""
        return tuple(row for row in self._rows if isinstance(row, Halfspace) and _is_cap(row))

    @cached_property
    def halfspaces(self) -> tuple[Halfspace, ...]:
        """The constraints a'p <= b on several tasks."""
        return tuple(row for row in self._rows if isinstance(row, Halfspace) and not _is_cap(row))

    @cached_property
    def balls(self) -> tuple[Ball, ...]:
        """The constraints KL(p || centre) <= r."""
        return tuple(row for row in self._rows if isinstance(row, Ball))

    def violation(self, mixture: ArrayLike) -> float:
        """The largest amount by which p breaks a bound, the sum or a constraint; 0 where it breaks none.

        For a constraint a'p <= b that is (a'p - b) / max |a|; for one on a divergence, nats.
        """
        p = np.asarray(mixture, dtype=np.float64)
        broken = [abs(p.sum() - 1.0), (self.lower - p).max(), (p - self.upper).max(), 0.0]
        broken += [(row.coefficients @ p - row.limit) / np.abs(row.coefficients).max() for row in self.halfspaces]
        broken += [ball.divergence(p) - ball.limit for ball in self.balls]
        return float(max(broken))


def _is_cap(row: Halfspace) -> bool:
    return int(np.count_nonzero(row.coefficients)) == 1 and float(row.coefficients.max()) == 1.0
