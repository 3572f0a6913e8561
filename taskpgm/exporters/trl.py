"""TRL: the section `datasets` of its YAML, with each task's fraction of the mixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskpgm.exporters.exporter import Exporter, File, dump_yaml
from taskpgm.exporters.plan import Plan, PlannedTask, listed


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

    def beware(self, plan: Plan) -> tuple[str, ...]:
        return (*_size(plan), *_not_told(plan))

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        text = dump_yaml({"datasets": [_entry(task) for task in plan.tasks]})
        return (File(out, self.header(plan) + text),)


def _entry(task: PlannedTask) -> dict[str, Any]:
    arguments = task.place.load_arguments()
    known = ("path", "name", "data_files", "split")
    return {**{key: arguments[key] for key in known if key in arguments}, "fraction": task.weight}


def _size(plan: Plan) -> tuple[str, ...]:
    rows = {task.name: task.count / task.epochs for task in plan.tasks if task.count and task.epochs}
    if len(rows) < len(plan.tasks):
        return ()
    least = min(plan.tasks, key=lambda task: rows[task.name] / task.weight)
    total = rows[least.name] / least.weight
    used = {task.name: round(task.weight * total) / rows[task.name] for task in plan.tasks}
    little = [name for name, share in used.items() if share < 0.1]
    more = f"; less than a tenth is used of {listed(little)}" if little else ""
    return (f"the mixture will have about {total:.0f} rows, since {least.name!r} is used up by then{more}.",)


def _not_told(plan: Plan) -> tuple[str, ...]:
    fields = [task.name for task in plan.tasks if task.place.field]
    pinned = [task.name for task in plan.tasks if task.place.revision]
    return (
        *((f"TRL cannot read the layout of {listed(fields)} (rows under a key): use --task-files.",) if fields else ()),
        *((f"TRL takes no revision, so {listed(pinned)} may change on the hub.",) if pinned else ()),
    )
