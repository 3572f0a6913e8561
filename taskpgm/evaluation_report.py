"""What an evaluation found, as one value: `evaluation.json` in the run's folder holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskpgm.agreement import Agreement
from taskpgm.evaluation import Evaluation
from taskpgm.evaluation_file import FORMAT
from taskpgm.paired import Difference


@dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found.

    differences: by number of steps and measure ("losses" in nats per target token, "exact", "harness"), each other
    mixture minus the reference. evidence_examples: what the experts behind our mixture were trained on, in the unit of
    the budgets; 0 where no mixture comes from experts. short_runs: what a published rule's pilot and proxy runs cost
    beyond them, in examples, by number of steps. forecasts: by number of steps, how the losses that learning curves
    predict for the mixtures compare with what came.
    """

    evaluation: Evaluation
    reference: str
    differences: Mapping[int, Mapping[str, tuple[Difference, ...]]]
    evidence_examples: int
    short_runs: Mapping[str, Mapping[int, int]]
    forecasts: Mapping[int, Agreement]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: the comparison, and every run that it rests on."""
        found = self.evaluation
        return {
            "format": FORMAT,
            "tasks": list(found.names),
            "mixtures": {name: dict(shares) for name, shares in found.mixtures.items()},
            "mixtures_at_budget": [
                {"steps": steps, "mixtures": {name: dict(shares) for name, shares in each.items()}}
                for steps, each in found.at_budget.items()
            ],
            "reference": self.reference,
            "seeds": list(found.seeds),
            "budgets": [{"steps": steps, "examples": steps * found.batch_size} for steps in found.budgets],
            "evidence_examples": self.evidence_examples,
            "short_runs": [
                {"mixture": name, "steps": steps, "examples": examples}
                for name, by_steps in self.short_runs.items()
                for steps, examples in by_steps.items()
            ],
            "forecasts": [{"steps": steps, **each.as_dict()} for steps, each in self.forecasts.items()],
            "differences": [
                {"steps": steps, "measure": measure, **row.as_dict()}
                for steps, by_measure in self.differences.items()
                for measure, rows in by_measure.items()
                for row in rows
            ],
            "runs": [
                {
                    "mixture": run.mixture,
                    "steps": run.steps,
                    "seed": run.seed,
                    "key": outcome.key,
                    "examples": outcome.examples.tolist(),
                    "epochs": outcome.epochs.tolist(),
                    "losses": outcome.losses.tolist(),
                    "exact": outcome.exact.tolist(),
                }
                for run, outcome in found.outcomes.items()
            ],
            "failed": [
                {"mixture": run.mixture, "steps": run.steps, "seed": run.seed, "why": why}
                for run, why in found.failed.items()
            ],
        }
