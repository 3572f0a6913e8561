"""Axolotl: no weights, so it reads one file of rows that were drawn before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskpgm.exporters.exporter import Exporter, File, dump_yaml, rows_of
from taskpgm.exporters.plan import Plan

PLAIN = {
    "field_instruction": "prompt",
    "field_output": "completion",
    "format": "{instruction}",
    "no_input_format": "{instruction}",
}


class Axolotl(Exporter):
    name = "axolotl"
    title = "Axolotl"
    meaning = "it has no weights: the rows of one file were drawn in these amounts, and are taken as they are."
    use = "put the settings into your configuration"
    traps = (
        "one pass over the file is the budget: num_epochs: 1.",
        "dataset_exact_deduplication: true would remove what the mixture repeats: leave it out.",
    )
    reads = "the file of rows that --materialise writes, and with --out this export"
    presampled = True

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        path, format_ = rows_of(plan)
        kind: Any = {"type": "chat_template", "field_messages": "messages"} if plan.chat else {"type": PLAIN}
        entry = {"path": path, "ds_type": format_, **kind}
        return (File(out, self.header(plan) + dump_yaml({"datasets": [entry], "num_epochs": 1})),)
