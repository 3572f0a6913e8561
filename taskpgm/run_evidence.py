"""What the windows of a training run tell about its tasks' learning, as arrays, and as bins to fit curves to.

evidence = Evidence.of(windows)
evidence.done                       # (n,) examples trained on
evidence.curves(names, budget)      # the expected curves of all tasks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from taskpgm.expected_curves import ExpectedCurves
from taskpgm.loss_noise import LEAST_NOISE
from taskpgm.mixture_ledger import Window
from taskpgm.training_curves import bin_losses, fit_training_curves
from taskpgm.transfer_network import counted
from taskpgm.types import FloatArray


@dataclass(frozen=True, eq=False)
class Evidence:
    """The windows of a run, or of a stretch of it.

    examples: (T, n) trained on. exposures: (T, n) what they count as: with a transfer graph more than the examples.
    losses: (T, n) mean training losses, nats per target token; 0 where none was measured.
    tokens: (T, n) target tokens that they are means of. held_out: (n,) losses of held-out examples at its end, NaN
    where they are not known.
    """

    examples: FloatArray
    exposures: FloatArray
    losses: FloatArray
    tokens: FloatArray
    held_out: FloatArray

    @classmethod
    def of(cls, windows: Sequence[Window], transfer: FloatArray | None = None) -> Evidence:
        """What windows hold. Losses that are not finite count as not measured.

        transfer: (n, n) what an example of one task counts as one of another.
        """
        examples = np.array([window.examples for window in windows], dtype=np.float64)
        losses = np.array([_numbers(window.loss) for window in windows])
        tokens = np.array([window.measured for window in windows], dtype=np.float64)
        known, held_out = np.isfinite(losses), windows[-1].held_out
        probed = np.full(examples.shape[1], np.nan) if held_out is None else _numbers(held_out)
        exposures = examples if transfer is None else counted(examples, transfer)
        return cls(examples, exposures, np.where(known, losses, 0.0), np.where(known, tokens, 0.0), probed)

    def part(self, first: int) -> Evidence:
        """The windows from `first` on."""
        examples, exposures = self.examples[first:], self.exposures[first:]
        return Evidence(examples, exposures, self.losses[first:], self.tokens[first:], self.held_out)

    @property
    def done(self) -> FloatArray:
        """(n,) examples trained on."""
        return np.asarray(self.examples.sum(axis=0))

    @property
    def exposed(self) -> FloatArray:
        """(n,) what they count as."""
        return np.asarray(self.exposures.sum(axis=0))

    @property
    def seen(self) -> FloatArray:
        """(n,) target tokens whose loss was measured."""
        return np.asarray(self.tokens.sum(axis=0))

    @property
    def start(self) -> FloatArray:
        """(n,) the first loss that was measured of each task."""
        first = (self.tokens > 0.0).argmax(axis=0)
        return np.asarray(np.maximum(self.losses[first, np.arange(self.losses.shape[1])], LEAST_NOISE))

    @property
    def latest(self) -> FloatArray:
        """(n,) the mean of each task's last bin in which a loss was measured; 0 where none was."""
        means, counts = self.bins[1:]
        last = counts.shape[1] - 1 - (counts[:, ::-1] > 0.0).argmax(axis=1)
        return np.asarray(means[np.arange(len(means)), last])

    @cached_property
    def bins(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n, B) exposures, mean losses and tokens, as `bin_losses` gives them."""
        return bin_losses(self.exposures, self.losses, self.tokens)

    def mean(self) -> FloatArray:
        """(n,) mean losses of all of it, 0 where nothing was measured."""
        return np.asarray((self.losses * self.tokens).sum(axis=0) / np.maximum(self.seen, 1.0))

    def curves(self, names: Sequence[str], budget: float) -> ExpectedCurves:
        """The expected curves of all tasks, for exposures in examples; every task must have been seen."""
        return fit_training_curves(*self.bins, self.start, budget=budget, names=names)

    def told(self) -> dict[str, Any]:
        """What curves are fitted to, as plain JSON values."""
        exposures, losses, tokens = (values.tolist() for values in self.bins)
        held_out = None if np.isnan(self.held_out).all() else [_or_none(value) for value in self.held_out.tolist()]
        start = self.start.tolist()
        return {"exposures": exposures, "losses": losses, "tokens": tokens, "start": start, "held_out": held_out}


def _numbers(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
