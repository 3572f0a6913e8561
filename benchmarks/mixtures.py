"""Does a mixture help? Every mixture rule on every embedded suite, at equal budget, on seeds no default was tuned on.

    python benchmarks/mixtures.py run --out runs/study --seeds 100-109 --steps 125 250 --jobs 2
    python benchmarks/mixtures.py run --out runs/study --seeds 200-214 --mixtures uniform coverage-families
    python benchmarks/mixtures.py collect --out runs/study --to benchmarks/results/mixtures/study.jsonl
    python benchmarks/mixtures.py report benchmarks/results/mixtures/study.jsonl
    python benchmarks/mixtures.py summary benchmarks/results/mixtures/study.jsonl --to taskpgm/study.json
    python benchmarks/mixtures.py table taskpgm/study.json

What is compared, and how, was written down before the first runs: benchmarks/results/mixtures/PLAN.md and
CONFIRMATION.md. `run` goes on where it stopped, budget by budget; each suite and seed is one process with one thread.
A mixture that fails stays in the record.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.families import family_weights
from taskpgm.storage import canonical_json, read_json, versions, write_atomic

Array = NDArray[np.float64]
Record = dict[str, Any]

FLOOR = 0.2
NULL_SEED = 10_000  # added to a seed: another order of examples, for uniform against itself
AGAIN = "uniform-again"
PROXY_STEPS = 40
PILOT_OF = 125  # steps of the shortest final run
NEEDS = {"pilot": {"ado"}, "proxies": {"sft-mixing-law", "regmix"}}
BASELINES = (
    "uniform",
    "proportional",
    "temperature-2",
    "unimax",
    "mixmin",
    "chameleon",
    "capacity",
    "pairwise-literal",
    "pairwise-careful",
    "pairwise-pmi",
    "ado",
)
MORE_BASELINES = ("temperature-5", "smart-graph-cut", "smart-facility-location", "sft-mixing-law", "regmix")
COVERAGE: dict[str, dict[str, Any]] = {
    "coverage": {},
    "coverage-families": {"families": True},
    "coverage-no-graph": {"graph": False},
}
MORE_COVERAGE: dict[str, dict[str, Any]] = {
    "coverage-families-no-graph": {"families": True, "graph": False},
    "coverage-point-fit": {"fit": "least_squares"},
    "coverage-no-prior": {"tau": 0.0},
    "coverage-literal": {"tau": 0.0, "floor": 0.0},
    "coverage-strong-prior": {"tau": 0.2},
}
STANDARD = (*BASELINES, *COVERAGE, AGAIN)
EVERY = (*BASELINES, *MORE_BASELINES, *COVERAGE, *MORE_COVERAGE, AGAIN)


# ------------------------------------------------------------------------------------------------------ one suite, seed


def study(suite_name: str, seed: int, out: Path, steps: int, wanted: Sequence[str]) -> Record:
    """Experts, mixtures and final runs of one suite, seed and budget, as one JSON value."""
    from taskpgm.evidence_runs import PILOT_SHARE, gather_evidence
    from taskpgm.experts import tokenize_for, train_tokenised
    from taskpgm.pipeline import suite_base
    from taskpgm.progress import silent
    from taskpgm.suite import DEMO_PROBES, DEMO_TRAINING, embedded_suite

    folder = out / f"{suite_name}-{seed}"
    tasks = embedded_suite(suite_name, seed)
    base = suite_base(suite_name, folder, seed)
    training = DEMO_TRAINING.model_copy(update={"seed": seed})
    tokenised = tokenize_for(tasks, base, DEMO_PROBES)
    experts = train_tokenised(tokenised, base, folder, training, DEMO_PROBES, silent)
    record: Record = {
        "suite": suite_name,
        "seed": seed,
        "names": list(tasks.names),
        "families": [task.family for task in tasks],
        "expert_examples": len(tasks) * training.steps * training.batch_size,
        "versions": versions("taskpgm", "torch", "transformers", "numpy", "cvxpy"),
        "runs": [],
    }
    final = training.model_copy(update={"steps": steps})
    evidence = gather_evidence(
        experts,
        tokenised,
        DEMO_PROBES,
        final,
        out=folder,
        needs=[part for part, rules in NEEDS.items() if not rules.isdisjoint(wanted)],
        pilot_steps=int(PILOT_SHARE * PILOT_OF),
        proxy_steps=PROXY_STEPS,
    )
    for name, shares, forecast, error in mixtures(evidence, tasks, wanted):
        record["runs"].append(final_run(name, shares, forecast, error, base, tokenised, final, seed, folder))
    return record


def mixtures(evidence: Any, tasks: Any, wanted: Sequence[str]) -> Iterator[tuple[str, Array | None, Any, str]]:
    """(name, shares of examples, what coverage forecasts for them, error) of every rule that is wanted."""
    import taskpgm as tp
    from taskpgm.baselines import BASELINES as RULES

    by_name: dict[str, Callable[[], Array]] = {
        rule.name: lambda rule=rule: rule.mixture(evidence) for rule in RULES if rule.name in wanted
    }
    for name, options in (COVERAGE | MORE_COVERAGE).items():
        if name in wanted:
            by_name[name] = lambda options=options: coverage_mixture(evidence, tasks, **options)
    told = coverage_network(evidence, tasks)
    for name, rule in by_name.items():
        try:
            shares = np.asarray(rule(), dtype=np.float64)
        except (ValueError, RuntimeError) as error:
            yield name, None, None, f"{type(error).__name__}: {error}"
            continue
        yield name, shares, tp.forecast(told, shares / shares.sum()), ""
    if AGAIN in wanted:
        yield AGAIN, np.full(len(tasks), 1.0 / len(tasks)), None, ""


def coverage_network(
    evidence: Any,
    tasks: Any,
    *,
    families: bool = False,
    graph: bool = True,
    fit: str = "posterior",
    tau: float = 0.05,
    floor: float = FLOOR,
) -> Any:
    import taskpgm as tp

    targets = family_weights(tasks.names, [task.family for task in tasks]) if families else None
    return tp.CoverageNetwork.from_losses(
        evidence.curves,
        evidence.budget,
        fit=fit,  # type: ignore[arg-type]
        graph=graph,
        target_weights=targets,
        tau=tau,
        lower=floor / len(tasks),
    )


def coverage_mixture(evidence: Any, tasks: Any, **options: Any) -> Array:
    import taskpgm as tp

    solution = tp.solve(coverage_network(evidence, tasks, **options), tp.CoverageProgram())
    if solution.status is not tp.Status.optimal:
        raise RuntimeError(f"coverage: {solution.status.name}: {solution.message}")
    return np.asarray(solution.point)


def final_run(
    name: str,
    shares: Array | None,
    forecast: Any,
    error: str,
    base: Any,
    tokenised: Any,
    training: Any,
    seed: int,
    folder: Path,
) -> Record:
    from taskpgm.training_run import train_on

    run: Record = {"mixture": name, "steps": training.steps, "examples": training.steps * training.batch_size}
    if shares is None:
        return {**run, "error": error}
    used = seed + NULL_SEED if name == AGAIN else seed
    done = train_on(base, tokenised, shares, training, seed=used, out=folder)
    found = {"shares": shares.tolist(), "losses": done.losses.tolist(), "exact": done.exact.tolist()}
    if forecast is not None:
        found |= {"forecast": forecast.losses.tolist(), "interval": forecast.interval.tolist()}
    return {**run, **found}


# ------------------------------------------------------------------------------------------------------------- commands


def run(arguments: argparse.Namespace) -> None:
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    wanted = tuple(EVERY if arguments.more else arguments.mixtures)
    items = [(suite, seed) for seed in seeds for suite in arguments.suites]
    todo = [item for item in items if not all(record_path(arguments.out, *item, k).is_file() for k in arguments.steps)]
    print(f"{len(items) - len(todo)} of {len(items)} were done before", flush=True)
    began = time.monotonic()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(work, *item, arguments.out, tuple(arguments.steps), wanted): item for item in todo}
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            passed = time.monotonic() - began
            left = passed / done * (len(todo) - done)
            suite, seed = futures[future]
            print(f"{suite} {seed}: {done} of {len(todo)}, {passed:.0f} s, {left:.0f} s left", flush=True)


def work(suite: str, seed: int, out: Path, budgets: Sequence[int], wanted: Sequence[str]) -> None:
    for steps in budgets:
        path = record_path(out, suite, seed, steps)
        if not path.is_file():
            write_atomic(path, (canonical_json(study(suite, seed, out, steps, wanted)) + "\n").encode())


def record_path(out: Path, suite: str, seed: int, steps: int) -> Path:
    return out / "records" / f"{suite}-{seed}-{steps}.json"


def collect(arguments: argparse.Namespace) -> None:
    by_item: dict[tuple[str, int], Record] = {}
    for path in sorted((arguments.out / "records").glob("*.json")):
        record = read_json(path)
        found = by_item.setdefault((record["suite"], record["seed"]), record)
        if found is not record:
            found["runs"] = sorted([*found["runs"], *record["runs"]], key=lambda each: int(each["steps"]))
    lines = [canonical_json(rounded(by_item[item])) + "\n" for item in sorted(by_item)]
    write_atomic(arguments.to, "".join(lines).encode())
    print(f"{len(lines)} records in {arguments.to}")


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
    runner.add_argument("--steps", nargs="+", type=int, default=[125, 250], help="lengths of the final run")
    runner.add_argument("--jobs", type=int, default=2)
    runner.add_argument("--mixtures", nargs="+", choices=EVERY, default=STANDARD, metavar="NAME", help="only these")
    runner.add_argument("--more", action="store_true", help="rules that need proxy runs, and ablations, too")
    runner.set_defaults(command=run)
    collector = commands.add_parser("collect", help="one JSON line for each suite and seed")
    collector.add_argument("--out", type=Path, default=Path("runs/study"))
    collector.add_argument("--to", type=Path, required=True)
    collector.set_defaults(command=collect)
    reporter = commands.add_parser("report", help="tables from the record")
    reporter.add_argument("record", type=Path)
    reporter.set_defaults(command=report)
    keeper = commands.add_parser("summary", help="the numbers that the demo quotes, as JSON")
    keeper.add_argument("record", type=Path)
    keeper.add_argument("--to", type=Path, required=True)
    keeper.set_defaults(command=summary)
    shower = commands.add_parser("table", help="the README's table, from a summary")
    shower.add_argument("summary", type=Path)
    shower.set_defaults(command=print_table)
    arguments = parser.parse_args()
    arguments.command(arguments)


# --------------------------------------------------------------------------------------------------------------- report


def report(arguments: argparse.Namespace) -> None:
    """Per suite and budget: the difference to uniform in the mean loss over families, with corrected intervals."""
    records = [json.loads(line) for line in arguments.record.read_text().splitlines()]
    cells = sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]})
    print("Differences to uniform, mean held-out loss with equal weight per family, nats per target token.")
    print("95 % intervals: for each comparison alone, and for all of this page together (Bonferroni).\n")
    for suite, steps in cells:
        print_cell([record for record in records if record["suite"] == suite], suite, steps, len(cells))
    print("## Forecasts against losses, mixtures not chosen by coverage\n")
    print(
        "| suite | steps | within-task r^2 | rank correlation | of the means | mean absolute error | in the interval |"
    )
    print("|---|---|---|---|---|---|---|")
    for suite, steps in cells:
        print_forecasts([record for record in records if record["suite"] == suite], suite, steps)


def summary(arguments: argparse.Namespace) -> None:
    """What the package keeps of the study: for each suite and budget, every mixture's difference to uniform."""
    from taskpgm.paired import differences, views

    records = [json.loads(line) for line in arguments.record.read_text().splitlines()]
    cells = sorted({(record["suite"], run["steps"]) for record in records for run in record["runs"]})
    found = []
    for suite, steps in cells:
        own = [record for record in records if record["suite"] == suite]
        view = views(own[0]["names"], own[0]["families"])[0]
        losses = by_mixture(own, steps, "losses")
        for row in differences(losses, [view], confidence=1.0 - 0.05 / len(cells)):
            found.append(
                {"suite": suite, "steps": steps, **row.as_dict(), "interval": alone(losses, row.mixture, view)}
            )
    write_atomic(arguments.to, (canonical_json(found) + "\n").encode())


