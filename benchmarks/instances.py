"""Every inference method on problem instances that others published, with known answers.

    python benchmarks/instances.py path/to/instances --out instances.jsonl

Each line is one method on one instance; refusals and failures are kept. A table follows, with the answer in the
instance's own unit, and which kinds of method proved it. The instances: Beasley's and gka's quadratic problems over 0
and 1, cliques by number and weight, maximum diversity (a fixed budget), libDAI's grid, merlin's and toulbar2's models.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.formats import read_network, read_wcsp
from taskpgm.inference import METHODS, Method, solve
from taskpgm.judge import Problem, gap_tolerance
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import Status

KINDS = {
    "exhaustive": "enumeration",
    "junction-tree": "elimination",
    "pgmpy-elimination": "elimination",
    "pgmpy-junction-tree": "elimination",
    "branch-and-bound": "branch and bound",
    "toulbar2": "constraint search",
    "highs": "integer programming",
    "local-polytope": "relaxation",
    "doubly-nonnegative": "relaxation",
    "trw-s": "messages",
    "mplp": "messages",
}


@dataclass(frozen=True)
class Instance:
    """name; problem; known: the least energy that is published or was proved before; unit: from energy to its own."""

    name: str
    problem: Problem
    known: float
    unit: Callable[[float], float]


def instances(folder: Path) -> Iterator[Instance]:
    """All instances in the manifest's folder that have an answer."""
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["entries"]
    known = {entry["file"]: entry["known"] for entry in entries}
    for file, answer in known.items():
        path = folder / file
        if file.endswith("bqp50.txt"):
            yield from _beasley(path, answer)
        elif file.endswith(".qubo"):
            yield Instance(path.stem, read_qubo(path), float(answer), float)
        elif file.endswith(".clq"):
            yield from _cliques(path, answer)
        elif file.startswith("mdp/"):
            n, chosen, distances = read_diversity(path)
            network = TaskNetwork(np.zeros(n), -distances)
            unit = _diversity_unit(chosen)
            yield Instance(path.stem, network.levels(chosen, cap=1), -float(answer["max_sum"]) / chosen**2, unit)
        elif file.endswith((".fg", ".uai")):
            yield Instance(path.stem, read_network(path), -float(answer["map_logp"]), _negated)
        elif file.endswith("example.wcsp"):
            yield Instance(path.stem, read_wcsp(path), float(answer), float)
        elif file.endswith("latin.wcsp"):
            yield Instance(f"{path.stem} (all different)", read_latin(path, hard=True), float(answer), float)
            yield Instance(f"{path.stem} (5 a pair)", read_latin(path, hard=False), float(answer), float)


def _negated(energy: float) -> float:
    return -energy


def _diversity_unit(chosen: int) -> Callable[[float], float]:
    def unit(energy: float) -> float:
        return -energy * chosen**2

    return unit


def _beasley(path: Path, answers: dict[str, int]) -> Iterator[Instance]:
    """Maximise the sum of q_ij x_i x_j, off-diagonal entries twice; indices from 1."""
    words = iter(path.read_text().split())
    for number in range(1, int(next(words)) + 1):
        n, entries = int(next(words)), int(next(words))
        factors = []
        for _ in range(entries):
            i, j, value = int(next(words)) - 1, int(next(words)) - 1, float(next(words))
            factors.append(_product(i, j, -value if i == j else -2.0 * value))
        name = f"bqp50-{number}"
        yield Instance(name, PairwiseNetwork.from_factors([2] * n, factors), -float(answers[name]), _negated)


def read_qubo(path: Path) -> PairwiseNetwork:
    """Minimise the sum of the listed q_ij x_i x_j; indices from 1, and one more in the header."""
    header, *lines = path.read_text().split("\n")
    rows = [line.split() for line in lines if line.strip()]
    factors = [_product(int(i) - 1, int(j) - 1, float(value)) for i, j, value in rows]
    return PairwiseNetwork.from_factors([2] * (int(header) - 1), factors)


def _product(i: int, j: int, value: float) -> tuple[list[int], Any]:
    return ([i], [0.0, value]) if i == j else ([i, j], [[0.0, 0.0], [0.0, value]])


