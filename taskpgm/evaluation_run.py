"""From a configuration or an embedded suite to the comparison of mixtures: what `taskpgm evaluate` does.

    report = evaluate_config(load_config(Path("run.yaml")), Path("runs/a"), seeds=5)
    report.differences[0]               # the first mixture but uniform, in the first average

Our mixture comes first, from the pipeline, with all that it costs; then every mixture is trained on at equal budget in
examples. `evaluation.json` in the run's folder holds everything that was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taskpgm.agreement import FEWEST, Agreement, agreement
from taskpgm.base import Base
from taskpgm.baselines import Evidence
from taskpgm.checks import checked_targets
from taskpgm.config import (
    EvaluationSettings,
    HarnessSettings,
    MeasureSettings,
    ProbeSettings,
    RunConfig,
    TrainingSettings,
)
from taskpgm.diverged import said
from taskpgm.evaluated_mixtures import (
    OURS,
    RULES,
    check_known,
    coverage_of,
    depends_on_budget,
    evidence_parts,
    mixtures_of,
)
from taskpgm.evaluation import Evaluation, Measured, Run, evaluate
from taskpgm.evaluation_file import EVALUATION_FILE
from taskpgm.evaluation_report import Report
from taskpgm.evidence_runs import gather_evidence
from taskpgm.executors import LOCAL, Executor
from taskpgm.expert_settings import FINE_TUNED, ExpertSettings
from taskpgm.experts import tokenize_for, train_tokenised
from taskpgm.families import family_weights
from taskpgm.forecasting import forecast
from taskpgm.harness import check_harness, harness_scores
from taskpgm.integrity import seal
from taskpgm.mixture import Mixture
from taskpgm.movement import interplay_of
from taskpgm.paired import Difference, View, differences, views
from taskpgm.pipeline import base_of, run_on
from taskpgm.progress import Progress, silent
from taskpgm.storage import write_atomic
from taskpgm.suite_run import run_suite, suite_base
from taskpgm.tasks import tasks_of
from taskpgm.tokens import TokenTask
from taskpgm.training_run import model_folder
from taskpgm.types import InputError, TaskSet

MEASURES: tuple[Measured, ...] = ("losses", "exact")


def evaluate_config(
    config: RunConfig,
    out: Path,
    *,
    seeds: int,
    jobs: int = 1,
    progress: Progress = silent,
    executor: Executor = LOCAL,
) -> Report:
    """Evaluate the mixtures that a configuration names; our own is computed first, or found in `out`.

    Args:
        config: a run's configuration, with its section `evaluation`.
        out: the run's folder.
        seeds: how many runs on each mixture, with seeds 0, 1, ...
        jobs: how many runs go on at a time.
        progress: receives (stage, done, total, text).
        executor: where models run: here, or on a cluster.

    Raises:
        InputError: whatever is wrong with the configuration, the tasks or the model.
    """
    settings, tasks = config.evaluation, tasks_of(config)
    base = base_of(config)
    _check(settings, tasks, seeds)
    _check_kind(settings, config.experts)
    mixture = run_on(config, tasks, base, out, progress, executor)[0] if OURS in settings.mixtures else None
    bench = _Bench(tasks, base, mixture, config.training, config.probes, settings, out, config.experts)
    return _report(bench, seeds, jobs, progress, executor)


def evaluate_suite(
    name: str,
    out: Path,
    *,
    seeds: int,
    settings: EvaluationSettings | None = None,
    jobs: int = 1,
    progress: Progress = silent,
    executor: Executor = LOCAL,
) -> Report:
    """The same on an embedded suite (of seed 0), with the demo's training settings.

    Raises:
        InputError: there is no suite of this name, or the settings do not fit it.
    """
    from taskpgm.suite import DEMO_PROBES, DEMO_TRAINING, embedded_suite

    settings = settings or EvaluationSettings()
    tasks = embedded_suite(name)
    _check(settings, tasks, seeds)
    mixture = run_suite(name, out, progress=progress, executor=executor)[0] if OURS in settings.mixtures else None
    base = suite_base(name, out, progress=progress)
    bench = _Bench(tasks, base, mixture, DEMO_TRAINING, DEMO_PROBES, settings, out)
    return _report(bench, seeds, jobs, progress, executor)


@dataclass(frozen=True, eq=False)
class _Bench:
    """What an evaluation works on."""

    tasks: TaskSet
    base: Base
    mixture: Mixture | None
    training: TrainingSettings
    probes: ProbeSettings
    settings: EvaluationSettings
    out: Path
    experts: ExpertSettings = FINE_TUNED


def _report(bench: _Bench, seeds: int, jobs: int, progress: Progress, executor: Executor) -> Report:
    settings = bench.settings
    tokenised = tokenize_for(bench.tasks, bench.base, bench.probes)
    evidence = _evidence(bench, tokenised, progress, executor)
    fixed = [name for name in settings.mixtures if not depends_on_budget(name)]
    varying = [name for name in settings.mixtures if depends_on_budget(name)]
    found = evaluate(
        bench.base,
        tokenised,
        mixtures_of(fixed, evidence[settings.steps[0]], bench.mixture),
        bench.training,
        at_budget={steps: mixtures_of(varying, each) for steps, each in evidence.items()} if varying else None,
        seeds=range(seeds),
        out=bench.out,
        budgets=settings.steps,
        measure=MeasureSettings(per_task=settings.eval_per_task, batch_size=settings.batch_size),
        jobs=jobs,
        keep_models=settings.harness is not None,
        progress=progress,
        executor=executor,
    )
    compared = {steps: _compared(bench, found, steps, progress) for steps in found.budgets}
    asked = OURS in settings.mixtures or evidence_parts(settings.mixtures)
    spent = bench.experts.examples(bench.training, len(bench.tasks)) if asked else 0
    forecasts = {steps: each for steps in evidence if (each := _forecasts(found, steps, evidence[steps])) is not None}
    report = Report(found, settings.mixtures[0], compared, spent, _short_runs(settings.mixtures, evidence), forecasts)
    write_atomic(bench.out / EVALUATION_FILE, seal(report.as_dict()))
    return report


def _evidence(
    bench: _Bench, tokenised: Sequence[TokenTask], progress: Progress, executor: Executor
) -> dict[int, Evidence]:
    """What mixture rules and forecasts look at, by number of steps; sizes alone where no experts are asked for,
    or those of the run have no curves that a forecast could be made of.

    It cares about what the comparison's average does: the target weights, or every family alike where there are none.
    """
    wanted, names = bench.settings.mixtures, bench.tasks.names
    parts = evidence_parts(wanted)
    families = [task.family for task in bench.tasks]
    target = bench.settings.target_weights
    weights = family_weights(names, families) if target is None else checked_targets(target, names)
    finals = {steps: bench.training.model_copy(update={"steps": steps}) for steps in bench.settings.steps}
    if not parts and (OURS not in wanted or not bench.experts.have_curves):
        sizes = [len(task.train) for task in tokenised]
        return {
            steps: Evidence(names, sizes, steps * final.batch_size, target_weights=weights)
            for steps, final in finals.items()
        }
    experts = train_tokenised(
        tokenised, bench.base, bench.out, bench.training, bench.probes, progress, executor, settings=bench.experts
    )
    if experts.diverged:
        raise InputError(f"{said(experts.diverged)} To compare mixtures of the others, take it out of the tasks.")
    known = interplay_of(experts, bench.tasks, experts.curves()) if experts.have_curves else None
    return {
        steps: gather_evidence(
            experts,
            tokenised,
            bench.probes,
            final,
            out=bench.out,
            needs=parts,
            target_weights=weights,
            interplay=known,
            progress=progress,
            executor=executor,
        )
        for steps, final in finals.items()
    }


def _short_runs(wanted: Sequence[str], evidence: Mapping[int, Evidence]) -> dict[str, dict[int, int]]:
    """What pilot and proxy runs cost beyond the experts, in examples, by rule and number of steps; where they do."""
    costs = {
        name: {steps: RULES[name].extra_examples(each) for steps, each in evidence.items()}
        for name in wanted
        if name in RULES
    }
    return {name: by_steps for name, by_steps in costs.items() if any(by_steps.values())}


def _forecasts(found: Evaluation, steps: int, evidence: Evidence) -> Agreement | None:
    """How the losses that learning curves forecast compare with what came, over all mixtures; None without either."""
    if evidence.curves is None:
        return None
    network, predicted, runs = coverage_of(evidence), {}, {}
    for name in found.compared:
        losses = found.values(name, steps, "losses")
        if np.isfinite(losses).all(axis=1).any():
            shares = np.array([found.shares(name, steps)[task] for task in found.names])
            predicted[name], runs[name] = forecast(network, shares / shares.sum()).losses, losses
    return agreement(predicted, runs, found.names) if len(predicted) >= FEWEST else None


def _compared(bench: _Bench, found: Evaluation, steps: int, progress: Progress) -> dict[str, tuple[Difference, ...]]:
    """The differences at one budget, by measure."""
    reference = bench.settings.mixtures[0]
    compared, seen = {}, _views(bench.settings, bench.tasks)
    for measure in MEASURES:
        values = {name: found.values(name, steps, measure) for name in found.compared}
        compared[str(measure)] = differences(values, seen, reference=reference)
    if bench.settings.harness is not None:
        compared["harness"] = _harness(bench, found, steps, bench.settings.harness, progress)
    return compared


def _harness(
    bench: _Bench, found: Evaluation, steps: int, settings: HarnessSettings, progress: Progress
) -> tuple[Difference, ...]:
    """Differences of harness scores, in every harness task and in their mean."""
    scores: dict[Run, dict[str, float]] = {}
    runs = [run for run in found.outcomes if run.steps == steps]
    for i, run in enumerate(runs):
        progress(f"harness, {steps} steps", i, len(runs), str(run))
        folder = model_folder(bench.out, found.outcomes[run].key)
        scores[run] = harness_scores(folder, bench.base, settings)
    tasks = list(dict.fromkeys(task for by_task in scores.values() for task in by_task))
    values = {
        name: np.array(
            [[scores.get(Run(name, steps, seed), {}).get(task, np.nan) for task in tasks] for seed in found.seeds]
        )
        for name in found.compared
    }
    return differences(values, views(tasks, [""] * len(tasks)), reference=bench.settings.mixtures[0])


def _check(settings: EvaluationSettings, tasks: TaskSet, seeds: int) -> None:
    """Complain before hours of training, not after."""
    if seeds < 1:
        raise InputError(f"seeds {seeds}: expected at least 1.")
    for name in settings.mixtures:
        check_known(name)
    _views(settings, tasks)
    for task in tasks:
        if not task.eval:
            raise InputError(f"task {task.name!r}: its eval part is empty; set splits.eval.")
    if settings.harness is not None:
        check_harness(settings.harness)


def _check_kind(settings: EvaluationSettings, experts: ExpertSettings) -> None:
    """Complain of mixtures by learning curves where the run's experts have none."""
    for name in settings.mixtures:
        if not experts.have_curves and "curves" in evidence_parts([name]):
            raise InputError(
                f"evaluation.mixtures: {name!r} needs learning curves, and experts.kind: {experts.kind} leaves none;"
                " leave it out, or take experts: {kind: fine_tuned}."
            )


def _views(settings: EvaluationSettings, tasks: TaskSet) -> tuple[View, ...]:
    return views(tasks.names, [task.family for task in tasks], settings.target_weights)
