"""Which evidence pays: what each kind costs, in final runs, next to what it gained in the project's study.

    rows = evidence_table(costing)
    rows[0].kind, rows[0].share, rows[0].gains["easy-redundant"]    # a dash where a gain was not measured

The gains are those of the embedded suites, with models of 90,000 parameters and final runs of 125 steps: `gains.json`,
which `benchmarks/mixtures.py gains` makes from the study's records. They say which kinds are worth trying, and nothing
about the size of the gain elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from taskpgm.run_costs import Costing

GAINS_FILE = "gains.json"
GAINED_AT = 125  # steps of the final runs: the length at which most kinds of evidence were measured
EXPERT_STEPS = (12, 25, 50, 100)
FREE = {
    "order": "none: uniform, in an even order",
    "adaptive": "none: adaptive in the run",
    "pilot": "pilot: the run's own first 30 %",
}
"""Kinds that cost nothing but the run itself. What the order alone does is no gain of a mixture."""


@dataclass(frozen=True)
class EvidenceRow:
    """One kind of evidence. flops and seconds beyond the final run, share: in final runs.

    gains: by suite, the study's row {mean, interval, seeds} of the mean loss less the uniform mixture's, in nats per
    target token; a suite that is not in it was not measured.
    """

    kind: str
    flops: float
    seconds: float
    share: float
    gains: Mapping[str, Mapping[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "evidence": self.kind,
            "flops": self.flops,
            "hours": self.seconds / 3600.0,
            "final_runs": self.share,
            "gains": {suite: dict(row) for suite, row in self.gains.items()},
        }


def evidence_table(costing: Costing) -> list[EvidenceRow]:
    """Every kind of evidence, cheapest first, for this run's tasks, model and hardware."""
    rows = [EvidenceRow(title, 0.0, 0.0, 0.0, gains_of(kind)) for kind, title in FREE.items()]
    own = costing.config.training.steps
    for steps in sorted({*EXPERT_STEPS, own}):
        training = costing.config.training.model_copy(update={"steps": steps})
        for graph in (False, True):
            stages = costing.evidence(training, graph=graph)
            kind = f"{steps}-step experts, {'with' if graph else 'without'} the graph"
            found = gains_of("experts", steps, graph)
            seconds = sum(stage.seconds for stage in stages)
            rows.append(EvidenceRow(kind, sum(s.flops for s in stages), seconds, costing.share_of_final(stages), found))
    return rows


def gains_of(kind: str, steps: int | None = None, graph: bool | None = None) -> dict[str, dict[str, Any]]:
    """By suite, what the study measured of a kind of evidence; empty where it did not."""
    wanted = (kind, steps, graph, GAINED_AT)
    return {
        row["suite"]: {key: row[key] for key in ("mean", "interval", "seeds", "record")}
        for row in measured_gains()
        if (row["kind"], row["expert_steps"], row["graph"], row["steps"]) == wanted
    }


def measured_gains() -> list[dict[str, Any]]:
    """All rows of the package's file."""
    rows: list[dict[str, Any]] = json.loads((resources.files("taskpgm") / GAINS_FILE).read_text(encoding="utf-8"))
    return rows


def measured_suites() -> tuple[str, ...]:
    """The suites that anything was measured on."""
    return tuple(sorted({row["suite"] for row in measured_gains()}))
