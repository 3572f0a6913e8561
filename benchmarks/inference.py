"""Inference methods on discrete task networks: who proves what, how fast, and from where on another is the better one.

    python benchmarks/inference.py proofs         # branch and bound against HiGHS, SCIP and toulbar2, fixed budget
    python benchmarks/inference.py methods        # every method on small and large networks
    python benchmarks/inference.py crossovers     # what tp.best_method rests on
    python benchmarks/inference.py sampling       # Gibbs sweeps a second, ours and pgmpy's
    python benchmarks/inference.py agreement      # branch and bound against enumeration on 2,000 small networks

Networks are S = 1 - JSD / ln 2 of random experts: either all independent, or in families of about five that behave
alike. Utilities are random, the mean similarity, or zero (pure diversity, the hardest). With --out every run is
appended to a file as a JSON line, refusals, failures and missing solvers too; a table follows. Where machines are
noisy, compare within one run. SCIP is measured where pyscipopt is installed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from taskpgm.divergences import LN2, jensen_shannon
from taskpgm.inference import (
    METHODS,
    BranchAndBound,
    BranchByCount,
    Exhaustive,
    GibbsSampling,
    JunctionTree,
    Method,
    MixedInteger,
    Toulbar2,
    marginals,
    solve,
)
from taskpgm.inference.elimination import elimination_order
from taskpgm.judge import Problem
from taskpgm.levels import LevelsNetwork
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import Status

RATE = "sweeps a second"
UTILITIES = ("random", "mean", "zero")


@dataclass(frozen=True)
class Run:
    """One method on one problem. energy, bound and gap are None where there is none."""

    problem: str
    method: str
    status: str
    energy: float | None
    bound: float | None
    gap: float | None
    seconds: float
    message: str = ""


# -------------------------------------------------------------------------------------------------------- the networks


def experts_similarity(tasks: int, families: bool, seed: int) -> np.ndarray:
    """(n, n) S = 1 - J / ln 2 of random experts on 20 contexts of 30 tokens."""
    rng = np.random.default_rng(seed)
    count = max(2, tasks // 5) if families else tasks
    logits = 2.0 * rng.normal(size=(count, 20, 30))
    if families:
        logits = logits[rng.integers(count, size=tasks)] + rng.normal(size=(tasks, 20, 30))
    return 1.0 - jensen_shannon(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))) / LN2


def make_network(tasks: int, families: bool, utility: str, seed: int, beta: float = 0.3) -> TaskNetwork:
    """A network of the benchmark; beta is such that random utilities matter about as much as redundancy."""
    similarity = experts_similarity(tasks, families, seed)
    utilities = {
        "random": np.random.default_rng(seed + 1).random(tasks),
        "mean": similarity.mean(axis=1),
        "zero": np.zeros(tasks),
    }
    return TaskNetwork(utilities[utility], similarity, beta=beta)


def ladder(length: int, width: int, states: int, seed: int) -> PairwiseNetwork:
    """A grid of length x width nodes with random energies: its tree-width is about `width`."""
    rng = np.random.default_rng(seed)
    factors: list[tuple[list[int], np.ndarray]] = [([i], rng.normal(size=states)) for i in range(length * width)]
    for row in range(length):
        for column in range(width):
            node = row * width + column
            factors += [([node, node + 1], 2.0 * rng.normal(size=(states, states)))] * (column + 1 < width)
            factors += [([node, node + width], 2.0 * rng.normal(size=(states, states)))] * (row + 1 < length)
    return PairwiseNetwork.from_factors([states] * (length * width), factors)


def glass(nodes: int, share: float, seed: int) -> PairwiseNetwork:
    """Two states a node, that share of the pairs coupled at random, attracting or repelling."""
    rng = np.random.default_rng(seed)
    factors: list[tuple[list[int], np.ndarray]] = [([i], rng.normal(size=2)) for i in range(nodes)]
    for i in range(nodes):
        for j in range(i):
            if rng.random() < share:
                factors.append(([i, j], rng.uniform(-1.0, 1.0) * np.outer([0, 1], [0, 1])))
    return PairwiseNetwork.from_factors([2] * nodes, factors)


# ----------------------------------------------------------------------------------------------------------- the runs


def run(name: str, problem: Problem, method: Method, deadline: float) -> Run:
    start = time.perf_counter()
    solution = solve(problem, method, deadline=deadline)
    seconds = round(time.perf_counter() - start, 4)
    values = [_finite(value) for value in (solution.energy, solution.bound, solution.gap)]
    return Run(name, method.name, solution.status.name, *values, seconds, solution.message)


def scip(name: str, problem: LevelsNetwork, deadline: float) -> Run:
    """SCIP on the selection of K tasks as it takes it best: a quadratic objective over 0-1 variables."""
    try:
        import pyscipopt
    except ImportError:
        return Run(name, "scip", "refused", None, None, None, 0.0, "pyscipopt is not installed")
    start = time.perf_counter()
    model = pyscipopt.Model()
    model.hideOutput()
    model.setParam("limits/time", deadline)
    model.setParam("parallel/maxnthreads", 1)
    chosen = [model.addVar(vtype="B") for _ in range(len(problem))]
    energy = model.addVar(lb=None)
    model.addCons(pyscipopt.quicksum(chosen) == problem.quanta)
    pairs = zip(*np.triu_indices(len(problem), 1), strict=True)
    alone = [float(values[1] - values[0]) for values in problem.node_energies]
    constant = float(sum(values[0] for values in problem.node_energies))
    quadratic = pyscipopt.quicksum(float(problem.coupling[i, j]) * chosen[i] * chosen[j] for i, j in pairs)
    model.addCons(energy >= quadratic + pyscipopt.quicksum(a * x for a, x in zip(alone, chosen, strict=True)))
    model.setObjective(energy)
    model.optimize()
    bound = model.getDualbound() + constant
    found = None
    if model.getNSols():
        best = model.getBestSol()
        found = problem.energy(np.array([round(best[x]) for x in chosen]))
    status = Status.optimal if model.getStatus() == "optimal" else Status.timeout
    gap = None if found is None else _finite(found - bound)
    return Run(name, "scip", status.name, found, _finite(bound), gap, round(time.perf_counter() - start, 4))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ----------------------------------------------------------------------------------------------------- what to measure

SELECTIONS = ((40, 8), (100, 5), (100, 10), (100, 25), (200, 10), (200, 20), (500, 10), (500, 30))
PEERS_UP_TO = 100  # tasks: beyond, the others' programs only grow, and they have long stopped at their deadline


def proofs(deadline: float, seeds: int, most: int) -> Iterator[Run]:
    """Branch and bound against the solvers of others on selections, and on levels of many quanta.

    The others get the network as it is, and "counted": with what dense couplings have in common taken out.
    """
    for seed in range(seeds):
        for tasks, quanta in SELECTIONS:
            for families, utility in _kinds(tasks <= most):
                problem = make_network(tasks, families, utility, seed).levels(quanta, cap=1)
                name = f"{tasks} tasks, choose {quanta}: {utility} utility{', families' * families}, seed {seed}"
                yield run(name, problem, BranchAndBound(), deadline)
                if tasks <= PEERS_UP_TO and not families:
                    for method in (MixedInteger, Toulbar2):
                        yield run(name, problem, method(counting=False), deadline)
                        yield replace(run(name, problem, method(), deadline), method=f"{method.name} counted")
                    yield scip(name, problem, deadline)
        for families, utility in _kinds(most >= 30):
            problem = make_network(30, families, utility, seed).levels(50)
            name = f"30 tasks, 50 quanta: {utility} utility{', families' * families}, seed {seed}"
            yield run(name, problem, BranchAndBound(), deadline)
        if most >= 2000:
            for families, utility in _kinds(True):
                problem = make_network(2000, families, utility, seed).levels(20, cap=1)
                name = f"2000 tasks, choose 20: {utility} utility{', families' * families}, seed {seed}"
                yield run(name, problem, BranchAndBound(), 60.0)


def _kinds(wanted: bool) -> Iterable[tuple[bool, str]]:
    return ((families, utility) for utility in UTILITIES for families in (False, True)) if wanted else ()


SHAPES = ((12, 4, 1), (12, 12, None), (20, 5, 1), (40, 8, 1), (100, 10, 1), (12, None, 3), (30, None, 1))


def methods(deadline: float, seeds: int, most: int) -> Iterator[Run]:
    """Every method for levels and pairwise networks."""
    for seed in range(seeds):
        for tasks, quanta, cap in SHAPES:
            for families, utility in _kinds(tasks <= most):
                beta = 0.3 if quanta else 40.0  # without a budget, enough utility for some tasks to pay
                problem = make_network(tasks, families, utility, seed, beta).levels(quanta, cap)
                budget = "free budget" if quanta is None else f"{quanta} quanta"
                limit = "" if cap is None else f", at most {cap} each"
                name = f"{tasks} tasks, {budget}{limit}: {utility} utility{', families' * families}, seed {seed}"
                for method in METHODS:
                    if method.domain != "mixture":
                        yield run(name, problem, method, deadline)


def crossovers(deadline: float, seeds: int, most: int) -> Iterator[Run]:
    """Problems of growing size, on which enumeration gives way to elimination or search."""
    for seed in range(seeds):
        for tasks in (8, 10, 12, 14, 16, 20, 24):
            problem = make_network(tasks, False, "mean", seed).levels(tasks // 2, cap=2)
            name = f"fixed budget: {problem.size} points ({tasks} tasks, seed {seed})"
            for method in (Exhaustive(), BranchAndBound()):
                yield run(name, problem, method, deadline)
        for tasks in (8, 12, 16, 20, 24, 30, 40, 50, 60):
            for utility in ("random", "mean"):
                free = make_network(tasks, False, utility, seed, beta=16.0).levels(None, cap=1)
                name = f"free budget: {tasks} tasks, {utility} utility, seed {seed}"
                for method in (Exhaustive(), BranchByCount(), JunctionTree(), Toulbar2(), MixedInteger()):
                    yield run(name, free, method, deadline)
        for nodes, share in ((30, 1.0), (50, 1.0), (30, 0.5), (50, 0.5), (40, 0.2), (80, 0.2)):
            network = glass(nodes, share, seed)
            name = f"{nodes} nodes of two states, {share:.0%} of the pairs, seed {seed}"
            for method in (BranchByCount(), Toulbar2(), MixedInteger()):
                yield run(name, network, method, deadline)
        for width in (2, 4, 6, 8, 10, 12, 14, 16, 18, 20):
            network = ladder(20, width, 2, seed)
            treewidth = elimination_order(network)[1]
            name = f"grid of 20 x {width}: tree-width at most {treewidth}, seed {seed}"
            for method in (JunctionTree(), Toulbar2(), MixedInteger()):
                yield run(name, network, method, deadline)


def sampling(deadline: float, seeds: int, most: int) -> Iterator[Run]:
    """Sweeps a second of all chains together, and pgmpy's; energy is the rate, no energy."""
    from pgmpy.sampling import GibbsSampling as PgmpySampling

    for name, network in (("grid of 4 x 4", ladder(4, 4, 2, 0)), ("grid of 10 x 10", ladder(10, 10, 2, 0))):
        marginals(network, GibbsSampling(chains=2, burn_in=1, sweeps=2))  # compile
        chains, sweeps = 16, 20_000
        start = time.perf_counter()
        marginals(network, GibbsSampling(chains=chains, burn_in=1, sweeps=sweeps))
        seconds = time.perf_counter() - start
        yield Run(
            name, "gibbs", "feasible", chains * sweeps / seconds, None, None, round(seconds, 4), "sweeps a second"
        )
        sampler = PgmpySampling(network.to_pgmpy())
        start = time.perf_counter()
        sampler.sample(size=500, seed=0)
        seconds = time.perf_counter() - start
        yield _rate(name, "pgmpy-gibbs", 500, seconds)


