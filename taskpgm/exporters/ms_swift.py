"""ms-swift: --dataset with #N, the number of rows, behind each task's data."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, counts_of
from taskpgm.exporters.places import Place
from taskpgm.exporters.plan import Plan
from taskpgm.exporters.shell import argument_array, usage


class MsSwift(Exporter):
    name = "ms-swift"
    title = "ms-swift"
    meaning = "#N: how many rows of the task are taken; whole repeats, and the rest a random part."
    use = usage("swift sft")
    traps = (
        "a share of --split_dataset_ratio is held out of N: the arguments set it to 0.",
        "not with --streaming true, where #N has no effect.",
        "--interleave_prob would change the proportions once more: leave it out.",
    )
    ending = ".sh"

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        places = {task.place.text: task.place for task in plan.tasks}
        groups = [(f"{_named(places[text])}#{count}",) for text, count in counts_of(self, plan)]
        text = argument_array(
            {"--dataset": groups, "--dataset_shuffle": [("true",)], "--split_dataset_ratio": [("0",)]}
        )
        return (File(out, self.header(plan) + text),)


def _named(place: Place) -> str:
    """HF:: before a hub data set, and its subset behind it."""
    if place.hub is None:
        return place.text
    return f"HF::{place.hub}" + ("" if place.subset is None else f":{place.subset}")
