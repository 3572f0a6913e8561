"""The figures of the convex side: each within one run, one JSON line for each measurement, failures kept.

    python benchmarks/convex.py solvers --sizes 10 30 100 300   # which cvxpy solver SimplexQP should ask first
    python benchmarks/convex.py path            # every breakpoint of 1,000 tasks against 200 cvxpy solves of the sweep
    python benchmarks/convex.py bootstrap       # 1,000 mixtures of evidence drawn again, 30 tasks
    python benchmarks/convex.py large           # 20,000 tasks of rank 64
    python benchmarks/convex.py intervals       # how often 95 % intervals hold a known truth
    python benchmarks/convex.py resolve         # a program solved again against one translated again
    python benchmarks/convex.py covered         # coverage energies: the program of cones against Newton steps
    python benchmarks/convex.py all --out convex.jsonl

The published frontiers of the OR-Library are in tests/test_portfolios.py.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from parts.convex_solvers import KINDS, Record, add_arguments, full_rank, near_singular, solver_records
from parts.evidence_simulation import RULE, coverage, drawn, evidence, population
from parts.figures import print_figures

from taskpgm.constraints import EffectiveTasks, Group
from taskpgm.coverage import CoverageNetwork
from taskpgm.exact_path import trade_off
from taskpgm.factored import FactoredNetwork
from taskpgm.inference import CoverageDescent, CoverageProgram, PairwiseFrankWolfe, SimplexQP, solve, solve_many
from taskpgm.inference.convex_program import ConvexProgram
from taskpgm.inference.critical_line import CriticalLine
from taskpgm.inference.program_parts import FACTORED_PARTS, PARTS
from taskpgm.learning_curves import LearningCurves
from taskpgm.network import TaskNetwork
from taskpgm.uncertainty import bootstrap
from taskpgm.utilities import HeldoutGain


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """(wall-clock seconds, result)."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def path_records(options: argparse.Namespace) -> Iterator[Record]:
    """The exact path, then cvxpy on the same sweep: its programs translated once, answers as the solver leaves them."""
    solve(TaskNetwork([1.0, 0.0], np.eye(2)), CriticalLine())
    for kind in options.kinds:
        rng = np.random.default_rng(1)
        network = TaskNetwork(rng.standard_normal(options.tasks), KINDS[kind](options.tasks, rng), beta=1.0)
        taken, path = seconds(lambda network=network: trade_off(network))
        record = {"figure": "path", "kind": kind, "n": options.tasks, "seconds": taken, "corners": len(path.betas)}
        certified, worst = seconds(lambda path=path: path.worst_gap)
        record |= {"certificate_seconds": certified, "worst_gap": worst}
        positive = path.betas[path.betas > 0.0]
        betas = np.geomspace(positive[0], positive[-1], options.solves)
        yield record | _swept(network, betas, path, taken, options.budget)


def _swept(network: TaskNetwork, betas: Any, path: Any, taken: float, budget: float) -> Record:
    """The same sweep by cvxpy; stopped after `budget` seconds, and then the ratio is what is sure already."""
    start, excess, done = time.perf_counter(), 0.0, 0
    program = ConvexProgram(network)
    for done, beta in enumerate(betas.tolist(), start=1):
        there = network.changed(beta=beta)
        point, status = program.solve(there, "CLARABEL")
        if point is None:
            return {"cvxpy_failed": status, "cvxpy_solves": done}
        exact = there.energy(path.at(beta))
        excess = max(excess, (there.energy(point / point.sum()) - exact) / max(1.0, abs(exact)))
        if time.perf_counter() - start > budget:
            break
    swept = time.perf_counter() - start
    return {"cvxpy_solves": done, "cvxpy_seconds": swept, "ratio": swept / taken, "cvxpy_worst_excess": excess}


def bootstrap_records(options: argparse.Namespace) -> Iterator[Record]:
    """Time for all draws: of the evidence, its potentials, and the mixtures."""
    affinity, network = evidence(drawn(population(0, options.tasks, 100), 32, 0))
    bootstrap(affinity, network, replicates=2, utility=HeldoutGain(), similarity=RULE, rho=0.5)
    for tau in (0.0, 0.02):
        made = network.changed(tau=tau)
        rho = 0.5 if tau == 0.0 else None
        taken, spread = seconds(
            lambda made=made, rho=rho: bootstrap(
                affinity, made, replicates=options.replicates, utility=HeldoutGain(), similarity=RULE, rho=rho
            )
        )
        width = float(np.diff(spread.interval()).mean())
        yield {"figure": "bootstrap", "n": options.tasks, "tau": tau, "replicates": options.replicates} | {
            "seconds": taken,
            "mean_width": width,
        }


