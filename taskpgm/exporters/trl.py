"""TRL: the section `datasets` of its YAML, with each task's fraction of the mixture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from taskpgm.exporters.exporter import Exporter, File, dump_yaml
from taskpgm.exporters.plan import Plan, PlannedTask, listed

LITTLE = 0.1


class Trl(Exporter):
    name = "trl"
    title = "TRL (1.8 or later)"
    meaning = (
        "fraction of the mixture, not of the data set; the mixture is as large as it can be without repeating a row."
    )
    use = "trl sft --config FILE, or paste the section into yours"
    traps = (
        "the first round(fraction * N) rows of each file are kept, N the least of (rows / fraction) over the tasks:"
        " shuffle files whose order means something.",
        "a budget has no effect on the mixture's size: set num_train_epochs or max_steps.",
        "not with streaming: true; every data set needs a fraction, or none.",
    )

    def adapted(self, plan: Plan) -> Plan:
        return _sized(plan).warned(*_not_told(plan))

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        text = dump_yaml({"datasets": [_entry(task) for task in plan.tasks]})
        return (File(out, self.header(plan) + text),)


def _entry(task: PlannedTask) -> dict[str, Any]:
    arguments = task.place.load_arguments()
    known = ("path", "name", "data_files", "split")
    return {**{key: arguments[key] for key in known if key in arguments}, "fraction": task.weight}


def _sized(plan: Plan) -> Plan:
    """The plan with the rows that TRL keeps of each task, whatever the budget, where the tasks' sizes are known."""
    rows = {task.name: task.available for task in plan.tasks if task.available is not None}
    if len(rows) < len(plan.tasks):
        return plan
    least = min(plan.tasks, key=lambda task: rows[task.name] / task.weight)
    total = rows[least.name] / least.weight
    kept = {task.name: round(task.weight * total) for task in plan.tasks}
    tasks = tuple(replace(task, count=kept[task.name]) for task in plan.tasks)
    little = [task.name for task in tasks if (task.epochs or 0.0) < LITTLE]
    more = f"; less than a tenth is used of {listed(little)}" if little else ""
    text = f"the mixture will have about {sum(kept.values())} rows, since {least.name!r} is used up by then{more}."
    size = f"one pass of {sum(kept.values())} examples, whose number TRL decides"
    return replace(plan, tasks=tasks, budget=sum(kept.values()), budget_text=size).warned(text)


def _not_told(plan: Plan) -> tuple[str, ...]:
    fields = [task.name for task in plan.tasks if task.place.field]
    pinned = [task.name for task in plan.tasks if task.place.revision]
    return (
        *((f"TRL cannot read the layout of {listed(fields)} (rows under a key): use --task-files.",) if fields else ()),
        *((f"TRL takes no revision, so {listed(pinned)} may change on the hub.",) if pinned else ()),
    )