SHOWN = {
    "pairwise-careful": "pairwise energy (the default)",
    "coverage-families": "coverage energy",
    "coverage": "coverage, every task alike",
    "pairwise-literal": "raw similarities, no floor",
    "temperature-2": "square root of size",
    "proportional": "size-proportional",
    "mixmin": "MixMin",
    "uniform-again": "uniform, another order",
}


def print_table(arguments: argparse.Namespace) -> None:
    """The README's table: differences to uniform with 95 % intervals, * where the corrected one excludes 0."""
    print(readme_table(json.loads(arguments.summary.read_text())))


def readme_table(rows: Sequence[Record]) -> str:
    cells = sorted({(row["suite"], row["steps"]) for row in rows})
    heads = [f"{suite}, {steps} steps" for suite, steps in cells]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, title in SHOWN.items():
        found = {(row["suite"], row["steps"]): row for row in rows if row["mixture"] == name}
        lines.append(f"| {title} | " + " | ".join(table_cell(found[cell]) for cell in cells) + " |")
    return "\n".join(lines)


def table_cell(row: Record) -> str:
    low, high = row["interval"]
    sure = "*" if row["corrected"][0] > 0.0 or row["corrected"][1] < 0.0 else ""
    return f"{row['mean']:+.3f}{sure} ({low:+.3f} to {high:+.3f})"


