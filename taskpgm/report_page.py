"""The page about a run: its mixture, or its decisions; one file that opens from disk (see `taskpgm.html_page`).

write_page(Path("runs/a"))          # runs/a/report.html; again after an evaluation, which is then part of it
write_page(Path("mixture.json"))    # mixture.html next to it
write_page(Path("runs/adaptive"))   # of a trainer's output folder: what the run decided on its way
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from taskpgm.decision_page import DecisionPage, decision_document, decision_page_of
from taskpgm.decisions import decision_files, read_decisions
from taskpgm.evaluation_file import EVALUATION_FILE, read_evaluation
from taskpgm.html_page import Document, Section, as_bytes, chart, folded_table, listed, paragraphs
from taskpgm.mixture import Mixture
from taskpgm.problems import MIXTURE_FILE, mixture_path
from taskpgm.report import Page, page_of
from taskpgm.storage import file_hash, write_atomic
from taskpgm.text_table import Table, as_html
from taskpgm.types import InputError

PAGE_FILE = "report.html"
_UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What it comes to where details of a file are not of the form in which a run writes them."""


def load_page(source: Path) -> Page | DecisionPage:
    """What there is to say about a run's folder, its evaluation included, about a mixture's file alone, or about the
    decisions in a trainer's output folder.

    Raises:
        InputError: no mixture there, or files that cannot be used.
    """
    if source.is_dir() and not (source / MIXTURE_FILE).is_file() and (files := decision_files(source)):
        return decision_page_of(read_decisions(source), _files(sorted(files, key=_length)))
    file = mixture_path(source)
    mixture, other = Mixture.from_json(file), file.with_name(EVALUATION_FILE)
    evaluation = read_evaluation(other) if source.is_dir() and other.is_file() else None
    try:
        with np.errstate(all="ignore"):  # what overflows shows as what is not known, or is refused below
            return page_of(mixture, evaluation, _files([file, *([] if evaluation is None else [other])]))
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except _UNFIT as error:
        raise InputError(
            f"{file}: damaged details ({type(error).__name__}: {error}); make the mixture again."
        ) from error


def page_path(source: Path) -> Path:
    """Where the page of a folder or of a mixture's file goes if nothing else is asked for."""
    return source / PAGE_FILE if source.is_dir() else source.with_suffix(".html")


def write_page(source: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a run's folder or of a mixture's file, and say where.

    Raises:
        InputError: as `load_page`.
    """
    found = Path(source)
    path = page_path(found) if out is None else Path(out)
    write_atomic(path, as_bytes(document_of(load_page(found))))
    return path


def document_of(page: Page | DecisionPage) -> Document:
    """The page, laid out in sections."""
    if isinstance(page, DecisionPage):
        return decision_document(page)
    return Document(_lead(page), page.facts, _sections(page), page.charts)


def _files(paths: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """When the files were written, and their hashes."""
    found = []
    for path in paths:
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        found.append((f"{path.name} written", f"{written:%Y-%m-%d %H:%M:%S} UTC"))
        found.append((f"{path.name}, SHA-256", file_hash(path)))
    return tuple(found)


# ----------------------------------------------------------------------------------------------------------- sections


def _sections(page: Page) -> list[Section]:
    """All that there is something to say in."""
    mixture = paragraphs(page.said) + chart("mixture") + _table(page, "mixture", opened=True)
    found = [Section("mixture", "Mixture", mixture)]
    if page.findings:
        text = "Where the experts' losses tell little, or tasks want what no model can give."
        found.append(Section("findings", "Findings", paragraphs([text]) + listed(page.findings)))
    if page.tables.get("evaluation"):
        body = paragraphs(page.evaluated) + chart("evaluation") + _table(page, "evaluation")
        found.append(Section("evaluation", "Does it help?", body))
    found.append(Section("alike", "How tasks relate", _alike(page)))
    if page.kind == "coverage":
        body = paragraphs([_CURVES]) + chart("curves") + _table(page, "forecast")
        found.append(Section("curves", "Learning curves", body))
    else:
        drawn = chart("path") if page.charts["path"] else ""
        body = paragraphs([page.path_note or _PATH]) + drawn + _table(page, "path")
        found.append(Section("path", "Trade-off", body))
    energy = paragraphs([_ENERGY[page.kind]]) + chart("energy") + _table(page, "energy")
    prices = _table(page, "prices", opened=True) or paragraphs(["No constraint binds."] if page.proved else [])
    found.append(Section("energy", "Energy", energy))
    found.append(Section("proof", "Certificate", paragraphs(page.certificate) + prices))
    found.append(Section("run", "What was run", _run(page)))
    return found


_CURVES = (
    "Every task's loss while a run on this mixture goes on, by the experts' learning curves, transfer, and what tasks"
    " do to each other in one run. The spread is where a measured loss is expected to lie with 95 %, up to twice the"
    " budget."
)
_PATH = (
    "Every mixture from diversity alone, on the left, to utility alone, on the right. The dashed line is the"
    " trade-off of this mixture."
)
_ENERGY = {
    "coverage": "What each task's examples take off the mean loss: their own task's, and others' through transfer;"
    " and what of the mean loss is left in each task.",
    "pairwise": "Utility lowers the energy, to the left; redundancy, with itself and with like tasks, raises it.",
}


def _alike(page: Page) -> str:
    share, distances = page.charts["map"]["share"], page.charts["map"]["distances"]
    heat = "Each cell is a pair of tasks; like ones stand side by side. Point at a cell, or use the arrow keys."
    told = (
        f"Distance is {distances}, as well as two dimensions can show it: they hold {share:.0%} of the squared"
        " distances. Area is weight."
    )
    return (
        f"<h3>Pairs</h3>{paragraphs([heat])}{chart('matrices')}"
        f"<h3>Map and couplings</h3>{paragraphs([told])}{chart('map')}{_table(page, 'couplings')}"
    )


def _run(page: Page) -> str:
    parts = (
        []
        if not page.provenance
        else [as_html(Table("provenance", "Files and hashes", ("name", "value"), page.provenance))]
    )
    return "".join([*parts, *(_table(page, key) for key in ("versions", "settings"))])


def _lead(page: Page) -> str:
    kind = "expected loss after the run" if page.kind == "coverage" else "utility against redundancy"
    return f"A mixture of {len(page.charts['names'])} fine-tuning tasks for one training budget, by the energy: {kind}."


def _table(page: Page, key: str, opened: bool = False) -> str:
    return folded_table(page.tables.get(key), opened)


def _length(path: Path) -> tuple[int, str]:
    """step-12 before step-120."""
    return len(path.name), path.name
