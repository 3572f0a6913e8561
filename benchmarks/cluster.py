"""Where a cluster's scheduler or object store becomes the limit: recorded, measured and simulated.

    python benchmarks/cluster.py record     # a small real run here: seconds and bytes of every kind of item
    python benchmarks/cluster.py measure    # Ray here: what an item and a megabyte cost the process that asks
    python benchmarks/cluster.py replay     # 1,000 recorded items that only sleep, on 64 workers of Ray here
    python benchmarks/cluster.py simulate   # from these three: tables of efficiencies, and RESULTS.md

Each writes NAME.json into the folder of --out; the recorded results are in benchmarks/results/cluster. All of Ray's
processes share this machine's processors with the one that asks, so costs are upper bounds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from parts.cluster_items import sleep_and_make
from parts.cluster_results import page
from parts.recorded_items import Recorder
from parts.simulated_cluster import Costs, efficiency, least_seconds, makespan

from taskpgm.executors import Executor, Item, Source
from taskpgm.executors.executor import nothing
from taskpgm.storage import read_json, write_atomic

MEGABYTE = 1e6
ITEMS, WORKERS = 1000, 64


def record() -> dict[str, Any]:
    """The demo's experts, predictions and divergences, one after the other."""
    from taskpgm import experts, predictive
    from taskpgm.affinity import estimate_affinity
    from taskpgm.divergences import tiles
    from taskpgm.progress import silent
    from taskpgm.suite import DEMO_PROBES, DEMO_TRAINING, embedded_suite
    from taskpgm.suite_run import suite_base

    tiles.LEAST_WORK, tiles.TILE_MEMORY = 1, 1e6
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        tasks = embedded_suite("easy-redundant")
        base = suite_base("easy-redundant", Path(folder))
        tokens = experts.tokenize_for(tasks, base, DEMO_PROBES)
        trained = experts.train_tokenised(tokens, base, Path(folder), DEMO_TRAINING, DEMO_PROBES, silent, recorder)
        predictions = predictive.predict_tokenised(trained, tokens, DEMO_PROBES, silent, recorder)
        estimate_affinity(predictions, executor=recorder)
    found = {}
    for kind in dict.fromkeys(each.kind for each in recorder.recorded):
        own = [asdict(each) for each in recorder.recorded if each.kind == kind]
        found[kind] = {"items": len(own)} | {
            name: [each[name] for each in own] if name == "seconds" else float(np.mean([each[name] for each in own]))
            for name in ("seconds", "sent", "shared", "made")
        }
    return {"suite": "easy-redundant", "tasks": len(tasks), "kinds": found}


@contextmanager
def ray_here(workers: int) -> Iterator[Executor]:
    """A Ray cluster on this machine that believes to have so many processors, all of its processes started."""
    import ray

    from taskpgm.executors.cluster import ray_cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    size = 2 * 1024**3
    ray.init(num_cpus=workers, object_store_memory=size, include_dashboard=False, logging_level=logging.ERROR)
    try:
        with ray_cluster() as executor:
            for _ in range(3):
                done(executor, [Item("warm", sleep_and_make, (1.0, 0)) for _ in range(workers)])
            yield executor
    finally:
        ray.shutdown()


def done(executor: Executor, items: list[Item]) -> float:
    """Seconds until all items are done."""
    start = time.perf_counter()
    for _ in executor.run(items, nothing):
        continue
    return time.perf_counter() - start


def measure() -> dict[str, Any]:
    """Costs of an item that does nothing, and of items that send or bring back megabytes, with their spread."""
    sizes = (0.0, 1.0, 4.0, 16.0, 64.0)
    found: dict[str, Any] = {"megabytes": sizes}
    with ray_here(2) as executor, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = [done(executor, [Item("x", sleep_and_make, (0.0, 0)) for _ in range(400)]) / 400 for _ in range(3)]
        found["empty"] = empty
        for kind in ("made", "sent"):
            found[kind] = []
            for megabytes in sizes:
                count = 100 if megabytes < 4.0 else 20
                size = int(megabytes * MEGABYTE)
                tries = ([_item(folder, kind, size, i) for i in range(count)] for _ in range(3))
                found[kind].append([done(executor, items) / count for items in tries])
    return found


