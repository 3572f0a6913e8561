"""What a mixture will do to the loss of every task, and what another budget would change.

    told = forecast(network, solution.point)
    print(told)                         # a line for each task
    told.interval                       # (n, 2) nats: where each loss will be with 95 %
    forecast(network, solution.point, budget=16_000).losses

The curves were fitted to single-task experts. What the tasks do to each other enters through the exposure transfer,
and through the network's `interplay` (see `taskpgm.interplay`), which the energy cannot hold: forecasts differ from the
energy's own losses where it says something.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.coverage import CoverageNetwork
from taskpgm.loss_noise import measured_noise
from taskpgm.types import FloatArray, InputError, Solution, readonly

LEVEL = 0.95
EXPOSURE_FACTOR = 4.0
"""By how much the exposure that counts may differ from what the mixture gives. It was set on seeds 100 to 105 of the
embedded suites so that 95 % of the losses of final runs lay inside the intervals; the report of the confirmation
(benchmarks/results/mixtures) tells the share on seeds that it was not set on."""
MEASURED = 2.0  # standard deviations of a measured loss


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predicted losses of a mixture under a budget.

    network: with that budget. mixture: (n,). start: (n,) losses of tasks that a run of this length leaves out.
    """

    network: CoverageNetwork
    mixture: FloatArray

    @cached_property
    def exposures(self) -> FloatArray:
        """(n,) how many examples' worth of each task the run gives it, those of related tasks included."""
        told = self.network.interplay
        exposures = self.network.exposures if told is None else partial(told.exposures, self.network)
        return readonly(exposures(self.mixture), np.float64)

    @cached_property
    def beyond(self) -> FloatArray:
        """(n,) nats a token above the learning curve: forgetting, and other tasks that contradict."""
        network, told = self.network, self.network.interplay
        contradiction = 0.0 if told is None else told.contradiction(network, self.mixture)
        return readonly(network.lost(self.mixture) + contradiction, np.float64)

    @cached_property
    def start(self) -> FloatArray:
        """(n,) expected losses without any exposure, which others make worse than the base model's, nats a token."""
        return readonly(self.network.losses(np.zeros(len(self.network))), np.float64)

    @cached_property
    def losses(self) -> FloatArray:
        """(n,) expected losses, nats per target token."""
        return readonly(self.network.curves.losses(self.exposures) + self.beyond, np.float64)

    @cached_property
    def interval(self) -> FloatArray:
        """(n, 2) where each loss will be measured with 95 %.

        The curve's own interval, over exposures from a quarter to four times what the mixture gives, and the noise of
        a measurement. What tasks do for each other in one run is known no better than that: see EXPOSURE_FACTOR.
        """
        curves, beyond = self.network.curves, self.beyond
        low = curves.intervals(self.exposures * EXPOSURE_FACTOR, LEVEL)[:, 0] + beyond
        high = curves.intervals(self.exposures / EXPOSURE_FACTOR, LEVEL)[:, 1] + beyond
        ends = np.column_stack([low, high])
        spread = MEASURED * measured_noise(ends) * [-1.0, 1.0]
        return readonly(np.maximum(ends + spread, 0.0), np.float64)

    @property
    def mean(self) -> float:
        """The mean of the losses under the target weights."""
        return float(self.network.target_weights @ self.losses)

    def with_budget(self, budget: float) -> Forecast:
        """The same mixture in a run of another length."""
        return Forecast(self.network.changed(budget=budget), self.mixture)

    @property
    def doubling(self) -> FloatArray:
        """(n,) by how much twice the budget would lower each loss: nothing is left where this is 0."""
        return np.asarray(self.losses - self.with_budget(2.0 * self.network.budget).losses)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values, by task name."""
        rows = zip(
            self.network.names,
            self.start.tolist(),
            self.losses.tolist(),
            self.interval.tolist(),
            self.exposures.tolist(),
            self.doubling.tolist(),
            strict=True,
        )
        tasks = {
            name: {"start": start, "loss": loss, "interval": ends, "exposure": exposure, "doubling": doubling}
            for name, start, loss, ends, exposure, doubling in rows
        }
        return {"budget": self.network.budget, "level": LEVEL, "mean": self.mean, "tasks": tasks}

    def __str__(self) -> str:
        lines = [
            f"{name}: {start:.3g} -> {loss:.3g} ({low:.3g} to {high:.3g}) after {exposure:.4g} examples' worth"
            for name, start, loss, (low, high), exposure in zip(
                self.network.names, self.start, self.losses, self.interval, self.exposures, strict=True
            )
        ]
        saved = float(self.network.target_weights @ self.doubling)
        lines.append(f"mean {self.mean:.4g} nats per target token; twice the budget would lower it by {saved:.2g}.")
        return "\n".join(lines)


def forecast(network: CoverageNetwork, mixture: Solution | ArrayLike, budget: float | None = None) -> Forecast:
    """The losses that a mixture will reach.

    Args:
        network: with learning curves.
        mixture: (n,) weights, or a solution.
        budget: of the run, in the unit of the weights; the network's where not given.

    Raises:
        InputError: no mixture, one of another size, or one that is none (negative, or not adding up to 1).
    """
    point = mixture.point if isinstance(mixture, Solution) else mixture
    if point is None or np.shape(point) != (len(network),):
        raise InputError(f"no mixture of {len(network)} tasks to forecast: solve the network first.")
    p = readonly(point, np.float64)
    if not (np.all(np.isfinite(p)) and p.min() >= 0.0 and abs(p.sum() - 1.0) <= 1e-6):
        raise InputError("the weights of a mixture must not be negative, and must add up to 1.")
    return Forecast(network if budget is None else network.changed(budget=budget), p)
