"""The page about a mixture as one file that opens from disk: no network, no fonts or scripts from elsewhere.

    write_page(Path("runs/a"))          # runs/a/report.html; again after an evaluation, which is then part of it
    write_page(Path("mixture.json"))    # mixture.html next to it

Whatever comes from outside (names of tasks and mixtures) is escaped, and the page's content security policy allows no
script and no style but its own, by their hashes, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from taskpgm import __version__
from taskpgm.evaluation_file import EVALUATION_FILE, read_evaluation
from taskpgm.mixture import Mixture
from taskpgm.problems import mixture_path
from taskpgm.report import Fact, Page, page_of
from taskpgm.storage import file_hash, write_atomic
from taskpgm.text_table import Table, as_html, html_text
from taskpgm.types import InputError

PAGE_FILE = "report.html"
TITLE = "How much of each task"
_UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What it comes to where details of a file are not of the form in which a run writes them."""
SCRIPTS = ("base", "tables", "bars", "heat", "map", "path", "curves", "forest", "main")


def load_page(source: Path) -> Page:
    """What there is to say about a run's folder, its evaluation included, or about a mixture's file alone.

    Raises:
        InputError: no mixture there, or files that cannot be used.
    """
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
    write_atomic(path, as_bytes(load_page(found)))
    return path


def as_bytes(page: Page) -> bytes:
    """The page in UTF-8; halves of characters, which no file can hold, become marks of replacement."""
    return as_html_page(page).encode("utf-8", "xmlcharrefreplace")


def as_html_page(page: Page) -> str:
    """The page as text."""
    style, script = _asset("page.css"), _script()
    sections = _sections(page)
    return Template(_asset("page.html")).substitute(
        title=TITLE,
        version=html_text(__version__),
        lead=html_text(_lead(page)),
        facts="\n".join(map(_fact, page.facts)),
        links="\n".join(f'<li><a href="#{key}">{html_text(heading)}</a></li>' for key, heading, _ in sections),
        sections="\n".join(_section(*section) for section in sections),
        data=script_json(dict(page.charts)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def script_json(value: object) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _script() -> str:
    """All scripts in one strict function: they share names with each other and with nothing else."""
    return "(() => {\n'use strict';\n" + "".join(_asset(f"{name}.js") for name in SCRIPTS) + "})();"


def _asset(name: str) -> str:
    return resources.files("taskpgm").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _files(paths: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """When the files were written, and their hashes."""
    found = []
    for path in paths:
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        found.append((f"{path.name} written", f"{written:%Y-%m-%d %H:%M:%S} UTC"))
        found.append((f"{path.name}, SHA-256", file_hash(path)))
    return tuple(found)


# ----------------------------------------------------------------------------------------------------------- sections


def _sections(page: Page) -> list[tuple[str, str, str]]:
    """(id, heading, HTML) of every section that there is something to say in."""
    found = [("mixture", "Mixture", _lines(page.said) + _chart("mixture") + _table(page, "mixture", opened=True))]
    if page.findings:
        text = "What the experts' losses cannot tell. Weights of these tasks rest on little."
        found.append(("findings", "Findings", _lines([text]) + _list(page.findings)))
    if page.tables.get("evaluation"):
        body = _lines(page.evaluated) + _chart("evaluation") + _table(page, "evaluation")
        found.append(("evaluation", "Does it help?", body))
    found.append(("alike", "How tasks relate", _alike(page)))
    if page.kind == "coverage":
        text = (
            "Every task's loss while a run on this mixture goes on, by the experts' learning curves and transfer. The"
            " spread is where a measured loss is expected to lie with 95 %, up to twice the budget."
        )
        found.append(("curves", "Learning curves", _lines([text]) + _chart("curves") + _table(page, "forecast")))
    else:
        body = _lines([page.path_note] if page.path_note else [_PATH]) + _chart("path", bool(page.charts["path"]))
        found.append(("path", "Trade-off", body + _table(page, "path")))
    found.append(("energy", "Energy", _lines([_ENERGY[page.kind]]) + _chart("energy") + _table(page, "energy")))
    prices = _table(page, "prices", opened=True) or _lines(["No constraint binds."] if page.proved else [])
    found.append(("proof", "Certificate", _lines(page.certificate) + prices))
    found.append(("run", "What was run", _run(page)))
    return found


_POWER = re.compile(r"(?<=\d)e-(?=\d)")
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
        f"<h3>Pairs</h3>{_lines([heat])}{_chart('matrices')}"
        f"<h3>Map and couplings</h3>{_lines([told])}{_chart('map')}{_table(page, 'couplings')}"
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


def _fact(fact: Fact) -> str:
    mark = {"proved": " yes"}.get(fact.value, " no") if fact.label == "certificate" else ""
    return (
        f'<div><dt>{html_text(fact.label)}</dt><dd class="value{mark}">{html_text(fact.value)}</dd>'
        f'<dd class="detail"><bdi>{html_text(fact.note)}</bdi></dd></div>'
    )


def _section(key: str, heading: str, body: str) -> str:
    title = f'<h2 id="{key}-heading">{heading}</h2>'
    return f'<section id="{key}" aria-labelledby="{key}-heading">\n{title}\n{body}\n</section>'


def _lines(lines: Sequence[str]) -> str:
    """Paragraphs, in which no line breaks within a number such as 1e-9."""
    return "".join(f"<p>{_POWER.sub('e&#8209;', html_text(line))}</p>\n" for line in lines)


def _list(lines: Sequence[str]) -> str:
    return f'<ul class="plain">{"".join(f"<li><bdi>{html_text(line)}</bdi></li>" for line in lines)}</ul>\n'


def _chart(key: str, there: bool = True) -> str:
    return f'<figure class="chart" id="chart-{key}"></figure>\n' if there else ""


def _table(page: Page, key: str, opened: bool = False) -> str:
    table = page.tables.get(key)
    if table is None:
        return ""
    state = " open" if opened else ""
    return f"<details{state}><summary>{html_text(table.caption)}: table</summary>\n{as_html(table)}</details>\n"