def large_records(options: argparse.Namespace) -> Iterator[Record]:
    """Gap, seconds, and the peak memory of this process so far."""
    n, rank = options.tasks, options.rank
    rng = np.random.default_rng(0)
    for kind in ("normal", "clustered"):
        features = rng.standard_normal((n, rank)) / np.sqrt(rank)
        if kind == "clustered":  # many tasks that are nearly the same
            features = features[rng.integers(n // 100, size=n)] + 0.01 * features
        utility = rng.standard_normal(n)
        for beta in (0.001, 0.1, 10.0):
            for floor in (0.0, 0.2):
                network = FactoredNetwork(utility, features, beta=beta, lower=floor / n)
                taken, solution = seconds(lambda network=network: solve(network, PairwiseFrankWolfe()))
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                yield {"figure": "large", "n": n, "rank": rank, "kind": kind, "beta": beta, "floor": floor} | {
                    "seconds": taken,
                    "gap": solution.gap,
                    "status": solution.status.name,
                    "peak_gigabytes": peak,
                }


def interval_records(options: argparse.Namespace) -> Iterator[Record]:
    taken, share = seconds(lambda: coverage(options.repetitions, options.replicates))
    yield {"figure": "intervals", "repetitions": options.repetitions, "replicates": options.replicates} | {
        "covered": share,
        "seconds": taken,
    }


def resolve_records(options: argparse.Namespace) -> Iterator[Record]:
    """A row of networks: by one program, by a new program for each, and by whole solves with their proofs."""
    for n in options.sizes:
        for kind in ("quadratic", "kl term", "constraints"):
            rng = np.random.default_rng(n)
            plain = TaskNetwork(rng.standard_normal(n), near_singular(n, rng), tau=0.02 if kind == "kl term" else 0.0)
            if kind == "constraints":
                plain = plain.changed(constraints=[Group(plain.names[: n // 2], upper=0.4), EffectiveTasks(n / 3)])
            row = [plain.changed(beta=float(beta)) for beta in np.geomspace(0.01, 1.0, options.solves)]
            yield {"figure": "resolve", "n": n, "kind": kind, "changes": "beta"} | _ratios(row, factored=False)
            if n <= 100:
                others = [plain.changed(similarity=full_rank(n, rng)) for _ in row]
                yield {"figure": "resolve", "n": n, "kind": kind, "changes": "S"} | _ratios(others, factored=True)


def _ratios(row: list[TaskNetwork], factored: bool) -> Record:
    program = ConvexProgram(row[0], FACTORED_PARTS if factored else PARTS)
    program.solve(row[0], "CLARABEL")
    again = [seconds(lambda each=each: program.solve(each, "CLARABEL"))[0] for each in row[1:]]
    anew = [seconds(lambda each=each: ConvexProgram(each).solve(each, "CLARABEL"))[0] for each in row[1:]]
    many = seconds(lambda: list(solve_many(row)))[0] / len(row)
    each = seconds(lambda: [solve(one, SimplexQP()) for one in row])[0] / len(row)
    return {
        "again": float(np.median(again)),
        "translated_anew": float(np.median(anew)),
        "ratio": float(np.median(anew) / np.median(again)),
        "solve_many": many,
        "solve_each": each,
        "proved_ratio": each / many,
    }


def covered_records(options: argparse.Namespace) -> Iterator[Record]:
    """What the router's limit rests on. Each method has solved something small before, so that all is imported."""
    for method in (CoverageProgram(), CoverageDescent()):
        solve(learned(3, 0), method)
    for n in options.sizes:
        methods = (CoverageProgram(), CoverageDescent()) if n <= options.program else (CoverageDescent(),)
        for method in methods:
            taken, solution = seconds(lambda method=method, n=n: solve(learned(n, 1), method))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            yield {"figure": "covered", "n": n, "method": method.name, "seconds": taken, "gap": solution.gap} | {
                "status": solution.status.name,
                "peak_gigabytes": peak,
            }


def learned(n: int, seed: int) -> CoverageNetwork:
    """A coverage energy of curves of three shapes, a graph of two fifths of the pairs, and forgetting."""
    rng = np.random.default_rng(seed)
    shapes = rng.dirichlet(np.ones(3), n)
    scales, powers = np.exp(rng.uniform(0.0, 8.0, (n, 3))), rng.choice([0.5, 1.0, 2.0], (n, 3))
    names = [f"task {i}" for i in range(n)]
    curves = LearningCurves(names, shapes, rng.random((n, 3)), 3.0 * rng.random((n, 3)), scales, powers)
    transfer = rng.random((n, n)) * (rng.random((n, n)) < 0.4)
    np.fill_diagonal(transfer, 1.0)
    return CoverageNetwork(curves, transfer, 100.0 * n, forgetting=rng.random(n), lower=0.2 / n)


FIGURES: dict[str, Callable[[argparse.Namespace], Iterator[Record]]] = {
    "solvers": solver_records,
    "path": path_records,
    "bootstrap": bootstrap_records,
    "large": large_records,
    "intervals": interval_records,
    "resolve": resolve_records,
    "covered": covered_records,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures = made.add_subparsers(dest="figure", required=True)
    found = {name: figures.add_parser(name) for name in (*FIGURES, "all")}
    for one in found.values():
        one.add_argument("--out", type=Path, help="JSON lines go to this file instead of the standard output")
    add_arguments(found["solvers"])
    found["path"].add_argument("--tasks", type=int, default=1000)
    found["path"].add_argument("--solves", type=int, default=200)
    found["path"].add_argument("--kinds", nargs="+", default=["full rank", "near singular"])
    found["path"].add_argument("--budget", type=float, default=np.inf, help="seconds after which cvxpy is stopped")
    found["bootstrap"].add_argument("--tasks", type=int, default=30)
    found["bootstrap"].add_argument("--replicates", type=int, default=1000)
    found["large"].add_argument("--tasks", type=int, default=20_000)
    found["large"].add_argument("--rank", type=int, default=64)
    found["intervals"].add_argument("--repetitions", type=int, default=400)
    found["intervals"].add_argument("--replicates", type=int, default=400)
    found["resolve"].add_argument("--sizes", type=int, nargs="+", default=[10, 30, 100, 300])
    found["resolve"].add_argument("--solves", type=int, default=20)
    found["covered"].add_argument("--sizes", type=int, nargs="+", default=[14, 30, 60, 100, 200, 300, 1000, 2000])
    found["covered"].add_argument("--program", type=int, default=300, help="the most tasks to give to cvxpy")
    return made


if __name__ == "__main__":
    print_figures(parser, FIGURES)
