"""What was recorded, measured and simulated of a cluster, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def page(found: dict[str, Any], measured: dict[str, Any], replayed: dict[str, Any]) -> str:
    """RESULTS.md: nothing in it is typed by hand."""
    costs, machine = found["costs"], measured["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    item, sent, made = (1000 * costs[name] for name in ("item", "sent", "made"))
    return "\n".join(
        [
            "# 1,000 tasks on a cluster: what limits whom",
            "",
            "Made by `python benchmarks/cluster.py record`, `measure`, `replay` and `simulate`, on",
            f"{machine['processors']} processors (mean load when it began: {machine['load']:.1f}) with Python"
            f" {machine['python']}, {packages}.",
            "All of Ray's processes, and others, had the same processors: costs are upper bounds.",
            "",
            "## Items of a real run (`record`)",
            "",
            "The demo's fourteen tasks, a model of 90,000 parameters. Bytes: *sent* with each item, *shared* once a",
            "machine, *made* and sent back.",
            "",
            *table(
                ("item", "how many", "seconds each", "sent", "shared", "made"),
                [
                    (
                        row["kind"],
                        row["items"],
                        f"{row['mean_seconds']:.2f}",
                        *(f"{row[name] / 1e6:.2f} MB" for name in ("sent", "shared", "made")),
                    )
                    for row in found["kinds"]
                ],
            ),
            "",
            "## What an item costs the process that asks (`measure`)",
            "",
            f"Least of three: {item:.1f} ms an item (scheduler, both ways), {sent:.1f} ms a megabyte that is sent",
            f"(hashed, into the object store, out of it, hashed, on disk), {made:.1f} ms a megabyte that comes back.",
            "It alone writes into the run's folder, so this is what no other machine can take over.",
            "",
            f"## {replayed['items']:,} items that only sleep, on {replayed['workers']} workers (`replay`)",
            "",
            "Times drawn from the experts', sped up to the mean shown. *ideal*: their sum over the workers. *model*:",
            "the simulation with the costs above.",
            "",
            *table(
                ("mean time", "made", "took", "ideal", "model", "efficiency"),
                [
                    (
                        f"{row['mean_seconds']:g} s",
                        f"{row['made'] / 1e6:.2f} MB",
                        f"{row['took']:.1f} s",
                        f"{row['ideal']:.1f} s",
                        f"{row['model']:.1f} s",
                        f"{row['ideal'] / row['took']:.0%}",
                    )
                    for row in found["checks"]
                ],
            ),
            "",
            "## 1,000 tasks, simulated (`simulate`)",
            "",
            "The share of the machines' time that is work, by how long an item takes; 0.1 MB are sent with each. Below",
            "the time in the last column the process that asks is the limit, above it the machines are. 1,000 items",
            "are not the same number for each of 512 or 64 machines, which costs a few percent whatever they take.",
            "",
            *efficiencies(found["table"]),
            "",
            "## What it says",
            "",
            *findings(found),
            "",
        ]
    )


def findings(found: dict[str, Any]) -> list[str]:
    lines = {row["made"]: row["least_seconds"] for row in found["table"] if row["machines"] == 64}
    scheduler = 64 * found["costs"]["item"]
    slow = max(found["checks"], key=lambda row: float(row["took"] / row["model"]))
    others = [row["took"] / row["model"] for row in found["checks"] if row is not slow]
    least, most = min(others), max(others)
    processors, mean, times = found["processors"], slow["mean_seconds"], slow["took"] / slow["model"]
    return [
        f"- The scheduler limits 64 machines where items take less than {scheduler:.1f} s: reading by tiny models, and",
        "  small divergences, which are therefore added up by the process that asks; no training.",
        f"- Bytes that come back limit more: on 64 machines items that make {_list(lines)},",
        "  or the one process that writes does not keep up. Adapters are megabytes; whole models of real size want few",
        "  machines, or long training.",
        f"- The model leaves out that 64 workers shared {processors} processors here: items of {mean:g} s took"
        f" {times:.1f} times",
        f"  as long as it says, longer ones {least:.2f} to {most:.2f} times. On a cluster these are",
        "  the processors of other machines.",
    ]


def _list(lines: dict[float, float]) -> str:
    return ", ".join(f"{made:g} MB must take {seconds:.1f} s" for made, seconds in lines.items())


def efficiencies(rows: Sequence[dict[str, Any]]) -> list[str]:
    durations = sorted({row["seconds"] for row in rows})
    cases = list(dict.fromkeys((row["made"], row["machines"]) for row in rows))
    body = []
    for made, machines in cases:
        own = [row for row in rows if (row["made"], row["machines"]) == (made, machines)]
        cells = [f"{row['efficiency']:.0%}" for row in sorted(own, key=lambda row: float(row["seconds"]))]
        body.append((f"{made:g} MB", machines, *cells, f"{own[0]['least_seconds']:.1f} s"))
    heads = [f"{duration:g} s" for duration in durations]
    return table(("made", "machines", *heads, "break-even"), body)


def table(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]
