"""torchtune: no weights, so it reads one file of rows that were drawn before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskpgm.exporters.exporter import Exporter, File, dump_yaml, rows_of
from taskpgm.exporters.plan import Plan

PLAIN: dict[str, Any] = {
    "_component_": "torchtune.datasets.instruct_dataset",
    "column_map": {"input": "prompt", "output": "completion"},
}
CHAT: dict[str, Any] = {
    "_component_": "torchtune.datasets.chat_dataset",
    "conversation_column": "messages",
    "conversation_style": "openai",
}


class Torchtune(Exporter):
    name = "torchtune"
    title = "torchtune"
    meaning = "it has no weights: the rows of one file were drawn in these amounts, and are taken as they are."
    use = "put the settings into your recipe's configuration"
    traps = (
        "one pass over the file is the budget: epochs: 1.",
        "a list of data sets would be concatenated whole, whatever their sizes.",
    )
    reads = "the file of rows that --materialise writes, and with --out this export"
    presampled = True

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        path, kind = rows_of(plan)
        source = {"source": kind, "data_files": path, "split": "train"}
        value = {"dataset": {**(CHAT if plan.chat else PLAIN), **source}, "epochs": 1}
        return (File(out, self.header(plan) + dump_yaml(value)),)
