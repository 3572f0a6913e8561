"""An expert whose losses are not finite: refused by name, or left out on request, which is said wherever it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import save_model, write_config, write_tasks

import taskpgm as tp
from taskpgm.config import TrainingSettings, load_config
from taskpgm.diverged import said
from taskpgm.fine_tuning import training_sequence
from taskpgm.report_page import load_page

Call = Callable[..., tuple[int, str, str]]
TRAINED: list[Any] = []


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Trainings by their number, from 0, that end with weights that are not finite; every one is noted in TRAINED."""
    from taskpgm import expert_training

    numbers: set[int] = set()
    TRAINED.clear()
    tune = expert_training.fine_tune

    def poisoned(model: Any, sequence: Any, training: Any, on_step: Callable[[int], None], *more: Any) -> None:
        wrong = len(TRAINED) in numbers
        TRAINED.append(sequence)

        def step(number: int) -> None:
            if wrong:
                with torch.no_grad():
                    next(model.parameters()).fill_(float("nan"))
            on_step(number)

        tune(model, sequence, training, step, *more)

    monkeypatch.setattr(expert_training, "fine_tune", poisoned)
    return numbers


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(steps=2, batch_size=4, learning_rate=0.01, warmup_steps=0, **changes)


def test_a_diverged_expert_is_refused_by_name_unless_asked_otherwise(tmp_path: Path, bad: set[int]) -> None:
    tasks, base, out = tp.load_tasks(write_tasks(tmp_path / "tasks")), save_model(tmp_path / "model"), tmp_path / "run"
    bad.add(1)
    with pytest.raises(tp.InputError, match=r"task 'upper': training diverged .* lower learning_rate"):
        tp.train_experts(tasks, base, out, training=settings())
    bad.add(2)  # the first expert is there by now: what comes next is upper once more
    bad.discard(1)
    experts = tp.train_experts(tasks, base, out, training=settings(diverged="exclude"))
    assert experts.names == ("copy", "reverse")
    assert experts.diverged == ("upper",)
    assert len(experts.directories) == len(experts.probes) == 2
    assert experts.curves().losses.shape[::2] == (2, 2)
    predictions = tp.predict(experts, tasks, probes=4)
    assert predictions.names == ("copy", "reverse")
    done = len(TRAINED)
    assert tp.train_experts(tasks, base, out, training=settings(diverged="exclude")).diverged == ("upper",)
    assert len(TRAINED) == done, "what diverged is not trained again"
    whole = tp.train_experts(
        tasks, base, out, training=settings()
    )  # refusing tries once more, and no expert is made anew
    assert whole.names == ("copy", "upper", "reverse")
    assert len(TRAINED) == done + 1
    assert tp.train_experts(tasks, base, out, training=settings(diverged="exclude")).diverged == ()


def test_one_expert_alone_is_no_evidence(tmp_path: Path, bad: set[int]) -> None:
    tasks, base = tp.load_tasks(write_tasks(tmp_path / "tasks")), save_model(tmp_path / "model")
    bad |= {0, 2}
    with pytest.raises(tp.InputError, match="the experts of 2 of 3 tasks diverged"):
        tp.train_experts(tasks, base, tmp_path / "run", training=settings(diverged="exclude"))


@pytest.mark.parametrize("energy", [{"kind": "coverage"}, {"kind": "pairwise"}])
def test_a_run_goes_on_without_it_and_says_so(tmp_path: Path, bad: set[int], call: Call, energy: Any) -> None:
    out, steps = tmp_path / "run", {"steps": 4, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1}
    config = write_config(tmp_path, training=steps | {"diverged": "exclude"}, energy=energy)
    bad.add(1)
    code, printed, error = call("run", config, "--out", out)
    assert code == 0, error
    told = said(["upper"])
    assert " ".join(told.split()) in " ".join(printed.split())
    assert "training diverged (its losses are not finite)" in error
    mixture = tp.Mixture.from_json(out / "mixture.json")
    assert set(mixture.weights) == {"copy", "reverse"}
    assert mixture.details["excluded"] == ["upper"]
    assert all(check.passed for check in mixture.verify())
    assert any(told in line for line in load_page(out).said)
    assert "left out" in (out / "log.jsonl").read_text()
    again = call("run", config, "--out", out, "--json")
    assert again[0] == 0
    assert json.loads(again[1])["computed"] is False
    code, _, error = call("run", write_config(tmp_path, training=steps, energy=energy), "--out", out)
    assert code == 0, "refusing is another run: the expert is trained once more, here with finite losses"
    assert set(tp.Mixture.from_json(out / "mixture.json").weights) == {"copy", "upper", "reverse"}


def test_the_choice_is_no_part_of_what_determines_an_expert() -> None:
    assert settings(diverged="exclude").model_dump() == settings().model_dump()
    assert training_sequence([1, 2, 3], settings(diverged="exclude")) == training_sequence([1, 2, 3], settings())


def test_experts_that_share_a_run_are_not_left_out_one_by_one(tmp_path: Path) -> None:
    kind = {"experts": {"kind": "multi_task"}, "energy": {"kind": "pairwise"}}
    path = write_config(tmp_path, training={"steps": 2, "diverged": "exclude"}, **kind)
    with pytest.raises(tp.InputError, match=r"diverged: exclude is for experts\.kind: fine_tuned"):
        load_config(path)
