"""Linearised experts: from gradients at the end of one run on all tasks, with nothing trained after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny import save_model, write_config, write_tasks

import taskpgm as tp
from taskpgm.base import load_model, locate_base
from taskpgm.config import load_config
from taskpgm.experts import Experts, tokenize_for
from taskpgm.fine_tuning import training_sequence
from taskpgm.linearised import chosen_examples, least_loss, sketched_gradients, take_step
from taskpgm.pipeline import run
from taskpgm.run_plan import plan_of
from taskpgm.tokens import TokenTask
from taskpgm.types import TaskSet

EXAMPLES = 6
FIRST_ORDER = tp.ExpertSettings(kind="linearised", examples_each=EXAMPLES)
TRAINING = tp.TrainingSettings(steps=6, batch_size=4, learning_rate=0.01, warmup_steps=3, threads=1)
ADAPTED = TRAINING.model_copy(update={"lora": tp.LoraSettings(rank=2, alpha=8.0), "learning_rate": 0.05})
PROBES = tp.ProbeSettings(per_task=4, top_k="full", batch_size=8)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskSet:
    return tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def tokens(tasks: TaskSet, model: Path) -> tuple[TokenTask, ...]:
    return tokenize_for(tasks, locate_base(model), PROBES)


def experts_of(tasks: TaskSet, model: Path, out: Path, training: tp.TrainingSettings) -> Experts:
    return tp.train_experts(tasks, model, out, training=training, probes=PROBES, experts=FIRST_ORDER)


def loss_of(model: Any, rows: Any) -> float:
    """The mean loss per target token of examples, one at a time."""
    import torch

    losses = []
    for row in rows:
        with torch.inference_mode():
            logits = model(torch.tensor([row.ids])).logits[0, row.target_start - 1 : -1]
        logs = torch.log_softmax(logits.double(), dim=-1)
        losses.append(-float(logs[range(len(logs)), list(row.ids[row.target_start :])].mean()))
    return float(np.mean(losses))


def test_the_logistic_loss_of_margins_is_the_loss_per_target_token(model: Path, tokens: tuple[TokenTask, ...]) -> None:
    loaded = load_model(model)
    rows = tokens[0].train[:5]
    margins, _ = sketched_gradients(loaded, rows, seed=0)
    assert np.mean(np.logaddexp(0.0, -margins)) == pytest.approx(loss_of(loaded, rows), abs=1e-5)


def test_sketched_products_of_gradients_are_near_the_exact_ones(model: Path, tokens: tuple[TokenTask, ...]) -> None:
    import torch

    loaded, rows = load_model(model), [*tokens[0].train[:3], *tokens[2].train[:3]]
    _, found = sketched_gradients(loaded, rows, seed=0)
    gradients = []
    for row in rows:
        logits = loaded(torch.tensor([row.ids])).logits[0, row.target_start - 1 : -1]
        logs = torch.log_softmax(logits, dim=-1)[
            range(len(row.ids) - row.target_start), list(row.ids[row.target_start :])
        ]
        margin = logs.mean() - torch.log1p(-torch.exp(logs.mean()))
        gradients.append(
            torch.cat([each.reshape(-1) for each in torch.autograd.grad(margin, list(loaded.parameters()))])
        )
    stacked = torch.stack(gradients).double().numpy()
    exact = stacked @ stacked.T
    assert np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(exact)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 8))
def test_the_step_is_the_minimum_of_a_convex_problem(seed: int, n: int) -> None:
    """Its gradient is zero there, by differences of the objective as it is written down."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0.0, 3.0, n)
    features = rng.normal(size=(n, n + 2)) * np.exp(rng.normal())
    products = features @ features.T
    scale = np.trace(products) / n

    def objective(a: NDArray[np.float64]) -> float:
        return float(np.mean(np.logaddexp(0.0, -(margins + products @ a))) + 0.005 * scale * a @ products @ a)

    a = least_loss(margins, products)
    at_best = objective(a)
    for direction in rng.normal(size=(20, n)):
        for size in (1e-3, 1e-1, 1.0):
            assert objective(a + size / scale * direction) >= at_best - 1e-9
    assert at_best <= objective(np.zeros(n)) + 1e-12


def test_nothing_to_learn_from_is_no_step() -> None:
    assert least_loss(np.array([1.0, -1.0]), np.zeros((2, 2))).tolist() == [0.0, 0.0]


def test_a_step_never_makes_its_own_examples_worse(model: Path, tokens: tuple[TokenTask, ...]) -> None:
    rows = tokens[1].train[:4]
    for factor, helps in ((1.0, True), (1e6, False), (-1.0, False)):
        loaded = load_model(model)
        before = loss_of(loaded, rows)
        shares = factor * least_loss(*sketched_gradients(loaded, rows, 0))
        taken = take_step(loaded, rows, shares, 3)
        assert loss_of(loaded, rows) <= before + 1e-6
        assert (taken > 0.0) == helps


def test_examples_are_the_first_that_training_takes_each_once(tokens: tuple[TokenTask, ...]) -> None:
    sequence = training_sequence(tokens[0].train, TRAINING.model_copy(update={"steps": 30}))
    assert chosen_examples(tokens[0], EXAMPLES, TRAINING) == tuple(dict.fromkeys(sequence))[:EXAMPLES]
    assert len(chosen_examples(tokens[0], 10_000, TRAINING)) == len(set(tokens[0].train))


@pytest.mark.parametrize("training", [TRAINING, ADAPTED], ids=["whole", "adapters"])
def test_experts_know_their_own_task_better_than_the_shared_run_does(
    tasks: TaskSet, tokens: tuple[TokenTask, ...], model: Path, tmp_path: Path, training: tp.TrainingSettings
) -> None:
    found = experts_of(tasks, model, tmp_path, training)
    point = found.load_from(found.shared[0])
    for i in range(3):
        rows = chosen_examples(tokens[i], EXAMPLES, training)
        assert loss_of(found.load(i), rows) < loss_of(point, rows)
    turned = TaskSet(tuple(reversed(tasks.tasks)))
    again = experts_of(turned, model, tmp_path / "again", training)
    assert [path.name for path in again.directories] == [path.name for path in reversed(found.directories)]
    first, second = tp.predict(found, tasks, PROBES), tp.predict(again, turned, PROBES)
    assert np.array_equal(np.asarray(second.log_probs), np.asarray(first.log_probs)[::-1])


def test_a_run_ends_proved_and_is_planned(tmp_path: Path) -> None:
    changes = {"experts": {"kind": "linearised", "examples_each": EXAMPLES}, "energy": {"kind": "pairwise"}}
    config = load_config(write_config(tmp_path, **changes))
    mixture, _, _ = run(config, tmp_path / "out")
    assert all(check.passed for check in mixture.verify())
    assert run(config, tmp_path / "out")[1] is False
    experts = next(each for each in plan_of(config, hardware="h100-sxm").stages if each.name == "experts")
    longest = 4 + 1 + 3 + 1 + 3 + 1
    passes = 6 * 4 + 3 * EXAMPLES * (2 + 9)
    assert experts.tokens == pytest.approx(passes * longest, rel=0.1)
    assert config.experts.examples(config.training, 3) == 6 * 4 + 3 * EXAMPLES
