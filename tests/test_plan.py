"""taskpgm plan: what it prints before anything starts, what it refuses, and that its gains are those on record."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts import benchmark
from tiny import save_model, write_config

from taskpgm import cli
from taskpgm.evidence_costs import GAINS_FILE, evidence_table, gains_of, measured_gains, measured_suites
from taskpgm.plan_terminal import amount, duration
from taskpgm.run_plan import plan_of
from taskpgm.suite import SUITES

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "mixtures"
Call = Callable[..., tuple[int, str, str]]
STAGES = ["base on probes", "experts", "predictions", "divergences", "final run", "evaluation"]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["taskpgm", *map(str, arguments)])
        capsys.readouterr()  # bars of what was made for the test
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def stage(told: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in told["stages"] if each["stage"] == name)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A run with a model of seven billion parameters, of which there is nothing but a configuration and a header."""
    path = write_config(tmp_path)
    folder = tmp_path / "model"
    config = json.loads((folder / "config.json").read_text())
    sizes = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    (folder / "config.json").write_text(json.dumps({**config, **sizes, "num_key_value_heads": 32, "head_dim": 128}))
    shapes = {"model.embed_tokens.weight": [79, 4096], "lm_head.weight": [79, 4096]}
    for i in range(32):
        for part in "qkvo":
            shapes[f"model.layers.{i}.self_attn.{part}_proj.weight"] = [4096, 4096]
        for part in ("gate", "up", "down"):
            shapes[f"model.layers.{i}.mlp.{part}_proj.weight"] = [11008, 4096][:: -1 if part == "down" else 1]
    header = json.dumps({name: {"dtype": "BF16", "shape": shape} for name, shape in shapes.items()}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def test_the_table_says_what_everything_costs(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    code, printed, error = call("plan", config, "--hardware", "h100-sxm", "--out", tmp_path / "out")
    assert (code, error) == (0, "")
    for name in STAGES:
        assert f"│ {name} " in printed
    assert "Model: 5,136 parameters; float32." in printed
    assert "h100-sxm, 989 TFLOP/s in bfloat16, 67 TFLOP/s in float32, 80 GB (NVIDIA H100 data sheet" in printed
    assert "Time assumes 35% of that peak (--utilisation), 5 ms of overhead a batch; solving" in printed
    assert "3 experts with all that is read of them cost" in printed
    assert "Warning" not in printed
    assert not (tmp_path / "out").exists()


def test_json_holds_the_same_for_machines(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path, mixture={"unit": "examples", "budget": 4000})
    options = ("--json", "--hardware", "a100-80gb", "--seeds", "2", "--evidence")
    code, printed, error = call("plan", config, *options)
    assert (code, error) == (0, "")
    told = json.loads(printed)
    assert told["format"] == "taskpgm-plan/1"
    assert [each["stage"] for each in told["stages"]] == STAGES
    assert told["final_steps"] == 1000
    before = sum(stage(told, name)["flops"] for name in STAGES[:4])
    assert told["evidence_in_final_runs"] == pytest.approx(before / stage(told, "final run")["flops"])
    rows = {row["evidence"]: row for row in told["evidence"]}
    assert rows["none: adaptive in the run"]["final_runs"] == 0.0
    assert rows["6-step experts, with the graph"]["flops"] == pytest.approx(before)
    assert rows["6-step experts, with the graph"]["gains"] == {}
    assert rows["50-step experts, without the graph"]["flops"] < rows["50-step experts, with the graph"]["flops"]
    assert (
        rows["12-step experts, with the graph"]["final_runs"] < rows["100-step experts, with the graph"]["final_runs"]
    )


def test_twice_the_devices_or_the_utilisation_take_half_the_time(call: Call, large: Path) -> None:
    def hours(*options: str) -> float:
        told = json.loads(call("plan", large, "--json", "--hardware", "h100-sxm", *options)[1])
        return float(stage(told, "evaluation")["hours"])

    plain = hours()
    assert hours("--devices", "2") == pytest.approx(plain / 2)
    assert plain / 2 < hours("--utilisation", "0.7") < plain
    assert hours("--seeds", "6") == pytest.approx(2 * plain)


def test_memory_that_does_not_fit_is_a_warning_that_says_what_helps(call: Call, large: Path) -> None:
    told = json.loads(call("plan", large, "--json", "--hardware", "h100-sxm")[1])
    assert 6.4e9 < told["model"]["parameters"] < 6.6e9
    assert stage(told, "experts")["memory_bytes"] > 16 * told["model"]["parameters"]
    warned = next(text for text in told["warnings"] if text.startswith("final run needs about 10"))
    assert "h100-sxm has 80. What helps: training: {lora: {rank: 16}}: 27" in warned
    assert "the same with precision: bfloat16: 13.9 GB." in warned
    assert "; precision" not in warned  # of little use by itself: a cast copy of the weights more
    path = write_config(large.parent, training={"steps": 6, "batch_size": 4, "precision": "bfloat16", "lora": {}})
    told = json.loads(call("plan", path, "--json", "--hardware", "h100-sxm")[1])
    assert told["warnings"] == []
    assert told["model"]["adapter_parameters"] == 16 * 32 * (4 * 2 * 4096 + 3 * (4096 + 11008))


def test_what_makes_large_models_fit_is_counted_and_named(call: Call, large: Path) -> None:
    def planned(**changes: Any) -> dict[str, Any]:
        known = yaml.safe_load(large.read_text()) | changes
        large.write_text(yaml.safe_dump(known))
        return dict(json.loads(call("plan", large, "--json", "--hardware", "l4")[1]))

    plain = {"steps": 6, "batch_size": 512, "precision": "bfloat16", "lora": {}}
    told = planned(training=plain)
    needs = [float(stage(told, "experts")["memory_bytes"])]
    warned = next(text for text in told["warnings"] if text.startswith("experts needs about"))
    for setting in ("model: {load_in: 4bit}", "gradient_checkpointing: true", "micro_batch: 256"):
        assert f"{setting}: " in warned
    for more in ({"gradient_checkpointing": True}, {"micro_batch": 16}):
        plain |= more
        needs.append(float(stage(planned(training=plain), "experts")["memory_bytes"]))
    told = planned(model={"name": "model", "load_in": "4bit"})
    needs.append(float(stage(told, "experts")["memory_bytes"]))
    assert needs == sorted(needs, reverse=True)
    assert told["warnings"] == []
    assert needs[-1] < 6e9  # of 24
    printed = call("plan", large, "--hardware", "l4")[1]
    assert "; bfloat16, the layers' matrices in 4bit." in printed


def test_a_disk_that_is_too_small_is_a_warning(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskpgm import run_plan
    from taskpgm.config import load_config

    usage = type("Usage", (), {"free": 10e9})()
    monkeypatch.setattr(run_plan.shutil, "disk_usage", lambda place: usage)
    plan = plan_of(load_config(large), hardware="h100-sxm", out=large.parent / "not" / "yet")
    assert any("the run leaves 77.7 GB in" in text and "where 10 GB are free" in text for text in plan.warnings)


def test_without_held_out_examples_the_evaluation_is_left_out_and_said_so(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path, splits={"probe": 0.3, "eval": 0.0})
    code, printed, _ = call("plan", config, "--hardware", "l4")
    assert code == 0
    assert "│ evaluation" not in printed
    assert "Note: No evaluation: task 'copy': nothing to measure on in its eval part" in printed


def test_a_run_that_has_begun_is_said_to_cost_less(call: Call, tmp_path: Path) -> None:
    (tmp_path / "out" / "experts").mkdir(parents=True)
    _, printed, _ = call("plan", write_config(tmp_path), "--hardware", "l4", "--out", tmp_path / "out")
    assert "holds experts already; what need not be done again is not subtracted." in " ".join(printed.split())


def test_a_budget_in_tokens_decides_how_long_the_final_run_is(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path, mixture={"budget": 26_000})
    told = json.loads(call("plan", config, "--hardware", "l4", "--json")[1])
    assert told["final_steps"] == 500  # of 4 examples of 13 tokens
    assert stage(told, "final run")["tokens"] == 26_000


def test_published_rules_that_need_runs_of_their_own_cost_more(call: Call, tmp_path: Path) -> None:
    def flops(*mixtures: str) -> float:
        config = write_config(tmp_path, evaluation={"mixtures": mixtures})
        told = json.loads(call("plan", config, "--json", "--hardware", "l4", "--seeds", "1")[1])
        return float(stage(told, "evaluation")["flops"])

    plain = flops("uniform", "sqrt")
    assert flops("uniform", "ado") == pytest.approx(plain * 2.3 / 2)
    assert flops("uniform", "regmix") == pytest.approx(plain * (2 + 0.3 * 7) / 2)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, ["--hardware", "h100"], "--hardware 'h100' is not in the table; did you mean"),
        ({"training": {"stepz": 3}}, [], "training.stepz: unknown key; did you mean 'steps'?"),
        ({"model": {"name": "./nowhere"}}, [], "nowhere': no such folder."),
        ({"model": {"name": "owner/name"}}, [], "pin model.revision to a commit"),
        ({"model": {"name": "tasks"}}, [], "no config.json"),
        ({"feasible": {"fixed": {"zebra": 0.1}}}, [], "feasible.fixed: 'zebra' is not a task"),
        ({"feasible": {"upper": dict.fromkeys(("copy", "upper", "reverse"), 0.2)}}, [], "no mixture is feasible"),
        ({"evaluation": {"mixtures": ["uniform", "nobody's"]}}, [], 'evaluation.mixtures: "nobody\'s" is not known'),
        ({"training": {"lora": {"target_modules": ["x"]}}}, [], "training.lora does not fit the model"),
        ({"tasks": ["tasks/copy.jsonl", "tasks/none.jsonl"]}, [], "none.jsonl: no such file."),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_starts(
    call: Call, tmp_path: Path, changes: dict[str, Any], options: list[str], message: str
) -> None:
    code, printed, error = call("plan", write_config(tmp_path, **changes), "--out", tmp_path / "out", *options)
    assert (code, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("header", [b"", b"\xff" * 20, (5).to_bytes(8, "little") + b"[1,2]"])
def test_a_broken_file_of_weights_is_one_line(call: Call, tmp_path: Path, header: bytes) -> None:
    config = write_config(tmp_path)
    (tmp_path / "model" / "model.safetensors").write_bytes(header)
    code, printed, error = call("plan", config, "--hardware", "l4")
    assert (code, printed) == (2, "")
    assert "model.safetensors: not a whole file of weights." in error


def test_names_are_data(call: Call, tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    write_config(tmp_path)
    name = '</script> [bold]"名" \n/x'
    tasks = [{"name": name, "path": "tasks/copy.jsonl"}, {"name": "other", "path": "tasks/upper.jsonl"}]
    code, printed, error = call("plan", write_config(tmp_path, tasks=tasks), "--hardware", "l4", "--json")
    assert (code, error) == (0, "")
    assert any(name in note for note in json.loads(printed)["notes"])
    assert call("plan", tmp_path / "run.yaml", "--hardware", "l4")[0] == 0


# --------------------------------------------------------------------------------------------------- what evidence pays


def test_gains_are_what_the_records_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails after a new record: python benchmarks/mixtures.py gains, as its help shows."""
    made = tmp_path / GAINS_FILE
    monkeypatch.setattr(sys, "argv", ["mixtures.py", "gains", str(RESULTS), "--to", str(made)])
    benchmark("mixtures").main()
    kept, again = measured_gains(), json.loads(made.read_text())
    assert len(kept) == len(again) >= 15
    for row, other in zip(kept, again, strict=True):
        assert {**row, "mean": 0, "interval": 0} == {**other, "mean": 0, "interval": 0}
        assert row["mean"] == pytest.approx(other["mean"], abs=1e-12)
        assert row["interval"] == pytest.approx(other["interval"], abs=1e-9)
    assert (resources.files("taskpgm") / GAINS_FILE).is_file()


def test_gains_agree_with_the_printed_tables() -> None:
    printed = (RESULTS / "ABLATIONS.md").read_text()
    for row in (row for row in measured_gains() if row["record"] == "ablations"):
        low, high = row["interval"]
        assert f"| {row['mixture']} | {row['mean']:+.4f} | {low:+.4f} to {high:+.4f} |" in printed


def test_the_readme_shows_the_gains() -> None:
    """Where this fails after a new record: python benchmarks/mixtures.py gains-table taskpgm/gains.json"""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    table = readme.split("<!-- evidence -->\n")[1].split("\n<!-- end of evidence -->")[0]
    assert table == benchmark("parts/study_report").readme_gains(measured_gains())


def test_a_record_of_runs_that_are_decided_inside_is_read_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study of adaptive mixtures has the same form as the others; here it is one of two made-up seeds."""
    names = ["a", "b", "c"]
    lines = []
    for seed in (1, 2):
        losses = {"uniform": 1.0, "uniform-even": 0.9, "adaptive-families": 0.7 - 0.01 * seed}
        runs = [{"mixture": name, "steps": 125, "losses": [loss] * 3} for name, loss in losses.items()]
        lines.append(json.dumps({"suite": "hard-redundant", "names": names, "families": names, "runs": runs}))
    (tmp_path / "inside.jsonl").write_text("\n".join(lines))
    made = tmp_path / "gains.json"
    monkeypatch.setattr(sys, "argv", ["mixtures.py", "gains", str(tmp_path), "--to", str(made)])
    benchmark("mixtures").main()
    rows = {row["kind"]: row for row in json.loads(made.read_text())}
    assert set(rows) == {"order", "adaptive"}
    assert rows["adaptive"]["mean"] == pytest.approx(-0.315)
    assert rows["adaptive"]["seeds"] == 2


def test_what_was_not_measured_is_said_to_be_so(call: Call, tmp_path: Path) -> None:
    code, printed, _ = call("plan", write_config(tmp_path), "--hardware", "l4", "--evidence")
    assert code == 0
    for steps in (6, 12, 25, 50, 100):
        for graph in ("with", "without"):
            assert f"│ {steps}-step experts, {graph} the graph " in printed
    row = next(line for line in printed.splitlines() if "12-step experts, without" in line)
    assert row.count("not measured") == len(measured_suites()) == len(SUITES)
    row = next(line for line in printed.splitlines() if "25-step experts, with the" in line)
    assert "-0.137 (-0.159 to -0.116)" in row
    assert "models of 90,000 parameters" in printed
    assert "adaptive evidence sees each task's own loss, and cannot see that two tasks are one" in printed


def test_every_measured_kind_is_shown(tmp_path: Path) -> None:
    from taskpgm.config import load_config

    shown = evidence_table(plan_of(load_config(write_config(tmp_path)), hardware="l4").costing)
    found = [dict(row.gains) for row in shown if row.gains]
    kinds = {(row["kind"], row["expert_steps"], row["graph"]) for row in measured_gains() if row["steps"] == 125}
    assert len(found) == len(kinds)
    for kind in kinds:
        assert gains_of(*kind) in found


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 s"), (0.123, "0.12 s"), (42.4, "42 s"), (600.0, "10 min"), (7200.0, "2 h")]
)
def test_times_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(12.0, "0.012 kB"), (3.4e6, "3.4 MB"), (8e10, "80 GB"), (2e12, "2 TB")])
def test_sizes_read_well(size: float, text: str) -> None:
    assert amount(size) == text
