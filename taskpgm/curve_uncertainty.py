"""Error bars for coverage mixtures: curves drawn from what is believed of them, transfer from drawn snapshots.

Each draw takes one shape for every task by its posterior weight, with floor and drop from their own spread, and reads
the exposure transfer off snapshots drawn with replacement; the network is then solved again, from where it was.

    mixtures = drawn_mixtures(losses, network, solution.point, replicates=200, seed=0)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taskpgm.coverage import CoverageNetwork
from taskpgm.inference.nearby import mixture_near
from taskpgm.transfer import exposure_transfer
from taskpgm.types import FloatArray, InputError, LossCurves


def drawn_mixtures(
    losses: LossCurves, network: CoverageNetwork, mixture: FloatArray, replicates: int, seed: int
) -> FloatArray:
    """(replicates, n) the mixtures of evidence drawn again.

    Raises:
        InputError: losses of other tasks than the network's.
    """
    if losses.names != network.names:
        raise InputError("the losses are about other tasks than the network, or in another order.")
    rng = np.random.default_rng(seed)
    found = np.empty((replicates, len(network)))
    for row in found:
        drawn = network.changed(curves=network.curves.drawn(rng), transfer=exposure_transfer(_redrawn(losses, rng)))
        row[:] = mixture_near(drawn, mixture)
    return found


def _redrawn(losses: LossCurves, rng: np.random.Generator) -> LossCurves:
    """Snapshots drawn with replacement; the base model and the last one are always there."""
    last = losses.examples.shape[1] - 1
    middle = np.sort(rng.integers(1, last + 1, size=last - 1)) if last > 1 else np.zeros(0, dtype=np.int64)
    kept = np.concatenate([[0], middle, [last]])
    return replace(
        losses,
        examples=losses.examples[:, kept],
        target_tokens=losses.target_tokens[:, kept],
        losses=losses.losses[:, kept],
    )
