"""open-instruct: --dataset_mixer_list with a whole number of rows for each task."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, counts_of
from taskpgm.exporters.plan import Plan, listed
from taskpgm.exporters.shell import argument_array, usage


class OpenInstruct(Exporter):
    name = "open-instruct"
    title = "open-instruct"
    meaning = "how many rows of the task are taken, as a whole number; repeated if it has fewer."
    use = usage("python open_instruct/finetune.py")
    traps = (
        "an amount with a '.' would be a fraction of the source, not of the mixture (1.0 is all of it); these have none"
        " (1 is one row).",
        "every data set is read in its split 'train', also files.",
    )
    ending = ".sh"
    reads = "a JSONL or Parquet file, or a hub data set, with a column `messages`"

    def adapted(self, plan: Plan) -> Plan:
        single = [task.name for task in plan.tasks if task.count == 1]
        other = [task.name for task in plan.tasks if task.place.hub is not None and task.place.split != "train"]
        subsets = [task.name for task in plan.tasks if task.place.hub is not None and task.place.subset is not None]
        return plan.warned(
            *((f"it reads no subsets, as {listed(subsets)} would need: use --task-files.",) if subsets else ()),
            *((f"one row only of {listed(single)}: older versions take 1 for the whole data set.",) if single else ()),
            *((f"set --dataset_mixer_list_splits for {listed(other)}.",) if other else ()),
        )

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        groups = [(place, str(count)) for place, count in counts_of(self, plan)]
        text = argument_array({"--dataset_mixer_list": groups, "--dataset_mixer_list_splits": [("train",)]})
        return (File(out, self.header(plan) + text),)
