"""The mixtures that the study compares: published rules, both energies, and ablations, all from the same evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parts.inside_runs import EVERY_INSIDE

import taskpgm as tp
from taskpgm.affinity import estimate_affinity
from taskpgm.base import Base
from taskpgm.baselines import BASELINES as RULES
from taskpgm.baselines import Evidence
from taskpgm.evidence_runs import PILOT_SHARE, gather_evidence
from taskpgm.experts import Experts, train_tokenised
from taskpgm.families import family_weights
from taskpgm.least_forecast import least_forecast
from taskpgm.movement import expert_movement, interplay_of
from taskpgm.predictive import predict_tokenised
from taskpgm.progress import silent
from taskpgm.suite import DEMO_PROBES
from taskpgm.tokens import TokenTask
from taskpgm.types import LossCurves, TaskSet

Array = NDArray[np.float64]

FLOOR = 0.2
MOVED_SHARE = 0.3
AGAIN = "uniform-again"
OTHER_EXPERTS = 20_000  # added to a seed: experts that saw their examples in another order
PROXY_STEPS = 40
PILOT_OF = 125  # steps of the shortest final run
NEEDS = {"pilot": {"ado"}, "proxies": {"sft-mixing-law", "regmix"}}
BASELINES = (
    "uniform",
    "proportional",
    "temperature-2",
    "unimax",
    "mixmin",
    "chameleon",
    "capacity",
    "pairwise-literal",
    "pairwise-careful",
    "pairwise-pmi",
    "ado",
)
MORE_BASELINES = ("temperature-5", "smart-graph-cut", "smart-facility-location", "sft-mixing-law", "regmix")
COVERAGE: dict[str, dict[str, Any]] = {
    "coverage": {"families": False},
    "coverage-families": {},
    "coverage-no-graph": {"families": False, "graph": False},
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "coverage-families-no-graph": {"graph": False},
    "coverage-families-point-fit": {"fit": "least_squares"},
    "coverage-families-envelope": {"fit": "envelope"},
    "coverage-families-no-prior": {"tau": 0.0},
    "coverage-families-no-prior-no-floor": {"tau": 0.0, "floor": 0.0},
    "coverage-families-strong-prior": {"tau": 0.2},
    "coverage-families-experts-50": {"experts": 0.5},
    "coverage-families-experts-25": {"experts": 0.25},
    "coverage-families-experts-12": {"experts": 0.12},
    "coverage-families-other-experts": {"other": True},
}
MOVED = {"coverage-families-moved": {"moved": True}}
TOLD = "forecast-families"
"""Of least forecast, not of least energy."""
PROBES = {f"pairwise-careful-probes-{count}": count for count in (4, 8, 16)}
CONFIRMATION = (
    "uniform",
    "proportional",
    "temperature-2",
    "pairwise-careful",
    "pairwise-pmi",
    "pairwise-literal",
    "mixmin",
    "capacity",
    "coverage-families",
)
FREE = ("uniform", "proportional", "temperature-2")
"""What needs no evidence but the sizes of the data."""
STANDARD = (*BASELINES, *COVERAGE, AGAIN)
ABLATED = (*ABLATIONS, *PROBES)
EVERY = (*BASELINES, *MORE_BASELINES, *COVERAGE, *ABLATED, *MOVED, TOLD, *EVERY_INSIDE, AGAIN)


@dataclass(frozen=True, eq=False)
class Bench:
    """One suite under one seed, its experts (trained when first asked for), and the final runs' settings."""

    tasks: TaskSet
    base: Base
    tokenised: tuple[TokenTask, ...]
    final: tp.TrainingSettings
    expert_steps: int
    folder: Path

    @cached_property
    def experts(self) -> Experts:
        training = self.final.model_copy(update={"steps": self.expert_steps})
        return train_tokenised(self.tokenised, self.base, self.folder, training, DEMO_PROBES, silent)

    def evidence(self, wanted: Sequence[str]) -> Evidence:
        """All that the wanted mixtures look at; sizes alone where that will do."""
        if set(wanted) <= {*FREE, *EVERY_INSIDE, AGAIN}:
            sizes = [len(task.train) for task in self.tokenised]
            return Evidence(self.tasks.names, sizes, self.final.steps * self.final.batch_size)
        return gather_evidence(
            self.experts,
            self.tokenised,
            DEMO_PROBES,
            self.final,
            out=self.folder,
            needs=[part for part, rules in NEEDS.items() if not rules.isdisjoint(wanted)],
            pilot_steps=int(PILOT_SHARE * PILOT_OF),
            proxy_steps=PROXY_STEPS,
            interplay=interplay_of(self.experts, self.tasks, self.experts.curves()),
        )

    def other_experts(self) -> LossCurves:
        """The losses of experts that were trained under another seed."""
        training = self.experts.training.model_copy(update={"seed": self.final.seed + OTHER_EXPERTS})
        return train_tokenised(self.tokenised, self.base, self.folder, training, DEMO_PROBES, silent).curves()

    def moved(self, network: tp.CoverageNetwork) -> tp.CoverageNetwork:
        """A network whose transfer also knows which experts changed the base model alike."""
        movement = expert_movement(self.experts)
        assert movement is not None, "whole models were trained"
        transfer = (1.0 - MOVED_SHARE) * network.transfer + MOVED_SHARE * movement
        np.fill_diagonal(transfer, 1.0)
        return network.changed(transfer=transfer)

    def fewer_probes(self, evidence: Evidence, count: int) -> Evidence:
        """The same evidence, with predictions on so many probes of each task."""
        probes = DEMO_PROBES.model_copy(update={"per_task": count})
        predictions = predict_tokenised(self.experts, self.tokenised, probes, silent)
        affinity = estimate_affinity(predictions)
        return Evidence(evidence.names, evidence.sizes, evidence.budget, predictions=predictions, affinity=affinity)


