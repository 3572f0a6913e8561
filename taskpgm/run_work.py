"""What a run's models will be asked to compute, counted by doing everything but the computing.

    expert_work(task, training)         # the very batches that the task's expert will be trained on
    reading(probes, batch_size=32)      # the very batches in which a model reads some probes

The order of examples depends on the settings alone, so that tokens and padding are known before anything starts. Of
long runs the first batches stand for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from taskpgm.config import EvaluationSettings, MeasureSettings, MixtureSettings, ProbeSettings, TrainingSettings
from taskpgm.costs import Work, batch_work, training_work
from taskpgm.demonstrations import Demonstrations, shown_before
from taskpgm.expert_settings import ExpertSettings
from taskpgm.fine_tuning import training_sequence
from taskpgm.linearised import LENGTHS, chosen_examples
from taskpgm.sampling import mixed_sequence
from taskpgm.tokens import TokenExample, TokenTask, make_probes
from taskpgm.training_run import held_out
from taskpgm.types import Probes

MOST_BATCHES = 2_000
MOST_EXPERTS = 16


def expert_work(task: TokenTask, training: TrainingSettings) -> Work:
    """Training one task's expert."""
    counted = _counted(training)
    return _scaled(training_sequence(task.train, counted), training, counted)


def shared_run_work(
    tasks: Sequence[TokenTask], different: Sequence[TokenTask], training: TrainingSettings, kind: ExpertSettings
) -> tuple[Work, Work]:
    """(what is trained, what is read) for experts that start from one run on all tasks; `different` have one each."""
    trained, read = mixed_work(tasks, training), Work()
    for task in different:
        if kind.kind == "multi_task":
            trained += expert_work(task, kind.own_training(training))
        else:
            lengths = np.array([len(row.ids) for row in chosen_examples(task, kind.examples_each, training)])
            batches = training_work(lengths, training.batch_size)
            trained += training_work(lengths, 1) + batches  # each gradient by itself, and all of them in one
            read += batches.times(len(LENGTHS))
    return trained, read


def mixed_work(tasks: Sequence[TokenTask], training: TrainingSettings) -> Work:
    """A run on the uniform mixture, which stands for all: another changes the mean length of an example a little."""
    counted = _counted(training)
    shares = [1.0] * len(tasks)
    rows = mixed_sequence(tasks, shares, counted.steps, counted.batch_size, counted.seed)
    return _scaled(rows, training, counted)


def reading(probes: Iterable[Probes], batch_size: int) -> Work:
    """A forward pass over some probes, each group in batches of its own, as `context_log_probs` does it.

    Where rows of a batch have their targets at different places, the output layer computes all of these for each row.
    """
    total = Work()
    for own in probes:
        lengths = [len(ids) for ids in own.tokens]
        for start in range(0, len(lengths), batch_size):
            members = range(start, min(start + batch_size, len(lengths)))
            places = {at for i in members for at in range(int(own.target_start[i]), lengths[i])}
            tokens, longest = sum(lengths[i] for i in members), max(lengths[i] for i in members)
            total += batch_work(tokens, len(members), longest, len(members) * len(places))
    return total


def reading_in_context(shown: Sequence[Demonstrations], probes: Mapping[str, Probes], settings: ProbeSettings) -> Work:
    """The same by experts that have demonstrations before every probe; some stand for all of many."""
    counted = shown[:MOST_EXPERTS]
    works = (reading((shown_before(own, each) for own in probes.values()), settings.batch_size) for each in counted)
    return sum(works, Work()).times(len(shown) / len(counted))


def measuring(tasks: Sequence[TokenTask], settings: EvaluationSettings) -> Work:
    """Reading the held-out examples on which a final run is judged."""
    measure = MeasureSettings(per_task=settings.eval_per_task, batch_size=settings.batch_size)
    return reading([make_probes(held_out(tasks, measure), measure.per_task, measure.part)], measure.batch_size)


def final_training(
    tasks: Sequence[TokenTask], training: TrainingSettings, amounts: MixtureSettings, settings: EvaluationSettings
) -> TrainingSettings:
    """The settings of the run that the mixture is for: mixture.budget where given, else the longest of evaluation."""
    steps = max(settings.steps)
    if amounts.budget is not None:
        mean = 1.0 if amounts.unit == "examples" else float(np.mean([t.size.tokens / t.size.examples for t in tasks]))
        steps = max(1, round(amounts.budget / mean / training.batch_size))
    return training.model_copy(update={"steps": steps})


def _counted(training: TrainingSettings) -> TrainingSettings:
    return training.model_copy(update={"steps": min(training.steps, MOST_BATCHES)})


def _scaled(rows: Sequence[TokenExample], training: TrainingSettings, counted: TrainingSettings) -> Work:
    lengths = np.array([len(row.ids) for row in rows], dtype=np.int64)
    work = training_work(lengths, training.batch_size).times(training.steps / counted.steps)
    return work.in_parts(training.batch_size, training.micro_batch)
