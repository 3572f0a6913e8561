"""torchtitan: a Python file that puts weights on the data sets of your configuration, by task name."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, python_literal
from taskpgm.exporters.plan import Plan

CODE = '''

def mixture(datasets):
    """A DatasetMixConfig of {task: its dataset config}, which may hold more tasks than have a weight."""
    from torchtitan.components.data.dataset import DatasetMixConfig, WeightedDataset

    return DatasetMixConfig(
        datasets=tuple(WeightedDataset(dataset=datasets[name], weight=weight) for name, weight in WEIGHTS.items())
    )
'''


class Torchtitan(Exporter):
    name = "torchtitan"
    title = "torchtitan (after 0.3.0: torchtitan.components.data)"
    packable = True
    meaning = "relative weight of the task's documents, where they are mixed before packing; any positive number."
    use = "mixture({task: its dataset config})"
    traps = (
        "where each task is packed before mixing, weights count tokens: export with --packed.",
        "every weight must be positive: tasks of weight 0 are left out.",
        "filters on rows come after the choice of a task and lower its share; with repeat=False the mix stops at the"
        " first task that is used up.",
    )
    ending = ".py"

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        weights = [f"{task.name!r}: {task.weight!r}" for task in plan.tasks]
        places = [f"{task.name!r}: {task.place.text!r}" for task in plan.tasks]
        text = python_literal("WEIGHTS", weights, "{}") + python_literal("PATHS", places, "{}")
        return (File(out, self.header(plan) + text + CODE),)
