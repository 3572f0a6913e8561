"""The whole way from tasks to a certified mixture, in a run directory that a killed run goes on from.

    mixture, fresh = run(config, Path("runs/a"))    # fresh is False where nothing was left to do

A run directory holds experts/, predictions/, for the demo base/, and mixture.json, which appears last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskpgm.affinity import ExponentialSimilarity, LinearSimilarity, Similarity, estimate_affinity
from taskpgm.base import Base, locate_base
from taskpgm.building import coverage_network, prior_of
from taskpgm.choice import Choice, Rule, apply_rule
from taskpgm.config import EnergySettings, FeasibleSettings, MixtureSettings, ProbeSettings, RunConfig, TrainingSettings
from taskpgm.coverage import CoverageNetwork
from taskpgm.feasible import FeasibleSet
from taskpgm.feasible_settings import Allowed, feasible_set
from taskpgm.forecasting import forecast
from taskpgm.inference import convex_method, solve
from taskpgm.mixture import FORMAT, Mixture
from taskpgm.network import TaskNetwork, balanced_beta
from taskpgm.progress import Progress, silent
from taskpgm.shadow_prices import prices
from taskpgm.storage import atomic_directory, content_hash, read_json, versions
from taskpgm.tasks import tasks_of
from taskpgm.types import FloatArray, InputError, TaskSet
from taskpgm.uncertainty import bootstrap
from taskpgm.utilities import HeldoutGain, Learnability, Representativeness, Supplied, Utility

SCHEMA = 3
MIXTURE_FILE = "mixture.json"
REPLICATES = 200  # of the evidence, for error bars
PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "cvxpy", "clarabel", "taskpgm")


def run(config: RunConfig, out: Path, progress: Progress = silent) -> tuple[Mixture, bool, TaskSet]:
    """Do what a configuration asks for, or find it done.

    Returns:
        The mixture, whether anything had to be computed, and the tasks.
    """
    tasks = tasks_of(config)
    mixture, fresh = run_on(config, tasks, base_of(config), out, progress)
    return mixture, fresh, tasks


def run_on(config: RunConfig, tasks: TaskSet, base: Base, out: Path, progress: Progress) -> tuple[Mixture, bool]:
    """`run` with the configuration's tasks and base in hand."""
    settings = (config.training, config.probes, config.energy, config.feasible, config.mixture)
    return mix(tasks, base, out, *settings, progress=progress)


def base_of(config: RunConfig) -> Base:
    """The base model of a run's configuration."""
    name, revision = config.model.name, config.model.revision
    if revision is None and not Path(name).is_dir() and not name.startswith((".", "/")):
        raise InputError(f"model {name!r} is no folder here; for a hub model pin model.revision to a commit.")
    return locate_base(name, revision)


def run_demo(out: Path, seed: int = 0, progress: Progress = silent) -> tuple[Mixture, bool, TaskSet]:
    """The whole way on the suite "easy-redundant", base model included."""
    return run_suite("easy-redundant", out, seed, progress)


def run_suite(name: str, out: Path, seed: int = 0, progress: Progress = silent) -> tuple[Mixture, bool, TaskSet]:
    """The whole way on an embedded suite, base model included.

    Raises:
        InputError: there is no suite of this name.
    """
    from taskpgm.suite import DEMO_PROBES, DEMO_TRAINING, embedded_suite

    tasks = embedded_suite(name, seed)
    base = suite_base(name, out, seed, progress)
    training = DEMO_TRAINING.model_copy(update={"seed": seed})
    others = (EnergySettings(), FeasibleSettings(), MixtureSettings())
    mixture, fresh = mix(tasks, base, out, training, DEMO_PROBES, *others, progress=progress)
    return mixture, fresh, tasks


