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
from typing import TYPE_CHECKING, Any

import numpy as np

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
from taskpgm.contradictions import contested_prompts
from taskpgm.coverage import CoverageNetwork
from taskpgm.curves import Finding, diagnose
from taskpgm.diverged import without
from taskpgm.energy_settings import EnergySettings
from taskpgm.executors import LOCAL, Executor
from taskpgm.expert_settings import FINE_TUNED, ExpertSettings
from taskpgm.feasible import FeasibleSet
from taskpgm.feasible_settings import Allowed, feasible_set
from taskpgm.forecasting import forecast
from taskpgm.inference import convex_method, solve
from taskpgm.integrity import DamageError, folder_damage, keep_sound, read_sealed, seal, write_sums
from taskpgm.interplay import Interplay, contested_findings
from taskpgm.inventory import all_sound
from taskpgm.mixture import FORMAT, Mixture
from taskpgm.movement import expert_movement
from taskpgm.network import TaskNetwork
from taskpgm.problems import MIXTURE_FILE
from taskpgm.progress import Progress, silent
from taskpgm.shadow_prices import prices
from taskpgm.storage import atomic_directory, content_hash, is_folder, versions, write_atomic
from taskpgm.tasks import tasks_of
from taskpgm.tokens import TokenTask
from taskpgm.types import Affinity, FloatArray, InputError, LossCurves, Solution, TaskSet
from taskpgm.uncertainty import Spread, bootstrap
from taskpgm.whereabouts import relative_to

if TYPE_CHECKING:
    from taskpgm.experts import Experts
    from taskpgm.suite import Architecture

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


def run_demo(out: Path, seed: int = 0, progress: Progress = silent) -> tuple[Mixture, bool, TaskSet]:
    """The whole way on the suite "easy-redundant", base model included."""
    return run_suite("easy-redundant", out, seed, progress)


def run_suite(
    name: str, out: Path, seed: int = 0, progress: Progress = silent, executor: Executor = LOCAL
) -> tuple[Mixture, bool, TaskSet]:
    """The whole way on an embedded suite, base model included, which is trained here.

    Raises:
        InputError: there is no suite of this name.
    """
    from taskpgm.suite import DEMO_PROBES, DEMO_TRAINING, embedded_suite

    tasks = embedded_suite(name, seed)
    base = suite_base(name, out, seed, progress)
    training = DEMO_TRAINING.model_copy(update={"seed": seed})
    others = (EnergySettings(), FeasibleSettings(), MixtureSettings())
    mixture, fresh = mix(tasks, base, out, training, DEMO_PROBES, *others, progress=progress, executor=executor)
    return mixture, fresh, tasks


def suite_base(
    name: str, out: Path, seed: int = 0, progress: Progress = silent, *, architecture: Architecture = "Llama"
) -> Base:
    """The base model of an embedded suite: trained, or found in out/base."""
    from taskpgm.suite import BASE_TRAINING, build_base, find_suite

    suite = find_suite(name)
    recipe = {**suite.base_recipe(seed, architecture), "versions": versions("torch", "transformers", "accelerate")}
    directory = out / "base" / content_hash(recipe)
    if not (directory.is_dir() and keep_sound(directory, folder_damage)):
        total = BASE_TRAINING.steps
        with atomic_directory(directory) as folder:
            told = "operations under random names"
            build_base(suite, folder, seed, lambda step: progress("base", step, total, told), architecture)
            write_sums(folder)
    return locate_base(directory)


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
        known = Interplay.of(losses, contested_prompts(tasks), expert_movement(experts))
        learned = coverage_network(losses, energy, allowed, sizes, amounts.unit, amounts.budget, families, known)
    if covering and losses is not None and learned is not None:
        found = _Energy(learned, bootstrap(losses, learned, replicates=REPLICATES, seed=training.seed))
    else:
        found = _pairwise(affinity, energy, allowed, training.seed)
    solution = solve(found.network, convex_method(found.network))
    details = {
        "key": key,
        **provenance,
        **_evidence(affinity),
        "uncertainty": found.spread.as_dict(),
        "findings": [asdict(each) for each in _findings(losses, learned, solution)],
        "dropped_examples": {task.name: task.dropped for task in tokenised if task.dropped},
        "data": relative_to(tasks.origin, out),
        "artefacts": _references(experts, probes),
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
        details["forecast"] = _forecast(learned, solution) | {"by_family": by_family}
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


def _forecast(network: CoverageNetwork, solution: Solution) -> dict[str, Any]:
    even = np.full(len(network), 1.0 / len(network))
    return forecast(network, solution).as_dict() | {"uniform": forecast(network, even).mean}


def _findings(losses: LossCurves | None, learned: CoverageNetwork | None, solution: Solution) -> tuple[Finding, ...]:
    """What is doubtful of the tasks' curves, and of what they want together."""
    found = () if losses is None else diagnose(losses)
    if learned is None or solution.point is None:
        return found
    return (*found, *contested_findings(learned, solution.point))


def _evidence(affinity: Affinity) -> dict[str, Any]:
    """What the experts say of each other, for whoever reads the file."""
    return {
        "utility": affinity.utility_name,
        "similarity": affinity.similarity_name,
        "gain": affinity.gain.tolist(),
        "divergence": affinity.divergence.tolist(),
        "divergence_interval": [affinity.divergence_lower.tolist(), _finite(affinity.divergence_upper)],
    }


def _finite(values: FloatArray) -> list[list[float | None]]:
    """As JSON values, None where a value is infinite."""
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]


def _task_digests(tasks: TaskSet) -> list[Any]:
    return [
        [task.name, *([example.digest for example in part] for part in (task.train, task.probe, task.eval))]
        for task in tasks
    ]


def _references(experts: Experts, probes: ProbeSettings) -> dict[str, list[str]]:
    """The artefacts in the run's folder that the mixture rests on, by kind, in an order of their own."""
    from taskpgm.predictive import prediction_folders

    folders = [*experts.directories, *experts.shared, *prediction_folders(experts, probes)]
    if experts.base.path.parent == experts.out / "base":
        folders.append(experts.base.path)
    kinds = sorted({folder.parent.name for folder in folders})
    return {kind: sorted({folder.name for folder in folders if folder.parent.name == kind}) for kind in kinds}


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
