"""Evaluation by training: paired, resumable, in processes that may die; intervals and agreement checked by hand."""

from __future__ import annotations

import json
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from tiny import write_config
from worker_items import work

import taskpgm as tp
from taskpgm.agreement import agreement
from taskpgm.base import Base
from taskpgm.baselines import Evidence
from taskpgm.config import EvaluationSettings, HarnessSettings, MeasureSettings, load_config
from taskpgm.evaluated_mixtures import mixtures_of
from taskpgm.evaluation import Evaluation, Run, evaluate
from taskpgm.evaluation_run import evaluate_config
from taskpgm.experts import tokenize_for
from taskpgm.harness import _task_manager, check_harness, harness_scores
from taskpgm.integrity import read_sealed
from taskpgm.paired import differences, t_interval, views
from taskpgm.pipeline import base_of
from taskpgm.tasks import tasks_of
from taskpgm.tokens import TokenTask
from taskpgm.training_run import plan_run
from taskpgm.workers import do_all

EVALUATION = {"steps": 4, "mixtures": ["uniform", "sqrt", "ours"], "eval_per_task": 4}
MIXTURES = {
    "uniform": {"copy": 1.0, "upper": 1.0, "reverse": 1.0},
    "no upper": {"copy": 0.5, "upper": 0.0, "reverse": 0.5},
}
MEASURE = MeasureSettings(per_task=4)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_config(folder, evaluation=EVALUATION)
    return folder


@pytest.fixture(scope="module")
def bench(project: Path) -> tuple[Base, tuple[TokenTask, ...], tp.TrainingSettings]:
    """Base, tasks and training of the project."""
    config = load_config(project / "run.yaml")
    base = base_of(config)
    tasks = tokenize_for(tasks_of(config), base, config.probes)
    return base, tasks, config.training.model_copy(update={"steps": 5})


@pytest.fixture(scope="module")
def evaluation(bench: Any, project: Path) -> Evaluation:
    return evaluate(*bench[:2], MIXTURES, bench[2], seeds=(0, 1), out=project / "whole", measure=MEASURE)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.json")}


# ------------------------------------------------------------------------------------------------------------ training


def test_every_run_is_there_and_weight_0_means_never(evaluation: Evaluation) -> None:
    assert not evaluation.failed
    assert set(evaluation.outcomes) == {Run(name, 5, seed) for name in MIXTURES for seed in (0, 1)}
    assert [evaluation.outcomes[Run("no upper", 5, seed)].examples.tolist() for seed in (0, 1)] == [[10, 0, 10]] * 2
    losses = evaluation.values("uniform", 5, "losses")
    assert losses.shape == (2, 3)
    assert np.array_equal(losses[1], evaluation.outcomes[Run("uniform", 5, 1)].losses)
    assert np.all(losses[0] != losses[1])


