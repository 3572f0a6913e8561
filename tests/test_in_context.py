"""In-context experts: the base with demonstrations before each probe, in the place of experts that are trained."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tiny import save_model, write_config, write_tasks

import taskpgm as tp
from taskpgm import cli
from taskpgm.config import load_config
from taskpgm.demonstrations import Demonstrations, choose, read_demonstrations, shown_before
from taskpgm.experts import Experts, tokenize_for
from taskpgm.pipeline import run
from taskpgm.run_plan import plan_of
from taskpgm.tokens import TokenExample, TokenTask, make_probes
from taskpgm.types import Probes, TaskSet, readonly

WINDOW = 128
SHOWN = tp.ExpertSettings(kind="in_context", demonstrations=3)
TRAINING = tp.TrainingSettings(steps=3, batch_size=4, threads=1)
PROBES = tp.ProbeSettings(per_task=4, top_k="full", batch_size=8)
PAIRWISE = {"kind": "pairwise"}


def wide_model(directory: Path, window: int = WINDOW, **changes: Any) -> Path:
    """A tiny random model with a window that a few examples fit into."""
    folder = save_model(directory, max_position_embeddings=window, **changes)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": window}))
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskSet:
    return tp.load_tasks(write_tasks(tmp_path_factory.mktemp("tasks")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wide_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def experts(tasks: TaskSet, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Experts:
    return in_context(tasks, model, tmp_path_factory.mktemp("out"))


def in_context(tasks: TaskSet, model: Path, out: Path, shown: tp.ExpertSettings = SHOWN) -> Experts:
    return tp.train_experts(tasks, model, out, training=TRAINING, probes=PROBES, experts=shown)


def project(folder: Path, **changes: Any) -> Path:
    """A run's YAML with in-context experts."""
    wide_model(folder / "model")
    shown = {"kind": "in_context", "demonstrations": 3}
    return write_config(folder, **{"experts": shown, "energy": PAIRWISE, **changes})