def mixtures(bench: Bench, wanted: Sequence[str]) -> Iterator[tuple[str, Array | None, tp.Forecast | None, str]]:
    """(name, shares of examples, what coverage forecasts for them, error) of every rule that is wanted."""
    evidence = bench.evidence(wanted)
    told = None if evidence.curves is None else coverage_network(bench, evidence, families=False)
    for name in wanted:
        if name in EVERY_INSIDE:
            yield name, None, None, ""
            continue
        try:
            shares = shares_of(name, bench, evidence)
        except (ValueError, RuntimeError) as error:
            yield name, None, None, f"{type(error).__name__}: {error}"
            continue
        known = told is not None and name != AGAIN
        yield name, shares, tp.forecast(told, shares / shares.sum()) if known else None, ""


def shares_of(name: str, bench: Bench, evidence: Evidence) -> Array:
    rules = {rule.name: rule for rule in RULES}
    if name == AGAIN:
        return np.full(len(bench.tasks), 1.0 / len(bench.tasks))
    if name in rules:
        return np.asarray(rules[name].mixture(evidence), dtype=np.float64)
    if name in PROBES:
        return np.asarray(rules["pairwise-careful"].mixture(bench.fewer_probes(evidence, PROBES[name])))
    if name == TOLD:
        starts = [coverage_mixture(bench, evidence), np.full(len(evidence), 1.0 / len(evidence))]
        return least_forecast(coverage_network(bench, evidence), starts)
    return coverage_mixture(bench, evidence, **(COVERAGE | ABLATIONS | MOVED)[name])


def coverage_network(
    bench: Bench,
    evidence: Evidence,
    *,
    families: bool = True,
    graph: bool = True,
    fit: Any = "posterior",
    tau: float = 0.05,
    floor: float = FLOOR,
    experts: float = 1.0,
    other: bool = False,
    moved: bool = False,
) -> tp.CoverageNetwork:
    """experts: the share of their training that is looked at. other: experts of another seed. moved: see `Bench`."""
    tasks = bench.tasks
    losses = bench.other_experts() if other else evidence.curves
    assert losses is not None
    network = tp.CoverageNetwork.from_losses(
        shortened(losses, experts),
        evidence.budget,
        fit=fit,
        graph=graph,
        target_weights=family_weights(tasks.names, [task.family for task in tasks]) if families else None,
        tau=tau,
        interplay=evidence.interplay,
        lower=floor / len(tasks),
    )
    return bench.moved(network) if moved else network


def shortened(losses: LossCurves, share: float) -> LossCurves:
    """The snapshots of the first part of the experts' training; they do not know that it would have ended."""
    kept = losses.examples[0] <= share * losses.examples[0, -1]
    return replace(
        losses,
        examples=losses.examples[:, kept],
        target_tokens=losses.target_tokens[:, kept],
        losses=losses.losses[:, kept],
    )


def coverage_mixture(bench: Bench, evidence: Evidence, **options: Any) -> Array:
    solution = tp.solve(coverage_network(bench, evidence, **options), tp.CoverageProgram())
    if solution.status is not tp.Status.optimal:
        raise RuntimeError(f"coverage: {solution.status.name}: {solution.message}")
    return np.asarray(solution.point)
