"""Megatron-Energon: a metadataset whose training split blends the tasks by weight."""

from __future__ import annotations

import os
from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, dump_yaml
from taskpgm.exporters.plan import Plan


class Energon(Exporter):
    name = "energon"
    title = "Megatron-Energon"
    packable = True
    meaning = "relative weight of the task's samples, before any packing of them into sequences."
    use = "get_train_dataset(FILE, ...)"
    traps = (
        "paths are relative to this file; it stops working when it is moved alone.",
        "get_train_dataset takes it with shuffle buffers: rows of one shard come close to each other without.",
    )
    reads = "a JSONL file or a folder of shards, each after `energon prepare`"

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        blend = [{"weight": task.weight, "path": os.path.relpath(task.place.text, out.parent)} for task in plan.tasks]
        value = {
            "__module__": "megatron.energon",
            "__class__": "MetadatasetV2",
            "splits": {"train": {"blend": blend}},
        }
        return (File(out, self.header(plan) + dump_yaml(value)),)