def _rate(name: str, method: str, sweeps: int, seconds: float) -> Run:
    return Run(name, method, "feasible", sweeps / seconds, None, None, round(seconds, 4), RATE)


def agreement(deadline: float, seeds: int, most: int) -> Iterator[Run]:
    """Branch and bound and enumeration on 2,000 random networks: indefinite and tied ones too. Only disagreements."""
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        tasks = int(rng.integers(2, 9))
        entries = (
            rng.normal(size=(tasks, tasks)) if seed % 2 else rng.integers(-1, 2, size=(tasks, tasks)).astype(float)
        )
        if seed % 5 == 0:
            entries = entries @ entries.T / 2.0
        network = TaskNetwork(rng.integers(0, 2, size=tasks), entries + entries.T, beta=float(rng.random()))
        cap = int(rng.integers(1, 5))
        problem = network.levels(int(rng.integers(1, tasks * cap + 1)), cap)
        found, exact = solve(problem, BranchAndBound(count_ties=True)), solve(problem, Exhaustive())
        agree = abs(found.energy - exact.energy) <= 1e-9 and found.bound <= exact.energy and found.ties == exact.ties
        if not (agree and found.status is exact.status is Status.optimal):
            message = f"enumeration: {exact.energy}, ties {exact.ties}; found ties {found.ties}"
            yield Run(f"seed {seed}", "branch-and-bound", "failed", found.energy, found.bound, None, 0.0, message)
    print(f"# {seed + 1} networks")