def _item(folder: Path, kind: str, size: int, number: int) -> Item:
    if kind == "made":
        (folder / f"made {number}").unlink(missing_ok=True)  # what is there would be sent along
        return Item("x", sleep_and_make, (0.0, size), path=folder / f"made {number}")
    source = folder / f"sent {size}"
    source.mkdir(exist_ok=True)
    (source / "file").write_bytes(os.urandom(size))
    return Item("x", sleep_and_make, (0.0, 0), (Source(source),))


def costs_of(measured: dict[str, Any]) -> Costs:
    """Least squares through the fastest of each three."""
    item = float(min(measured["empty"]))
    sizes = np.array(measured["megabytes"])
    slopes = []
    for kind in ("sent", "made"):
        best = np.min(measured[kind], axis=1)
        slopes.append(float(np.polyfit(sizes, best, 1)[0]))
    return Costs(item, *slopes)


def replay(recorded: dict[str, Any]) -> dict[str, Any]:
    """Recorded times of experts, sped up, drawn for 1,000 items on 64 workers of Ray; and with larger results."""
    own = recorded["kinds"]["expert"]
    seconds = np.random.default_rng(0).choice(own["seconds"], ITEMS)
    runs = []
    with ray_here(WORKERS) as executor, tempfile.TemporaryDirectory() as name:
        for mean, made in ((4.0, own["made"]), (1.0, own["made"]), (0.25, own["made"]), (4.0, 8 * MEGABYTE)):
            scaled = seconds * mean / seconds.mean()
            items = [
                Item("x", sleep_and_make, (float(each), int(made)), path=Path(name) / str(i))
                for i, each in enumerate(scaled)
            ]
            took = done(executor, items)
            runs.append({"mean_seconds": mean, "made": made, "took": took, "ideal": float(scaled.sum() / WORKERS)})
            print(json.dumps(runs[-1]), flush=True)
    return {"items": ITEMS, "workers": WORKERS, "seconds": seconds.tolist(), "runs": runs}


def simulate(recorded: dict[str, Any], measured: dict[str, Any], replayed: dict[str, Any]) -> dict[str, Any]:
    """The model against the replay; then efficiencies over times, sizes and numbers of machines."""
    costs = costs_of(measured)
    seconds = np.array(replayed["seconds"])
    checks = []
    for each in replayed["runs"]:
        scaled = (seconds * each["mean_seconds"] / seconds.mean()).tolist()
        model = makespan(scaled, WORKERS, costs, 0.0, each["made"] / MEGABYTE)
        checks.append({**each, "model": model})
    table = [
        {
            "seconds": duration,
            "made": made,
            "machines": machines,
            "efficiency": efficiency([duration] * ITEMS, machines, costs, 0.1, made),
            "least_seconds": least_seconds(machines, costs, 0.1, made),
        }
        for made in (0.4, 20.0, 1000.0)
        for machines in (8, 64, 512)
        for duration in (1.0, 10.0, 60.0, 600.0, 3600.0)
    ]
    return {"costs": asdict(costs), "checks": checks, "table": table, "kinds": summary(recorded)} | {
        "processors": os.cpu_count()
    }


def summary(recorded: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "items": own["items"], "mean_seconds": float(np.mean(own["seconds"]))}
        | {name: own[name] for name in ("sent", "shared", "made")}
        for kind, own in recorded["kinds"].items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "measure", "replay", "simulate"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cluster"))
    given = parser.parse_args()

    def known(name: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(given.out / f"{name}.json")
        return found

    work: dict[str, Callable[[], dict[str, Any]]] = {
        "record": record,
        "measure": measure,
        "replay": lambda: replay(known("record")),
        "simulate": lambda: simulate(known("record"), known("measure"), known("replay")),
    }
    load = os.getloadavg()[0]
    found = work[given.what]()
    packages = {name: metadata.version(name) for name in ("ray", "numpy", "torch", "transformers")}
    machine = {"processors": os.cpu_count(), "load": load, "python": platform.python_version(), "packages": packages}
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**found, "machine": machine}, indent=1)
    write_atomic(given.out / f"{given.what}.json", f"{text}\n".encode())
    if given.what == "simulate":
        write_atomic(given.out / "RESULTS.md", page(found, known("measure"), known("replay")).encode())


if __name__ == "__main__":
    main()
