"""The decisions of a run on its own mixture: each a certified mixture, with the evidence that it rests on.

for decision in read_decisions("runs/a/mixtures"):
    print(decision.step, decision.followed, decision.mixture.weights, decision.mean)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.mixture import Mixture
from taskpgm.types import InputError


@dataclass(frozen=True, eq=False)
class Decision:
    """A mixture that a run went on with, as the file that was written tells it.

    mixture: shares of the examples that are left, with certificate; details["decision"] holds everything else.
    """

    mixture: Mixture

    @property
    def _told(self) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.mixture.details["decision"]
        return told

    @property
    def step(self) -> int:
        """The last step before it was taken."""
        return int(self._told["step"])

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return int(self._told["steps"])

    @property
    def followed(self) -> bool:
        """False where forecasts did so badly that the mixture is as near to the prior as is allowed."""
        return bool(self._told["followed"])

    @property
    def reason(self) -> str:
        """Why this mixture."""
        return str(self._told["reason"])

    @property
    def mean(self) -> float:
        """The mean loss expected at the end of the run, by the tasks' target weights, nats per target token."""
        return float(self._told["mean"])

    @property
    def mean_spread(self) -> float:
        """Its standard deviation, as if what is believed of one task had nothing to do with the others."""
        return float(self._told["mean_spread"])

    @property
    def expected(self) -> dict[str, float]:
        """By task, the loss expected at the end of the run, nats per target token."""
        return self._column("expected")

    @property
    def spread(self) -> dict[str, float]:
        """By task, the standard deviation of the loss expected at the end of the run."""
        return self._column("spread")

    @property
    def latest(self) -> dict[str, float]:
        """By task, the last training loss that was known, nats per target token."""
        return self._column("latest")

    def as_dict(self) -> dict[str, Any]:
        """Step, weights, certificate and forecast, as plain JSON values."""
        mixture = self.mixture
        return {
            "step": self.step,
            "steps": self.steps,
            "status": mixture.status,
            "gap": mixture.gap if np.isfinite(mixture.gap) else None,
            "followed": self.followed,
            "reason": self.reason,
            "mean": self.mean,
            "mean_spread": self.mean_spread,
            "weights": dict(mixture.weights),
            "latest": self.latest,
            "expected": self.expected,
            "spread": self.spread,
        }

    def _column(self, key: str) -> dict[str, float]:
        return {name: float(row[key]) for name, row in self._told["tasks"].items()}


def read_decisions(folder: str | Path) -> tuple[Decision, ...]:
    """The decisions of a run in their order: of the folder mixtures in a trainer's output folder, or of the latter.

    Raises:
        InputError: no decisions there, or a file that is none.
    """
    given = Path(folder)
    paths = decision_files(given)
    if not paths:
        raise InputError(f"{given}: no decisions (step-*.json); name the trainer's output folder, or {FOLDER} in it.")
    found = [_read(path) for path in paths]
    tasks = found[0].mixture.network.names
    other = next((path for path, each in zip(paths, found, strict=True) if each.mixture.network.names != tasks), None)
    if other is not None:
        raise InputError(
            f"{other}: a decision on other tasks than in {paths[0].name}; keep each run in its own folder."
        )
    steps = sorted({each.steps for each in found})
    if len(steps) > 1:
        lengths = " and ".join(map(str, steps))
        raise InputError(f"{given}: decisions of runs of {lengths} steps; remove the older.")
    return tuple(sorted(found, key=_step))


def decision_files(folder: Path) -> list[Path]:
    """The files of a run's decisions, in the folder mixtures in a trainer's output folder, or in this one; or none."""
    inner = folder / FOLDER
    return sorted((inner if inner.is_dir() else folder).glob("step-*.json"))


FOLDER = "mixtures"
"""In the trainer's output folder: a mixture file for every decision."""


def _read(path: Path) -> Decision:
    decision = Decision(Mixture.from_json(path))
    try:
        told = decision.as_dict()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a mixture, but no decision of a run ({type(error).__name__}: {error}).") from error
    names = set(decision.mixture.network.names)
    if any(set(told[key]) != names for key in ("latest", "expected", "spread")):
        raise InputError(f"{path}: damaged decision (forecasts and weights name different tasks).")
    return decision


def _step(decision: Decision) -> int:
    return decision.step
