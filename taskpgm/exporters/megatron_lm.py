"""Megatron-LM: --data-path with a weight before each prefix."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File
from taskpgm.exporters.plan import Plan
from taskpgm.exporters.shell import argument_array, usage

READS = "the prefix of a .bin and .idx file, as tools/preprocess_data.py writes them"


class MegatronLm(Exporter):
    name = "megatron-lm"
    title = "Megatron-LM"
    packable = True
    unit = "tokens"
    meaning = "relative weight of the task's samples, which are sequences of one length: shares of tokens."
    use = usage("python pretrain_gpt.py")
    traps = (
        "every weight must be positive: tasks of weight 0 are left out.",
        "data is repeated without a word until the training samples are reached: the epochs below say how often.",
        "with one example a sample (fine-tuning data sets) weights count examples: export with --not-packed.",
    )
    ending = ".sh"
    reads = READS
    data_ending = "_text_document"
    prepared = True

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        groups = [(repr(task.weight), task.place.text) for task in plan.tasks]
        return (File(out, self.header(plan) + argument_array({"--data-path": groups})),)
