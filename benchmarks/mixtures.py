"""Does a mixture help? Every mixture rule on every embedded suite, at equal budget, on seeds no default was tuned on.

    python benchmarks/mixtures.py run --out runs/study --seeds 100-109 --jobs 2
    python benchmarks/mixtures.py run --out runs/study --seeds 200-214 --mixtures confirmation
    python benchmarks/mixtures.py run --out runs/study --seeds 200-205 --steps 125 --mixtures ablations
    python benchmarks/mixtures.py run --out runs/study --seeds 200-207 --steps 500 --mixtures long
    python benchmarks/mixtures.py run --out runs/study --seeds 200-205 --mixtures rules
    python benchmarks/mixtures.py run --out runs/study --seeds 300-309 --mixtures inside
    python benchmarks/mixtures.py run --out runs/study --seeds 300-309 --steps 500 --mixtures uniform adaptive-families
    python benchmarks/mixtures.py run --out runs/lora --seeds 400-409 --steps 250 --mixtures lora --model qwen2-lora
    python benchmarks/mixtures.py run --out runs/study --seeds 200-214 --mixtures moved
    python benchmarks/mixtures.py run --out runs/orders --seeds 600-607 --mixtures forecast --orders 5
    python benchmarks/mixtures.py run --out runs/together --seeds 700-707 --mixtures forecast --orders 5
    python benchmarks/mixtures.py run --out runs/together --seeds 700-714 --mixtures told
    python benchmarks/mixtures.py collect --out runs/study --mixtures confirmation --to confirmation.jsonl
    python benchmarks/mixtures.py confirmation benchmarks/results/mixtures/confirmation.jsonl
    python benchmarks/mixtures.py report benchmarks/results/mixtures/confirmation.jsonl
    python benchmarks/mixtures.py report benchmarks/results/mixtures/moved.jsonl --reference coverage-families
    python benchmarks/mixtures.py report benchmarks/results/mixtures/told.jsonl --reference coverage-families --mean
    python benchmarks/mixtures.py forecasts benchmarks/results/mixtures/confirmation.jsonl --repeats study.jsonl
    python benchmarks/mixtures.py orders benchmarks/results/mixtures/orders.jsonl
    python benchmarks/mixtures.py summary benchmarks/results/mixtures/confirmation.jsonl --to taskpgm/study.json
    python benchmarks/mixtures.py gains benchmarks/results/mixtures --to taskpgm/gains.json
    python benchmarks/mixtures.py gains-table taskpgm/gains.json
    python benchmarks/mixtures.py table taskpgm/study.json

What is compared, and how, was written down before the first runs: benchmarks/results/mixtures/PLAN.md and
CONFIRMATION.md. `run` goes on where it stopped, mixture by mixture; each suite and seed is one process with one thread.
A mixture that fails stays in the record.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parts.forecast_report import forecasts, several_orders
from parts.inside_report import inside
from parts.inside_runs import EVERY_INSIDE, INSIDE, inside_run
from parts.studied_mixtures import (
    ABLATED,
    AGAIN,
    CONFIRMATION,
    EVERY,
    MORE_BASELINES,
    MOVED,
    STANDARD,
    TOLD,
    Bench,
    mixtures,
)
from parts.studied_models import MODELS, Studied
from parts.study_report import confirmation, gains, print_gains, print_table, report, summary

from taskpgm.forecasting import Forecast
from taskpgm.storage import canonical_json, read_json, versions, write_atomic
from taskpgm.training_run import Outcome

Array = NDArray[np.float64]
Record = dict[str, Any]

SETS = {
    "standard": STANDARD,
    "confirmation": CONFIRMATION,
    "long": ("uniform", "proportional", "temperature-2", "pairwise-careful", "coverage-families"),
    "rules": ("uniform", "coverage-families", "pairwise-careful", *MORE_BASELINES),
    "ablations": ("uniform", "coverage-families", "pairwise-careful", *ABLATED),
    "inside": ("uniform", AGAIN, "proportional", "temperature-2", *INSIDE),
    "lora": (
        "uniform",
        AGAIN,
        "proportional",
        "uniform-even",
        "adaptive-families",
        "adaptive-families-default",
        "coverage-families",
    ),
    "forecast": tuple(name for name in CONFIRMATION if not name.startswith("coverage")),
    "moved": ("uniform", "coverage-families", *MOVED),
    "told": ("uniform", "coverage-families", TOLD),
    "all": EVERY,
}
NULL_SEED = 10_000  # added to a seed: another order of examples, for uniform against itself

# ------------------------------------------------------------------------------------------------------ one suite, seed


def study(
    suite_name: str, seed: int, out: Path, steps: int, wanted: Sequence[str], model: Studied, orders: int
) -> Record:
    """Experts, mixtures and final runs of one suite, seed and budget, as one JSON value."""
    from taskpgm.experts import tokenize_for
    from taskpgm.suite import DEMO_PROBES, embedded_suite
    from taskpgm.suite_run import suite_base

    folder = out / f"{suite_name}-{seed}"
    tasks = embedded_suite(suite_name, seed)
    base = suite_base(suite_name, folder, seed, architecture=model.architecture)
    training = model.training.model_copy(update={"seed": seed})
    tokenised = tokenize_for(tasks, base, DEMO_PROBES)
    bench = Bench(tasks, base, tokenised, training.model_copy(update={"steps": steps}), training.steps, folder)
    return {
        "suite": suite_name,
        "seed": seed,
        "model": model.name,
        "names": list(tasks.names),
        "families": [task.family for task in tasks],
        "expert_examples": len(tasks) * training.steps * training.batch_size,
        "versions": versions("taskpgm", "torch", "transformers", "numpy", "cvxpy"),
        "runs": [final_run(bench, orders, *found) for found in mixtures(bench, wanted)],
    }


def final_run(
    bench: Bench, orders: int, name: str, shares: Array | None, forecast: Forecast | None, error: str
) -> Record:
    """The losses are means where the examples came in several orders."""

    final = bench.final
    run: Record = {"mixture": name, "steps": final.steps, "examples": final.steps * final.batch_size}
    if name in EVERY_INSIDE:
        return {**run, **inside_run(name, bench)}
    if shares is None:
        return {**run, "error": error}
    first = int(name == AGAIN)
    done = [trained(bench, shares, order) for order in range(first, first + orders)]
    losses, exact = (np.array([getattr(each, part) for each in done]) for part in ("losses", "exact"))
    found: Record = {"shares": shares.tolist(), "losses": losses.mean(axis=0).tolist()}
    found["exact"] = exact.mean(axis=0).tolist()
    if forecast is not None:
        found |= {"forecast": forecast.losses.tolist(), "interval": forecast.interval.tolist()}
    if orders > 1:
        found["orders"] = losses.tolist()
        if forecast is not None:
            found |= {key: told.tolist() for key, told in with_less(forecast).items()}
    return {**run, **found}


def with_less(forecast: Forecast) -> dict[str, Array]:
    """What is forecast from less than is known of tasks in one run."""
    network, interplay = forecast.network, forecast.network.interplay
    assert interplay is not None
    unmoved = network.changed(interplay=replace(interplay, movement=None))
    return {
        "forecast_unmoved": Forecast(unmoved, forecast.mixture).losses,
        "forecast_energy": network.losses(forecast.mixture),
    }


def trained(bench: Bench, shares: Array, order: int) -> Outcome:
    """The final run on a mixture with its examples in one of many orders."""
    from taskpgm.training_run import train_on

    seed = bench.final.seed + order * NULL_SEED
    return train_on(bench.base, bench.tokenised, shares, bench.final, seed=seed, out=bench.folder)


# ------------------------------------------------------------------------------------------------------------- commands


def run(arguments: argparse.Namespace) -> None:
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    wanted, model, orders = named(arguments.mixtures), MODELS[arguments.model], arguments.orders
    if orders > 1 and (inside_it := [name for name in wanted if name in EVERY_INSIDE]):
        sys.exit(f"error: --orders {orders}: {inside_it[0]} is decided inside its run, in one order; leave it out.")
    items = [(suite, seed) for seed in seeds for suite in arguments.suites]
    todo = [item for item in items if any(missing(arguments.out, *item, k, wanted, orders) for k in arguments.steps)]
    print(f"{len(items) - len(todo)} of {len(items)} were done before", flush=True)
    began = time.monotonic()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(work, *item, arguments.out, tuple(arguments.steps), tuple(wanted), model, orders): item
            for item in todo
        }
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            passed = time.monotonic() - began
            left = passed / done * (len(todo) - done)
            suite, seed = futures[future]
            print(f"{suite} {seed}: {done} of {len(todo)}, {passed:.0f} s, {left:.0f} s left", flush=True)


def work(
    suite: str, seed: int, out: Path, budgets: Sequence[int], wanted: Sequence[str], model: Studied, orders: int
) -> None:
    for steps in budgets:
        if names := missing(out, suite, seed, steps, wanted, orders):
            found = study(suite, seed, out, steps, names, model, orders)
            path = record_path(out, suite, seed, steps)
            if path.is_file():  # by now another process may have added to it
                new = {run["mixture"] for run in found["runs"]}
                stored = [run for run in read_json(path)["runs"] if run["mixture"] not in new]
                found["runs"] = [*stored, *found["runs"]]
            write_atomic(path, (canonical_json(found) + "\n").encode())


def missing(out: Path, suite: str, seed: int, steps: int, wanted: Sequence[str], orders: int) -> list[str]:
    """The mixtures that the record has no run of, or none in so many orders."""
    path = record_path(out, suite, seed, steps)
    runs = read_json(path)["runs"] if path.is_file() else []
    done = {run["mixture"] for run in runs if "error" in run or len(run.get("orders", [0])) == orders}
    return [name for name in wanted if name not in done]


def record_path(out: Path, suite: str, seed: int, steps: int) -> Path:
    return out / "records" / f"{suite}-{seed}-{steps}.json"


def collect(arguments: argparse.Namespace) -> None:
    """Of the seeds that have all of the mixtures that are asked for, at all of the budgets that are."""
    wanted = named(arguments.mixtures)
    by_item: dict[tuple[str, int], Record] = {}
    for steps in arguments.steps:
        for path in sorted((arguments.out / "records").glob(f"*-{steps}.json")):
            record = read_json(path)
            record["runs"] = [run for run in record["runs"] if run["mixture"] in wanted]
            if len(record["runs"]) == len(wanted):
                found = by_item.setdefault((record["suite"], record["seed"]), {**record, "runs": []})
                found["runs"] += record["runs"]
    whole = len(wanted) * len(arguments.steps)
    lines = [
        canonical_json(rounded(by_item[item])) + "\n" for item in sorted(by_item) if len(by_item[item]["runs"]) == whole
    ]
    write_atomic(arguments.to, "".join(lines).encode())
    print(f"{len(lines)} records in {arguments.to}")


def named(asked: Sequence[str]) -> Sequence[str]:
    """The mixtures of the command line, which may name some together."""
    wanted = SETS.get(asked[0], asked)
    if unknown := [name for name in wanted if name not in EVERY]:
        sys.exit(f"error: --mixtures {unknown[0]}: take {', '.join(SETS)}, or some of {', '.join(EVERY)}.")
    return wanted


def rounded(value: Any) -> Any:
    """The same record with six digits: a small file."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runner = commands.add_parser("run", help="train and measure; goes on where it stopped")
    runner.add_argument("--out", type=Path, default=Path("runs/study"))
    runner.add_argument("--seeds", default="100-109", help="a range, or one seed")
    runner.add_argument("--suites", nargs="+", default=["easy-redundant", "hard-redundant", "interacting"])
    runner.add_argument("--jobs", type=int, default=2)
    runner.add_argument("--model", choices=MODELS, default="llama", help="what is fine-tuned, and how")
    runner.add_argument("--orders", type=int, default=1, help="in how many orders of its examples each is trained")
    runner.set_defaults(command=run)
    choices = f"{', '.join(SETS)}, or names"
    collector = commands.add_parser("collect", help="one JSON line for each suite and seed")
    collector.add_argument("--out", type=Path, default=Path("runs/study"))
    collector.add_argument("--to", type=Path, required=True)
    collector.set_defaults(command=collect)
    for parts in (runner, collector):
        parts.add_argument("--steps", nargs="+", type=int, default=[125, 250], help="lengths of the final run")
        parts.add_argument("--mixtures", nargs="+", default=["standard"], metavar="NAME", help=choices)
    reporter = commands.add_parser("report", help="tables from the record")
    reporter.add_argument("record", type=Path)
    reporter.add_argument("--reference", default="uniform", help="the mixture that the others are compared with")
    reporter.add_argument("--mean", action="store_true", help="also the means over all suites and budgets")
    reporter.set_defaults(command=report)
    confirmer = commands.add_parser("confirmation", help="the comparisons that CONFIRMATION.md names")
    confirmer.add_argument("record", type=Path)
    confirmer.add_argument("--steps", nargs="+", type=int, default=[125, 250])
    confirmer.set_defaults(command=confirmation)
    forecaster = commands.add_parser("forecasts", help="how good the forecasts are, and how good any could be")
    forecaster.add_argument("record", type=Path)
    forecaster.add_argument("--repeats", required=True, help="the record beside it that has every uniform run twice")
    forecaster.set_defaults(command=forecasts)
    orderer = commands.add_parser("orders", help="the comparisons that ORDERS_PLAN.md and TOGETHER_PLAN.md name")
    orderer.add_argument("record", type=Path)
    orderer.set_defaults(command=several_orders)
    insider = commands.add_parser("inside", help="the comparisons that INSIDE_PLAN.md names")
    insider.add_argument("record", type=Path)
    insider.set_defaults(command=inside)
    keeper = commands.add_parser("summary", help="the numbers that the demo quotes, as JSON")
    keeper.add_argument("record", type=Path)
    keeper.add_argument("--to", type=Path, required=True)
    keeper.set_defaults(command=summary)
    gainer = commands.add_parser("gains", help="the numbers that `taskpgm plan --evidence` quotes, as JSON")
    gainer.add_argument("folder", type=Path, help="of the records")
    gainer.add_argument("--to", type=Path, required=True)
    gainer.set_defaults(command=gains)
    teller = commands.add_parser("gains-table", help="the README's table of evidence, from what `gains` wrote")
    teller.add_argument("gains", type=Path)
    teller.set_defaults(command=print_gains)
    shower = commands.add_parser("table", help="the README's table, from a summary")
    shower.add_argument("summary", type=Path)
    shower.set_defaults(command=print_table)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
