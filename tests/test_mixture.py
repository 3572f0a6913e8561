"""Mixtures: counts that add up, units that convert, files that come back and prove themselves, draws that match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.types import TaskSize

NAMES = ("copy", "sort", "sötze 🧮")
SIZES = {"copy": TaskSize(100, 1000, 300), "sort": TaskSize(50, 2000, 500), "sötze 🧮": TaskSize(10, 50, 20)}


def make_mixture(unit: Any = "tokens", sizes: dict[str, TaskSize] | None = None, lower: float = 0.05) -> tp.Mixture:
    network = tp.TaskNetwork(
        [0.1, 0.3, 0.2], [[1, 0.6, 0.1], [0.6, 1, 0.2], [0.1, 0.2, 1]], NAMES, beta=0.7, lower=lower
    )
    return tp.Mixture.from_solution(network, tp.solve(network, tp.SimplexQP()), unit=unit, sizes=sizes)


@given(st.integers(1, 10**7), st.integers(0, 2**31), st.integers(2, 12))
@settings(max_examples=60)
def test_counts_add_up_and_stay_within_one_of_the_share(budget: int, seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(n, 0.3))
    network = tp.TaskNetwork(np.zeros(n), np.eye(n))
    mixture = tp.Mixture(
        network, dict(zip(network.names, weights.tolist(), strict=True)), 0.0, 0.0, 0.0, "feasible", "test"
    )
    counts = mixture.counts(budget)
    assert sum(counts.values()) == budget
    for name, count in counts.items():
        assert abs(count - mixture.weights[name] * budget) < 1.0 + 1e-6


def test_units_convert_by_mean_length() -> None:
    mixture = make_mixture("tokens", SIZES)
    shares = mixture.shares("examples")
    raw = {name: mixture.weights[name] * SIZES[name].examples / SIZES[name].tokens for name in NAMES}
    for name in NAMES:
        assert shares[name] == pytest.approx(raw[name] / sum(raw.values()))
    counts = mixture.counts(1000, "examples")
    tokens = {name: counts[name] * SIZES[name].tokens / SIZES[name].examples for name in NAMES}
    for name in NAMES:
        assert tokens[name] / sum(tokens.values()) == pytest.approx(mixture.weights[name], abs=0.01)


def test_epochs_say_how_often_data_repeats() -> None:
    mixture = make_mixture("examples", SIZES)
    counts, epochs = mixture.counts(500), mixture.epochs(500)
    for name in NAMES:
        assert epochs[name] == counts[name] / SIZES[name].examples


def test_conversion_without_sizes_is_refused() -> None:
    with pytest.raises(tp.InputError, match="sizes are not known"):
        make_mixture().shares("examples")
    with pytest.raises(tp.InputError, match="unit 'rows'"):
        make_mixture("tokens", SIZES).counts(10, "rows")  # type: ignore[arg-type]
    with pytest.raises(tp.InputError, match="budget 0"):
        make_mixture().counts(0)


def test_a_file_comes_back_whole_and_proved(tmp_path: Path) -> None:
    mixture = make_mixture("tokens", SIZES)
    mixture.to_json(tmp_path / "a.json")
    again = tp.Mixture.from_json(tmp_path / "a.json")
    again.to_json(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert again.weights == mixture.weights
    assert again.counts(12345, "examples") == mixture.counts(12345, "examples")
    assert all(check.passed for check in again.verify())


def tampered(path: Path, change: Any) -> Path:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda v: v["weights"].update(copy=v["weights"]["copy"] + 1e-3), "feasible"),
        (lambda v: v["weights"].update(copy=v["weights"]["copy"] + 1e-3, sort=v["weights"]["sort"] - 1e-3), "gap"),
        (lambda v: v["certificate"].update(energy=v["certificate"]["energy"] - 1e-6), "energy"),
        (lambda v: v["certificate"].update(status="bound"), "claim"),
        (lambda v: v["certificate"].update(bound=v["certificate"]["energy"] + 1e-3), "claim"),
        (lambda v: v["network"].update(utility=[0.3, 0.1, 0.2]), "gap"),
        (lambda v: v["network"].update(lower=[0.4, 0.05, 0.05]), "feasible"),
    ],
)
def test_verification_finds_what_was_changed(tmp_path: Path, change: Any, failing: str) -> None:
    make_mixture().to_json(tmp_path / "m.json")
    checks = tp.Mixture.from_json(tampered(tmp_path / "m.json", change)).verify()
    assert failing in [check.name for check in checks if not check.passed]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format="other/9"), "not a taskpgm-mixture"),
        (lambda v: v.pop("network"), "damaged"),
        (lambda v: v["weights"].pop("copy"), "different tasks"),
        (lambda v: v["network"].update(similarity=[[1.0]]), "shape 1 x 1"),
        (lambda v: v.update(unit="rows"), "no known unit"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    make_mixture().to_json(tmp_path / "m.json")
    with pytest.raises(tp.InputError, match=message):
        tp.Mixture.from_json(tampered(tmp_path / "m.json", change))


def test_a_solution_without_a_point_gives_no_mixture() -> None:
    network = tp.TaskNetwork([0.0, 0.0], [[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(tp.InputError, match="not convex"):
        tp.Mixture.from_solution(network, tp.solve(network, tp.SimplexQP()))
    exact = tp.solve(network.levels(4), tp.Exhaustive())
    with pytest.raises(tp.InputError, match="divide levels"):
        tp.Mixture.from_solution(network, exact)


def test_interleaved_rows_follow_the_weights() -> None:
    from datasets import Dataset

    mixture = make_mixture("examples")
    datasets = {name: Dataset.from_dict({"task": [name] * 4000, "row": list(range(4000))}) for name in NAMES}
    rows = mixture.interleave(datasets, seed=3)
    drawn = np.array([sum(task == name for task in rows["task"]) for name in NAMES])
    expected = np.array([mixture.weights[name] for name in NAMES])
    error = np.sqrt(expected * (1 - expected) / drawn.sum())
    assert np.all(np.abs(drawn / drawn.sum() - expected) < 4.5 * error)
    assert list(mixture.interleave(datasets, seed=3)["row"]) == list(rows["row"])
    assert list(mixture.interleave(datasets, seed=4)["row"]) != list(rows["row"])
    assert list(rows["row"])[:50] != sorted(list(rows["row"])[:50])


def test_interleaving_in_tokens_converts_and_drops_zero_weights() -> None:
    from datasets import Dataset

    network = tp.TaskNetwork([1.0, 1.0, 0.0], np.eye(3), NAMES, upper={"sötze 🧮": 0.0})
    mixture = tp.Mixture.from_solution(network, tp.solve(network, tp.SimplexQP()), sizes=SIZES)
    assert mixture.weights["sötze 🧮"] == 0.0
    datasets = {name: Dataset.from_dict({"task": [name] * 3000}) for name in ("copy", "sort")}
    rows = list(mixture.interleave(datasets, stopping_strategy="all_exhausted")["task"])
    # equal token shares, and an example of sort is four times as long: a fifth of the rows
    assert rows.count("sort") / len(rows) == pytest.approx(0.2, abs=0.02)
    with pytest.raises(tp.InputError, match="no data set for task 'sort'"):
        mixture.interleave({"copy": datasets["copy"]})
