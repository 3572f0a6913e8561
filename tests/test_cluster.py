"""Items on a Ray cluster of several processes on this machine: the same bytes as here, whoever dies on the way."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cluster_items
import pytest
from run_folders import tree
from tiny import write_config, write_tasks

import taskpgm as tp
from taskpgm import expert_training
from taskpgm.config import load_config
from taskpgm.divergences import tiles
from taskpgm.evaluation_run import evaluate_config
from taskpgm.executors import Item, Source, cluster
from taskpgm.executors.cluster import RayExecutor, ray_cluster
from taskpgm.executors.executor import nothing
from taskpgm.pipeline import run
from taskpgm.progress import silent
from taskpgm.types import InputError

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'taskpgm[ray]'")
TRAINING = tp.TrainingSettings(steps=6, batch_size=4, learning_rate=0.01, warmup_steps=1)
PROBES = tp.ProbeSettings(per_task=4, top_k=8)


@pytest.fixture(scope="module")
def machine() -> Iterator[Path]:
    """The folder for temporary files of the cluster's processes, while a cluster of two processors runs."""
    folder = Path(tempfile.mkdtemp(prefix="tp-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))  # for items of these tests
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray puts a token into the user's home
        ray.init(
            num_cpus=2,
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(folder),
        )
    yield folder
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def executor(machine: Path) -> Iterator[RayExecutor]:
    with ray_cluster() as connected:
        yield connected
    assert ray.is_initialized()  # who has not connected does not disconnect


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tasks and configuration, and in `local` the run in this process."""
    folder = tmp_path_factory.mktemp("project")
    run(load_config(write_config(folder)), folder / "local")
    return folder


def test_a_run_on_a_cluster_leaves_the_bytes_of_one_here(
    project: Path, executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Divergences in tiles as well. One of its processes is killed while it trains."""
    monkeypatch.setattr(tiles, "LEAST_WORK", 1)
    marker = project / "killed"
    dying = partial(cluster_items.dies_once, expert_training._train, marker, 3)
    monkeypatch.setattr(expert_training, "_train", dying)
    told: list[tuple[str, int, int, str]] = []
    config = load_config(project / "run.yaml")
    mixture, fresh, _ = run(config, project / "cluster", lambda *report: told.append(report), executor)
    assert fresh
    assert mixture.weights
    assert int(marker.read_text()) != os.getpid()
    assert tree(project / "cluster") == tree(project / "local")
    experts = [(done, total) for stage, done, total, _ in told if stage == "experts"]
    assert experts == [(6, 18), (12, 18), (18, 18)]
    assert {text for stage, _, _, text in told if stage == "experts"} == {"copy", "upper", "reverse"}
    assert [done for stage, done, _, _ in told if stage == "predictions"] == [0, 2, 3, 4, 4]
    assert run(config, project / "cluster", silent, executor)[1] is False


def test_adapters_and_tasks_that_come_later_are_the_same_too(
    tmp_path: Path, executor: RayExecutor, project: Path
) -> None:
    """A task more has the curves of the experts that are there extended, where they are trained once more."""
    paths = write_tasks(tmp_path / "tasks")
    training = TRAINING.model_copy(update={"lora": tp.LoraSettings(rank=2)})
    for where, place in (("here", tp.executors.LOCAL), ("there", executor)):
        for some in (paths[:2], paths):
            tasks = tp.load_tasks(some)
            out = tmp_path / where
            model = project / "model"
            experts = tp.train_experts(tasks, model, out, training=training, probes=PROBES, executor=place)
            tp.predict(experts, tasks, PROBES, executor=place)
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert len(list(tmp_path.glob("there/predictions/*/*.safetensors"))) == 3 + 4


def test_final_runs_on_a_cluster_have_the_outcomes_of_those_here(
    project: Path, machine: Path, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rule that needs a short run of its own."""
    settings = {"steps": 12, "mixtures": ["ours", "uniform", "ado"], "eval_per_task": 4}
    config = write_config(project, evaluation=settings)
    for place in ("here", "there"):
        shutil.copytree(project / "local", project / place)
    evaluate_config(load_config(config), project / "here", seeds=2)
    options = ("evaluate", config, "--seeds", "2", "--out", project / "there", "--on", "ray")
    code, output, error = call(*options)
    assert code == 0, error
    assert "raylet" not in output
    assert tree(project / "there") == tree(project / "here")
    code, _, error = call(*options, "--jobs", "2")
    assert (code, error.splitlines()[-1][:27]) == (2, "error: --jobs 2 is for runs")


def test_bad_input_in_a_process_elsewhere_is_one_line(
    project: Path, machine: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.copytree(project / "model", tmp_path / "model")
    config = write_config(tmp_path, training={"steps": 6, "batch_size": 4, "learning_rate": 1e9, "warmup_steps": 0})
    code, _, error = call("run", config, "--out", tmp_path / "out", "--on", "ray")
    assert code == 2
    last = error.splitlines()[-1]
    assert last.startswith("error: task '")
    assert last.endswith("training diverged (its losses are not finite); lower learning_rate.")
    assert "Traceback" not in error


def test_items_travel_with_their_folders_and_come_back(executor: RayExecutor, machine: Path, tmp_path: Path) -> None:
    """Names are data, nothing is read where it lies here, and a shared folder is unpacked once."""
    model, own = tmp_path / "mo\ndel", tmp_path / "ó'\"<script>"
    for folder in (model, own):
        folder.mkdir()
        (folder / "a b").write_bytes(os.urandom(100_000))
        (folder / "empty").write_bytes(b"")
    sources = (Source(model, shared=True), Source(own))
    items = [Item(f"copy {i}", cluster_items.copies, None, sources, tmp_path / f"out {i}") for i in range(4)]
    done = dict(executor.run(items, nothing))
    assert sorted(done) == [0, 1, 2, 3]
    assert len({places[0] for places in done.values()}) == 1
    assert len({places[1] for places in done.values()}) == 4
    for i, places in done.items():
        assert all(Path(place).is_relative_to(machine) for place in places)
        assert tree(tmp_path / f"out {i}" / "0") == tree(model)
        assert tree(tmp_path / f"out {i}" / "1") == tree(own)


def test_what_items_share_is_sent_once(executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[Any] = []
    monkeypatch.setattr(ray, "put", lambda value, real=ray.put: put.append(value) or real(value))
    common = {"factor": 3}
    items = [Item("a number", cluster_items.times_common, number, common=common) for number in range(4)]
    assert sorted(executor.run(items, nothing)) == [(number, 3 * number) for number in range(4)]
    assert put == [common]


def test_a_file_that_is_there_is_changed(executor: RayExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    [(_, pid)] = executor.run([Item("a file", cluster_items.adds, b" two", path=tmp_path / "file")], nothing)
    assert pid != os.getpid()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"one two")]


def test_results_come_as_they_end_and_what_is_left_is_given_up(executor: RayExecutor) -> None:
    items = [Item(f"{seconds} s", cluster_items.slowly, seconds) for seconds in (60.0, 0.3, 0.1)]
    results = executor.run(items, nothing)
    assert [next(results)[0], next(results)[0]] == [1, 2]
    results.close()
    started = time.monotonic()
    both = [Item("a moment", cluster_items.slowly, 0.1)] * 2  # there is room for both again
    assert [index for index, _ in executor.run(both, nothing)] in ([0, 1], [1, 0])
    assert time.monotonic() - started < 20.0


def test_items_are_asked_for_when_there_is_room(executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LEAST_WAITING", 3)
    begun: list[int] = []

    def items() -> Iterator[Item]:
        for number in range(20):
            begun.append(number)
            yield Item("a number", cluster_items.times_two, number)

    results = executor.run(items(), nothing)
    first = next(results)
    assert len(begun) <= 4  # two processors have two items each, at most
    assert sorted([first, *results]) == [(number, 2 * number) for number in range(20)]


def test_an_item_whose_process_always_dies_is_named(executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "RETRIES", 1)
    with pytest.raises(InputError, match=r"^the expert of task 'x': its process or machine died 2 times") as raised:
        list(executor.run([Item("the expert of task 'x'", cluster_items.dies, None)], nothing))
    assert "\n" not in str(raised.value)


def test_items_that_fail_do_not_keep_the_others_where_that_is_asked_for(executor: RayExecutor) -> None:
    items = [Item("x", cluster_items.refuses, "x"), Item("a number", cluster_items.times_two, 4)]
    why: dict[int, str] = {}
    assert list(executor.run(items, nothing, why.__setitem__)) == [(1, 8)]
    assert why == {0: "task 'x': nothing can be done with this."}


def test_a_mistake_in_the_program_keeps_its_kind(executor: RayExecutor) -> None:
    with pytest.raises(ZeroDivisionError, match="a mistake in the program"):
        list(executor.run([Item("x", cluster_items.fails, None)], nothing))


def test_models_compute_with_the_threads_that_they_would_have_here(executor: RayExecutor) -> None:
    [(_, found)] = executor.run([Item("x", cluster_items.threads, None, threads=2)], nothing)
    assert found == (2, 2)


def test_who_waits_for_a_larger_machine_is_told(executor: RayExecutor, caplog: pytest.LogCaptureFixture) -> None:
    item = Item("the expert of task 'x'", cluster_items.times_two, 1, threads=64)
    assert executor._needs(item) == (64.0, 0.0)
    assert executor._needs(item) == (64.0, 0.0)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "the expert of task 'x': no machine of the cluster has 64 processors and 0 cards"
    ]


def test_models_take_cards_where_there_are_any(executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine here has one: this is what Ray is asked for."""
    model = Item("the expert of task 'x'", cluster_items.times_two, 1, threads=4, model=True)
    tile = Item("divergences of 10 contexts", cluster_items.times_two, 1)
    monkeypatch.setattr(executor, "_machines", lambda: [{"CPU": 64.0}, {"CPU": 64.0, "GPU": 8.0}])
    assert (executor._needs(model), executor._needs(tile)) == ((1.0, 1.0), (1.0, 0.0))
    assert (executor._room(model), executor._room(tile)) == (16, 256)
    monkeypatch.setattr(executor, "_gpus", 0.25)
    assert (executor._needs(model), executor._room(model)) == ((1.0, 0.25), 64)
    monkeypatch.setattr(executor, "_machines", lambda: [{"CPU": 64.0}, {}])
    assert (executor._needs(model), executor._room(model)) == ((4.0, 0.0), 32)


def test_without_ray_there_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, error = call("run", project / "run.yaml", "--out", tmp_path / "out", "--on", "ray")
    assert (code, error) == (2, "error: Ray is not installed; install it with: pip install 'taskpgm[ray]'.\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--on", "mars"), "--on 'mars': expected one of local, ray."),
        (("--address", "auto"), "--address auto says which cluster, or how much of it: it goes with --on ray."),
        (("--gpus", "0.5"), "--gpus 0.5 says which cluster, or how much of it: it goes with --on ray."),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: tuple[str, ...], why: str, project: Path, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, error = call("run", project / "run.yaml", "--out", tmp_path / "out", *options)
    assert (code, error) == (2, f"error: {why}\n")


# ------------------------------------------------------------- the program as a process of its own, stopped or killed

LONGER = {"steps": 40, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1}


def started(project: Path, out: Path) -> subprocess.Popen[str]:
    """The program at work on this module's cluster."""
    command = [sys.executable, "-m", "taskpgm", "run", str(project / "longer.yaml"), "--out", str(out), "--on", "ray"]
    command += ["--address", ray.get_runtime_context().gcs_address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def with_first_expert(project: Path, out: Path) -> subprocess.Popen[str]:
    process = started(project, out)
    while process.poll() is None and not any(out.glob("experts/[!.]*")):
        time.sleep(0.02)
    return process


@pytest.fixture(scope="module")
def longer(project: Path) -> Path:
    """The project with a run that takes a while, which is in `longer`."""
    config = write_config(project, training=LONGER).rename(project / "longer.yaml")
    write_config(project)
    run(load_config(config), project / "longer")
    return project


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_is_under_way_and_the_same_command_goes_on(
    number: signal.Signals, longer: Path, executor: RayExecutor
) -> None:
    out = longer / f"stopped {int(number)}"
    process = with_first_expert(longer, out)
    begun = time.monotonic()
    process.send_signal(number)
    _, error = process.communicate()
    assert time.monotonic() - begun < 10.0
    assert process.returncode == 128 + number, error
    assert error.splitlines()[-1] == "Stopped. The same command goes on from here."
    assert "Traceback" not in error
    assert not list(out.rglob(".partial-*"))
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("experts/*")}
    again = started(longer, out)
    output, error = again.communicate()
    assert again.returncode == 0, error
    assert "raylet" not in output
    assert tree(out) == tree(longer / "longer")
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("experts/*") if path.name in kept} == kept


@pytest.mark.slow
def test_a_driver_that_was_killed_goes_on(longer: Path, executor: RayExecutor) -> None:
    """Nothing is left of it on the cluster after a while, and the next one ends with the same bytes."""
    out = longer / "killed driver"
    process = with_first_expert(longer, out)
    process.kill()
    process.communicate()
    run(load_config(longer / "longer.yaml"), out, silent, executor)
    assert tree(out) == tree(longer / "longer")


@pytest.mark.slow
def test_nobody_at_the_address_is_one_line(longer: Path, tmp_path: Path) -> None:
    options = ["--out", str(tmp_path / "out"), "--on", "ray", "--address", "127.0.0.1:9"]
    command = [sys.executable, "-m", "taskpgm", "run", str(longer / "longer.yaml"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no Ray cluster at '127.0.0.1:9' (")
