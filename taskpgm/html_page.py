"""One HTML file that opens from disk: no network, no fonts or scripts from elsewhere.

as_bytes(Document(lead="What this is.", facts=(), sections=(Section("mixture", "Mixture", "<p>...</p>"),), charts={}))

Whatever comes from outside (names of tasks and mixtures) is escaped, and the page's content security policy allows no
script and no style but its own, by their hashes, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from taskpgm import __version__
from taskpgm.text_table import Table, as_html, html_text

TITLE = "How much of each task"
SCRIPTS = ("base", "tables", "stack", "bars", "heat", "map", "path", "curves", "forest", "decisions", "main")
_POWER = re.compile(r"(?<=\d)e-(?=\d)")


@dataclass(frozen=True)
class Fact:
    """One number to see at first glance; good: whether it is good news (True) or bad (False), where it is either."""

    label: str
    value: str
    note: str
    good: bool | None = None


@dataclass(frozen=True)
class Section:
    """body: HTML, in which everything from outside is escaped already."""

    key: str
    heading: str
    body: str


@dataclass(frozen=True)
class Document:
    """lead: one sentence under the title. charts: what the scripts draw, by the key of the chart's place."""

    lead: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    charts: Mapping[str, Any]


def as_bytes(document: Document) -> bytes:
    """The page in UTF-8; halves of characters, which no file can hold, become marks of replacement."""
    return as_html_page(document).encode("utf-8", "xmlcharrefreplace")


def as_html_page(document: Document) -> str:
    """The page as text."""
    style, script = _asset("page.css"), _script()
    return Template(_asset("page.html")).substitute(
        title=TITLE,
        version=html_text(__version__),
        lead=html_text(document.lead),
        facts="\n".join(map(_fact, document.facts)),
        links="\n".join(f'<li><a href="#{each.key}">{html_text(each.heading)}</a></li>' for each in document.sections),
        sections="\n".join(map(_section, document.sections)),
        data=script_json(dict(document.charts)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def script_json(value: object) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# ------------------------------------------------------------------------------------------------ parts of a section


def paragraphs(lines: Sequence[str]) -> str:
    """Paragraphs, in which no line breaks within a number such as 1e-9."""
    return "".join(f"<p>{_POWER.sub('e&#8209;', html_text(line))}</p>\n" for line in lines)


def listed(lines: Sequence[str]) -> str:
    """One item a line."""
    return f'<ul class="plain">{"".join(f"<li><bdi>{html_text(line)}</bdi></li>" for line in lines)}</ul>\n'


def chart(key: str) -> str:
    """The place that a script draws the chart of this key into."""
    return f'<figure class="chart" id="chart-{key}"></figure>\n'


def folded_table(table: Table | None, opened: bool = False) -> str:
    """A table under its caption, to unfold; nothing where there is none."""
    if table is None:
        return ""
    state = " open" if opened else ""
    return f"<details{state}><summary>{html_text(table.caption)}: table</summary>\n{as_html(table)}</details>\n"


def _fact(fact: Fact) -> str:
    mark = "" if fact.good is None else " yes" if fact.good else " no"
    return (
        f'<div><dt>{html_text(fact.label)}</dt><dd class="value{mark}">{html_text(fact.value)}</dd>'
        f'<dd class="detail"><bdi>{html_text(fact.note)}</bdi></dd></div>'
    )


def _section(section: Section) -> str:
    key = section.key
    title = f'<h2 id="{key}-heading">{section.heading}</h2>'
    return f'<section id="{key}" aria-labelledby="{key}-heading">\n{title}\n{section.body}\n</section>'


def _script() -> str:
    """All scripts in one strict function: they share names with each other and with nothing else."""
    return "(() => {\n'use strict';\n" + "".join(_asset(f"{name}.js") for name in SCRIPTS) + "})();"


def _asset(name: str) -> str:
    return resources.files("taskpgm").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
