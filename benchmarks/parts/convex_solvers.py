"""Which open solver should SimplexQP ask first? Part of benchmarks/convex.py.

Every cvxpy solver that is installed gets the same networks, alone, with and without the Newton steps that finish its
answer. One JSON line per solve, failures kept; then a table. Gaps are the certificate's, relative to the largest term
of the energy. Times are compared with the first solver's on the same network in the same run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from taskpgm.inference import SimplexQP, solve
from taskpgm.network import TaskNetwork, balanced_beta

Array = NDArray[np.float64]
Record = dict[str, Any]

PREFERRED = ("CLARABEL", "SCS", "OSQP", "HIGHS")


def full_rank(n: int, rng: np.random.Generator) -> Array:
    features = rng.standard_normal((n, n + 2))
    return features @ features.T / n


def low_rank(n: int, rng: np.random.Generator) -> Array:
    features = rng.standard_normal((n, max(2, n // 10)))
    return features @ features.T / n


def near_singular(n: int, rng: np.random.Generator) -> Array:
    """exp(-squared distance) of nearby places: positive definite, with eigenvalues down to rounding errors."""
    places = rng.uniform(size=(n, 2))
    return np.exp(-((places[:, None] - places[None, :]) ** 2).sum(-1))


def sum_zero_only(n: int, rng: np.random.Generator) -> Array:
    """Positive semidefinite only on the sum-zero subspace."""
    places = rng.standard_normal((n, 5))
    return -np.linalg.norm(places[:, None] - places[None, :], axis=-1)


KINDS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "full rank": full_rank,
    "low rank": low_rank,
    "near singular": near_singular,
    "sum-zero only": sum_zero_only,
}
VARIANTS: dict[str, dict[str, float]] = {"simplex": {}, "bounds": {"floor": 0.2, "ceiling": 4.0}}
KL_VARIANTS: dict[str, dict[str, float]] = {"kl": {"tau": 0.05}, "kl and bounds": {"tau": 0.05, **VARIANTS["bounds"]}}


def problems(sizes: list[int], seeds: int) -> Iterator[tuple[Record, TaskNetwork]]:
    for n in sizes:
        for kind, make in KINDS.items():
            for variant, options in (VARIANTS | KL_VARIANTS).items():
                for seed in range(seeds):
                    rng = np.random.default_rng(seed)
                    similarity, utility = make(n, rng), rng.standard_normal(n)
                    beta = balanced_beta(utility, np.clip(similarity, 0.0, 1.0)) or 0.5 / n
                    network = TaskNetwork(
                        utility,
                        similarity,
                        beta=beta,
                        tau=options.get("tau", 0.0),
                        lower=options.get("floor", 0.0) / n,
                        upper=min(1.0, options.get("ceiling", float(n)) / n),
                    )
                    yield {"n": n, "kind": kind, "variant": variant, "seed": seed}, network


def measure(network: TaskNetwork, solver: str, polish: bool, deadline: float) -> Record:
    """One solve: seconds, relative gap, the solver's own status and the driver's. Failures are results too."""
    start = time.perf_counter()
    record: Record = {"solver": solver, "polish": polish}
    try:
        solution = solve(network, SimplexQP(solvers=(solver,), polish=polish), deadline=deadline)
    except Exception as error:  # a solver may raise anything; the run goes on and says so
        return record | {"status": "raised", "message": repr(error)[:200], "seconds": time.perf_counter() - start}
    scale = abs(network.beta) * np.abs(network.utility).max() + network.lam * np.abs(network.similarity).max()
    return record | {
        "seconds": time.perf_counter() - start,
        "status": solution.status.name,
        "solver_status": solution.stats.get("solver_status", {}).get(solver, ""),
        "relative_gap": solution.gap / (scale + network.tau) if np.isfinite(solution.gap) else None,
        "message": solution.message,
    }


def run(solvers: list[str], sizes: list[int], seeds: int, deadline: float) -> Iterator[Record]:
    warm_up = TaskNetwork([1.0, 0.0], np.eye(2))
    for solver in solvers:
        measure(warm_up, solver, True, deadline)
    for problem, network in problems(sizes, seeds):
        for solver in solvers:
            for polish in (False, True):
                yield problem | measure(network, solver, polish, deadline)


def table(records: list[Record], solvers: list[str]) -> str:
    """Per size, term and solver: solved runs, worst gaps before and after the Newton steps, times against the first."""
    lines = [
        "| n | KL term | solver | proved raw | proved polished | worst raw gap | worst polished gap "
        "| median seconds | median time ratio | worst time ratio |",
        "|--:|:--|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    first = {_problem(r): r["seconds"] for r in records if r["polish"] and r["solver"] == solvers[0]}
    for n in sorted({r["n"] for r in records}):
        for kl in (False, True):
            for solver in solvers:
                rows = [
                    r for r in records if r["n"] == n and r["solver"] == solver and (r["variant"] in KL_VARIANTS) == kl
                ]
                lines.append(f"| {n} | {'yes' if kl else 'no'} | {solver} | {_row(rows, first)} |")
    return "\n".join(lines)


def _problem(record: Record) -> tuple[Any, ...]:
    return (record["n"], record["kind"], record["variant"], record["seed"])


def _row(rows: list[Record], first: dict[tuple[Any, ...], float]) -> str:
    raw, polished = [r for r in rows if not r["polish"]], [r for r in rows if r["polish"]]
    proved = [f"{sum(r['status'] == 'optimal' for r in part)}/{len(part)}" for part in (raw, polished)]
    if not any(r["status"] not in ("failed", "raised") for r in rows):
        return " | ".join([*proved, "-", "-", "-", "-", "-"])
    worst = [max((np.inf if r.get("relative_gap") is None else r["relative_gap"]) for r in p) for p in (raw, polished)]
    ratios = [r["seconds"] / first[_problem(r)] for r in polished]
    seconds = float(np.median([r["seconds"] for r in polished]))
    numbers = [*(f"{gap:.1e}" for gap in worst), f"{seconds:.3f}", f"{np.median(ratios):.2f}", f"{max(ratios):.1f}"]
    return " | ".join([*proved, *numbers])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--solvers", nargs="+", help="cvxpy names; all that are installed where not given")
    parser.add_argument("--deadline", type=float, default=10.0, help="seconds for each solve")


def solver_records(options: argparse.Namespace) -> Iterator[Record]:
    """Every solve, and at the end the table, to the standard error."""
    installed = [name for name in PREFERRED if name in cp.installed_solvers()]
    solvers = options.solvers or installed + sorted(set(cp.installed_solvers()) - set(installed))
    records = []
    for record in run(solvers, options.sizes, options.seeds, options.deadline):
        records.append(record)
        yield {"figure": "solvers"} | record
    print(table(records, solvers), file=sys.stderr)
