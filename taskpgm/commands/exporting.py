"""taskpgm export: a mixture in the format of a trainer, and the mixed data itself."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskpgm.commands.options import Json
from taskpgm.types import InputError

if TYPE_CHECKING:
    from taskpgm.exporting import Exported
    from taskpgm.mixed_data import Written
    from taskpgm.mixture import Mixture, Unit
    from taskpgm.training_data import TrainingData

LIST = "list"


@dataclass(frozen=True)
class _Wanted:
    """The options, as values."""

    mixture: Mixture
    folder: Path
    budget: int | None
    unit: Unit | None
    data: dict[str, str]
    data_dir: str | None
    tasks: Path | None
    tokenizer: Path | None
    seed: int
    quiet: bool


def export(
    mixture: Annotated[
        Path | None, typer.Argument(help="A mixture.json, or a run's folder; not needed for --to list.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TRAINER", help="The trainer; `list` shows all, and what their weights mean.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; without it the text is printed and nothing written.")
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1, help="How much is trained on in all, in --unit; what the mixture was made for where not given."
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="What the budget counts: examples, tokens or target-tokens; the mixture's own by default."),
    ] = None,
    packed: Annotated[
        bool | None,
        typer.Option(
            "--packed/--not-packed",
            help="Whether the trainer gets sequences of one length, so that weights count tokens; its usual way if not"
            " said.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="Where a task's data lies; once for each task.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the other tasks' data lies, in files named after them.")
    ] = None,
    materialise: Annotated[
        Path | None,
        typer.Option(
            "--materialise", metavar="FILE", help="Write the mixed rows, evenly spread: a .jsonl or .parquet file."
        ),
    ] = None,
    task_files: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write each task's training part to a JSONL file in this folder, all in one form, and let the trainer"
            " read these.",
        ),
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN.yaml", help="Take the data for --materialise and --task-files from this run's tasks."
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A model's folder: count a budget in tokens exactly, for --materialise."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the mixed data's order.")] = 0,
    as_json: Json = False,
) -> None:
    """A mixture in the format of your trainer, or as mixed data."""
    if to == LIST:
        _list(as_json)
        return
    if mixture is None:
        raise InputError("say which mixture: taskpgm export mixture.json --to TRAINER.")
    if to is None and materialise is None:
        raise InputError("say --to TRAINER (taskpgm export --to list shows all), or --materialise FILE.")
    from taskpgm.exporting import find_exporter

    wanted = _wanted(mixture, budget, unit, data or [], data_dir, tasks, tokenizer, seed, as_json)
    rows = materialise
    if rows is None and out is not None and to is not None and find_exporter(to).presampled:
        rows = out.with_suffix(".jsonl")
    written = None if rows is None else _materialise(wanted, rows)
    notes: tuple[str, ...] = ()
    if task_files is not None:
        if to is None or find_exporter(to).prepared or find_exporter(to).presampled:
            raise InputError("--task-files is for trainers that read one file of rows for each task: say which, --to.")
        wanted, notes = _write_tasks(wanted, task_files)
    exported = None if to is None else _export(wanted, to, out, packed, written)
    if as_json:
        print(json.dumps(_as_dict(exported, written, notes), ensure_ascii=False))
    else:
        _show(exported, written, notes, out is not None)


def _wanted(
    path: Path,
    budget: int | None,
    unit: str | None,
    data: list[str],
    data_dir: str | None,
    tasks: Path | None,
    tokenizer: Path | None,
    seed: int,
    quiet: bool,
) -> _Wanted:
    from taskpgm.exporters.places import split_assignments
    from taskpgm.mixture import Mixture
    from taskpgm.problems import MIXTURE_FILE

    file = path / MIXTURE_FILE if path.is_dir() else path
    mixture = Mixture.from_json(file)
    given = split_assignments(data, tuple(mixture.weights))
    return _Wanted(mixture, file.parent, budget, _unit(unit), given, data_dir, tasks, tokenizer, seed, quiet)


def _unit(text: str | None) -> Unit | None:
    from taskpgm.mixture import UNITS

    if text is None:
        return None
    found = next((unit for unit in UNITS if unit == text.replace("-", "_")), None)
    if found is None:
        raise InputError(f"--unit {text!r}: use one of {', '.join(unit.replace('_', '-') for unit in UNITS)}.")
    return found


def _list(as_json: bool) -> None:
    from taskpgm.exporters import EXPORTERS

    if as_json:
        print(json.dumps([{"name": each.name, "trainer": each.title, "meaning": each.meaning} for each in EXPORTERS]))
        return
    for each in EXPORTERS:
        print(f"{each.name:<14} {each.title}: {each.meaning}")


def _materialise(wanted: _Wanted, path: Path) -> Written:
    from taskpgm.mixed_data import materialise
    from taskpgm.progress import terminal_progress

    loaded = None
    if wanted.tokenizer is not None:
        from taskpgm.base import Base, load_tokenizer

        loaded = load_tokenizer(Base(wanted.tokenizer, ""))
    with terminal_progress(quiet=wanted.quiet) as progress:
        return materialise(
            wanted.mixture,
            _data(wanted),
            path,
            budget=wanted.budget,
            unit=wanted.unit,
            seed=wanted.seed,
            tokenizer=loaded,
            progress=progress,
        )


def _data(wanted: _Wanted) -> TrainingData:
    """The examples of all tasks of positive weight, from the first who knows where they lie."""
    from taskpgm.exporters.places import place_tasks
    from taskpgm.training_data import TrainingData
    from taskpgm.whereabouts import found_from

    names = [name for name, weight in wanted.mixture.weights.items() if weight > 0.0]
    if wanted.tasks is not None:
        from taskpgm.tasks import load_tasks

        return TrainingData.of(load_tasks(wanted.tasks), names)
    origin = found_from(wanted.mixture.details.get("data", {}), wanted.folder)
    data = dict(wanted.data)
    if wanted.data_dir is not None:
        places = place_tasks(names, origin=origin, data=data, folder=wanted.data_dir, ending=".jsonl")
        data = {name: place.text for name, place in places.items()}
    return TrainingData.read(names, origin, data)


def _write_tasks(wanted: _Wanted, folder: Path) -> tuple[_Wanted, tuple[str, ...]]:
    """The tasks' training parts written to a folder, and the same wish with the data there."""
    from taskpgm.mixed_data import write_tasks

    mixture, notes = write_tasks(wanted.mixture, _data(wanted), folder)
    return replace(wanted, mixture=mixture, folder=Path(), data={}, data_dir=None), notes


