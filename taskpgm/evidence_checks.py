"""What a pairwise run knows of its own evidence: are the probes enough, and could pooled tokens change the mixture?

    affinity = affinity_within(experts, tasks, probes, estimate)      # more probes until these are enough
    details |= evidence_checks(network, solution, affinity, similarity, width=0.02)

The first answers by the bootstrap of `taskpgm.probe_count`, the second by the certified intervals of
`taskpgm.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from taskpgm.affinity import Similarity
from taskpgm.blocks import probe_counts
from taskpgm.config import ProbeSettings
from taskpgm.executors import LOCAL, Executor
from taskpgm.experts import Experts
from taskpgm.intervals import interval_effect
from taskpgm.network import TaskNetwork
from taskpgm.predictive import predict_tokenised
from taskpgm.probe_count import enough_probes
from taskpgm.progress import Progress
from taskpgm.tokens import TokenTask, chosen_probes
from taskpgm.types import Affinity, InputError, Predictions, Solution

GROWTH = 4  # times as many probes at most, when the models are asked again


def affinity_within(
    experts: Experts,
    tasks: Sequence[TokenTask],
    probes: ProbeSettings,
    estimate: Callable[[Predictions], Affinity],
    progress: Progress,
    executor: Executor = LOCAL,
) -> Affinity:
    """The affinity on per_task probes; with a width, on as many as it takes, or on all that the tasks have.

    How many that will be is judged from the width so far, which falls with the root of the number of probes. Every task
    has as many, or all of its own. All experts read the larger sample anew: twice the work of the last one, at most.
    """
    most, per_task = max(_available(task) for task in tasks), probes.per_task
    while True:
        settings = probes.model_copy(update={"per_task": per_task})
        affinity = estimate(predict_tokenised(experts, tasks, settings, progress, executor))
        if probes.width is None or per_task >= most:
            return affinity
        share = float(enough_probes(affinity, probes.width).widths[-1]) / probes.width
        if share <= 1.0:
            return affinity
        progress("probes", per_task, most, f"divergences are known within {share:.2g} times what is asked for")
        per_task = min(most, GROWTH * per_task, max(per_task + 1, math.ceil(share * share * per_task)))


def check_width(tasks: Sequence[TokenTask], probes: ProbeSettings) -> None:
    """Complain of tasks too small for a width before hours of training, not after.

    Raises:
        InputError: a task with a single probe, which shows nothing of how much probes differ.
    """
    for task in tasks:
        if probes.width is not None and _available(task) < 2:
            raise InputError(
                f"probes.width: task {task.name!r} has one probe, which does not tell how much others would differ;"
                " raise splits.probe, or leave width out."
            )


def evidence_checks(
    network: TaskNetwork, solution: Solution, affinity: Affinity, similarity: Similarity, width: float | None
) -> dict[str, Any]:
    """The two answers as plain JSON values with a line of text each; what cannot be answered is left out."""
    found: dict[str, Any] = {}
    if affinity.blocks is not None and probe_counts(affinity.blocks.scores).min() >= 2:
        found["probes_enough"] = enough_probes(affinity, width).as_dict()
    if solution.point is not None:
        found["interval_effect"] = interval_effect(network, solution, affinity, similarity).as_dict()
    return found


def _available(task: TokenTask) -> int:
    return len(chosen_probes(task, len(task.probe)))
