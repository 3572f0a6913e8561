"""The mixture whose forecast is least, where the coverage energy's is the one of least energy.

    p = least_forecast(network, [np.asarray(solution.point)])

A forecast knows more than the energy (`taskpgm.interplay`) and is not convex: what is found here is a local minimum,
without a certificate. `taskpgm evaluate` can train on it ("least-forecast"), beside the mixture that is proved;
benchmarks/results/mixtures/TOLD.md tells what it gained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from taskpgm.coverage import CoverageNetwork
from taskpgm.energy import relative_entropy
from taskpgm.forecasting import forecast
from taskpgm.types import FloatArray, InputError

SMALLEST = 1e-5
LOGITS = (-14.0, 3.0)
MOST_FORECASTS = 15_000
"""From one start."""


def least_forecast(network: CoverageNetwork, starts: Sequence[FloatArray]) -> FloatArray:
    """(n,) the mixture of least mean forecast and pull to the prior above the lower bounds, the best from some starts.

    By L-BFGS on the logits of what is above the bounds, with differences for derivatives.

    Raises:
        InputError: a network with upper bounds or constraints, which are not kept here.
    """
    lower = network.lower
    if network.constraints or network.upper.min() < 1.0:
        raise InputError("least forecast: upper bounds and constraints are not kept; solve the network instead.")
    free = 1.0 - lower.sum()

    def mixture(logits: FloatArray) -> FloatArray:
        weights = np.exp(logits - logits.max())
        return np.asarray(lower + free * weights / weights.sum())

    def value(logits: FloatArray) -> float:
        p = mixture(logits)
        return forecast(network, p).mean + network.tau * float(relative_entropy(p, network.prior).sum())

    found = [
        minimize(
            value,
            np.log(np.maximum((p - lower) / free, SMALLEST)),
            method="L-BFGS-B",
            bounds=[LOGITS] * len(network),
            options={"maxfun": MOST_FORECASTS},
        )
        for p in starts
    ]
    return mixture(min(found, key=lambda each: float(each.fun)).x)
