"""What the page about a mixture says: headline numbers, sentences, tables and the data of its charts. No HTML here.

page = page_of(Mixture.from_json("runs/a/mixture.json"))
page.tables["mixture"]
write_page(Path("runs/a"))          # taskpgm.report_page: the same as one file that opens in any browser
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskpgm.evaluation_file import StoredEvaluation
from taskpgm.exact_path import effective_tasks
from taskpgm.html_page import Fact
from taskpgm.judge import certificate
from taskpgm.mixture import Mixture
from taskpgm.portrait import Portrait
from taskpgm.report_charts import charts
from taskpgm.report_tables import (
    couplings_table,
    energy_table,
    evaluation_table,
    forecast_table,
    mixture_table,
    path_table,
    prices_table,
    provenance_tables,
)
from taskpgm.terminal import energy_lines
from taskpgm.text_table import Table

SOME_FINDINGS = 1
FORMAT = "taskpgm-page/1"


@dataclass(frozen=True, eq=False)
class Page:
    """kind: "coverage" or "pairwise". proved: whether the weights are. facts: headline numbers.

    said: what was minimised and what came out, as the command line says it. certificate: the proof in plain words.
    findings: what is doubtful of tasks. path_note: why there is no trade-off path, else empty. tables: by key.
    charts: plain JSON values (see `taskpgm.report_charts`). provenance: name and value of what was run.
    """

    kind: str
    proved: bool
    facts: tuple[Fact, ...]
    said: tuple[str, ...]
    certificate: tuple[str, ...]
    findings: tuple[str, ...]
    evaluated: tuple[str, ...]
    path_note: str
    tables: Mapping[str, Table]
    charts: Mapping[str, Any]
    provenance: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        tables = {
            key: {
                "caption": table.caption,
                "columns": list(table.columns),
                "rows": [list(map(str, r)) for r in table.rows],
            }
            for key, table in self.tables.items()
        }
        return {
            "format": FORMAT,
            "kind": self.kind,
            "proved": self.proved,
            "facts": [{"label": fact.label, "value": fact.value, "note": fact.note} for fact in self.facts],
            "said": list(self.said),
            "certificate": list(self.certificate),
            "findings": list(self.findings),
            "evaluated": list(self.evaluated),
            "path_note": self.path_note,
            "tables": tables,
            "charts": dict(self.charts),
            "provenance": dict(self.provenance),
        }


def page_of(
    mixture: Mixture, evaluation: StoredEvaluation | None = None, provenance: tuple[tuple[str, str], ...] = ()
) -> Page:
    """Everything that the page shows.

    Args:
        mixture: from a run, or from `taskpgm solve`: what it does not hold is left out.
        evaluation: of the same tasks.
        provenance: more (name, value) about the files, before what the mixture itself says of its making.

    Raises:
        InputError: details of the mixture that do not fit its tasks.
    """
    portrait = Portrait(mixture)
    path = portrait.path
    findings = tuple(str(each["text"]) for each in portrait.findings)
    return Page(
        "coverage" if portrait.coverage is not None else "pairwise",
        portrait.proved,
        _facts(portrait),
        tuple(line for line in energy_lines(mixture) if not _told_elsewhere(line, findings)),
        _certificate(portrait),
        findings,
        () if evaluation is None else _evaluated(evaluation),
        path if isinstance(path, str) else "",
        {table.key: table for table in _tables(portrait, evaluation)},
        charts(portrait, evaluation),
        (*provenance, *_provenance(mixture)),
    )


def _told_elsewhere(line: str, findings: tuple[str, ...]) -> bool:
    """Findings, binding constraints and the certificate have sections of their own."""
    beware = line.startswith("Beware: of ") and len(findings) > SOME_FINDINGS
    return (
        beware or line.startswith(("Certified:", "NOT certified", "Binds")) or line.removeprefix("Beware: ") in findings
    )


def _tables(portrait: Portrait, evaluation: StoredEvaluation | None) -> list[Table]:
    found = [
        mixture_table(portrait),
        couplings_table(portrait),
        forecast_table(portrait),
        energy_table(portrait),
        prices_table(portrait),
        path_table(portrait),
        None if evaluation is None else evaluation_table(evaluation),
        *provenance_tables(portrait.mixture.details),
    ]
    return [table for table in found if table is not None]


def _facts(portrait: Portrait) -> tuple[Fact, ...]:
    n, mixture = len(portrait.names), portrait.mixture
    largest = int(portrait.weights.argmax())
    facts = [
        Fact("tasks", f"{n}", f"as diverse as {float(effective_tasks(portrait.weights)):.3g} of equal weight"),
        Fact("largest weight", f"{portrait.weights[largest]:.1%}", portrait.names[largest]),
    ]
    told, even = portrait.forecast, portrait.uniform_forecast
    if told is not None and even is not None:
        facts.append(Fact("forecast mean loss", f"{told.mean:.3f}", f"nats per target token; uniform: {even.mean:.3f}"))
    proof = "proved" if portrait.proved else mixture.status
    doubt = f"gap {mixture.gap:.2g}" if math.isfinite(mixture.gap) else "no bound"
    facts.append(Fact("certificate", proof, doubt, portrait.proved))
    return tuple(facts)


def _certificate(portrait: Portrait) -> tuple[str, ...]:
    """What is proved, how, and what is not."""
    mixture, again = portrait.mixture, certificate(portrait.mixture.network, portrait.weights)
    energy = f"{mixture.energy:.6g}"
    claim = (
        f"Proved: of all mixtures that keep the bounds and constraints, none has an energy lower than this one's,"
        f" {energy}, by more than {mixture.gap:.2g}."
        if portrait.proved
        else f"Not proved: the energy is {energy}, and {_doubt(mixture.gap)}."
    )
    how = (
        "How: at these weights the energy's slope is known exactly. As the energy is convex it lies above that slope"
        " everywhere, so the lowest point that the slope reaches among the allowed mixtures is a bound. It trusts no"
        f" solver. Computed again for this page it gives {again.gap:.2g}, with no constraint broken by more than"
        f" {again.violation:.2g}; taskpgm verify does it in exact fractions."
    )
    curved = (
        "The similarities are not positive semidefinite, so the energy is not convex: its slope alone bounds nothing,"
        f" and the bound is that of the search ({mixture.method})."
    )
    return (
        claim,
        curved if mixture.network.concavity > 0.0 else how,
        "What this does not prove: the energy rests on estimates from probes and experts. Whether the mixture helps the"
        " final model is for taskpgm evaluate to find out.",
    )


def _doubt(gap: float) -> str:
    """What may be left to gain, as far as anybody knows."""
    if not math.isfinite(gap):
        return "nothing is known of how much better another mixture may be"
    return f"some allowed mixture may be better by {gap:.2g}"


def _evaluated(found: StoredEvaluation) -> tuple[str, ...]:
    seeds = len(found.seeds)
    said = [
        f"The base was trained on each mixture, {seeds} seed{'' if seeds == 1 else 's'}, paired: differences to"
        f" {found.reference}. * marks those whose interval, corrected for all comparisons, excludes 0."
    ]
    if seeds == 1:
        said.append("One seed gives no interval, and no claim: use more seeds.")
    if found.evidence_examples:
        said.append(f"The experts behind the mixture were trained on {found.evidence_examples:,} examples in all.")
    return (*said, *(f"Failed: {each}" for each in found.failed))


def _provenance(mixture: Mixture) -> tuple[tuple[str, str], ...]:
    details = mixture.details
    dropped = details.get("dropped_examples") or {}
    found = {
        "method": mixture.method,
        "base model": details.get("base"),
        "key of the run": details.get("key"),
        "seed": (details.get("settings") or {}).get("training", {}).get("seed"),
        "utility": details.get("utility"),
        "similarity": details.get("similarity"),
        "examples left out": ", ".join(f"{name}: {count}" for name, count in dropped.items()) or None,
    }
    return tuple((name, f"{value}") for name, value in found.items() if value is not None)
