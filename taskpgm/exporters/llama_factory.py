"""LLaMA-Factory: training settings, and a dataset_info.json with a number of rows for each task."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from taskpgm.exporters.exporter import Exporter, File, dump_yaml
from taskpgm.exporters.places import Place, file_name
from taskpgm.exporters.plan import Plan, PlannedTask, listed

COLUMNS = {
    "prompt": "prompt",
    "instruction": "prompt",
    "completion": "response",
    "output": "response",
    "target": "response",
    "messages": "messages",
}
CHAT_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


class LlamaFactory(Exporter):
    name = "llama-factory"
    title = "LLaMA-Factory"
    meaning = (
        "with a budget, num_samples: how many rows of the task are taken, repeated if it has fewer; without one,"
        " interleave_probs: probabilities, by position."
    )
    use = "put the settings into your training YAML"
    traps = (
        "interleave_probs belong to the names in `dataset` by position, and are not allowed with mix_strategy: concat.",
        "max_samples cuts every task to one size: leave it out.",
        "data without known columns is taken as alpaca (instruction, input, output): add columns to dataset_info.json.",
    )

    def adapted(self, plan: Plan) -> Plan:
        pinned = [task.name for task in plan.tasks if task.place.revision]
        if not pinned:
            return plan
        return plan.warned(f"LLaMA-Factory takes no revision, so {listed(pinned)} may change on the hub.")

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        folder = out.with_name(f"{out.stem}-data")
        kept = [task for task in plan.tasks if task.count != 0]
        settings: dict[str, Any] = {
            "dataset_dir": str(folder),
            "dataset": ",".join(_key(task) for task in kept),
        }
        if plan.budget is None:
            settings["mix_strategy"] = "interleave_over"
            settings["interleave_probs"] = ",".join(repr(task.weight) for task in kept)
        else:
            settings["mix_strategy"] = "concat"
        info = {_key(task): _described(task, folder) for task in kept}
        text = json.dumps(info, indent=2) + "\n"
        return File(out, self.header(plan) + dump_yaml(settings)), File(folder / "dataset_info.json", text)


def _key(task: PlannedTask) -> str:
    """A name without commas, which separate names here."""
    return file_name(task.name)


def _described(task: PlannedTask, folder: Path) -> dict[str, Any]:
    count = {} if task.count is None else {"num_samples": task.count}
    return {"taskpgm_task": task.name, **_where(task.place, folder), **count, **_columns(task.place)}


def _where(place: Place, folder: Path) -> dict[str, Any]:
    if place.hub is None:
        return {"file_name": os.path.relpath(place.text, folder)}
    named = {"subset": place.subset, "split": place.split}
    return {"hf_hub_url": place.hub, **{key: value for key, value in named.items() if value is not None}}


def _columns(place: Place) -> dict[str, Any]:
    if "messages" in place.columns:
        return {"formatting": "sharegpt", "columns": {"messages": place.columns["messages"]}, "tags": CHAT_TAGS}
    columns = {COLUMNS[role]: column for role, column in place.columns.items() if role in COLUMNS}
    if "input" in place.columns:  # the whole prompt, or what goes with an instruction
        columns["query" if "instruction" in place.columns else "prompt"] = place.columns["input"]
    return {"columns": columns} if columns else {}
