"""taskpgm export: what it prints, writes and refuses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from strategies import HOSTILE_NAMES

import taskpgm as tp
from taskpgm.exporters import EXPORTERS
from taskpgm.mixture import Mixture
from taskpgm.suite import build_tokenizer
from taskpgm.types import TaskSize

Call = Callable[..., tuple[int, str, str]]
SIZES = {"copy": TaskSize(100, 1000, 300), "sort": TaskSize(50, 2000, 500), "été/</script>": TaskSize(10, 50, 20)}
WEIGHTS = {"copy": 0.5, "sort": 0.25, "été/</script>": 0.25}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a run's folder `done`, a mixture without sizes, and the tasks' files."""
    monkeypatch.chdir(tmp_path)
    Path("done").mkdir()
    Path("d.jsonl").mkdir()
    network = tp.TaskNetwork(np.zeros(3), np.eye(3), tuple(WEIGHTS))
    tasks = {}
    for i, name in enumerate(WEIGHTS):
        rows = ({"prompt": f"{i}.{row}", "completion": "ab" * (i + 1)} for row in range(60))
        Path(f"{i}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        tasks[name] = {"path": f"../{i}.jsonl", "columns": {"prompt": "prompt", "completion": "completion"}}
    details = {"data": {"splits": {"probe": 0.15, "eval": 0.15}, "tasks": tasks}}
    proof = (0.0, 0.0, 0.0, "optimal", "given")
    Mixture(network, WEIGHTS, *proof, "tokens", SIZES, details).to_json("done/mixture.json")
    Mixture(network, WEIGHTS, *proof).to_json("bare.json")
    build_tokenizer().save_pretrained("model")
    return tmp_path


def one_line(result: tuple[int, str, str]) -> str:
    code, printed, error = result
    assert (code, printed) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_without_a_file_it_prints_what_the_trainer_reads(call: Call, folder: Path) -> None:
    before = set(folder.rglob("*"))
    code, printed, error = call("export", "done", "--to", "trl")
    assert code == 0
    assert [entry["data_files"] for entry in yaml.safe_load(printed)["datasets"]] == ["0.jsonl", "1.jsonl", "2.jsonl"]
    assert "Beware: trainers read whole files" in error
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize("exporter", EXPORTERS, ids=lambda exporter: exporter.name)
def test_every_trainer_gets_its_files_and_machines_the_same(call: Call, folder: Path, exporter: object) -> None:
    name, ending = exporter.name, exporter.ending  # type: ignore[attr-defined]
    out = folder / "new" / f"mix{ending}"
    code, printed, _ = call("export", "done/mixture.json", "--to", name, "--out", out, "--budget", "900")
    assert code == 0
    assert f"Written to {out}" in printed
    code, printed, error = call("export", "done", "--to", name, "--out", out, "--budget", "900", "--json")
    assert (code, error) == (0, "")
    told = json.loads(printed)
    assert [task["name"] for task in told["tasks"]] == list(WEIGHTS)
    assert sum(task["count"] for task in told["tasks"]) == told["budget"]
    for file in told["files"]:
        assert Path(file["path"]).read_text(encoding="utf-8") == file["text"]
    text = out.read_text(encoding="utf-8")
    assert "Unit: weights are shares of " in text
    assert "epochs" in text


def test_the_list_names_every_trainer_without_a_mixture(call: Call) -> None:
    code, printed, error = call("export", "--to", "list")
    assert (code, error) == (0, "")
    assert [line.split()[0] for line in printed.splitlines()] == [exporter.name for exporter in EXPORTERS]
    listed = json.loads(call("export", "--to", "list", "--json")[1])
    assert [each["name"] for each in listed] == [exporter.name for exporter in EXPORTERS]


@pytest.mark.parametrize("more", [[], ["--tokenizer", "model"]])
def test_mixed_data_is_written_from_where_the_run_found_it(call: Call, folder: Path, more: list[str]) -> None:
    code, printed, _ = call("export", "done", "--materialise", "rows.jsonl", "--budget", "3000", *more)
    assert code == 0
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text(encoding="utf-8").splitlines()]
    counts = Counter(row["task"] for row in rows)
    assert f"Written to rows.jsonl: {len(rows)} rows of 3 tasks." in printed
    if not more:  # 1500, 750 and 750 tokens of 10, 40 and 5 tokens an example
        assert counts == {"copy": 150, "sort": 19, "été/</script>": 150}
    else:
        lengths = {"copy": "ab", "sort": "abab", "été/</script>": "ababab"}
        tokens = Counter({row["task"]: 0 for row in rows})
        tokenizer = build_tokenizer()
        for row in rows:
            assert row["completion"] == lengths[row["task"]]
            tokens[row["task"]] += len(tokenizer(row["prompt"] + row["completion"])["input_ids"])
        assert counts["copy"] > counts["été/</script>"]
        assert tokens["copy"] / sum(tokens.values()) == pytest.approx(0.5, abs=0.02)


