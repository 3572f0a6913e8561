"""Hugging Face datasets: a Python file that loads every task and interleaves them by probabilities."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, python_literal
from taskpgm.exporters.plan import Plan

CODE = '''

def mix(seed=0):
    """The tasks' rows in these proportions; with another seed for every epoch, so that no order repeats."""
    mixed = interleave_datasets(
        [load_dataset(**task["load"]).shuffle(seed=seed) for task in TASKS.values()],
        probabilities=[task["probability"] for task in TASKS.values()],
        seed=seed,
        stopping_strategy="all_exhausted",
    )
    return mixed if ROWS is None else mixed.select(range(min(ROWS, len(mixed))))
'''


class HuggingFace(Exporter):
    name = "datasets"
    title = "Hugging Face datasets"
    packable = True
    meaning = "probability that the next row is of this task (interleave_datasets, probabilities)."
    use = "mix(seed=0), then seed=1 for the next epoch"
    traps = (
        "rows are taken in order and wrap around: mix() shuffles first, and wants another seed for every epoch.",
        "with probability 0 it would never end: tasks of weight 0 are left out.",
        "all tasks need the same columns.",
        "loaders that pack several examples into a sequence afterwards keep the proportions; those that pack each task"
        " before mixing need --packed.",
    )
    ending = ".py"

    def adapted(self, plan: Plan) -> Plan:
        reached = [task.available / task.weight for task in plan.tasks if task.available]
        if plan.budget is None or not reached or plan.budget <= max(reached):
            return plan
        return plan.warned(
            f"one call gives about {max(reached):.0f} rows, until every task has come through once; for the budget of"
            f" {plan.budget} rows call mix() again with other seeds."
        )

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        tasks = [
            f'{task.name!r}: {{"probability": {task.weight!r}, "load": {task.place.load_arguments()!r}}}'
            for task in plan.tasks
        ]
        text = (
            f"{self.header(plan)}from datasets import interleave_datasets, load_dataset\n\n"
            f"ROWS = {plan.budget!r}\n{python_literal('TASKS', tasks, '{}')}{CODE}"
        )
        return (File(out, text),)
