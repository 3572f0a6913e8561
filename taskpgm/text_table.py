"""A table that knows its numbers, and how it reads in HTML, Markdown and LaTeX. What it holds is data: always escaped.

table = Table("mixture", "Weights", ("task", "weight"), (("copy", number(0.25, ".1%")),))
as_latex(table)                     # booktabs
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

MISSING = "–"


@dataclass(frozen=True)
class Number:
    """A number and how it is shown; nan sorts last."""

    value: float
    text: str

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = Number | str


def in_bytes(count: int) -> str:
    """An amount of bytes for people, in powers of a thousand: 21.7 kB."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.95:
            break
        size, unit = size / 1000.0, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


@dataclass(frozen=True)
class Table:
    """key: its name in the page. columns: (m,) headings. rows: m cells each, the first being what the row is about."""

    key: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def numeric(self, column: int) -> bool:
        """Whether all cells of a column are numbers."""
        return bool(self.rows) and all(isinstance(row[column], Number) for row in self.rows)


def number(value: float | None, form: str = ".4g", suffix: str = "") -> Number:
    """A number shown in a format of Python's; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return Number(math.nan, MISSING)
    return Number(float(value), f"{value:{form}}{suffix}")


def range_of(ends: Sequence[float | None] | None, form: str = ".3g", scale: float = 1.0) -> Number:
    """An interval, which sorts by its lower end; a dash where there is none."""
    if ends is None or ends[0] is None or ends[1] is None:
        return Number(math.nan, MISSING)
    low, high = scale * ends[0], scale * ends[1]
    return Number(low, f"{low:{form}} to {high:{form}}")


# -------------------------------------------------------------------------------------------------------------- HTML

CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def html_text(text: str) -> str:
    """Text for HTML's contents and quoted attributes; control characters, which HTML forbids, as a replacement mark."""
    return html.escape(CONTROLS.sub("\ufffd", text), quote=True)


def as_html(table: Table) -> str:
    """A table whose headings are buttons to sort by; numbers carry their value next to what is shown."""
    numeric = [table.numeric(column) for column in range(len(table.columns))]
    headings = "".join(
        f'<th scope="col"{_class(is_number)}><button type="button">{html_text(heading)}</button></th>'
        for heading, is_number in zip(table.columns, numeric, strict=True)
    )
    rows = "\n".join(
        f"<tr>{''.join(_html_cell(cell, place) for place, cell in enumerate(row))}</tr>" for row in table.rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html_text(table.caption)}">\n'
        f'<table class="sortable" id="table-{table.key}"><caption>{html_text(table.caption)}</caption>\n'
        f"<thead><tr>{headings}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _html_cell(cell: Cell, place: int) -> str:
    if isinstance(cell, Number):
        value = "" if math.isnan(cell.value) else f"{cell.value:.12g}"
        return f'<td class="number" data-value="{value}">{html_text(cell.text)}</td>'
    inner = f"<bdi>{html_text(cell)}</bdi>"  # a name in another direction must not turn its neighbours round
    return f'<th scope="row">{inner}</th>' if place == 0 else f"<td>{inner}</td>"


# ---------------------------------------------------------------------------------------------- Markdown and LaTeX

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "×": r"$\times$",
}


def one_line(text: str) -> str:
    """Text without line breaks and control characters, for formats in which these end something."""
    return " ".join(CONTROLS.sub("\ufffd", text).split())


def latex_text(text: str) -> str:
    """Text for LaTeX; letters beyond ASCII stay, for engines that know them."""
    return "".join(LATEX.get(character, character) for character in one_line(text))


def markdown_text(text: str) -> str:
    """Text for a cell of a Markdown table: nothing in it is a mark-up or a link."""
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!$:@])", r"\\\1", escaped)


def as_markdown(table: Table) -> str:
    """A table with numbers to the right."""
    marks = ["---:" if table.numeric(column) else "---" for column in range(len(table.columns))]
    lines = [table.columns, marks, *([str(cell) for cell in row] for row in table.rows)]
    shown = [line if line is marks else [markdown_text(str(cell)) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown) + "\n"


def as_latex(table: Table) -> str:
    """A floating table in the manner of the package booktabs, which the document has to load."""
    alignment = "".join("r" if table.numeric(column) else "l" for column in range(len(table.columns)))
    rows = [" & ".join(latex_text(str(cell)) for cell in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(table.caption)}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            " & ".join(map(latex_text, table.columns)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