def read_graph(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """((n, n) adjacency, (n,) weights) of a DIMACS file; a weight not given is 1."""
    adjacency, weights = np.zeros((0, 0)), np.zeros(0)
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "p":
            n = int(rest[1])
            adjacency, weights = np.zeros((n, n)), np.ones(n)
        elif kind == "e":
            i, j = int(rest[0]) - 1, int(rest[1]) - 1
            adjacency[i, j] = adjacency[j, i] = 1.0
        elif kind == "n":
            weights[int(rest[0]) - 1] = float(rest[1])
    return adjacency, weights


def _cliques(path: Path, answer: dict[str, float]) -> Iterator[Instance]:
    """The largest and the heaviest clique as networks that forbid two strangers; Motzkin-Straus on levels."""
    adjacency, weights = read_graph(path)
    n, omega = len(adjacency), int(answer["clique_number"])
    strangers = [(i, j) for i, j in itertools.combinations(range(n), 2) if not adjacency[i, j]]
    forbid = [([i, j], [[0.0, 0.0], [0.0, np.inf]]) for i, j in strangers]
    for name, gains, best in (
        ("clique", np.ones(n), omega),
        ("heaviest clique", weights, float(answer["max_weight_clique"])),
    ):
        factors = [*forbid, *(([i], [0.0, -gains[i]]) for i in range(n))]
        yield Instance(f"{path.stem} {name}", PairwiseNetwork.from_factors([2] * n, factors), -best, _negated)
    levels = TaskNetwork(np.zeros(n), -adjacency).levels(omega)
    yield Instance(f"{path.stem} Motzkin-Straus", levels, -0.5 * float(answer["motzkin_straus"]), _doubled)


def _doubled(energy: float) -> float:
    return -2.0 * energy


def read_diversity(path: Path) -> tuple[int, int, np.ndarray]:
    """(n, how many to choose, (n, n) distances)."""
    header, *lines = path.read_text().split("\n")
    n, chosen = map(int, header.split())
    distances = np.zeros((n, n))
    for i, j, value in (line.split() for line in lines if line.strip()):
        distances[int(i), int(j)] = distances[int(j), int(i)] = float(value)
    return n, chosen, distances


def read_latin(path: Path, *, hard: bool) -> PairwiseNetwork:
    """toulbar2's latin square, whose `sgcc var 10` charges 10 for each variable that must change for a group to differ.

    That charge is no sum over pairs. Forbidding equal pairs never costs less, and 5 for each equal pair never more
    (5, 15 and 30 for 2, 3 and 4 equal ones, against 10, 20 and 30): if both have one least cost, it is the file's.
    """
    words = iter(path.read_text().split())
    next(words)
    nodes, _, constraints, _ = (int(next(words)) for _ in range(4))
    states = [int(next(words)) for _ in range(nodes)]
    factors: list[tuple[list[int], Any]] = []
    charge = np.inf if hard else 5.0
    for _ in range(constraints):
        scope = [int(next(words)) for _ in range(int(next(words)))]
        default = float(next(words))
        if default < 0.0:
            kind, _, _, values = next(words), next(words), next(words), int(next(words))
            assert kind == "sgcc"
            counts = [[int(next(words)) for _ in range(3)] for _ in range(values)]
            assert all(low == high == 1 for _, low, high in counts)
            equal = np.where(np.eye(values, dtype=bool), charge, 0.0)
            factors += [([i, j], equal) for i, j in itertools.combinations(scope, 2)]
        else:
            table = np.full(tuple(states[i] for i in scope), default)
            for _ in range(int(next(words))):
                place = tuple(int(next(words)) for _ in scope)
                table[place] = float(next(words))
            factors.append((scope, table))
    return PairwiseNetwork.from_factors(states, factors)


def run(instance: Instance, method: Method, deadline: float) -> dict[str, Any]:
    """One line of the record."""
    start = time.perf_counter()
    solution = solve(instance.problem, method, deadline=deadline)
    tolerance = 10.0 * gap_tolerance(instance.problem, instance.known) + 1e-6 * abs(instance.known)
    found = np.isfinite(solution.energy)
    return {
        "instance": instance.name,
        "method": method.name,
        "status": solution.status.name,
        "known": instance.unit(instance.known),
        "found": instance.unit(solution.energy) if found else None,
        "reached": bool(found and abs(solution.energy - instance.known) <= tolerance),
        "proved": solution.status is Status.optimal,
        "gap": solution.gap if np.isfinite(solution.gap) else None,
        "seconds": round(time.perf_counter() - start, 4),
        "message": solution.message,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with manifest.json")
    parser.add_argument("--out", type=Path, help="also write the JSON lines here")
    parser.add_argument("--deadline", type=float, default=20.0, help="seconds for each run")
    parser.add_argument("--methods", nargs="*", help="names; all where not given")
    options = parser.parse_args()
    methods = [m for m in METHODS if m.domain != "mixture" and (not options.methods or m.name in options.methods)]
    for instance in instances(options.folder):
        records = [run(instance, method, options.deadline) for method in methods]
        for record in records:
            print(json.dumps(record), flush=True)
            if options.out:
                with options.out.open("a") as stream:
                    stream.write(json.dumps(record) + "\n")
        proved = sorted({KINDS.get(r["method"], r["method"]) for r in records if r["proved"] and r["reached"]})
        reached = [r["method"] for r in records if r["reached"]]
        print(f"# {instance.name}: known {records[0]['known']:g}; proved by {proved or 'none'}; reached by {reached}")


if __name__ == "__main__":
    main()
