"""Every inference method on discrete task networks: who proves what, and how fast.

    python benchmarks/inference.py --out inference.jsonl

Networks are S = 1 - JSD / ln 2 of random experts: either all independent, or in families of about five that behave
alike. Utilities are zero (pure diversity, the hardest), the mean similarity, or random. Each line is one method on one
problem; refusals and failures are kept. A table of medians over seeds follows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.divergences import LN2, jensen_shannon
from taskpgm.inference import METHODS, solve
from taskpgm.network import TaskNetwork

UTILITIES = ("zero", "mean", "random")
SHAPES: tuple[tuple[int, int, int], ...] = (  # tasks, quanta, cap
    (12, 4, 1),
    (12, 12, 12),
    (30, 50, 50),
    (40, 8, 1),
    (100, 5, 1),
    (100, 10, 1),
    (100, 25, 1),
    (200, 10, 1),
    (200, 20, 1),
    (500, 10, 1),
    (500, 30, 1),
)


def experts_similarity(tasks: int, families: bool, seed: int) -> np.ndarray:
    """(n, n) S = 1 - J / ln 2 of random experts on 20 contexts of 30 tokens."""
    rng = np.random.default_rng(seed)
    count = max(2, tasks // 5) if families else tasks
    logits = 2.0 * rng.normal(size=(count, 20, 30))
    if families:
        logits = logits[rng.integers(count, size=tasks)] + rng.normal(size=(tasks, 20, 30))
    return 1.0 - jensen_shannon(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))) / LN2


def make_network(tasks: int, families: bool, utility: str, seed: int) -> TaskNetwork:
    """A network of the benchmark; beta is such that random utilities matter about as much as redundancy."""
    similarity = experts_similarity(tasks, families, seed)
    utilities = {
        "zero": np.zeros(tasks),
        "mean": similarity.mean(axis=1),
        "random": np.random.default_rng(seed + 1).random(tasks),
    }
    return TaskNetwork(utilities[utility], similarity, beta=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the JSON lines here")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=10.0, help="seconds for each run")
    parser.add_argument("--methods", nargs="*", help="names; all where not given")
    parser.add_argument("--most-tasks", type=int, default=500)
    options = parser.parse_args()
    methods = [method for method in METHODS if method.domain == "levels"]
    methods = [method for method in methods if not options.methods or method.name in options.methods]
    records: list[dict[str, Any]] = []
    for tasks, quanta, cap in SHAPES:
        if tasks > options.most_tasks:
            continue
        for families in (False, True):
            for utility in UTILITIES:
                for seed in range(options.seeds):
                    problem = make_network(tasks, families, utility, seed).levels(quanta, cap)
                    for method in methods:
                        start = time.perf_counter()
                        solution = solve(problem, method, deadline=options.deadline, seed=seed)
                        record = {
                            "tasks": tasks,
                            "quanta": quanta,
                            "cap": cap,
                            "families": families,
                            "utility": utility,
                            "seed": seed,
                            "method": method.name,
                            "status": solution.status.name,
                            "energy": _finite(solution.energy),
                            "gap": _finite(solution.gap),
                            "seconds": round(time.perf_counter() - start, 4),
                            "message": solution.message,
                        }
                        records.append(record)
                        line = json.dumps(record)
                        print(line, flush=True)
                        if options.out:
                            with options.out.open("a") as stream:
                                stream.write(line + "\n")
    print_table(records)


def print_table(records: list[dict[str, Any]]) -> None:
    """Per shape and method: problems proved, median seconds, and the worst excess over the best energy known."""
    problems: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        problems[tuple(record[key] for key in ("tasks", "quanta", "cap", "families", "utility", "seed"))].append(record)
    groups: dict[tuple[Any, ...], list[tuple[dict[str, Any], float]]] = defaultdict(list)
    for key, members in problems.items():
        energies = [record["energy"] for record in members if record["energy"] is not None]
        for record in members:
            excess = record["energy"] - min(energies) if record["energy"] is not None else np.nan
            groups[(*key[:3], record["method"])].append((record, excess))
    print(f"{'tasks':>5} {'quanta':>6} {'cap':>3}  {'method':<22} {'proved':>7} {'median s':>9} {'worst excess':>12}")
    for (tasks, quanta, cap, method), runs in groups.items():
        proved = sum(record["status"] == "optimal" for record, _ in runs)
        refused = sum(record["status"] == "refused" for record, _ in runs)
        seconds = float(np.median([record["seconds"] for record, _ in runs]))
        excesses = [excess for _, excess in runs if np.isfinite(excess)]
        worst = f"{max(excesses):.2g}" if excesses else "-"
        note = f"  ({refused} refused)" if refused else ""
        shape = f"{tasks:>5} {quanta:>6} {cap:>3}"
        print(f"{shape}  {method:<22} {proved:>3}/{len(runs):<3} {seconds:>9.3f} {worst:>12}{note}")


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


if __name__ == "__main__":
    main()
