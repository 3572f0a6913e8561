"""levanter: the section `data`, with train_weights by task name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskpgm.exporters.exporter import Exporter, File, dump_yaml
from taskpgm.exporters.places import Place
from taskpgm.exporters.plan import Plan

BLOCK = 2048


class Levanter(Exporter):
    name = "levanter"
    title = "levanter"
    packable = True
    unit = "tokens"
    meaning = "share of the task's sequences, packed to one length: shares of tokens; any sum."
    use = "put the section into your configuration"
    traps = (
        "proportions are kept within blocks of mixture_block_size sequences, so a share under one in a block is lost.",
        "with stop_strategy: restart data is repeated without a word: the epochs below say how often.",
        "with pack: false a sequence is one example: export with --not-packed.",
        "newer versions call `configs` `components`.",
    )
    reads = "a JSONL file, or a hub data set"

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        weights: dict[str, float] = {task.name: task.weight for task in plan.tasks}
        value = {
            "data": {
                "configs": {task.name: _source(task.place) for task in plan.tasks},
                "train_weights": {**weights, **dict.fromkeys(plan.dropped, 0.0)},
                "mixture_block_size": BLOCK,
                "stop_strategy": "restart",
            }
        }
        return (File(out, self.header(plan) + dump_yaml(value)),)


def _source(place: Place) -> dict[str, Any]:
    if place.hub is None:
        where: dict[str, Any] = {"train_urls": [place.text]}
    else:
        where = {"id": place.hub, **({} if place.subset is None else {"name": place.subset})}
    return {**where, **_format(place)}


def _format(place: Place) -> dict[str, Any]:
    if "messages" in place.columns:
        return {"format": {"type": "chat", "messages_key": place.columns["messages"]}}
    prompt = place.columns.get("prompt", place.columns.get("input"))
    answer = place.columns.get("completion", place.columns.get("target"))
    if prompt is None or answer is None:
        return {}
    return {"format": {"type": "supervised", "input_field": prompt, "output_field": answer, "separate_with": ""}}
