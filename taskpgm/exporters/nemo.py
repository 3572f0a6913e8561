"""NeMo: the list `paths` of PreTrainingDataModule, weights and prefixes in turn."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, python_literal
from taskpgm.exporters.megatron_lm import READS
from taskpgm.exporters.plan import Plan


class Nemo(Exporter):
    name = "nemo"
    title = "NeMo"
    packable = True
    unit = "tokens"
    meaning = "relative weight of the task's samples, which are sequences of one length: shares of tokens."
    use = "PreTrainingDataModule(paths=PATHS, ...): weights, as texts, and prefixes take turns"
    traps = (
        "every weight must be positive: tasks of weight 0 are left out.",
        "data is repeated without a word until the training samples are reached: the epochs below say how often.",
    )
    ending = ".py"
    reads = READS
    data_ending = "_text_document"
    prepared = True

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        pairs = [f"{str(task.weight)!r}, {task.place.text!r}" for task in plan.tasks]
        return (File(out, self.header(plan) + python_literal("PATHS", pairs)),)