def alone(losses: dict[str, Array], name: str, view: Any) -> tuple[float, float] | None:
    """The 95 % interval of one comparison, without correction."""
    from taskpgm.paired import t_interval

    change = losses[name] - losses["uniform"]
    return t_interval((change @ view.weights)[np.isfinite(change).all(axis=1)])


def print_cell(records: Sequence[Record], suite: str, steps: int, cells: int) -> None:
    """A table with a row for each mixture, best first."""
    from taskpgm.paired import differences, views

    names, families = records[0]["names"], records[0]["families"]
    losses, exact = (by_mixture(records, steps, field) for field in ("losses", "exact"))
    seen = views(names, families)
    family_mean = seen[0]
    each_family = [*(view for view in seen if view.level == "family"), *single_tasks(seen, families, names)]
    rows = differences(losses, [family_mean], confidence=1.0 - 0.05 / cells)
    print(f"## {suite}, {steps} steps, {len(records)} seeds ({len(rows)} mixtures, {cells} tables)\n")
    print("| mixture | difference | alone | all together | exact match | worst family |")
    print("|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row.mean):
        change = losses[row.mixture] - losses["uniform"]
        gained = np.nanmean((exact[row.mixture] - exact["uniform"]) @ family_mean.weights)
        worst, where = max((np.nanmean(change @ view.weights), view.name) for view in each_family)
        by_itself = interval(alone(losses, row.mixture, family_mean))
        print(
            f"| {row.mixture} | {row.mean:+.4f} | {by_itself} | {interval(row.corrected)} | {gained:+.1%} |"
            f" {worst:+.3f} ({where}) |"
        )
    print()


def single_tasks(seen: Sequence[Any], families: Sequence[str], names: Sequence[str]) -> list[Any]:
    """The views of tasks that are a family of their own."""
    alone = {name for name, family in zip(names, families, strict=True) if families.count(family) == 1}
    return [view for view in seen if view.level == "task" and view.name in alone]


def interval(ends: tuple[float, float] | None) -> str:
    return "one seed" if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}"


