"""The evidence that mixture rules may look at, measured: experts' predictions and curves, and short runs where needed.

    evidence = gather_evidence(experts, tokenised, probes, training, needs=("affinity", "pilot"), out=Path("runs/a"))
    MixMin().mixture(evidence)

Pilot and proxy runs are measured on the probe part, since they help to choose a mixture: the eval part judges it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from taskpgm.affinity import estimate_affinity
from taskpgm.baselines import Evidence, PilotRun, ProxyRuns
from taskpgm.config import MeasureSettings, ProbeSettings, TrainingSettings
from taskpgm.executors import LOCAL, Executor
from taskpgm.executors.executor import nothing
from taskpgm.experts import Experts
from taskpgm.interplay import Interplay
from taskpgm.predictive import predict_tokenised
from taskpgm.progress import Progress, silent
from taskpgm.tokens import TokenTask
from taskpgm.training_run import Outcome, do_missing, plan_run
from taskpgm.types import FloatArray

PILOT_SHARE = 0.3  # of the final run
PROXY_SHARE = 0.3
PROXIES_PER_TASK = 2


def gather_evidence(
    experts: Experts,
    tasks: Sequence[TokenTask],
    probes: ProbeSettings,
    training: TrainingSettings,
    *,
    out: Path,
    needs: Collection[str] = (),
    pilot_steps: int | None = None,
    proxy_steps: int | None = None,
    target_weights: ArrayLike | None = None,
    interplay: Interplay | None = None,
    progress: Progress = silent,
    executor: Executor = LOCAL,
) -> Evidence:
    """All evidence for a final run of `training`; nothing that is on disk is done again.

    Args:
        experts, tasks, probes: what was trained, on what, and on which probes it is looked at.
        training: of the final run; short runs are like it but for their steps.
        out: folder of the runs.
        needs: "pilot" and "proxies" are run only where they are in here.
        pilot_steps, proxy_steps: lengths of the short runs; 30 % of the final run where not given.
        target_weights: (n,) what the user cares about.
        interplay: what is known of the tasks in one run, for forecasts; nothing where not given.
        progress: receives (stage, done, total, text).
        executor: where models run.
    """
    measure = MeasureSettings(part="probe", per_task=probes.per_task)
    pilot = proxies = None
    if "pilot" in needs:
        pilot = _pilot(experts, tasks, training, pilot_steps or _short(PILOT_SHARE, training), measure, out, executor)
    if "proxies" in needs:
        proxies = _proxies(
            experts, tasks, training, proxy_steps or _short(PROXY_SHARE, training), measure, out, executor
        )
    predictions = predict_tokenised(experts, tasks, probes, progress, executor)
    return Evidence(
        experts.names,
        [len(task.train) for task in tasks],
        training.steps * training.batch_size,
        target_weights=target_weights,
        predictions=predictions,
        affinity=estimate_affinity(predictions, progress=progress, executor=executor),
        curves=experts.curves() if experts.have_curves else None,
        proxies=proxies,
        pilot=pilot,
        interplay=interplay,
    )


def _short(share: float, training: TrainingSettings) -> int:
    return max(1, int(share * training.steps))


def _pilot(
    experts: Experts,
    tasks: Sequence[TokenTask],
    training: TrainingSettings,
    steps: int,
    measure: MeasureSettings,
    out: Path,
    executor: Executor,
) -> PilotRun:
    """One run on the uniform mixture, looked at on the way."""
    looked_at = measure.model_copy(update={"curve": True})
    short = training.model_copy(update={"steps": steps})
    shares = np.full(len(tasks), 1.0 / len(tasks))
    [done] = _ran(experts, tasks, [shares], short, looked_at, out, executor)
    return PilotRun(np.array(done.curve_steps) * training.batch_size, done.curve_losses)


def _proxies(
    experts: Experts,
    tasks: Sequence[TokenTask],
    training: TrainingSettings,
    steps: int,
    measure: MeasureSettings,
    out: Path,
    executor: Executor,
) -> ProxyRuns:
    """Runs on the uniform mixture and on mixtures drawn evenly from the simplex."""
    n = len(tasks)
    drawn = np.random.default_rng(training.seed).dirichlet(np.ones(n), PROXIES_PER_TASK * n)
    mixtures = np.vstack([np.full((1, n), 1.0 / n), drawn])
    short = training.model_copy(update={"steps": steps})
    ran = _ran(experts, tasks, list(mixtures), short, measure, out, executor)
    return ProxyRuns(mixtures, np.array([each.losses for each in ran]), steps * training.batch_size)


def _ran(
    experts: Experts,
    tasks: Sequence[TokenTask],
    mixtures: Sequence[FloatArray],
    training: TrainingSettings,
    measure: MeasureSettings,
    out: Path,
    executor: Executor,
) -> list[Outcome]:
    """The outcomes of short runs, done where they are not on disk."""
    seed = training.seed
    runs = [plan_run(experts.base, tasks, row, training, seed=seed, out=out, measure=measure) for row in mixtures]
    do_missing(runs, executor, nothing)
    return [run.outcome() for run in runs]
