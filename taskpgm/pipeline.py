"""The whole way from tasks to a certified mixture, in a run directory that a killed run goes on from.

    mixture, fresh = run(config, Path("runs/a"))    # fresh is False where nothing was left to do

A run directory holds experts/, predictions/, for the demo base/, and mixture.json, which appears last; the commands add
report.html (see `taskpgm.report_page`) and log.jsonl (`taskpgm.run_log`), and hold its lock (`taskpgm.run_lock`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from taskpgm.affinity import estimate_affinity
from taskpgm.base import Base, locate_base
from taskpgm.building import (
    check_names,
    coverage_network,
    measure_of,
    pairwise_network,
    prior_of,
    rule_of,
    similarity_of,
    utility_of,
)
from taskpgm.choice import Choice, apply_rule
from taskpgm.config import FeasibleSettings, MixtureSettings, ModelSettings, ProbeSettings, RunConfig, TrainingSettings
from taskpgm.coverage import CoverageNetwork
from taskpgm.diverged import without
from taskpgm.energy_settings import EnergySettings
from taskpgm.executors import LOCAL, Executor
from taskpgm.expert_settings import FINE_TUNED, ExpertSettings
from taskpgm.feasible import FeasibleSet
from taskpgm.feasible_settings import Allowed, feasible_set
from taskpgm.inference import convex_method, solve
from taskpgm.integrity import DamageError, read_sealed, seal
from taskpgm.inventory import all_sound
from taskpgm.mixture import FORMAT, Mixture
from taskpgm.movement import interplay_of
from taskpgm.network import TaskNetwork
from taskpgm.problems import MIXTURE_FILE
from taskpgm.progress import Progress, silent
from taskpgm.run_details import artefacts_of, doubts, evidence_details, forecast_details
from taskpgm.shadow_prices import prices
from taskpgm.storage import content_hash, is_folder, versions, write_atomic
from taskpgm.tasks import tasks_of
from taskpgm.tokens import TokenTask
from taskpgm.types import Affinity, InputError, TaskSet
from taskpgm.uncertainty import Spread, bootstrap
from taskpgm.whereabouts import relative_to

SCHEMA = 8
_log = logging.getLogger(__name__)
REPLICATES = 200  # of the evidence, for error bars
NO_FORECAST = (
    "No forecast: experts were trained before all tasks were there, and how their losses on these fell is not known."
    " A run with energy: {kind: coverage}, or in another folder, trains them once more."
)
NO_CURVES = "No forecast: experts of kind {} have no learning curves."
PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "cvxpy", "clarabel", "taskpgm")


def run(
    config: RunConfig, out: Path, progress: Progress = silent, executor: Executor = LOCAL
) -> tuple[Mixture, bool, TaskSet]:
    """Do what a configuration asks for, or find it done; models run where the executor has them run.

    Returns:
        The mixture, whether anything had to be computed, and the tasks.
    """
    tasks = tasks_of(config)
    mixture, fresh = run_on(config, tasks, base_of(config), out, progress, executor)
    return mixture, fresh, tasks


def run_on(
    config: RunConfig, tasks: TaskSet, base: Base, out: Path, progress: Progress, executor: Executor = LOCAL
) -> tuple[Mixture, bool]:
    """`run` with the configuration's tasks and base in hand."""
    settings = (config.training, config.probes, config.energy, config.feasible, config.mixture)
    return mix(tasks, base, out, *settings, kind=config.experts, progress=progress, executor=executor)


def base_of(config: RunConfig) -> Base:
    """The base model of a run's configuration."""
    model = config.model
    return locate_base(*pinned(model), load_in=model.load_in, device_map=model.device_map)


def pinned(model: ModelSettings) -> tuple[str, str | None]:
    """(name, revision) of a model that will be the same tomorrow.

    Raises:
        InputError: a hub model without its commit.
    """
    name, revision = model.name, model.revision
    if revision is None and not is_folder(name) and not name.startswith((".", "/")):
        raise InputError(f"model {name!r} is no folder here; for a hub model pin model.revision to a commit.")
    return name, revision