def _export(wanted: _Wanted, to: str, out: Path | None, packed: bool | None, written: Written | None) -> Exported:
    from taskpgm.exporting import export as export_mixture

    return export_mixture(
        wanted.mixture,
        to,
        out,
        budget=wanted.budget,
        unit=wanted.unit,
        packed=packed,
        data=wanted.data,
        data_dir=wanted.data_dir,
        folder=wanted.folder,
        mixed=written,
    )


def _show(exported: Exported | None, written: Written | None, notes: tuple[str, ...], to_file: bool) -> None:
    """What was written, or the text itself; and once, on standard error, what to know about it."""
    if written is not None:
        print(f"Written to {written.path}: {sum(written.rows.values())} rows of {len(written.rows)} tasks.")
    for i, file in enumerate(() if exported is None else exported.files):
        if to_file:
            print(f"Written to {file.path}")
        else:
            print(file.text if i == 0 else f"# {file.path}\n{file.text}", end="")
    told = (*notes, *(() if written is None else written.warnings), *(() if exported is None else exported.warnings))
    for text in dict.fromkeys(told):
        print(f"Beware: {text}", file=sys.stderr)


def _as_dict(exported: Exported | None, written: Written | None, notes: tuple[str, ...]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    if exported is not None:
        value |= exported.as_dict()
        value["warnings"] = [*notes, *value["warnings"]]
    if written is not None:
        value["data"] = {"path": str(written.path), "rows": dict(written.rows), "warnings": list(written.warnings)}
    return value
