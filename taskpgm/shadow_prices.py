"""What the constraints cost: which of them bind, what loosening each would save, and the mixture without any.

The price of a constraint is its multiplier at the minimiser: by how much the least energy falls for each unit by which
its limit is moved out, at first (Boyd & Vandenberghe 2004, section 5.6). Where several sets of multipliers fit, the one
of the certificate is told.

    bill = prices(network, solution)
    print(bill)                         # one line for each constraint that binds, dearest first
    bill.without.energy                 # of the best mixture with no constraint but that weights add up to 1
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.constraints import Halfspace
from taskpgm.energy_shares import Explained
from taskpgm.explanation import AT_BOUND, budget_price, given_mixture, multipliers_of, priced_slopes
from taskpgm.infeasible import bounds_as_rows
from taskpgm.inference import convex_method, solve
from taskpgm.types import FloatArray, Solution

WORTH_TELLING = 1e-9


@dataclass(frozen=True)
class Price:
    """One binding constraint. price: energy saved for each unit of its limit. unit and step: a change to speak of."""

    constraint: str
    price: float
    unit: str
    step: float

    @property
    def saving(self) -> float:
        """What moving the limit by `step` lowers the energy by, at first."""
        return self.price * self.step

    def __str__(self) -> str:
        return f"{self.constraint}: {self.unit} would lower the energy by {self.saving:.3g} at first"


@dataclass(frozen=True, eq=False)
class Prices:
    """energy: of the constrained mixture. binding: dearest first. without: the best mixture with no constraints."""

    network: Explained
    energy: float
    binding: tuple[Price, ...]
    without: Solution

    @property
    def cost(self) -> float:
        """How much higher the energy is for all constraints and bounds together."""
        return self.energy - self.without.energy

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        point = self.without.point
        weights = None if point is None else dict(zip(self.network.names, point.tolist(), strict=True))
        binding = [asdict(price) | {"text": str(price)} for price in self.binding]
        return {"binding": binding, "without": {"energy": self.without.energy, "weights": weights}}

    def __str__(self) -> str:
        lines = [str(price) for price in self.binding] or ["No constraint binds."]
        if self.binding and self.without.point is not None:
            weights = sorted(zip(self.without.point.tolist(), self.network.names, strict=True), reverse=True)
            shown = ", ".join(f"{name} {weight:.1%}" for weight, name in weights[:5])
            lines.append(f"Without any constraint the energy would be lower by {self.cost:.3g}: {shown}.")
        return "\n".join(lines)


def prices(network: Explained, solution: Solution | ArrayLike) -> Prices:
    """The price of every constraint and bound that binds at a minimiser.

    Raises:
        InputError: a solution without a point, or of another size.
    """
    p = given_mixture(network, solution)
    found = _of_rows(network, p) + _of_bounds(network, p)
    binding = [price for price in found if price.saving > WORTH_TELLING]
    binding.sort(key=_saving, reverse=True)
    free = network.changed(lower=0.0, upper=1.0, constraints=())
    return Prices(network, network.energy(p), tuple(binding), solve(free, convex_method(free)))


def _of_rows(network: Explained, p: FloatArray) -> list[Price]:
    found = []
    for row, price in zip(network.coupling_rows, multipliers_of(network, p).tolist(), strict=True):
        found.append(Price(row.name, price, row.unit, row.step))
    return found


def _of_bounds(network: Explained, p: FloatArray) -> list[Price]:
    """A task at its bound would gain by how much its slope differs from the others'."""
    movable = network.lower < network.upper
    excess = np.where(movable, priced_slopes(network, p) - budget_price(network, p), 0.0)
    found = []
    for row in _single(network):
        place = int(np.abs(row.coefficients).argmax())
        gained = -float(row.coefficients[place] * excess[place])
        if abs(row.coefficients[place] * p[place] - row.limit) <= AT_BOUND:
            found.append(Price(row.name, gained, row.unit, row.step))
    return found


def _single(network: Explained) -> list[Halfspace]:
    """Bounds and caps on single tasks, each under the name it was given."""
    capped = np.ones(len(network))
    for cap in network.caps:
        place = int(cap.coefficients.argmax())
        capped[place] = min(capped[place], cap.limit)
    upper = np.where(network.upper < capped, network.upper, 1.0)
    return [*bounds_as_rows(network.names, network.lower, upper), *network.caps]


def _saving(price: Price) -> float:
    return price.saving