def suite_base(name: str, out: Path, seed: int = 0, progress: Progress = silent) -> Base:
    """The base model of an embedded suite: trained, or found in out/base."""
    from taskpgm.suite import BASE_TRAINING, build_base, find_suite

    suite = find_suite(name)
    recipe = {**suite.base_recipe(seed), "versions": versions("torch", "transformers", "accelerate")}
    directory = out / "base" / content_hash(recipe)
    if not directory.is_dir():
        total = BASE_TRAINING.steps
        with atomic_directory(directory) as folder:
            build_base(suite, folder, seed, lambda step: progress("base", step, total, "operations under random names"))
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
    progress: Progress,
) -> tuple[Mixture, bool]:
    """From tasks and a base model to the mixture in out/mixture.json; the flag says whether it was computed now."""
    settings = {
        "training": training.model_dump(mode="json"),
        "probes": probes.model_dump(mode="json"),
        "energy": energy.model_dump(mode="json"),
        "feasible": feasible.model_dump(mode="json"),
        "mixture": amounts.model_dump(mode="json"),
    }
    provenance = {"settings": settings, "base": base.fingerprint, "versions": versions(*PACKAGES)}
    key = content_hash({"schema": SCHEMA, **provenance, "tasks": _task_digests(tasks)})
    done = _finished(out / MIXTURE_FILE, key)
    if done is not None:
        return done, False

    from taskpgm.experts import tokenize_for, train_tokenised
    from taskpgm.predictive import predict_tokenised

    tokenised = tokenize_for(tasks, base, probes)
    sizes = {task.name: task.size for task in tokenised}
    _check_names(tasks, energy)
    allowed = feasible_set(feasible, tasks.names, sizes, amounts.unit, amounts.budget)
    FeasibleSet(tasks.names, *allowed)  # what clashes is said before hours of training, not after
    prior_of(energy, tasks.names)
    experts = train_tokenised(tokenised, base, out, training, probes, progress)
    predictions = predict_tokenised(experts, tokenised, probes, progress)
    affinity = estimate_affinity(predictions, utility=_utility(energy), similarity=_similarity(energy))
    network: TaskNetwork | CoverageNetwork
    chosen: Choice | None = None
    if energy.kind == "coverage":
        losses = experts.curves()
        network, findings = coverage_network(losses, energy, allowed, sizes, amounts.unit, amounts.budget)
        spread = bootstrap(losses, network, replicates=REPLICATES, seed=training.seed)
    else:
        network = build_network(tasks.names, affinity.utility, affinity.similarity, energy.beta, energy, allowed)
        rule = rule_of(energy)
        spread = bootstrap(
            affinity,
            network,
            replicates=REPLICATES,
            seed=training.seed,
            utility=_utility(energy),
            similarity=_similarity(energy),
            rho=energy.rho if energy.beta is None else None,
            rule=rule,
        )
        chosen = None if rule is None else apply_rule(network, rule)
        network = network if chosen is None else chosen.network
    solution = solve(network, convex_method(network))
    details = {
        "key": key,
        **provenance,
        "utility": affinity.utility_name,
        "similarity": affinity.similarity_name,
        "gain": affinity.gain.tolist(),
        "divergence": affinity.divergence.tolist(),
        "divergence_interval": [affinity.divergence_lower.tolist(), affinity.divergence_upper.tolist()],
        "uncertainty": spread.as_dict(),
        "dropped_examples": {task.name: task.dropped for task in tokenised if task.dropped},
    }
    if chosen is not None:
        details["choice"] = chosen.as_dict()
    if isinstance(network, CoverageNetwork):
        details["findings"] = [{"task": each.task, "kind": each.kind, "text": each.text} for each in findings]
        if solution.point is not None:
            details["forecast"] = forecast(network, solution).as_dict()
    if solution.point is not None and feasible != FeasibleSettings(floor=feasible.floor):
        details["constraints"] = prices(network, solution).as_dict()
    mixture = Mixture.from_solution(network, solution, unit=amounts.unit, sizes=sizes, details=details)
    mixture.to_json(out / MIXTURE_FILE)
    return mixture, True


def build_network(
    names: tuple[str, ...],
    utility: FloatArray,
    similarity: FloatArray,
    beta: float | None,
    energy: EnergySettings,
    allowed: Allowed,
) -> TaskNetwork:
    """The network that the settings describe over some potentials; beta is balanced where it is None."""
    if beta is None:
        beta = balanced_beta(utility, similarity, lam=energy.lam, rho=energy.rho)
    lower, upper, constraints = allowed
    return TaskNetwork(
        utility,
        similarity,
        names,
        beta=beta,
        lam=energy.lam,
        tau=energy.tau or 0.0,
        prior=prior_of(energy, names),
        lower=lower,
        upper=upper,
        constraints=constraints,
    )


def rule_of(energy: EnergySettings) -> Rule | None:
    """The rule that chooses the trade-off; None where beta is given or balanced."""
    return None if energy.choose is None else Rule(**energy.choose.model_dump())


def _utility(energy: EnergySettings) -> Utility:
    if energy.utility == "supplied":
        return Supplied(energy.supplied or {})
    if energy.utility == "heldout_gain":
        return HeldoutGain(energy.target_weights)
    return Learnability() if energy.utility == "learnability" else Representativeness()


def _similarity(energy: EnergySettings) -> Similarity:
    return ExponentialSimilarity(energy.kappa) if energy.similarity == "exponential" else LinearSimilarity()


def _check_names(tasks: TaskSet, energy: EnergySettings) -> None:
    """Complain about names before hours of training, not after."""
    sections: dict[str, Mapping[str, Any] | None] = {
        "energy.supplied": energy.supplied,
        "energy.target_weights": energy.target_weights,
        "energy.prior": energy.prior,
    }
    for section, values in sections.items():
        _check_known(values or {}, tasks.names, section)
    wanted = None if energy.choose is None else energy.choose.effective_tasks
    if wanted is not None and wanted > len(tasks):
        raise InputError(f"energy.choose.effective_tasks: {wanted:g} of {len(tasks)} tasks; ask for fewer.")
    missing = [name for name in tasks.names if energy.supplied is not None and name not in energy.supplied]
    if missing:
        raise InputError(f"energy.supplied: no value for task {missing[0]!r}; every task needs one.")


def _check_known(values: Mapping[str, Any], names: tuple[str, ...], section: str) -> None:
    unknown = [name for name in values if name not in names]
    if unknown:
        raise InputError(f"{section}: {unknown[0]!r} is not a task; the tasks are {', '.join(names)}.")


def _task_digests(tasks: TaskSet) -> list[Any]:
    return [
        [task.name, *([example.digest for example in part] for part in (task.train, task.probe, task.eval))]
        for task in tasks
    ]


def _finished(path: Path, key: str) -> Mixture | None:
    """The mixture of an earlier run with exactly this key."""
    if not path.exists():
        return None
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:  # another version's: its evidence still serves
        return None
    mixture = Mixture.from_json(path)
    return mixture if mixture.details.get("key") == key else None
