"""Instances of others: every known answer is reached and proved by methods of at least two kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripts import benchmark

from taskpgm.inference import METHODS, Method, Toulbar2, solve
from taskpgm.types import Status

# The second kind of proof takes ten seconds and more: seconds that each method is given.
LONG = {"hamming6-4 Motzkin-Straus": 20.0, "GKD-b_16_n50_m15": 20.0, "MANN_a9 Motzkin-Straus": 60.0}

INSTANCES = benchmark("instances")
NAMES = (
    *(f"bqp50-{k}" for k in range(1, 11)),
    "gka1b",
    "gka6a",
    "johnson8-2-4 clique",
    "johnson8-2-4 heaviest clique",
    "johnson8-2-4 Motzkin-Straus",
    "MANN_a9 clique",
    "MANN_a9 heaviest clique",
    "MANN_a9 Motzkin-Straus",
    "hamming6-4 clique",
    "hamming6-4 heaviest clique",
    "hamming6-4 Motzkin-Straus",
    "GKD-b_1_n25_m2",
    "GKD-b_6_n25_m7",
    "GKD-b_11_n50_m5",
    "GKD-b_16_n50_m15",
    "testfast",
    "merlin_simple5",
    "tb2_example",
    "tb2_latin (all different)",
    "tb2_latin (5 a pair)",
)
PROVERS = (
    "exhaustive",
    "junction-tree",
    "branch-and-bound",
    "toulbar2",
    "highs",
    "local-polytope",
    "doubly-nonnegative",
)


@pytest.fixture(scope="module")
def found(shared_data: Path) -> dict[str, Any]:
    folder = shared_data / "instances"
    if not (folder / "manifest.json").is_file():
        pytest.skip("the problem instances are not in the data folder")
    return {instance.name: instance for instance in INSTANCES.instances(folder)}


def provers() -> list[Method]:
    return [method for method in METHODS if method.name in PROVERS]


def proofs(instance: Any, enough: int) -> dict[str, str]:
    """Which methods prove the known answer, cheapest first, until there are enough kinds: {method: kind}."""
    kinds: dict[str, str] = {}
    for method in provers():
        record = INSTANCES.run(instance, method, LONG.get(instance.name, 20.0))
        assert not (record["proved"] and not record["reached"]), record
        if record["proved"]:
            kinds[method.name] = INSTANCES.KINDS[method.name]
        if len(set(kinds.values())) >= enough:
            break
    return kinds


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in NAMES]
)
def test_two_kinds_of_method_prove_the_known_answer(name: str, found: dict[str, Any]) -> None:
    kinds = proofs(found[name], enough=2)
    assert len(set(kinds.values())) >= 2, kinds


def test_every_instance_with_an_answer_is_tested(found: dict[str, Any]) -> None:
    assert set(found) == set(NAMES)


def test_toulbar2_proves_what_it_is_asked_to_beat(found: dict[str, Any]) -> None:
    """Its bound is that of Motzkin and Straus at once, but it does not come upon a point of that energy by itself."""
    pytest.importorskip("pytoulbar2")
    instance = found["MANN_a9 Motzkin-Straus"]
    solution = solve(instance.problem, Toulbar2(), deadline=30.0)
    assert solution.status is Status.optimal
    assert solution.energy == pytest.approx(instance.known, abs=1e-12)


def test_no_method_claims_another_answer(found: dict[str, Any]) -> None:
    """All methods on three small instances: what is proved is the known answer, and nothing is below it."""
    for name in ("merlin_simple5", "GKD-b_1_n25_m2", "gka1b"):
        for method in METHODS:
            record = INSTANCES.run(found[name], method, 1.0)
            assert record["status"] != Status.failed.name, record
            assert record["reached"] or not record["proved"], record
