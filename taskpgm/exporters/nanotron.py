"""nanotron: the section `dataset` of a data stage, folders and weights side by side."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, dump_yaml
from taskpgm.exporters.plan import Plan


class Nanotron(Exporter):
    name = "nanotron"
    title = "nanotron (Nanosets)"
    packable = True
    unit = "tokens"
    meaning = "share of the task's sequences, which have one length: shares of tokens."
    use = "put the section under data_stages: [{data: ...}]"
    traps = (
        "dataset_weights belong to the folders by position.",
        "data is repeated without a word when a folder is used up: the epochs below say how often.",
    )
    reads = "a folder of tokens, as tools/preprocess_data.py of nanotron writes it"
    data_ending = ""
    prepared = True

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        value = {
            "dataset": {
                "dataset_folder": [task.place.text for task in plan.tasks],
                "dataset_weights": [task.weight for task in plan.tasks],
            }
        }
        return (File(out, self.header(plan) + dump_yaml(value)),)
