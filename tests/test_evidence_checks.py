"""What a pairwise run says of its evidence, and that it takes as many probes as a width needs, and no more."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from evidence import make_predictions
from tiny import write_config, write_tasks

import taskpgm as tp
from taskpgm import evidence_checks as module
from taskpgm.config import ProbeSettings, load_config
from taskpgm.evidence_checks import affinity_within, check_width, evidence_checks
from taskpgm.pipeline import run
from taskpgm.progress import silent
from taskpgm.terminal import print_energy
from taskpgm.tokens import TokenExample, TokenTask
from taskpgm.types import Predictions

PAIRWISE = {"kind": "pairwise"}
Asked = list[int]


def probing(*counts: int) -> list[TokenTask]:
    """Tasks of nothing but so many different probes."""
    rows = [tuple(TokenExample((i, i), 1) for i in range(count)) for count in counts]
    return [TokenTask(f"task {t}", (), each, (), 0) for t, each in enumerate(rows)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Probes a task for which the models are asked; three experts answer at random."""
    seen: Asked = []

    def predict(experts: Any, tasks: Any, settings: ProbeSettings, *others: Any) -> Predictions:
        seen.append(settings.per_task)
        return make_predictions(1, n=3, per_task=settings.per_task)

    monkeypatch.setattr(module, "predict_tokenised", predict)
    return seen


def widest(per_task: int) -> float:
    return float(tp.enough_probes(tp.estimate_affinity(make_predictions(1, n=3, per_task=per_task))).widths[-1])


def within(width: float | None, per_task: int = 8, available: int = 1000) -> tp.Affinity:
    settings = ProbeSettings(per_task=per_task, width=width)
    return affinity_within(None, probing(available, 3, 3), settings, tp.estimate_affinity, silent)  # type: ignore


def test_probes_are_taken_until_the_width_holds(asked: Asked) -> None:
    assert within(None).blocks is not None
    assert within(1.1 * widest(8)).blocks is not None
    assert asked == [8, 8]
    asked.clear()
    goal = 0.4 * widest(8)
    found = within(goal)
    assert asked[:2] == [8, 32]  # four times as many at most
    assert asked == sorted(set(asked))
    assert tp.enough_probes(found).widths[-1] <= goal
    assert widest(asked[-2]) > goal
    assert asked[-1] < 3 * 8 / 0.4**2


def test_all_probes_are_taken_where_even_they_are_too_few(asked: Asked) -> None:
    found = within(1e-9, available=50)
    assert asked == [8, 32, 50]
    assert tp.enough_probes(found, 1e-9).enough is None
    asked.clear()
    within(1e-9, per_task=60, available=50)
    assert asked == [60]


def test_a_task_with_one_probe_is_refused_before_any_work() -> None:
    check_width(probing(5, 1), ProbeSettings())
    check_width(probing(5, 2), ProbeSettings(width=0.1))
    with pytest.raises(tp.InputError, match=r"probes\.width: task 'task 1' has one probe"):
        check_width(probing(5, 1), ProbeSettings(width=0.1))


def test_what_cannot_be_answered_is_left_out() -> None:
    affinity = tp.estimate_affinity(make_predictions(0, per_task=1, k=5))
    network = tp.TaskNetwork.from_affinity(affinity)
    solution = tp.solve(network, tp.SimplexQP())
    found = evidence_checks(network, solution, affinity, tp.ExponentialSimilarity(), None)
    assert list(found) == ["interval_effect"]
    refused = tp.solve(network, tp.Exhaustive())
    assert refused.point is None
    affinity = tp.estimate_affinity(make_predictions(0, per_task=2, k=5))
    assert list(evidence_checks(network, refused, affinity, tp.ExponentialSimilarity(), None)) == ["probes_enough"]


def test_what_is_told_is_plain_json_with_the_numbers_of_the_functions() -> None:
    affinity = tp.estimate_affinity(make_predictions(2, per_task=4, k=5))
    network = tp.TaskNetwork.from_affinity(affinity)
    solution = tp.solve(network, tp.SimplexQP())
    found = evidence_checks(network, solution, affinity, tp.ExponentialSimilarity(), 0.01)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    effect = tp.interval_effect(network, solution, affinity)
    assert found["interval_effect"]["regret"] == effect.regret
    assert found["interval_effect"]["seen"]["task 1"] == effect.seen[1].tolist()
    assert found["probes_enough"] == tp.enough_probes(affinity, 0.01).as_dict()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_config(folder)
    return folder


def test_a_pairwise_run_says_both_and_takes_more_probes_for_a_width(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = {"per_task": 3, "top_k": 6}
    first, _, _ = run(load_config(write_config(project, energy=PAIRWISE, probes=plain)), project / "out")
    told = first.details["probes_enough"]
    assert told["probes"] == [2, 3]
    assert told["width"] is None
    effect = first.details["interval_effect"]
    assert all(low <= first.weights[name] <= high for name, (low, high) in effect["seen"].items())
    print_energy(first)
    printed = capsys.readouterr().out
    assert "Probes: with 3 probes a task every divergence is known within" in printed
    assert "Pooled tokens: proved for all divergences within their intervals" in printed
    experts = sorted(path.name for path in (project / "out" / "experts").iterdir())
    narrower = {**plain, "width": 0.9 * told["widths"][-1]}
    second, fresh, _ = run(load_config(write_config(project, energy=PAIRWISE, probes=narrower)), project / "out")
    assert fresh
    assert second.details["probes_enough"]["probes"][-1] > 3
    assert sorted(path.name for path in (project / "out" / "experts").iterdir()) == experts  # nothing trained again
    assert all(check.passed for check in second.verify())
    assert not run(load_config(project / "run.yaml"), project / "out")[1]


def test_a_width_that_means_nothing_is_refused(project: Path, tmp_path: Path) -> None:
    os.symlink(project / "model", tmp_path / "model")
    write_tasks(tmp_path / "tasks")
    for probes, energy, message in (
        ({"width": 0.1}, {}, r"probes\.width is for divergences, which only energy"),
        ({"width": 0.0}, PAIRWISE, r"probes\.width: input should be greater than 0"),
        ({"width": 0.1, "per_task": 1}, PAIRWISE, "one does not tell how much others would differ"),
    ):
        with pytest.raises(tp.InputError, match=message):
            load_config(write_config(tmp_path, probes=probes, energy=energy))
