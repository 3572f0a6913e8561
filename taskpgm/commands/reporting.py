"""taskpgm report: the page that explains a mixture, its figures and its table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from taskpgm.commands.options import Json
from taskpgm.types import InputError

TABLES = ("latex", "markdown")


def report(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="A run's folder, a mixture.json, or a trainer's output folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page; report.html in the folder, or next to the mixture."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="FOLDER", help="Also draw the figures for a paper.")
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="Of the figures: png, svg or pdf.")] = "png",
    table: Annotated[
        str | None, typer.Option("--table", metavar="FORMAT", help="Print the first table for latex or markdown.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The page that explains a mixture: one file that opens in any browser, with no network."""
    from taskpgm.decision_page import DecisionPage
    from taskpgm.decision_plots import save_decisions
    from taskpgm.figures import check_format, save_figures
    from taskpgm.html_page import as_bytes
    from taskpgm.mixture import Mixture
    from taskpgm.portrait import Portrait
    from taskpgm.problems import mixture_path
    from taskpgm.report_page import document_of, load_page, page_path
    from taskpgm.storage import write_atomic
    from taskpgm.text_table import as_latex, as_markdown

    check_format(form)
    if table is not None and table not in TABLES:
        raise InputError(f"--table {table!r}: use one of {', '.join(TABLES)}.")
    if table is not None and as_json:
        raise InputError("give --table or --json, not both: each prints something of its own.")
    page, path = load_page(source), page_path(source) if out is None else out
    write_atomic(path, as_bytes(document_of(page)))
    made: list[Path] = []
    if figures is not None and isinstance(page, DecisionPage):
        made.append(figures / f"decisions.{form}")
        save_decisions(page.decisions, made[0])
    elif figures is not None:
        made += save_figures(Portrait(Mixture.from_json(mixture_path(source))), figures, form)
    if as_json:
        print(json.dumps({**page.as_dict(), "written": [str(each) for each in (path, *made)]}, ensure_ascii=False))
        return
    if table is not None:
        first = page.tables["decisions" if isinstance(page, DecisionPage) else "mixture"]
        print((as_latex if table == "latex" else as_markdown)(first), end="")
    for each in (path, *made):
        print(f"Written to {each}.", file=sys.stdout if table is None else sys.stderr)
