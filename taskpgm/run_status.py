"""What a run's folder holds, and in which state: looked at without loading a model, while a run is on as well.

status = run_status(Path("runs/a"))
status.mixture                      # "finished", "damaged", "without a checksum", "of another version" or "missing"
status.damaged                      # what would be made again
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taskpgm.evaluation_file import EVALUATION_FILE
from taskpgm.integrity import DIGEST, DamageError, read_sealed
from taskpgm.inventory import CHECKS, Artefact, References, artefacts
from taskpgm.mixture import FORMAT
from taskpgm.problems import MIXTURE_FILE
from taskpgm.run_lock import Holder, holder
from taskpgm.storage import partial_paths, read_json, size_of
from taskpgm.types import InputError

FINISHED, DAMAGED, OTHER_VERSION, MISSING = "finished", "damaged", "of another version", "missing"
UNSEALED = "without a checksum"


@dataclass(frozen=True)
class Kind:
    """All artefacts of a kind. spare: how many of them nothing finished rests on."""

    name: str
    count: int
    bytes: int
    spare: int


@dataclass(frozen=True)
class RunStatus:
    """What there is in a folder.

    mixture, evaluation: in which state their files are. damaged: files that are not as they were written, in words.
    missing: artefacts that the mixture rests on and that are gone (it is no worse for it). partial: leftovers of
    processes that were killed, and what is being written now. bytes: everything in the folder.
    """

    folder: str
    mixture: str
    evaluation: str
    kinds: tuple[Kind, ...]
    damaged: tuple[str, ...]
    missing: tuple[str, ...]
    partial: int
    partial_bytes: int
    bytes: int
    holder: Holder | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def run_status(out: Path) -> RunStatus:
    """Look at a run's folder.

    Raises:
        InputError: there is no such folder.
    """
    if not out.is_dir():
        raise InputError(f"{out}: no such folder.")
    files = {name: file_state(out / name) for name in (MIXTURE_FILE, EVALUATION_FILE)}
    found, references, partial = artefacts(out), known_references(out), partial_paths(out)
    damaged = [f"{out / name}: {DAMAGED}" for name, state in files.items() if state == DAMAGED]
    there = {(each.kind, each.key) for each in found}
    named = [(kind, key) for kind, keys in references.items() for key in keys]
    return RunStatus(
        str(out),
        files[MIXTURE_FILE],
        files[EVALUATION_FILE],
        tuple(_kinds(found, references)),
        (*damaged, *(text for each in found if (text := _damage(each)) is not None)),
        tuple(f"{kind}/{key}" for kind, key in named if (kind, key) not in there),
        len(partial),
        sum(map(size_of, partial)),
        size_of(out),
        holder(out),
    )


def file_state(path: Path) -> str:
    """In which state a mixture's or an evaluation's file is."""
    if not path.is_file():
        return MISSING
    try:
        record = read_sealed(path)
    except DamageError:
        return UNSEALED if _is_unsealed(path) else DAMAGED
    return FINISHED if path.name == EVALUATION_FILE or record.get("format") == FORMAT else OTHER_VERSION


def _is_unsealed(path: Path) -> bool:
    """Whether a file never had a checksum, as those that `taskpgm solve` writes."""
    try:
        record = read_json(path)
    except InputError:
        return False
    return isinstance(record, dict) and DIGEST not in record


def known_references(out: Path) -> References:
    """What the finished mixture and the evaluation in a folder rest on, by kind; nothing of what cannot be read."""
    found: dict[str, set[str]] = {}
    if file_state(out / MIXTURE_FILE) == FINISHED:
        for kind, keys in _references(read_sealed(out / MIXTURE_FILE)).items():
            found.setdefault(kind, set()).update(keys)
    if file_state(out / EVALUATION_FILE) == FINISHED:
        keys = _runs(read_sealed(out / EVALUATION_FILE))
        for kind in ("training_runs", "trained_models", "harness"):
            there = {each.key for each in artefacts(out) if each.kind == kind}
            found[kind] = keys if kind == "training_runs" else there & keys
    return {kind: sorted(keys) for kind, keys in found.items()}


def _references(mixture: Mapping[str, Any]) -> dict[str, set[str]]:
    """What a mixture's record says that it rests on; nothing where it says it in no way of ours."""
    details = mixture.get("details")
    told = details.get("artefacts") if isinstance(details, dict) else None
    return {kind: _texts(keys) for kind, keys in told.items()} if isinstance(told, dict) else {}


def _runs(evaluation: Mapping[str, Any]) -> set[str]:
    """The keys of an evaluation's training runs."""
    runs = evaluation.get("runs")
    return _texts([run.get("key") for run in runs if isinstance(run, dict)]) if isinstance(runs, list) else set()


def _texts(values: Any) -> set[str]:
    return {value for value in values if isinstance(value, str)} if isinstance(values, list) else set()


def _kinds(found: list[Artefact], references: References) -> Iterator[Kind]:
    for kind in CHECKS:
        own = [each for each in found if each.kind == kind]
        if own:
            spare = sum(each.key not in references.get(kind, ()) for each in own)
            yield Kind(kind, len(own), sum(size_of(each.path) for each in own), spare)


def _damage(artefact: Artefact) -> str | None:
    """What is wrong with it; nothing where a run has removed it meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return artefact.damage()
    return None
