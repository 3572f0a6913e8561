"""An evaluation as it lies in a run's folder, read without anything that trains.

found = read_evaluation(Path("runs/a/evaluation.json"))
found.differences[0].mean
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskpgm.integrity import DIGEST, sealed_damage
from taskpgm.storage import read_json
from taskpgm.types import InputError

FORMAT = "taskpgm-evaluation/1"
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class StoredDifference:
    """One mixture minus the reference, as `taskpgm.paired.Difference` has it, at one budget and in one measure."""

    steps: int
    measure: str
    mixture: str
    view: str
    level: str
    mean: float | None
    reference_mean: float | None
    interval: tuple[float, float] | None
    corrected: tuple[float, float] | None

    @property
    def sure(self) -> bool:
        """Whether the interval that is corrected for all comparisons excludes 0."""
        return self.corrected is not None and (self.corrected[0] > 0.0 or self.corrected[1] < 0.0)


@dataclass(frozen=True)
class StoredEvaluation:
    """reference: what the mixtures are compared with. seeds: of the runs. failed: runs without a result, in words."""

    reference: str
    seeds: tuple[int, ...]
    evidence_examples: int
    differences: tuple[StoredDifference, ...]
    failed: tuple[str, ...]


def read_evaluation(path: Path) -> StoredEvaluation:
    """What `taskpgm evaluate` found.

    Raises:
        InputError: not an evaluation, another version's, or a damaged one.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"{path}: not a {FORMAT} file: run taskpgm evaluate again, or take the file away.")
    if DIGEST in value and (damage := sealed_damage(path)) is not None:
        raise InputError(f"{damage}; run taskpgm evaluate again, or take the file away.")
    try:
        failed = value["failed"]
        return StoredEvaluation(
            str(value["reference"]),
            tuple(int(seed) for seed in value["seeds"]),
            int(value["evidence_examples"]),
            tuple(_difference(row) for row in value["differences"]),
            tuple(f"{run['mixture']}, {run['steps']} steps, seed {run['seed']}: {run['why']}" for run in failed),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: damaged ({type(error).__name__}: {error}); run taskpgm evaluate again, or take the file away."
        ) from error


def _difference(row: dict[str, Any]) -> StoredDifference:
    return StoredDifference(
        int(row["steps"]),
        str(row["measure"]),
        str(row["mixture"]),
        str(row["view"]),
        str(row["level"]),
        _number(row["mean"]),
        _number(row["reference_mean"]),
        _ends(row["interval"]),
        _ends(row["corrected"]),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _ends(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = value
    return float(low), float(high)
