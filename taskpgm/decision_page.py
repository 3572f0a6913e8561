"""What the page about a run's decisions says: how weights, losses and what was expected of them moved, and the proofs.

page = decision_page_of(read_decisions("runs/adaptive"))
page.tables["decisions"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from taskpgm.decisions import Decision
from taskpgm.html_page import Document, Fact, Section, chart, folded_table, listed, paragraphs
from taskpgm.plots import SHOWN
from taskpgm.report_charts import rounded
from taskpgm.text_table import Cell, Table, number
from taskpgm.types import FloatArray, Status

FORMAT = "taskpgm-decisions-page/1"
HOW = (
    "Each colour is a task, and each decision holds until the next. Blank is the start, on the prior; a dashed line"
    " above marks a decision that went back as near to the prior as is allowed. Below: the mean loss expected at the"
    " end of the run, with two standard deviations of what is believed of the curves."
)
LOSSES = (
    "Every task's training loss when each decision was taken, and the loss that it expected at the end of the run."
    " Where the lines meet, little more was expected."
)
NOT_PROVED = (
    "What this does not prove: that the expected losses are right. They rest on the run's own training losses, task by"
    " task: what one task does for another is not in them, nor that two tasks are one under two names."
)


@dataclass(frozen=True, eq=False)
class DecisionPage:
    """decisions: of one run, in the order of their steps. provenance: (name, value) about the files."""

    decisions: tuple[Decision, ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.decisions[0].mixture.network.names

    def column(self, key: str) -> FloatArray:
        """(n, decisions) "weights", "latest", "expected" or "spread" of every task at every decision."""
        rows = [each.as_dict()[key] for each in self.decisions]
        return np.array([[row[name] for row in rows] for name in self.names], dtype=np.float64)

    @property
    def proved(self) -> int:
        """How many of the decisions are."""
        return sum(each.mixture.status == Status.optimal.name for each in self.decisions)

    @property
    def facts(self) -> tuple[Fact, ...]:
        last, count = self.decisions[-1], len(self.decisions)
        name, weight = max(last.mixture.weights.items(), key=_weight)
        back = sum(not each.followed for each in self.decisions)
        gap = max(each.mixture.gap for each in self.decisions)
        return (
            Fact("tasks", f"{len(self.names)}", f"in a run of {last.steps:,} steps"),
            Fact("decisions", f"{count}", f"the last after step {last.step:,}; {back} went back to the prior"),
            Fact("largest weight at last", f"{weight:.1%}", name),
            Fact("expected mean loss", f"{last.mean:.3f}", f"nats per target token, ± {2.0 * last.mean_spread:.2g}"),
            Fact(
                "certificates",
                "all proved" if self.proved == count else f"{self.proved} of {count}",
                f"largest gap {gap:.2g}" if math.isfinite(gap) else "one has no bound",
                self.proved == count,
            ),
        )

    @cached_property
    def tables(self) -> Mapping[str, Table]:
        """By key: "decisions", one row each; "weights" and "losses", one row a task."""
        steps = tuple(f"step {each.step}" for each in self.decisions)
        weights, latest, expected, spread = map(self.column, ("weights", "latest", "expected", "spread"))
        by_task: list[tuple[Cell, ...]] = []
        losses: list[tuple[Cell, ...]] = []
        for i, name in enumerate(self.names):
            by_task.append((name, *(number(weight, ".1%") for weight in weights[i])))
            told = (latest[i, 0], latest[i, -1], expected[i, 0], expected[i, -1], 2.0 * spread[i, -1])
            losses.append((name, *map(number, told)))
        heads = ("task", "known at first", "known at last", "expected at first", "expected at last", "± at last")
        found = (
            Table("decisions", "Decisions", ("after step", *DECIDED), tuple(map(_row, self.decisions))),
            Table("weights", "Weights by decision", ("task", *steps), tuple(by_task)),
            Table("losses", "Losses, known and expected, nats per target token", heads, tuple(losses)),
        )
        return {table.key: table for table in found}

    @property
    def charts(self) -> dict[str, Any]:
        """What the page's scripts draw."""
        weights, decisions = self.column("weights"), self.decisions
        largest = np.argsort(-weights.max(axis=1), kind="stable")[:SHOWN]
        return {
            "names": list(self.names),
            "decisions": {
                "steps": [each.step for each in decisions],
                "total": decisions[0].steps,
                "tasks": largest.tolist(),
                "weights": rounded(weights[largest]),
                "followed": [each.followed for each in decisions],
                "status": [_proof(each) for each in decisions],
                "mean": rounded([each.mean for each in decisions]),
                "spread": rounded([each.mean_spread for each in decisions]),
            },
            "expected": {key: rounded(self.column(key)) for key in ("latest", "expected", "spread")},
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "kind": "decisions",
            "proved": self.proved == len(self.decisions),
            "decisions": [each.as_dict() for each in self.decisions],
            "provenance": dict(self.provenance),
        }


DECIDED = ("proof", "gap", "followed", "expected mean loss", "± two deviations", "largest weight", "of")


def decision_page_of(decisions: Sequence[Decision], provenance: Sequence[tuple[str, str]] = ()) -> DecisionPage:
    """Everything that the page shows of a run's decisions, as `read_decisions` gives them."""
    return DecisionPage(tuple(decisions), tuple(provenance))


def decision_document(page: DecisionPage) -> Document:
    """The page, laid out in sections."""
    tables, steps = page.tables, page.decisions[0].steps
    back = [f"Step {each.step}: {each.reason}." for each in page.decisions if not each.followed]
    moved = paragraphs([HOW]) + chart("decisions") + folded_table(tables["weights"])
    losses = paragraphs([LOSSES]) + chart("expected") + folded_table(tables["losses"])
    decided = (
        paragraphs([*_proved(page), NOT_PROVED])
        + (listed(back) if back else "")
        + folded_table(tables["decisions"], opened=True)
    )
    found = [
        Section("weights", "How the weights moved", moved),
        Section("losses", "Losses, and what was expected", losses),
        Section("proof", "Decisions and certificates", decided + folded_table(tables["decisions"], opened=True)),
    ]
    if page.provenance:
        files = Table("provenance", "Files and hashes", ("name", "value"), page.provenance)
        found.append(Section("run", "Files", folded_table(files)))
    lead = f"A mixture of {len(page.names)} fine-tuning tasks that was decided inside its own run of {steps:,} steps."
    return Document(lead, page.facts, found, page.charts)


def _proved(page: DecisionPage) -> tuple[str, ...]:
    count = len(page.decisions)
    return (
        f"{'All' if page.proved == count else page.proved} of the {count} decisions are proved: no allowed sharing of"
        " what was left has a mean expected loss, with the pull to the prior, lower by more than the gap. Expected"
        " curves need not be convex; the bound comes from dynamic programming and convex envelopes, and taskpgm verify"
        " proves each file again.",
    )


def _row(decision: Decision) -> tuple[Cell, ...]:
    name, weight = max(decision.mixture.weights.items(), key=_weight)
    return (
        f"{decision.step}",
        _proof(decision),
        number(decision.mixture.gap, ".1g"),
        "yes" if decision.followed else "no",
        number(decision.mean),
        number(2.0 * decision.mean_spread, ".2g"),
        number(weight, ".1%"),
        name,
    )


def _proof(decision: Decision) -> str:
    """Whether it is proved, in a word."""
    return "proved" if decision.mixture.status == Status.optimal.name else decision.mixture.status


def _weight(item: tuple[str, float]) -> float:
    return item[1]
