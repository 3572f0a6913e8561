"""Tables of the study of mixtures that are decided inside their run: what INSIDE_PLAN.md names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parts.study_report import by_mixture, interval

from taskpgm.paired import View, t_interval, views

Array = NDArray[np.float64]
EVEN = "uniform-even"
PRIMARY = (
    ("adaptive-families", "uniform"),
    ("uniform-even", "uniform"),
    ("adaptive-families", "uniform-even"),
    ("adaptive-families-default", "uniform"),  # losses measured in every fourth step, as it ships
    ("coverage-families", "uniform"),
)


def inside(arguments: argparse.Namespace) -> None:
    """Differences in the mean held-out loss: the primary ones corrected for all cells, then all, each alone."""
    records = [json.loads(line) for line in arguments.record.read_text().splitlines()]
    cells = sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]})
    corrected = 1.0 - 0.05 / len(cells)
    print("Differences in the mean held-out loss over families, nats per target token; negative is better. The default")
    print("measures losses in every fourth step, as the program does by itself: SHIPPED_PLAN.md and LORA_PLAN.md")
    print("planned it, INSIDE_PLAN.md did not.")
    print(f"Intervals: {corrected:.2%} each, so that 95 % holds for the {len(cells)} of a row together.\n")
    heads = [f"{suite}, {steps} steps" for suite, steps in cells]
    print("| | " + " | ".join(heads) + " |")
    print("|---" * (len(cells) + 1) + "|")
    for name, other in PRIMARY:
        shown = [_shown(records, cell, name, other, corrected, 0) for cell in cells]
        if any(shown):
            print(f"| {name} to {other} | " + " | ".join(shown) + " |")
    names = list(dict.fromkeys(run["mixture"] for record in records for run in record["runs"]))
    for level, title in ((0, "families"), (1, "tasks")) if EVEN in names else ():
        print(f"\n## All, to uniform-even, mean over {title}, 95 % intervals of each comparison alone\n")
        print("| | " + " | ".join(heads) + " |")
        print("|---" * (len(cells) + 1) + "|")
        for name in names:
            shown = [_shown(records, cell, name, EVEN, 0.95, level) for cell in cells]
            if name != EVEN and any(shown):
                print(f"| {name} | " + " | ".join(shown) + " |")
    print("\n" + _decisions(records))


def _shown(
    records: Sequence[Mapping[str, Any]], cell: tuple[str, int], name: str, other: str, confidence: float, level: int
) -> str:
    own = [record for record in records if record["suite"] == cell[0]]
    losses = by_mixture(own, cell[1], "losses")
    if name not in losses or other not in losses:
        return ""
    weights = _view(own[0], level).weights
    change = (losses[name] - losses[other]) @ weights
    change = change[np.isfinite(change)]
    if not len(change):
        return ""
    ends = t_interval(change, confidence)
    sure = "*" if ends is not None and (ends[0] > 0.0 or ends[1] < 0.0) else ""
    return f"{change.mean():+.4f}{sure} ({interval(ends)}; {len(change)} seeds)"


def _view(record: Mapping[str, Any], level: int) -> View:
    """The mean over families, or over tasks."""
    if level == 0:
        return views(record["names"], record["families"])[0]
    n = len(record["names"])
    return View("mean over tasks", "average", np.full(n, 1.0 / n))


def _decisions(records: Sequence[Mapping[str, Any]]) -> str:
    made = [each for record in records for run in record["runs"] for each in run.get("decisions", ())]
    proved = sum(status == "optimal" for _, _, status, _ in made)
    back = sum(not followed for _, followed, _, _ in made)
    widest = max(gap for *_, gap in made)
    return (
        f"{len(made)} decisions: {proved} proved optimal for their energy (largest gap {widest:.1g} nats), {back} not"
        " followed because forecasts had done worse than losses that stay as they are."
    )