def forbidden(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("this was already done and must not be done again")


def test_predictions_are_those_of_the_base_on_the_concatenated_tokens(experts: Experts, tasks: TaskSet) -> None:
    """Against one unpadded forward pass for each expert and probe, with tokens put together here by hand."""
    import torch

    predictions = tp.predict(experts, tasks, PROBES)
    tokenised = tokenize_for(tasks, experts.base, PROBES)
    probes = make_probes(tokenised, 4)
    loaded = experts.load(0)
    for i, task in enumerate(tokenised):
        order = np.random.default_rng(TRAINING.seed).permutation(len({row.ids for row in task.train}))[:3]
        different = list(dict.fromkeys(row.ids for row in task.train))
        before = [token for place in order for token in different[place]]
        expected = []
        for ids, start in zip(probes.tokens, probes.target_start, strict=True):
            whole = torch.tensor([[*before, *ids.tolist()]])
            with torch.inference_mode():
                logits = loaded(whole).logits[0, len(before) + start - 1 : -1]
            expected.append(torch.log_softmax(logits.double(), dim=-1).numpy())
        logs = np.concatenate(expected)
        assert np.allclose(predictions.log_probs[i, :, :-1], logs, atol=2e-5)
        assert np.allclose(predictions.target_log_probs[i], logs[np.arange(len(logs)), probes.targets], atol=2e-5)
    divergence = tp.estimate_affinity(predictions).divergence
    assert np.all(divergence[~np.eye(3, dtype=bool)] > 1e-9)


def test_nothing_is_trained_and_no_weights_are_written(
    tasks: TaskSet, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskpgm.experts.train_missing", forbidden)
    found = in_context(tasks, model, tmp_path)
    assert not list((tmp_path / "experts").rglob("*.safetensors"))
    assert not found.have_curves
    with pytest.raises(tp.InputError, match="in_context have no learning curves"):
        found.curves()


def test_experts_and_predictions_are_found_again_in_any_order_and_under_any_name(
    experts: Experts, tasks: TaskSet, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tp.predict(experts, tasks, PROBES)
    monkeypatch.setattr("taskpgm.expert_models.load_base", forbidden)
    monkeypatch.setattr("taskpgm.demonstrations.atomic_directory", forbidden)
    turned = TaskSet(tuple(replace(task, name=f"{task.name}</script>\n\"/'é") for task in reversed(tasks.tasks)))
    again = in_context(turned, model, experts.out)
    assert again.directories == tuple(reversed(experts.directories))
    second = tp.predict(again, turned, PROBES)
    assert second.names == turned.names
    assert np.array_equal(np.asarray(second.log_probs), np.asarray(first.log_probs)[::-1])
    assert np.array_equal(second.context_task, 2 - first.context_task)


def test_tasks_with_the_same_data_share_an_expert(tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    twins = TaskSet((*tasks.tasks, replace(tasks["copy"], name="twin")))
    found = in_context(twins, model, tmp_path)
    assert found.directories[0] == found.directories[3]
    affinity = tp.estimate_affinity(tp.predict(found, twins, PROBES))
    assert affinity.divergence[0, 3] == pytest.approx(0.0, abs=1e-12)


def test_other_demonstrations_are_another_expert(experts: Experts, tasks: TaskSet, model: Path, tmp_path: Path) -> None:
    for changed in ({"experts": SHOWN.model_copy(update={"demonstrations": 2})}, {"seed": 1}):
        training = TRAINING.model_copy(update={"seed": changed.get("seed", 0)})
        shown = changed.get("experts", SHOWN)
        other = tp.train_experts(tasks, model, tmp_path, training=training, probes=PROBES, experts=shown)
        assert not {path.name for path in other.directories} & {path.name for path in experts.directories}


def test_a_damaged_expert_is_made_again(
    tasks: TaskSet, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = in_context(tasks, model, tmp_path)
    path = first.directories[1] / "demonstrations.json"
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"[", b"{", 1))
    again = in_context(tasks, model, tmp_path)
    assert "damaged" in caplog.text
    assert (again.directories[1] / "demonstrations.json").read_bytes() == sound


def test_what_every_text_begins_with_comes_once_and_lines_part_examples_without_end_tokens() -> None:
    rows = (TokenExample((1, 5, 6), 2), TokenExample((1, 7, 8), 2), TokenExample((1, 5, 6), 2))
    task = TokenTask("a", rows, rows, (), 0)
    chosen = choose(task, 9, 0, start=(1,), between=(3, 3), window=20)
    assert sorted(chosen.rows) == [(5, 6, 3, 3), (7, 8, 3, 3)]
    shown = shown_before(make_probes([task], 1), chosen)
    assert shown.tokens[0].tolist() == [1, *chosen.rows[0], *chosen.rows[1], 5, 6]
    assert shown.targets.tolist() == [6]


rows_of = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=9).map(tuple), min_size=1, max_size=6).map(tuple)


@given(rows=rows_of, ids=st.lists(st.integers(1, 9), min_size=2, max_size=8), window=st.integers(2, 40), data=st.data())
def test_as_many_demonstrations_as_fit_come_before_a_probe_nearest_first(
    rows: tuple[tuple[int, ...], ...], ids: list[int], window: int, data: st.DataObject
) -> None:
    target = data.draw(st.integers(1, len(ids) - 1))
    zero = readonly([0], np.int64)
    probes = Probes(("t",), (readonly(ids, np.int64),), readonly([target], np.int64), zero)
    shown = Demonstrations((), rows, window)
    if min(map(len, rows)) + len(ids) > window:
        with pytest.raises(tp.InputError, match=rf"before a probe of task 't' \({len(ids)} tokens"):
            shown_before(probes, shown)
        return
    read = shown_before(probes, shown)
    assert len(read.tokens[0]) <= window
    assert read.targets.tolist() == probes.targets.tolist()
    assert read.tokens[0].tolist()[-len(ids) :] == ids
    left = window - len(ids) - sum(map(len, shown.fitting(len(ids))))
    kept = list(shown.fitting(len(ids)))
    for row in reversed(rows):  # whatever was left out, nearer ones had taken its place
        if kept and kept[-1] == row:
            kept.pop()
        else:
            assert len(row) > left
    assert kept == []


def test_fewer_demonstrations_are_said_and_none_is_refused(
    tasks: TaskSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    many = tp.ExpertSettings(kind="in_context", demonstrations=50)
    with caplog.at_level(logging.WARNING):
        few = in_context(tasks, wide_model(tmp_path / "m", 64), tmp_path / "o", many)
    assert "of 50, as few as 3 (of task" in caplog.text
    assert len(read_demonstrations(few.directories[0]).rows) > 3
    narrow = wide_model(tmp_path / "n", 18)
    with pytest.raises(tp.InputError, match=r"task 'copy': no demonstration fits .*window of 18.*fine_tuned"):
        in_context(tasks, narrow, tmp_path / "o", SHOWN)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"experts": {"kind": "in_context"}, "energy": {}}, "experts.kind: in_context leaves no learning curves"),
        ({"experts": {"demonstrations": 4}}, "experts: demonstrations belongs to kind: in_context"),
        ({"experts": {"kind": "in_context", "demonstrations": 0}}, "experts.demonstrations: "),
        ({"experts": {"kind": "in_contexts"}}, "experts.kind: "),
        ({"experts": {"kind": "in_context", "demonstration": 2}}, "did you mean 'demonstrations'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    path = tmp_path / "run.yaml"
    given_settings = {"tasks": ["a.jsonl"], "model": {"name": "m"}, "energy": PAIRWISE, **settings}
    path.write_text(yaml.safe_dump(given_settings))
    with pytest.raises(tp.InputError) as refused:
        load_config(path)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_ends_proved_is_found_again_and_goes_on_after_a_loss(tmp_path: Path) -> None:
    config = load_config(project(tmp_path))
    mixture, fresh, _ = run(config, tmp_path / "out")
    assert fresh
    assert mixture.status == "optimal"
    assert all(check.passed for check in mixture.verify())
    assert mixture.details["settings"]["experts"]["kind"] == "in_context"
    assert "in_context have no learning curves" in mixture.details["no_forecast"]
    before = (tmp_path / "out" / "mixture.json").read_bytes()
    assert run(config, tmp_path / "out")[1] is False
    shutil.rmtree(tmp_path / "out" / "experts")
    (tmp_path / "out" / "mixture.json").unlink()
    assert run(config, tmp_path / "out")[1] is True
    assert (tmp_path / "out" / "mixture.json").read_bytes() == before


def test_the_plan_counts_what_is_read_and_no_training(tmp_path: Path) -> None:
    config = load_config(project(tmp_path))
    stages = {stage.name: stage for stage in plan_of(config, hardware="h100-sxm").stages}
    assert (stages["experts"].tokens, stages["experts"].flops) == (0.0, 0.0)
    tasks = tp.load_tasks(sorted((tmp_path / "tasks").glob("*.jsonl")))
    found = tp.train_experts(
        tasks,
        tmp_path / "model",
        tmp_path / "o",
        training=config.training,
        probes=config.probes,
        experts=config.experts,
    )
    probes = make_probes(tokenize_for(tasks, found.base, config.probes), config.probes.per_task)
    read = sum(len(ids) for path in found.directories for ids in found.as_read(path, probes).tokens)
    assert stages["predictions"].tokens == read
    assert read > 3 * 3 * sum(map(len, probes.tokens))
    narrow = project(tmp_path / "narrow")
    wide_model(tmp_path / "narrow" / "model", 18)
    with pytest.raises(tp.InputError, match="no demonstration fits"):
        plan_of(load_config(narrow), hardware="h100-sxm")


def test_a_mixture_by_curves_is_not_evaluated_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project(tmp_path, evaluation={"steps": 2, "mixtures": ["uniform", "coverage"], "eval_per_task": 2})
    arguments = ["taskpgm", "evaluate", str(path), "--seeds", "1", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "'coverage' needs learning curves, and experts.kind: in_context leaves none" in capsys.readouterr().err


def test_an_evaluation_of_our_mixture_counts_no_trained_examples(tmp_path: Path) -> None:
    from taskpgm.evaluation_run import evaluate_config

    path = project(tmp_path, evaluation={"steps": 2, "mixtures": ["uniform", "ours"], "eval_per_task": 2})
    report = evaluate_config(load_config(path), tmp_path / "out", seeds=2).as_dict()
    assert report["evidence_examples"] == 0
