"""The losses that an expert had while it was trained, in its folder's curve.json.

They are kept by the content of each task's probes, and each task is looked at by itself, so that not a digit depends on
which other tasks there are, or in which order they came. Losses on a task that came later are not known: the weights in
between are gone. Whoever needs them (the coverage energy, forecasts) has the expert trained once more, to the same
weights; whoever does not (the pairwise energy) has nothing to pay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.integrity import CHANGED, DamageError, folder_damage, read_sealed, seal, sealed_damage, write_sums
from taskpgm.storage import content_hash, file_hash, write_atomic
from taskpgm.types import FloatArray, InputError, LossCurves, Probes, readonly

CURVE_FILE = "curve.json"
NO_CURVE: Mapping[str, list[int]] = {"steps": [], "examples": [], "target_tokens": []}
"""The exposure of an expert that nobody looked at on its way."""


def unknown_probes(directory: Path, keys: Collection[str]) -> list[str]:
    """Those of some probes, by key, on which the expert in a folder has no losses; all where there is no expert."""
    if not directory.is_dir():
        return list(dict.fromkeys(keys))
    known = _curve(directory)["losses"]
    return [key for key in dict.fromkeys(keys) if key not in known]


def losses_on(model: Any, probes: Mapping[str, Probes], batch_size: int) -> FloatArray:
    """(P,) mean loss per target token of each task's probes by itself, in nats."""
    from taskpgm.forward import task_losses

    return np.array([task_losses(model, own, batch_size)[0] for own in probes.values()])


def expert_damage(folder: Path) -> str | None:
    """Which file of an expert is not as it was written, if one is."""
    if not (folder / CURVE_FILE).is_file():
        return f"{folder / CURVE_FILE}: not there"
    return sealed_damage(folder / CURVE_FILE) or folder_damage(folder)


def write_curve(folder: Path, exposure: Mapping[str, list[int]], losses: Mapping[str, list[float]]) -> None:
    """The curve of the expert whose weights are in a folder, and the checksums of these.

    losses: by probes' key, after each of the snapshots.
    """
    curve = {**exposure, "losses": dict(losses), "weights": weights_hash(folder)}
    write_atomic(folder / CURVE_FILE, seal(curve))
    write_sums(folder, leave_out=[CURVE_FILE])


def add_to_curve(folder: Path, losses: Mapping[str, list[float]], weights: str) -> None:
    """Add the losses on other probes, seen while the same expert was trained once more.

    Raises:
        InputError: that training ended with other weights.
    """
    curve = _curve(folder)
    if weights != stored_weights_hash(folder):
        raise InputError(
            f"{folder}: trained once more, for its losses on tasks that came later, this expert has other weights: with"
            " another processor, or number of threads; delete the folder, and it is made again."
        )
    write_atomic(folder / CURVE_FILE, seal({**curve, "losses": curve["losses"] | losses}))


def weights_hash(folder: Path) -> str:
    """The hash of the weights in a folder."""
    return content_hash({path.name: file_hash(path) for path in folder.glob("*.safetensors")})


def stored_weights_hash(folder: Path) -> str:
    """The same as it was when they were written."""
    return str(_curve(folder)["weights"])


def read_curves(names: Sequence[str], directories: Sequence[Path], keys: Sequence[str]) -> LossCurves:
    """The losses of every expert on every task's probes.

    Raises:
        InputError: an expert that was trained before a task came.
    """
    for name, directory in zip(names, directories, strict=True):
        if missing := unknown_probes(directory, keys):
            raise InputError(
                f"the expert of task {name!r} was trained before the probes of {names[keys.index(missing[0])]!r} were"
                " known, so its losses on them are not: train_experts(..., curves=True) trains it once more."
            )
    stored = [_curve(directory) for directory in directories]
    return LossCurves(
        tuple(names),
        readonly([each["examples"] for each in stored], np.int64),
        readonly([each["target_tokens"] for each in stored], np.int64),
        readonly([np.transpose([each["losses"][key] for key in keys]) for each in stored], np.float64),
    )


def _curve(directory: Path) -> dict[str, Any]:
    """The record, sealed and of the form that `write_curve` gives it.

    Raises:
        DamageError: it is not.
    """
    record = read_sealed(directory / CURVE_FILE)
    if not _is_curve(record):
        raise DamageError(f"{directory / CURVE_FILE}: {CHANGED}")
    return record


def _is_curve(record: dict[str, Any]) -> bool:
    steps, losses = record.get("steps"), record.get("losses")
    if not (isinstance(steps, list) and isinstance(losses, dict) and isinstance(record.get("weights"), str)):
        return False
    exposures = (record.get("examples"), record.get("target_tokens"))
    return all(_numbers(each, steps, int) for each in exposures) and all(
        _numbers(each, steps, float) for each in losses.values()
    )


def _numbers(values: Any, steps: list[Any], kind: type) -> bool:
    """Whether there is a number for each of the steps."""
    kinds = (int,) if kind is int else (int, float)
    whole = isinstance(values, list) and len(values) == len(steps)
    return whole and all(type(each) in kinds and abs(each) < 2**62 for each in values)
