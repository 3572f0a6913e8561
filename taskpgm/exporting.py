"""A mixture in the format of a trainer: plan, files, and, for trainers without weights, the mixed data.

exported = export(Mixture.from_json("mixture.json"), "trl", "trl.yaml", data={"copy": "copy.jsonl"})
print(exported.plan.tasks[0].epochs, *exported.warnings, sep="\\n")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskpgm.exporters import EXPORTERS, Exporter, File, Place, Plan, Wish
from taskpgm.exporters.places import place_tasks
from taskpgm.mixed_data import Written
from taskpgm.mixture import Mixture, Unit
from taskpgm.settings import suggestion
from taskpgm.storage import write_atomic
from taskpgm.types import InputError
from taskpgm.whereabouts import found_from


@dataclass(frozen=True)
class Exported:
    """An export: what was planned, the files (written if a path was given), and what the user should know."""

    exporter: Exporter
    plan: Plan
    files: tuple[File, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For machines, as plain JSON values."""
        tasks = [
            {
                "name": task.name,
                "weight": task.weight,
                "count": task.count,
                "epochs": task.epochs,
                "data": task.place.text,
            }
            for task in self.plan.tasks
        ]
        return {
            "trainer": self.exporter.name,
            "meaning": self.exporter.meaning,
            "unit": self.plan.unit,
            "budget": self.plan.budget,
            "tasks": tasks,
            "left_out": list(self.plan.dropped),
            "files": [{"path": str(file.path), "text": file.text} for file in self.files],
            "warnings": list(self.warnings),
        }


def export(
    mixture: Mixture,
    to: str,
    path: str | Path | None = None,
    *,
    budget: int | None = None,
    unit: Unit | None = None,
    packed: bool | None = None,
    data: Mapping[str, str] | None = None,
    data_dir: str | None = None,
    folder: str | Path = ".",
    mixed: Written | None = None,
) -> Exported:
    """A mixture in a trainer's format, written to `path` where one is given.

    Args:
        mixture: with its tasks' sizes, where weights are to be converted into the unit that the trainer counts.
        to: the trainer's name, one of EXPORTERS.
        path: of the file to write; further files lie next to it.
        budget: how much is trained on in all, counted in `unit`; what the mixture was made for where not given.
        unit: of the budget: the mixture's own where not given. For a mixture that does not know its tasks' sizes, also
            what its weights are shares of.
        packed: the trainer gets sequences of one length, so that its weights count tokens; its usual way if None.
        data: where tasks' data lies, by name.
        data_dir: where the data of all other tasks lies, in files named after them.
        folder: of the mixture's file, which the places it knows are relative to.
        mixed: for trainers without weights: the mixed data that they read.

    Raises:
        InputError: an unknown trainer or task, or weights that cannot be converted.
    """
    exporter = find_exporter(to)
    unknown = [name for name in data or {} if name not in mixture.weights]
    if unknown:
        raise InputError(f"data: {unknown[0]!r} is not a task of the mixture{suggestion(unknown[0], mixture.weights)}.")
    main = Path(f"mixture{exporter.ending}" if path is None else path)
    given = _Given(data or {}, data_dir, Path(folder), Wish(budget, unit), packed)
    plan = mixed.plan if exporter.presampled and mixed is not None else _plan(mixture, exporter, main, given)
    plan = exporter.adapted(plan)
    files = exporter.files(plan, main)
    if path is not None:
        for file in files:
            write_atomic(file.path, file.text.encode("utf-8", "surrogatepass"))
    return Exported(exporter, plan, files, plan.warnings)


@dataclass(frozen=True)
class _Given:
    data: Mapping[str, str]
    data_dir: str | None
    folder: Path
    wish: Wish
    packed: bool | None


def _plan(mixture: Mixture, exporter: Exporter, main: Path, given: _Given) -> Plan:
    names = tuple(mixture.weights)
    if exporter.presampled:
        places = dict.fromkeys(names, Place(str(main.with_suffix(exporter.data_ending))))
    else:
        places = place_tasks(
            names,
            origin=found_from(mixture.details.get("data", {}), given.folder),
            data=given.data,
            folder=given.data_dir,
            ending=exporter.data_ending,
            prepared=exporter.prepared,
        )
    return Plan.of(mixture, exporter.unit_for(given.packed), given.wish, places)


def find_exporter(name: str) -> Exporter:
    """The exporter of a name.

    Raises:
        InputError: there is none; names all there are.
    """
    found = next((exporter for exporter in EXPORTERS if exporter.name == name), None)
    if found is None:
        known = ", ".join(exporter.name for exporter in EXPORTERS)
        raise InputError(f"trainer {name!r}: there is no exporter for it; there are {known}.")
    return found
