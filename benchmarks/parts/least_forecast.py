"""The mixture whose forecast is least, where the default takes the one of least energy.

A forecast knows more than the energy and is not convex: what is found here is a local minimum, without a certificate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

import taskpgm as tp

Array = NDArray[np.float64]

SMALLEST = 1e-5
LOGITS = (-14.0, 3.0)


def least_forecast(network: tp.CoverageNetwork, starts: Sequence[Array]) -> Array:
    """(n,) the mixture of least mean forecast and pull to the prior above the lower bounds, the best from some starts.

    By L-BFGS on the logits of what is above the bounds.
    """
    lower = network.lower
    free = 1.0 - lower.sum()

    def mixture(logits: Array) -> Array:
        weights = np.exp(logits - logits.max())
        return np.asarray(lower + free * weights / weights.sum())

    def value(logits: Array) -> float:
        p = mixture(logits)
        return tp.forecast(network, p).mean + network.tau * float(p @ np.log(p / network.prior))

    bounds = [LOGITS] * len(network)
    found = [
        minimize(value, np.log(np.maximum((p - lower) / free, SMALLEST)), method="L-BFGS-B", bounds=bounds)
        for p in starts
    ]
    return mixture(min(found, key=lambda each: float(each.fun)).x)