def test_a_mixture_without_sizes_takes_its_unit_and_data_from_the_options(call: Call, folder: Path) -> None:
    assert "say --unit examples" in one_line(call("export", "bare.json", "--to", "trl"))
    code, printed, error = call("export", "bare.json", "--to", "trl", "--unit", "examples", "--data", "sort=s/t.csv")
    assert code == 0
    assert "s/t.csv" in printed
    assert "placeholder paths for 'copy', 'été/</script>'" in error
    Path("all").mkdir()
    for i, name in enumerate(("copy", "sort")):
        Path(f"{i}.jsonl").rename(f"all/{name}.jsonl")
    options = ["--unit", "examples", "--budget", "40", "--data-dir", "all", "--data", "été/</script>=2.jsonl"]
    code, _, error = call("export", "bare.json", "--to", "axolotl", "--out", "a.yaml", *options)
    assert (code, "whole files are used" in error) == (0, True)
    counts = Counter(json.loads(line)["task"] for line in Path("a.jsonl").read_text(encoding="utf-8").splitlines())
    assert counts == {"copy": 20, "sort": 10, "été/</script>": 10}


def test_the_data_of_a_runs_yaml_serves_too(call: Call, folder: Path) -> None:
    tasks = [{"name": name, "path": f"{i}.jsonl"} for i, name in enumerate(WEIGHTS)]
    Path("run.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    options = ["--unit", "examples", "--budget", "8"]
    code, printed, _ = call("export", "bare.json", "--tasks", "run.yaml", "--materialise", "r.parquet", *options)
    assert (code, printed) == (0, "Written to r.parquet: 8 rows of 3 tasks.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["done"], "say --to TRAINER (taskpgm export --to list shows all), or --materialise FILE"),
        (["--to", "trl"], "say which mixture"),
        (["done", "--to", "trlx"], "trainer 'trlx': there is no exporter for it; there are datasets, trl,"),
        (["done", "--to", "trl", "--unit", "rows"], "--unit 'rows': use one of tokens, target-tokens, examples"),
        (["done", "--to", "trl", "--data", "sorted=x"], "did you mean 'sort'"),
        (["done", "--to", "trl", "--packed"], "leave --packed out"),
        (["none.json", "--to", "trl"], "none.json: no such file"),
        (["model", "--to", "trl"], "mixture.json: no such file"),
        (["done", "--to", "nemo", "--task-files", "parts"], "--task-files is for trainers that read one file of rows"),
        (["done", "--task-files", "parts"], "or --materialise FILE"),
        (["done", "--materialise", "x.csv"], "x.csv: mixed data is written as .jsonl or .parquet"),
        (["done", "--materialise", "x.jsonl", "--data", "copy=gone.jsonl"], "gone.jsonl: no such file"),
        (["done", "--materialise", "x.jsonl", "--tokenizer", "done"], "its tokenizer cannot be loaded"),
        (["bare.json", "--materialise", "x.jsonl", "--unit", "examples", "--budget", "9"], "task 'copy': nobody says"),
        (["done", "--to", "trl", "--out", "done"], "done: this is a folder; give the name of a file"),
        (["done", "--materialise", "d.jsonl"], "d.jsonl: this is a folder"),
    ],
)
def test_what_cannot_be_exported_is_one_line(call: Call, folder: Path, arguments: list[str], message: str) -> None:
    assert message in one_line(call("export", *arguments))
    assert not Path("x.jsonl").exists()


def test_task_files_hold_the_training_part_and_are_what_the_trainer_reads(call: Call, folder: Path) -> None:
    code, printed, error = call("export", "done", "--to", "trl", "--task-files", "parts")
    assert code == 0
    assert "held out" not in error
    entries = yaml.safe_load(printed)["datasets"]
    assert [entry["data_files"] for entry in entries][:2] == ["parts/copy.jsonl", "parts/sort.jsonl"]
    for i, entry in enumerate(entries):
        lines = Path(entry["data_files"]).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert 30 < len(rows) < 55  # of 60, without what was held out
        assert set(rows[0]) == {"prompt", "completion"}
        assert all(row["prompt"].startswith(f"{i}.") for row in rows)
    told = json.loads(call("export", "done", "--to", "levanter", "--task-files", "parts", "--json")[1])
    assert yaml.safe_load(told["files"][0]["text"])["data"]["configs"]["copy"]["format"]["input_field"] == "prompt"


def test_target_tokens_are_written_with_a_dash(call: Call, folder: Path) -> None:
    told = json.loads(
        call("export", "done", "--to", "megatron-lm", "--unit", "target-tokens", "--budget", "820", "--json")[1]
    )
    assert told["unit"] == "tokens"
    assert "820 target tokens, as asked for" in told["files"][0]["text"]


def test_thirty_files_with_odd_names_go_to_trl(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = HOSTILE_NAMES[:30]
    network = tp.TaskNetwork(np.zeros(30), np.eye(30), names)
    weights = dict.fromkeys(names, 1 / 30)
    Mixture(network, weights, 0.0, 0.0, 0.0, "optimal", "given", "examples").to_json("mixture.json")
    data = [option for i, name in enumerate(names) for option in ("--data", f"{name}=tasks/{i}.jsonl")]
    code, printed, error = call("export", "mixture.json", "--to", "trl", *data)
    assert code == 0
    assert "placeholder" not in error
    entries = yaml.safe_load(printed)["datasets"]
    assert [entry["data_files"] for entry in entries] == [f"tasks/{i}.jsonl" for i in range(30)]
    assert sum(entry["fraction"] for entry in entries) == pytest.approx(1.0)
