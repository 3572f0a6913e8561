"""How sure a held-out loss is, and which tasks' losses fell by more than that.

deviation = noise(losses)           # nats, as large as the losses
fell = fell_at_all(losses)          # (n,) False: not learned yet, or nothing to learn
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskpgm.types import FloatArray, LossCurves

LEAST_NOISE, RELATIVE_NOISE, START_NOISE = 0.02, 0.03, 2.0
SAMPLING_NOISE = 0.8
"""Of the mean of training losses, in the loss over the root of the number of tokens."""
FLAT = 2.0
"""By how many times the noise a curve must fall to say something."""


def measured_noise(losses: FloatArray) -> FloatArray:
    """The standard deviation that held-out losses are taken to have, in the same shape."""
    return np.asarray(LEAST_NOISE + RELATIVE_NOISE * np.abs(losses))


def noise(losses: FloatArray) -> FloatArray:
    """(n, S) the same for snapshots; twice that for the first of them, before any exposure."""
    deviation = measured_noise(losses)
    deviation[:, 0] *= START_NOISE
    return deviation


def training_noise(losses: FloatArray, tokens: FloatArray) -> FloatArray:
    """The same for means of training losses over so many target tokens each; infinite where there are none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sampled = SAMPLING_NOISE * np.abs(losses) / np.sqrt(tokens)
    return np.asarray(np.where(tokens > 0.0, measured_noise(losses) + sampled, np.inf))


def fell_at_all(losses: LossCurves) -> NDArray[np.bool_]:
    """(n,) whether the expert of each task lowered its loss by more than noise."""
    n = len(losses.names)
    own = losses.losses[np.arange(n), :, np.arange(n)]
    return np.asarray(own[:, 0] - own.min(axis=1) > FLAT * noise(own)[:, 1:].max(axis=1, initial=0.0))