def by_mixture(records: Sequence[Record], steps: int, field: str) -> dict[str, Array]:
    """By mixture (seeds, n), with rows of nan where it failed."""
    names = list(dict.fromkeys(run["mixture"] for record in records for run in record["runs"]))
    found: dict[str, Array] = {}
    for name in names:
        rows = []
        for record in records:
            runs = {run["mixture"]: run for run in record["runs"] if run["steps"] == steps}
            rows.append(runs.get(name, {}).get(field) or [np.nan] * len(record["names"]))
        found[name] = np.array(rows, dtype=np.float64)
    return found


def print_forecasts(records: Sequence[Record], suite: str, steps: int) -> None:
    """Within each task over the mixtures, averaged over tasks and seeds; and of the mean losses over the mixtures."""
    from scipy.stats import spearmanr

    from taskpgm.agreement import agreement

    found, of_means, inside = [], [], []
    for record in records:
        runs = {
            run["mixture"]: run
            for run in record["runs"]
            if run["steps"] == steps and run.get("forecast") and not run["mixture"].startswith("coverage")
        }
        told, came = ({name: np.array(run[key]) for name, run in runs.items()} for key in ("forecast", "losses"))
        found.append(agreement(told, came, record["names"]))
        for run in runs.values():
            if "interval" in run:
                inside.extend(
                    low <= loss <= high for (low, high), loss in zip(run["interval"], run["losses"], strict=True)
                )
        weights = family_weights(record["names"], record["families"])
        of_means.append(spearmanr([told[n] @ weights for n in runs], [came[n] @ weights for n in runs]).statistic)
    square, rank = (
        np.mean([getattr(one, f"mean_{what}") for one in found]) for what in ("r_squared", "rank_correlation")
    )
    error = np.mean([one.error for one in found])
    held = f"{np.mean(inside):.0%}" if inside else "not kept"
    print(f"| {suite} | {steps} | {square:.2f} | {rank:.2f} | {np.mean(of_means):.2f} | {error:.3f} | {held} |")


if __name__ == "__main__":
    sys.exit(main())
