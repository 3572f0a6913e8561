"""Numbers under stress: what is not finite is named, and what is extreme still has a defined answer with a proof."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from strategies import random_coverage
from tiny import save_model, write_tasks

import taskpgm as tp
from taskpgm.config import TrainingSettings
from taskpgm.coverage import CoverageNetwork
from taskpgm.experts import Experts
from taskpgm.exporters import EXPORTERS
from taskpgm.inference import convex_method
from taskpgm.mixture import Mixture
from taskpgm.network import TaskNetwork
from taskpgm.types import FloatArray, Predictions, TaskSize

BAD = (np.nan, np.inf)
N = 4


def proved(network: TaskNetwork | CoverageNetwork, path: Path) -> Mixture:
    """The certified mixture of a network, as its file tells it and exact arithmetic proves it."""
    solution = tp.solve(network, convex_method(network))
    assert solution.status is tp.Status.optimal, solution.message
    Mixture.from_solution(network, solution).to_json(path)
    mixture = Mixture.from_json(path)
    assert [check for check in mixture.verify() if not check.passed] == []
    return mixture


def distributions(seed: int = 0, shape: tuple[int, int, int] = (3, 4, 5)) -> FloatArray:
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(shape[2]), shape[:2]))


# ----------------------------------------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("logits", [False, True])
def test_a_logit_that_is_not_finite_is_named_by_expert_and_context(bad: float, dtype: Any, logits: bool) -> None:
    values = distributions().astype(dtype)
    values[1, 2, 3] = bad
    with pytest.raises(tp.InputError, match=r"log_probs\[1, 2\]: the probabilities sum to (nan|inf), not to 1"):
        tp.jensen_shannon(values, logits=logits)


@pytest.mark.parametrize("measure", [tp.Hellinger(), tp.TotalVariation(), tp.KullbackLeibler(), tp.RenyiJensen()])
@pytest.mark.parametrize("bad", BAD)
def test_so_does_every_other_divergence(measure: Any, bad: float) -> None:
    values = distributions()
    values[1, 2, 3] = bad
    with pytest.raises(tp.InputError, match=re.escape("log_probs[1, 2]")):
        measure.between(values)


def test_logits_of_minus_infinity_are_probability_zero_unless_all_are() -> None:
    values = distributions()
    values[1, 2, 3] = -np.inf
    masked = values.copy()
    masked[1, 2] -= np.log(np.exp(values[1, 2]).sum())
    assert np.allclose(tp.jensen_shannon(values, logits=True), tp.jensen_shannon(masked), atol=1e-12)
    values[1, 2] = -np.inf
    with pytest.raises(tp.InputError, match=r"log_probs\[1, 2\]"):
        tp.jensen_shannon(values, logits=True)


def test_bfloat16_that_is_saturated_has_the_divergences_of_what_it_holds() -> None:
    saturated = torch.tensor(distributions() * 3e38).to(torch.bfloat16)
    assert torch.isinf(saturated).any()
    with pytest.raises(tp.InputError, match=r"log_probs\["):
        tp.jensen_shannon(torch.where(saturated.isinf(), -saturated, saturated), logits=True)  # + infinity
    largest = torch.full((2, 1, 3), float(torch.finfo(torch.bfloat16).min)).to(torch.bfloat16)
    largest[0, 0, 0] = largest[1, 0, 1] = torch.finfo(torch.bfloat16).max
    assert tp.jensen_shannon(largest, logits=True)[0, 1] == pytest.approx(np.log(2.0), abs=1e-12)


def test_affinities_name_expert_context_and_task() -> None:
    values = distributions().astype(np.float32)
    values[1, 2, 3] = np.nan
    tasks = np.array([0, 1, 2, 0])
    nothing = np.zeros(4, dtype=np.float32)
    predictions = Predictions(
        ("copy", "sort", "a b"),
        values,
        np.zeros((3, 4), np.float32),
        nothing,
        nothing,
        tasks,
        np.arange(4),
        np.full(4, 0.25),
    )
    with pytest.raises(
        tp.InputError, match=r"expert of task 'sort', on context 2, a probe of task 'a b': .* sum to nan"
    ):
        tp.estimate_affinity(predictions)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Experts]:
    folder = tmp_path_factory.mktemp("numerics")
    tasks = tp.load_tasks(write_tasks(folder / "tasks"))
    training = TrainingSettings(steps=2, batch_size=4, learning_rate=0.01, warmup_steps=0)
    return tasks, tp.train_experts(tasks, save_model(folder / "model"), folder / "run", training=training)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_predictions_name_expert_context_and_task(
    experts: tuple[Any, Experts], bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, found = experts
    load = Experts.load_from

    def broken(self: Experts, directory: Path) -> Any:
        model = load(self, directory)
        with torch.no_grad():
            model.get_output_embeddings().weight[0 if directory == found.directories[1] else slice(0, 0)] = bad
        return model

    monkeypatch.setattr(Experts, "load_from", broken)
    told = r"the expert of task 'upper' predicts nan on context \d+, target token \d+ of probe \d+, of task '\w+': its"
    with pytest.raises(tp.InputError, match=told):
        tp.predict(found, tasks, probes=4)


# ------------------------------------------------------------------------------------------------ what is degenerate


@pytest.mark.parametrize(
    "similarity", [np.eye(N), np.ones((N, N)), np.zeros((N, N))], ids=["different", "same", "none"]
)
@pytest.mark.parametrize("utility", [np.zeros(N), np.full(N, 0.7), np.array([1.0, 0.5, 0.1, 0.0])])
def test_constant_utilities_and_identical_experts_have_a_proved_mixture(
    similarity: FloatArray, utility: FloatArray, tmp_path: Path
) -> None:
    """Where nothing tells tasks apart the trade-off has no scale: beta is 0, and every mixture is a best one."""
    beta = tp.balanced_beta(utility, similarity)
    assert np.isfinite(beta)
    if np.ptp(utility) == 0.0 or similarity.min() == 1.0:
        assert beta == 0.0
    mixture = proved(TaskNetwork(utility, similarity, beta=beta, lower=0.05), tmp_path / "m.json")
    if np.ptp(similarity) > 0.0 and np.ptp(utility) == 0.0:
        assert list(mixture.weights.values()) == pytest.approx([1.0 / N] * N, abs=1e-9)


def test_identical_experts_have_divergences_of_exactly_zero() -> None:
    same = np.broadcast_to(distributions(shape=(1, 4, 5)), (3, 4, 5))
    assert np.abs(tp.jensen_shannon(same)).max() <= 1e-15
    assert np.abs(tp.jensen_shannon(same.astype(np.float32))).max() <= 1e-6


def test_two_tasks_are_enough_and_one_is_refused(tmp_path: Path) -> None:
    proved(TaskNetwork([0.3, 0.2], np.eye(2)), tmp_path / "a.json")
    proved(random_coverage(2, 0), tmp_path / "b.json")
    with pytest.raises(tp.InputError, match="one task only"):
        TaskNetwork([0.3], np.eye(1))
    with pytest.raises(tp.InputError, match="one task only"):
        random_coverage(1, 0)


@pytest.mark.parametrize("tau", [0.0, 0.05])
@pytest.mark.parametrize("kind", ["pairwise", "coverage"])
def test_weights_of_1e_12_are_proved_exported_and_drawn(kind: str, tau: float, tmp_path: Path) -> None:
    names = ("tiny", "b", "c")
    network: TaskNetwork | CoverageNetwork = (
        TaskNetwork([-9.0, 0.2, 0.1], np.eye(3), names, tau=tau)
        if kind == "pairwise"
        else random_coverage(3, 0, names=names, tau=tau)
    )
    mixture = proved(network.changed(lower=[1e-12, 0.1, 0.1], upper=[1e-12, 1.0, 1.0]), tmp_path / "m.json")
    assert mixture.weights["tiny"] == pytest.approx(1e-12, rel=1e-9)
    sized = Mixture.from_json(tmp_path / "m.json")
    object.__setattr__(sized, "sizes", {name: TaskSize(10, 100, 30) for name in names})
    assert sized.counts(1_000)["tiny"] == 0
    assert sum(sized.counts(10**15).values()) == 10**15
    assert sized.counts(10**15)["tiny"] == 1_000
    for exporter in EXPORTERS:
        exported = tp.export(sized, exporter.name, budget=10**6)
        assert sum(task.weight for task in exported.plan.tasks) == pytest.approx(1.0, rel=1e-6)
    rows = {name: Dataset.from_list([{"task": name}] * 20) for name in names}
    assert set(sized.interleave(rows, seed=0)["task"]) == {"b", "c"}
    sampler = tp.MixtureSampler(sized, dict.fromkeys(names, 20), seed=0)
    assert len(list(sampler)) == 60
    assert sampler.counts()["tiny"] == 0


@pytest.mark.parametrize("size", [1e-100, 1e-12, 1e12, 1e90])
def test_energies_of_any_size_up_to_the_limit_have_a_defined_answer(size: float, tmp_path: Path) -> None:
    network = TaskNetwork(size * np.array([0.3, 0.2, 0.1]), size * np.eye(3))
    solution = tp.solve(network, convex_method(network))
    assert solution.point is not None
    assert solution.bound <= solution.energy
    Mixture.from_solution(network, solution).to_json(tmp_path / "m.json")
    exact = tp.exact_certificate(network, solution.point)
    assert float(exact.bound) <= float(exact.energy)


@pytest.mark.parametrize(
    ("utility", "similarity", "told"),
    [
        ([1e101, 0.0], np.eye(2), r"utility: numbers of size 1e\+101 are too large to compute with"),
        ([1.0, 0.0], 1e300 * np.eye(2), r"similarity: numbers of size 1e\+300 are too large"),
        ([np.nan, 0.0], np.eye(2), "utility of task 'task 0' is nan"),
        ([np.inf, 0.0], np.eye(2), "utility of task 'task 0' is inf"),
    ],
)
def test_what_cannot_be_computed_with_is_refused(utility: Any, similarity: FloatArray, told: str) -> None:
    with pytest.raises(tp.InputError, match=told):
        TaskNetwork(utility, similarity)


@pytest.mark.parametrize("n", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_many_tasks_are_solved_certified_and_filed(n: int, tmp_path: Path) -> None:
    """From utilities to the file. Proving 2,000 tasks in exact fractions takes minutes, and is not here."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal((n, 20))
    squares = (places**2).sum(axis=1)
    similarity = np.exp(-np.maximum(squares[:, None] + squares - 2.0 * places @ places.T, 0.0) / 20.0)
    similarity, utility = 0.5 * (similarity + similarity.T), rng.random(n)
    beta = tp.balanced_beta(utility, similarity)
    network = TaskNetwork(utility, similarity, beta=beta, lower=0.2 / n)
    start = time.perf_counter()
    solution = tp.solve(network, convex_method(network))
    assert solution.status is tp.Status.optimal
    path = tmp_path / "m.json"
    Mixture.from_solution(network, solution).to_json(path)
    again = Mixture.from_json(path)
    assert again.gap <= 1e-9
    assert sum(again.counts(10**9).values()) == 10**9
    assert len(json.loads(path.read_text())["weights"]) == n
    assert time.perf_counter() - start < 280.0