def test_stopped_and_continued_by_two_processes_it_ends_with_the_same_bytes(
    evaluation: Evaluation, bench: Any, project: Path, tmp_path: Path
) -> None:
    def stop(stage: str, done: int, total: int, text: str) -> None:
        if text == "1 of 4 runs" and done % 5 == 2:
            raise KeyboardInterrupt

    seen: list[tuple[int, int, str]] = []
    settings: dict[str, Any] = {"seeds": (0, 1), "out": tmp_path, "measure": MEASURE}
    with pytest.raises(KeyboardInterrupt):
        evaluate(*bench[:2], MIXTURES, bench[2], progress=stop, **settings)
    assert len(files(tmp_path)) == 1
    again = evaluate(*bench[:2], MIXTURES, bench[2], jobs=2, progress=lambda *a: seen.append(a[1:]), **settings)
    assert files(tmp_path) == files(project / "whole")
    assert again.outcomes.keys() == evaluation.outcomes.keys()
    assert seen[0] == (0, 15, "0 of 3 runs")
    assert seen[-1] == (15, 15, "3 of 3 runs")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_unpaired_outcomes_are_not_accepted(
    bench: Any, evaluation: Evaluation, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a seed of its own for each mixture."""

    def unpaired(base: Any, tasks: Any, shares: Any, training: Any, *, seed: int, **others: Any) -> Any:
        return plan_run(base, tasks, shares, training, seed=seed + (shares[1] == 0.0), **others)

    monkeypatch.setattr("taskpgm.evaluation.plan_run", unpaired)
    with pytest.raises(tp.InputError, match=r"'no upper', 5 steps, seed 0: its outcome is of seed 1 .* not paired"):
        evaluate(*bench[:2], MIXTURES, bench[2], seeds=(0,), out=project / "whole", measure=MEASURE)


def test_a_run_that_fails_is_named_and_the_others_are_compared(bench: Any, tmp_path: Path) -> None:
    base, tasks, training = bench
    wild = training.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    found = evaluate(base, tasks, MIXTURES, wild, seeds=(0,), out=tmp_path, measure=MEASURE)
    assert not found.outcomes
    assert "diverged" in found.failed[Run("no upper", 5, 0)]
    assert np.all(np.isnan(found.values("uniform", 5, "losses")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixtures": {"m": {"copy": 1.0}}}, "mixture 'm': no share for task 'reverse'"),
        ({"mixtures": {"m": {**MIXTURES["uniform"], "x": 1.0}}}, "mixture 'm': 'x' is not a task"),
        ({"mixtures": {"m": dict.fromkeys(MIXTURES["uniform"], 0.0)}}, "mixture 'm': expected 3 finite shares"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "each once"),
        ({"jobs": 0}, "jobs 0"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_once(
    bench: Any, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"mixtures": MIXTURES, "seeds": (0,), "out": tmp_path, **changes}
    with pytest.raises(tp.InputError, match=message):
        evaluate(*bench[:2], training=bench[2], **settings)
    assert not any(tmp_path.iterdir())


def test_a_process_that_dies_costs_one_attempt(tmp_path: Path) -> None:
    items = ["dies once", "fine", "dies", "raises", "fine too"]
    ended: list[int] = []
    reports: list[tuple[int, int]] = []
    failed = do_all(work, tmp_path, items, workers=2, report=lambda *note: reports.append(note), ended=ended.append)
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert failed == {
        2: "its process died 2 times (exit code 7); is there enough memory?",
        3: "ZeroDivisionError: this item raises",
    }
    attempts = {item: (tmp_path / item).read_text().splitlines() for item in items}
    assert {item: len(set(lines)) for item, lines in attempts.items()} == dict(zip(items, (2, 1, 2, 1, 1), strict=True))
    assert str(os.getpid()) not in {line for lines in attempts.values() for line in lines}
    assert (0, 2) in reports


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    assert do_all(work, tmp_path, ["fine", "raises"], workers=1, report=print, ended=print).keys() == {1}
    assert (tmp_path / "fine").read_text() == f"{os.getpid()}\n"


# ---------------------------------------------------------------------------------------------------------- statistics

samples = st.integers(2, 8).flatmap(
    lambda size: st.lists(st.integers(-1000, 1000).map(lambda value: value / 100), min_size=size, max_size=size)
)


@given(samples)
def test_the_interval_is_students(sample: list[float]) -> None:
    values = np.array(sample)
    found = t_interval(values)
    if len(set(sample)) == 1:
        assert found is None
    else:
        error = scipy.stats.sem(values)
        assert np.allclose(found, scipy.stats.t.interval(0.95, len(values) - 1, values.mean(), error))


def test_differences_are_paired_and_corrected_for_the_mixtures_compared() -> None:
    """Seeds differ by far more than mixtures: without pairing the interval would hold 0 with room to spare."""
    generator = np.random.default_rng(0)
    luck = 5.0 * generator.normal(size=(6, 1))
    base = luck + 0.01 * generator.normal(size=(6, 4))
    better = luck - 0.5 + 0.01 * generator.normal(size=(6, 4))
    values = {"a": better, "uniform": base, "b": base + 1.0, "c": better}
    seen = views(("w", "x", "y", "z"), ("one", "one", "one", ""))
    assert [(view.name, view.level) for view in seen] == [
        ("all families", "average"),
        ("all tasks", "average"),
        ("one", "family"),
        *((name, "task") for name in "wxyz"),
    ]
    rows = {(row.mixture, row.view, row.level): row for row in differences(values, seen)}
    assert {row.mixture for row in rows.values()} == {"a", "b", "c"}
    change = (better - base) @ np.array([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    row = rows["a", "all families", "average"]
    assert row.mean == pytest.approx(change.mean())
    assert row.seeds == 6
    test = scipy.stats.ttest_rel(better @ seen[0].weights, base @ seen[0].weights)
    assert np.allclose(row.interval, test.confidence_interval(0.95))  # type: ignore[arg-type]
    assert np.allclose(row.corrected, test.confidence_interval(1 - 0.05 / 3))  # type: ignore[arg-type]
    assert row.interval is not None
    assert row.interval[1] < -0.45
    assert rows["b", "w", "task"].mean == pytest.approx(1.0)
    assert rows["a", "all tasks", "average"].reference_mean == pytest.approx(base.mean())


def test_failed_runs_leave_their_pair_out_and_one_seed_has_no_interval() -> None:
    base, other = np.zeros((3, 2)), np.ones((3, 2))
    base[0], other[1] = np.nan, np.nan
    (row, *_) = differences({"uniform": base, "m": other}, views(("x", "y"), ("", "")))
    assert (row.seeds, row.mean, row.interval, row.corrected) == (1, 1.0, None, None)
    other[2] = np.nan
    (row, *_) = differences({"uniform": base, "m": other}, views(("x", "y"), ("", "")))
    assert row.as_dict()["mean"] is None
    with pytest.raises(tp.InputError, match="reference mixture 'uniform': not among those evaluated"):
        differences({"m": other}, views(("x", "y"), ("", "")))


def test_target_weights_make_the_average() -> None:
    (view, *_) = views(("x", "y", "z"), ("", "", ""), {"x": 3.0, "z": 1.0})
    assert (view.name, view.weights.tolist()) == ("target-weighted", [0.75, 0.0, 0.25])
    for wrong in ({"nobody": 1.0}, {"x": 0.0}):
        with pytest.raises(tp.InputError, match="target weights"):
            views(("x", "y", "z"), ("", "", ""), wrong)


tables = st.integers(3, 7).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=m, max_size=m)
)


@given(tables)
def test_agreement_is_pearson_and_spearman_within_each_task(rows: list[list[int]]) -> None:
    values = np.array(rows, dtype=float)
    predicted = {str(i): row[:2] for i, row in enumerate(values)}
    runs = {str(i): row[None, 2:] for i, row in enumerate(values)} | {"more": np.zeros((1, 2))}
    found = agreement(predicted, runs, ("x", "y"))
    assert np.isnan(found.repeat).all()
    assert found.as_dict()["repeat_r_squared"] is None
    assert found.mixtures == tuple(map(str, range(len(rows))))
    for i in range(2):
        said, came = values[:, i], values[:, 2 + i]
        if np.ptp(said) == 0 or np.ptp(came) == 0:
            assert np.isnan(found.r_squared[i])
            assert found.as_dict()["tasks"]["xy"[i]]["rank_correlation"] is None
        else:
            assert found.r_squared[i] == pytest.approx(scipy.stats.pearsonr(said, came).statistic ** 2)
            assert found.rank_correlation[i] == pytest.approx(scipy.stats.spearmanr(said, came).statistic)
        assert found.bias[i] == pytest.approx(np.mean(said - came))
        assert found.error[i] == pytest.approx(np.mean(abs(said - came)))


def test_agreement_needs_three_mixtures_and_one_number_a_task() -> None:
    values = {name: np.arange(2.0) for name in "abc"}
    runs = {name: value[None] for name, value in values.items()}
    with pytest.raises(tp.InputError, match=r"of 2 mixture\(s\): at least 3"):
        agreement(values, {name: runs[name] for name in "ab"}, ("x", "y"))
    with pytest.raises(tp.InputError, match="losses of mixture 'c': expected 2 finite numbers"):
        agreement({**values, "c": np.array([0.0, np.nan])}, runs, ("x", "y"))
    with pytest.raises(tp.InputError, match="losses of mixture 'b': expected 2 finite numbers"):
        agreement(values, {**runs, "b": np.full((2, 2), np.nan)}, ("x", "y"))
    with pytest.raises(tp.InputError, match="losses of mixture 'a': expected 2 finite numbers"):
        agreement(values, values, ("x", "y"))  # means, not runs


def test_agreement_tells_what_a_second_set_of_runs_would_reach() -> None:
    """True losses of spread 1 and runs that scatter by s: means of k runs correlate with 1 / (1 + s^2 / k)."""
    rng = np.random.default_rng(0)
    mixtures, seeds, tasks = 400, 5, 40
    names = tuple(f"task {i}" for i in range(tasks))
    true = rng.standard_normal((mixtures, tasks))
    first, second = true[None, :, None] + 0.8 * rng.standard_normal((2, mixtures, seeds, tasks))
    first[0, 0, 0] = np.nan  # a run that failed: its seed is left out of the comparison of runs, not of the means
    told = agreement(dict(enumerate(true)), dict(enumerate(first)), names)
    expected = 1.0 / (1.0 + 0.8**2 / 4)
    assert told.repeat[0].mean() == pytest.approx(expected, abs=0.01)
    assert told.repeat_r_squared == pytest.approx(expected**2, abs=0.02)
    again = agreement(dict(enumerate(second[:, 1:].mean(axis=1))), dict(enumerate(first[:, 1:])), names)
    assert again.mean_r_squared == pytest.approx(expected**2, abs=0.02)
    assert again.mean_rank_correlation == pytest.approx(told.repeat_rank_correlation, abs=0.02)


# ---------------------------------------------------------------------------------------------------- the whole command


def test_the_command_compares_our_mixture_and_goes_on_where_it_stopped(
    call: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("evaluate", project / "run.yaml", "--seeds", "2", "--out", project / "out")
    code, printed, _ = call(*arguments)
    assert code == 0
    for text in ("4 steps (16 examples): held-out loss minus that of uniform", "sqrt", "ours", "reverse", "Bonferroni"):
        assert text in printed
    assert "trained on 72 examples in all, as much as 4.5 runs of 4 steps" in printed
    assert 'id="chart-evaluation"' in (project / "out" / "report.html").read_text(encoding="utf-8")
    stored = (project / "out" / "evaluation.json").read_bytes()
    monkeypatch.setattr("taskpgm.training_run.fine_tune", lambda *a: pytest.fail("trained again"))
    code, printed, _ = call(*arguments, "--json")
    assert code == 0
    assert (project / "out" / "evaluation.json").read_bytes() == stored
    report = json.loads(printed)
    assert report == read_sealed(project / "out" / "evaluation.json")
    ours = tp.Mixture.from_json(project / "out" / "mixture.json").shares("examples")
    assert report["mixtures"]["ours"] == ours
    assert report["mixtures"]["uniform"] == dict.fromkeys(ours, 1 / 3)
    for row in report["differences"]:
        assert row["seeds"] == 2
        assert row["interval"] is None or row["interval"][0] < row["mean"] < row["interval"][1]
    code, printed, _ = call(*arguments[:2], "--seeds", "1", "--out", project / "out")
    assert "One seed: no interval" in printed


def test_shares_follow_the_sizes(bench: Any) -> None:
    sizes = [len(task.train) for task in bench[1]]
    evidence = Evidence([task.name for task in bench[1]], sizes, 100)
    found = mixtures_of(("uniform", "proportional", "sqrt"), evidence)
    assert found["proportional"]["copy"] == pytest.approx(sizes[0] / sum(sizes))
    assert found["sqrt"]["upper"] == pytest.approx(sizes[1] ** 0.5 / sum(size**0.5 for size in sizes))
    assert sum(found["sqrt"].values()) == pytest.approx(1.0)
    with pytest.raises(tp.InputError, match="mixture 'ours': none was computed"):
        mixtures_of(("ours",), evidence)
    for name in ("coverage", "least-forecast"):
        with pytest.raises(tp.InputError, match="coverage: needs curves"):
            mixtures_of((name,), evidence)


def test_rules_that_need_no_experts_train_none(
    call: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskpgm.evaluation_run.train_tokenised", lambda *a: pytest.fail("trained experts"))
    os.symlink(project / "model", tmp_path / "model")
    config = write_config(tmp_path, evaluation={**EVALUATION, "steps": [4], "mixtures": ["uniform", "unimax", "sqrt"]})
    code, printed, error = call("evaluate", config, "--seeds", "1", "--out", tmp_path / "out", "--json")
    assert code == 0, error
    report = json.loads(printed)
    assert {row["mixture"] for row in report["differences"]} == {"unimax", "sqrt"}
    assert report["evidence_examples"] == 0
    assert report["forecasts"] == []


def test_published_rules_and_coverage_are_evaluated_with_what_they_cost(
    call: Any, project: Path, tmp_path: Path
) -> None:
    os.symlink(project / "model", tmp_path / "model")
    wanted = ["uniform", "coverage", "least-forecast", "mixmin", "ado"]
    config = write_config(tmp_path, evaluation={**EVALUATION, "steps": [10, 12], "mixtures": wanted})
    code, printed, error = call("evaluate", config, "--seeds", "1", "--out", tmp_path / "out", "--json")
    assert code == 0, error
    report = json.loads(printed)
    assert list(report["mixtures"]) == ["uniform"]
    assert [each["steps"] for each in report["mixtures_at_budget"]] == [10, 12]
    for each in report["mixtures_at_budget"]:
        assert list(each["mixtures"]) == wanted[1:]
        assert all(sum(shares.values()) == pytest.approx(1.0) for shares in each["mixtures"].values())
        assert each["mixtures"]["least-forecast"] != each["mixtures"]["coverage"]
    assert report["evidence_examples"] == 3 * 6 * 4
    assert {(each["mixture"], each["examples"]) for each in report["short_runs"]} == {("ado", 4 * 3)}
    assert [each["steps"] for each in report["forecasts"]] == [10, 12]
    assert all(len(each["mixtures"]) == 5 for each in report["forecasts"])
    code, printed, _ = call("evaluate", config, "--seeds", "1", "--out", tmp_path / "out")
    assert "ado needed short runs as well" in printed
    assert "Forecasts for 10 steps, over 5 mixtures" in printed
    assert "in other orders" not in printed
    code, printed, _ = call("evaluate", config, "--seeds", "2", "--out", tmp_path / "out")
    assert re.search(r"other orders would tell these\s+losses with [01]\.\d\d and [01]\.\d\d\.", printed)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (
            (),
            {"mixtures": ["uniform", "best"]},
            "'best' is not known; the mixtures are ours, coverage, least-forecast, uniform, proportional",
        ),
        ((), {"target_weights": {"nobody": 1.0}}, "target weights: 'nobody' is not a task"),
        ((), {"steps": [4, 4]}, "evaluation.steps: expected each only once"),
        ((), {"mixture": ["uniform"]}, "evaluation.mixture: unknown key; did you mean 'mixtures'?"),
        (
            (),
            {"harness": {"tasks": ["bbh"]}},
            "lm_eval is not installed; install it with: pip install 'taskpgm[harness]'",
        ),
        (("--steps", "3", "--steps", "3"), {}, "--steps: steps: expected each only once"),
        (("--suite", "easy-redundant"), {}, "give either a run's YAML file or --suite."),
    ],
)
def test_bad_settings_are_one_line_before_any_work(
    call: Any,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # as if it were not installed
    _task_manager.cache_clear()
    os.symlink(project / "model", tmp_path / "model")
    config = write_config(tmp_path, evaluation={**EVALUATION, **changes})
    code, printed, error = call("evaluate", config, "--out", tmp_path / "out", *arguments)
    assert (code, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_source_and_an_unknown_suite_are_one_line(call: Any, tmp_path: Path) -> None:
    assert "give either a run's YAML file or --suite" in call("evaluate")[2]
    assert "suite 'x': there is none of this name" in call("evaluate", "--suite", "x", "--out", tmp_path)[2]


def test_an_empty_eval_part_and_failed_runs_have_exit_codes(call: Any, project: Path, tmp_path: Path) -> None:
    os.symlink(project / "model", tmp_path / "model")
    config = write_config(tmp_path, splits={"eval": 0.0})
    code, _, error = call("evaluate", config, "--out", tmp_path / "out")
    assert (code, error) == (2, "error: task 'copy': its eval part is empty; set splits.eval.\n")
    training = {"steps": 6, "batch_size": 4, "learning_rate": 1e30, "max_grad_norm": 1e30}
    settings = {"steps": 4, "mixtures": ["uniform", "sqrt"]}
    config = write_config(tmp_path, training=training, evaluation=settings)
    code, printed, _ = call("evaluate", config, "--seeds", "1", "--out", tmp_path / "out")
    assert code == 1
    assert "FAILED: mixture 'uniform', 4 steps, seed 0: training diverged" in printed


def stand_in(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module in the place of lm_eval; its task managers remember their folder and know some tasks."""

    class TaskManager:
        def __init__(self, include_path: str | None) -> None:
            self.include_path = include_path

        def match_tasks(self, names: list[str]) -> list[str]:
            return [name for name in names if name in ("bbh", "arc", "x")]

    _task_manager.cache_clear()
    stub, tasks = types.ModuleType("lm_eval"), types.ModuleType("lm_eval.tasks")
    tasks.TaskManager = TaskManager  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lm_eval", stub)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", tasks)
    return stub


