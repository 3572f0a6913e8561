"""What a training run took of each task and what it lost on it: sums, the figures for the log, and closed windows.

ledger = Ledger(names)
ledger.add(sums, drawing)           # after each step
ledger.figures(planned_lengths)     # {"mixture/loss/copy": 2.31, ...}, losses since the last such call
ledger.close_window(step, shares)   # a Window, for whoever decides on other weights
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from taskpgm.types import FloatArray, InputError, IntArray

UNIT_NAMES = ("examples", "tokens", "target_tokens")
"""The units that trainers count in, in the order of the columns of a ledger's sums."""
COLUMNS = (*UNIT_NAMES, "measured", "loss")
"""Columns of sums: three amounts, the target tokens whose loss was measured, and the sum of those losses in nats."""
Json: TypeAlias = Any


@dataclass(frozen=True)
class Window:
    """What a stretch of a training run saw of each task.

    names: the tasks, sorted. first_step, last_step: of the stretch, counted from 1. shares: (n,) of the examples, those
    in force at its end. examples, tokens, target_tokens: (n,) trained on. measured: (n,) target tokens whose training
    loss was measured. loss: (n,) their mean in nats, None for a task of which none was measured. held_out: (n,) the
    same of held-out examples at its end, where they were looked at.
    """

    names: tuple[str, ...]
    first_step: int
    last_step: int
    shares: tuple[float, ...]
    examples: tuple[int, ...]
    tokens: tuple[int, ...]
    target_tokens: tuple[int, ...]
    measured: tuple[int, ...]
    loss: tuple[float | None, ...]
    held_out: tuple[float | None, ...] | None = None

    @classmethod
    def from_dict(cls, value: Mapping[str, Json]) -> Window:
        """What asdict gave, or its JSON.

        Raises:
            KeyError, TypeError: something is missing, or not of its kind.
        """
        held_out = value["held_out"]
        return cls(
            tuple(value["names"]),
            int(value["first_step"]),
            int(value["last_step"]),
            tuple(value["shares"]),
            tuple(value["examples"]),
            tuple(value["tokens"]),
            tuple(value["target_tokens"]),
            tuple(value["measured"]),
            tuple(value["loss"]),
            None if held_out is None else tuple(held_out),
        )


class Ledger:
    """The sums of a run so far, (n, 5) float64 with the columns COLUMNS, and where they stood at the last marks."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.sums: FloatArray = np.zeros((len(names), len(COLUMNS)))
        self.windows: tuple[Window, ...] = ()
        self._logged = self.sums
        self._closed = self.sums
        self._step = 0

    def set_totals(self, sums: FloatArray) -> None:
        """(n, 5) the sums of the whole run so far."""
        self.sums = sums

    def figures(self, planned: FloatArray, epochs: FloatArray, lengths: FloatArray | None) -> dict[str, float]:
        """What belongs into the log, by a key that ends with the task's name.

        Shares are of the whole run so far, losses are means since the last call.

        Args:
            planned: (n,) examples that the weights ask for so far.
            epochs: (n,) passes over each task's data so far.
            lengths: (n, 3) mean length of an example in each of UNIT_NAMES, where known.
        """
        figures: dict[str, float] = {}
        for column, unit in enumerate(UNIT_NAMES):
            figures |= self._keyed(f"realised_{unit}", _shares(self.sums[:, column]))
            if unit == "examples" or lengths is not None:
                per_example = 1.0 if lengths is None else lengths[:, column]
                figures |= self._keyed(f"planned_{unit}", _shares(np.maximum(planned, 0.0) * per_example))
        figures |= self._keyed("epochs", epochs)
        figures |= self._keyed("loss", _losses(self.sums - self._logged))
        self._logged = self.sums
        return figures

    def close_window(self, step: int, shares: FloatArray, held_out: Sequence[float | None] | None = None) -> Window:
        """What was seen since the last window was closed, or since the run began.

        held_out: (n,) losses of held-out examples after this step, where they were looked at.
        """
        part = self.sums - self._closed
        examples, tokens, target_tokens, measured = (tuple(np.rint(part[:, i]).astype(int).tolist()) for i in range(4))
        loss = _losses(part)
        window = Window(
            self.names,
            self._step + 1,
            step,
            tuple(shares.tolist()),
            examples,
            tokens,
            target_tokens,
            measured,
            tuple(None if np.isnan(value) else float(value) for value in loss),
            None if held_out is None else tuple(held_out),
        )
        self.windows, self._closed, self._step = (*self.windows, window), self.sums, step
        return window

    def state_dict(self) -> dict[str, Json]:
        """Everything, as plain JSON values."""
        marks = {"sums": self.sums, "logged": self._logged, "closed": self._closed}
        windows = [{key: value for key, value in asdict(each).items() if key != "names"} for each in self.windows]
        return {key: value.tolist() for key, value in marks.items()} | {"step": self._step, "windows": windows}

    def load_state_dict(self, state: Mapping[str, Json]) -> None:
        """Go on from what state_dict gave.

        Raises:
            InputError: not such a state, or one of another number of tasks.
        """
        try:
            sums, logged, closed = (np.array(state[key], dtype=np.float64) for key in ("sums", "logged", "closed"))
            step, windows = int(state["step"]), [dict(each) for each in state["windows"]]
            seen = tuple(Window.from_dict({**each, "names": list(self.names)}) for each in windows)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"damaged state of a mixture in training ({type(error).__name__}: {error}).") from error
        if not sums.shape == logged.shape == closed.shape == self.sums.shape:
            raise InputError(f"damaged state of a mixture in training (shape {sums.shape}, not {self.sums.shape}).")
        self.sums, self._logged, self._closed, self._step, self.windows = sums, logged, closed, step, seen

    def _keyed(self, measure: str, values: FloatArray) -> dict[str, float]:
        pairs = zip(self.names, values.tolist(), strict=True)
        return {f"mixture/{measure}/{name}": value for name, value in pairs if not np.isnan(value)}


def _shares(amounts: FloatArray | IntArray) -> FloatArray:
    total = amounts.sum()
    return amounts / total if total > 0 else np.full(len(amounts), np.nan)


def _losses(sums: FloatArray) -> FloatArray:
    """(n,) mean loss per measured target token, NaN where none was measured."""
    measured = sums[:, COLUMNS.index("measured")]
    return np.where(measured > 0, sums[:, COLUMNS.index("loss")] / np.maximum(measured, 1.0), np.nan)