# ---------------------------------------------------------------------------------------------------------- the tables


def print_table(records: list[Run]) -> None:
    """For each problem and method the seconds if it proved, else the gap or why not; * marks the best energy."""
    problems: dict[str, list[Run]] = defaultdict(list)
    for record in records:
        problems[record.problem].append(record)
    for name, runs in problems.items():
        energies = [record.energy for record in runs if record.energy is not None]
        cells = [_cell(record, min(energies, default=0.0)) for record in runs]
        print(f"{name}\n    " + "   ".join(cells))


def _cell(record: Run, best: float) -> str:
    if record.message == RATE:
        return f"{record.method}: {record.energy:.4g} sweeps a second"
    if record.status in ("refused", "failed"):
        return f"{record.method}: {record.status}"
    star = "*" if record.energy is not None and record.energy <= best + 1e-9 * max(1.0, abs(best)) else ""
    if record.status == "optimal":
        return f"{record.method}{star}: proved in {record.seconds:.3g} s"
    if record.gap is None or record.energy is None:
        return f"{record.method}{star}: no bound, {record.seconds:.3g} s"
    relative = record.gap / max(abs(record.energy), 1e-12)
    return f"{record.method}{star}: gap {record.gap:.2g} ({relative:.1%}) in {record.seconds:.3g} s"


PARTS: dict[str, Callable[[float, int, int], Iterator[Run]]] = {
    part.__name__: part for part in (proofs, methods, crossovers, sampling, agreement)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--out", type=Path, help="append the runs to this file, as JSON lines")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=20.0, help="seconds for each run")
    parser.add_argument("--most", type=int, default=500, help="leave out networks of more tasks")
    options = parser.parse_args()
    threadpool_limits(1)  # every method gets one core
    solve(make_network(6, False, "random", 0).levels(3, cap=1), BranchAndBound())  # compile
    solve(make_network(6, False, "random", 0).levels(3, cap=1), Exhaustive())
    records = []
    for record in PARTS[options.part](options.deadline, options.seeds, options.most):
        records.append(record)
        if options.out:
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
    print_table(records)


if __name__ == "__main__":
    main()
