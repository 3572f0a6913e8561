"""Whether forecasts of a run's losses did worse than taking the losses to stay as they were.

found = Drift.of(curves, before, since, weights)
found.forecast, found.staying       # mean errors in nats
found.reason()                      # None, or why the forecasts are not to be followed
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskpgm.expected_curves import ExpectedCurves
from taskpgm.loss_noise import measured_noise, training_noise
from taskpgm.run_evidence import Evidence
from taskpgm.types import FloatArray


@dataclass(frozen=True)
class Drift:
    """How far two guesses were from what came, in nats of loss, as means over tasks by their target weights.

    forecast: of the curves. staying: of the last losses that were known. allowed: what sampling explains. source: the
    losses that were guessed.
    """

    forecast: float
    staying: float
    allowed: float
    source: str

    @classmethod
    def of(cls, curves: ExpectedCurves, before: Evidence, since: Evidence, weights: FloatArray) -> Drift:
        """How curves fitted to `before` foretold what came since: held-out losses where both know them.

        Args:
            weights: (n,) what each task counts.
        """
        probed = np.isfinite(before.held_out) & np.isfinite(since.held_out)
        if probed.any():
            return cls._held_out(curves, before, since, np.where(probed, weights, 0.0))
        return cls._training(curves, before, since, np.where(since.seen > 0.0, weights, 0.0))

    @classmethod
    def _held_out(cls, curves: ExpectedCurves, before: Evidence, since: Evidence, weights: FloatArray) -> Drift:
        """Held-out losses may lie beside the training losses by themselves: it is their change that is foretold."""
        then, now = np.nan_to_num(before.held_out), np.nan_to_num(since.held_out)
        change = curves.mean(before.exposed + since.exposed) - curves.mean(before.exposed)
        forecast, staying = (float(weights @ np.abs(guess - now)) for guess in (then + change, then))
        return cls(forecast, staying, float(weights @ measured_noise(now)), "held-out losses")

    @classmethod
    def _training(cls, curves: ExpectedCurves, before: Evidence, since: Evidence, weights: FloatArray) -> Drift:
        came, middle = since.mean(), before.exposed + 0.5 * since.exposed
        allowed = training_noise(came, np.maximum(since.seen, 1.0))
        forecast, staying = (float(weights @ np.abs(guess - came)) for guess in (curves.mean(middle), before.latest))
        return cls(forecast, staying, float(weights @ allowed), "training losses")

    def reason(self) -> str | None:
        """Why the forecasts are not to be followed; None where they did well enough."""
        if self.forecast <= self.staying + self.allowed:
            return None
        return (
            f"forecasts missed the {self.source} since the last decision by {self.forecast:.3g} nats, and taking them"
            f" to stay as they were by {self.staying:.3g}: back to the prior"
        )