def test_the_harness_is_asked_once_for_every_trained_model(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def simple_evaluate(**asked: Any) -> dict[str, Any]:
        assert (Path(asked["model_args"]["pretrained"]) / "tokenizer.json").is_file()
        calls.append(asked)
        score = {"alias": "bbh", "exact_match,get-answer": 0.25 * len(calls), "exact_match_stderr,get-answer": 0.1}
        return {"results": {"bbh": score, "arc": {"acc,none": 0.5, "acc_norm,none": 0.75}}}

    stub = stand_in(monkeypatch)
    stub.simple_evaluate = simple_evaluate  # type: ignore[attr-defined]
    config = load_config(project / "run.yaml")
    harness = HarnessSettings(tasks=("bbh", "arc"), limit=3)
    settings = EvaluationSettings(steps=(4,), mixtures=("uniform", "sqrt"), eval_per_task=4, harness=harness)
    config = config.model_copy(update={"evaluation": settings})
    for _ in range(2):
        report = evaluate_config(config, tmp_path, seeds=1)
    assert len(calls) == 2
    assert calls[0]["tasks"] == ["bbh", "arc"]
    assert calls[0]["limit"] == 3
    assert calls[0]["task_manager"].include_path is None
    with pytest.raises(tp.InputError, match="lm_eval has no task 'hellaswagg'"):
        check_harness(HarnessSettings(tasks=("bbh", "hellaswagg")))
    rows = {row.view: row for row in report.differences[4]["harness"]}
    assert rows["bbh"].mean == pytest.approx(0.25)
    assert rows["bbh"].reference_mean == pytest.approx(0.25)
    assert rows["all tasks"].mean == pytest.approx(0.125)


def test_an_adapter_goes_to_the_harness_with_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = stand_in(monkeypatch)
    folder = tmp_path / "trained_models" / "abc"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    seen: list[Any] = []

    def simple_evaluate(**asked: Any) -> dict[str, Any]:
        seen.append(asked["model_args"])
        raise KeyError("no task of this name")

    stub.simple_evaluate = simple_evaluate  # type: ignore[attr-defined]
    with pytest.raises(tp.InputError, match=r"lm_eval failed \(KeyError: 'no task of this name'\)"):
        harness_scores(folder, Base(Path("base"), "x"), HarnessSettings(tasks=("x",)))
    assert seen == [{"pretrained": "base", "peft": str(folder), "tokenizer": str(folder)}]
    stub.simple_evaluate = lambda **asked: {"results": {"x": {"perplexity,none": 3.0}}}  # type: ignore[attr-defined]
    with pytest.raises(tp.InputError, match="task 'x' has none of the metrics exact_match"):
        harness_scores(folder, Base(Path("base"), "x"), HarnessSettings(tasks=("x",)))


OWN_TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{input}}}} ="
doc_to_choice: ["True", "False"]
doc_to_target: target
metric_list: [{{metric: acc}}]
"""


def test_the_real_harness_scores_trained_models_on_task_files_of_ones_own(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'taskpgm[harness]'")
    _task_manager.cache_clear()
    os.symlink(project / "model", tmp_path / "model")
    own = tmp_path / "own"
    own.mkdir()
    data = own / "logic.jsonl"
    rows = [{"input": f"not {word}", "target": str(word == "False")} for word in ("True", "False") * 4]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (own / "logic.yaml").write_text(OWN_TASK.format(name="logic", data=data))
    harness = {"tasks": ["logic"], "folder": "own", "limit": 6}
    write_config(tmp_path, evaluation={**EVALUATION, "mixtures": ["uniform", "sqrt"], "harness": harness})
    config = load_config(tmp_path / "run.yaml")
    report = evaluate_config(config, tmp_path / "out", seeds=1)
    (row,) = [row for row in report.differences[4]["harness"] if row.view == "logic"]
    assert 0.0 <= row.reference_mean <= 1.0
    assert row.reference_mean * 6 == pytest.approx(round(row.reference_mean * 6))
    assert len(list((tmp_path / "out").rglob("harness/*.json"))) == 2


def test_a_folder_of_task_files_that_is_not_there_is_one_line(call: Any, tmp_path: Path) -> None:
    config = write_config(tmp_path, evaluation={**EVALUATION, "harness": {"tasks": ["x"], "folder": "nowhere"}})
    code, printed, error = call("evaluate", config, "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    assert "evaluation.harness.folder" in error
    assert error.count("\n") == 1