def mix(
    tasks: TaskSet,
    base: Base,
    out: Path,
    training: TrainingSettings,
    probes: ProbeSettings,
    energy: EnergySettings,
    feasible: FeasibleSettings,
    amounts: MixtureSettings,
    *,
    kind: ExpertSettings = FINE_TUNED,
    progress: Progress,
    executor: Executor = LOCAL,
) -> tuple[Mixture, bool]:
    """From tasks and a base model to the mixture in out/mixture.json; the flag says whether it was computed now."""
    settings = {
        "experts": kind.model_dump(mode="json"),
        "training": training.model_dump(mode="json")
        | ({} if training.diverged == "refuse" else {"diverged": "exclude"}),
        "probes": probes.model_dump(mode="json"),
        "energy": energy.model_dump(mode="json"),
        "feasible": feasible.model_dump(mode="json"),
        "mixture": amounts.model_dump(mode="json"),
    }
    provenance = {"settings": settings, "base": base.fingerprint, "versions": versions(*PACKAGES)}
    key = content_hash({"schema": SCHEMA, **provenance, "tasks": _task_digests(tasks)})
    done = _finished(out, key)
    if done is not None:
        return _located(done, tasks, out), False

    from taskpgm.evidence_checks import affinity_within, evidence_checks
    from taskpgm.experts import tokenize_for, train_tokenised

    tokenised = tokenize_for(tasks, base, probes)
    sizes = {task.name: task.size for task in tokenised}
    allowed = checked_bounds(tasks, tokenised, probes, energy, feasible, amounts)
    covering = energy.kind == "coverage"
    experts = train_tokenised(
        tokenised, base, out, training, probes, progress, executor, curves=covering, settings=kind
    )
    if experts.diverged:
        tasks, tokenised = without(tasks, experts.diverged), tuple(t for t in tokenised if t.name in experts.names)
        sizes = {task.name: task.size for task in tokenised}
        allowed = checked_bounds(tasks, tokenised, probes, energy, feasible, amounts)
    estimate = partial(
        estimate_affinity,
        utility=utility_of(energy),
        similarity=similarity_of(energy),
        divergence=measure_of(energy),
        progress=progress,
        executor=executor,
    )
    affinity = affinity_within(experts, tokenised, probes, estimate, progress, executor)
    losses = experts.curves() if covering or experts.have_curves else None
    families, learned = [task.family for task in tasks], None
    if losses is not None:
        known = interplay_of(experts, tasks, losses)
        learned = coverage_network(losses, energy, allowed, sizes, amounts.unit, amounts.budget, families, known)
    if covering and losses is not None and learned is not None:
        found = _Energy(learned, bootstrap(losses, learned, replicates=REPLICATES, seed=training.seed))
    else:
        found = _pairwise(affinity, energy, allowed, training.seed)
    solution = solve(found.network, convex_method(found.network))
    details = {
        "key": key,
        **provenance,
        **evidence_details(affinity),
        "uncertainty": found.spread.as_dict(),
        "findings": [asdict(each) for each in doubts(losses, learned, solution)],
        "dropped_examples": {task.name: task.dropped for task in tokenised if task.dropped},
        "data": relative_to(tasks.origin, out),
        "artefacts": artefacts_of(experts, probes),
    }
    if isinstance(found.network, TaskNetwork):
        details |= evidence_checks(found.network, solution, affinity, similarity_of(energy), probes.width)
    if experts.diverged:
        details["excluded"] = list(experts.diverged)
    if found.chosen is not None:
        details["choice"] = found.chosen.as_dict()
    if learned is None:
        details["no_forecast"] = NO_FORECAST if kind.have_curves else NO_CURVES.format(kind.kind)
    elif solution.point is not None:
        by_family = energy.target_weights is None and len(set(families)) > 1
        details["forecast"] = forecast_details(learned, solution) | {"by_family": by_family}
    if solution.point is not None and feasible != FeasibleSettings(floor=feasible.floor):
        details["constraints"] = prices(found.network, solution).as_dict()
    mixture = Mixture.from_solution(found.network, solution, unit=amounts.unit, sizes=sizes, details=details)
    _store(mixture, out)
    return mixture, True


def checked_bounds(
    tasks: TaskSet,
    tokenised: Sequence[TokenTask],
    probes: ProbeSettings,
    energy: EnergySettings,
    feasible: FeasibleSettings,
    amounts: MixtureSettings,
) -> Allowed:
    """Which mixtures are allowed, after everything that can be wrong with the settings was looked for.

    Raises:
        InputError: what would otherwise be said after hours of training.
    """
    from taskpgm.evidence_checks import check_width

    check_names(tasks, energy)
    sizes = {task.name: task.size for task in tokenised}
    allowed = feasible_set(feasible, tasks.names, sizes, amounts.unit, amounts.budget)
    FeasibleSet(tasks.names, *allowed)  # complains of what clashes
    prior_of(energy, tasks.names)
    check_width(tokenised, probes)
    return allowed


@dataclass(frozen=True, eq=False)
class _Energy:
    """A run's energy, the error bars of its mixture, and how its trade-off was chosen, where a rule chose it."""

    network: TaskNetwork | CoverageNetwork
    spread: Spread
    chosen: Choice | None = None


def _pairwise(affinity: Affinity, energy: EnergySettings, allowed: Allowed, seed: int) -> _Energy:
    network = pairwise_network(affinity.names, affinity.utility, affinity.similarity, energy.beta, energy, allowed)
    rule = rule_of(energy)
    spread = bootstrap(
        affinity,
        network,
        replicates=REPLICATES,
        seed=seed,
        utility=utility_of(energy),
        similarity=similarity_of(energy),
        rho=energy.rho if energy.beta is None else None,
        rule=rule,
    )
    if rule is None:
        return _Energy(network, spread)
    chosen = apply_rule(network, rule)
    return _Energy(chosen.network, spread, chosen)


def _task_digests(tasks: TaskSet) -> list[Any]:
    return [
        [task.name, *([example.digest for example in part] for part in (task.train, task.probe, task.eval))]
        for task in tasks
    ]


def _finished(out: Path, key: str) -> Mixture | None:
    """The mixture of an earlier run with exactly this key, if it and all that it rests on are as they were written."""
    path = out / MIXTURE_FILE
    if not path.exists():
        return None
    try:
        stored = read_sealed(path)
    except DamageError as damage:
        _log.warning("%s (or written by another version); the mixture is computed again.", damage)
        return None
    if stored.get("format") != FORMAT:  # its evidence still serves
        _log.warning("%s: written by another version, as %s; computed again.", path, stored.get("format"))
        return None
    mixture = Mixture.from_json(path)
    if mixture.details.get("key") != key or not all_sound(out, mixture.details.get("artefacts", {})):
        return None
    return mixture


def _located(mixture: Mixture, tasks: TaskSet, out: Path) -> Mixture:
    """The finished mixture with the places where its tasks' data lies today; they may have moved since."""
    data = relative_to(tasks.origin, out)
    if mixture.details.get("data") == data:
        return mixture
    moved = replace(mixture, details={**mixture.details, "data": data})
    _store(moved, out)
    return moved


def _store(mixture: Mixture, out: Path) -> None:
    """The mixture as `Mixture.to_json` writes it, with the SHA-256 of all of it."""
    write_atomic(out / MIXTURE_FILE, seal(mixture.as_dict()))
