"""The configuration: its defaults survive being written out, and every mistake is one line with its file and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import taskpgm as tp
from taskpgm.config import RunConfig, TrainingSettings, load_config

LEAST: dict[str, Any] = {"tasks": ["a.jsonl", "b.jsonl"], "model": {"name": "m"}}
PAIRWISE = {"kind": "pairwise"}
FULL: dict[str, Any] = {
    "tasks": [
        {"name": "é 😀", "path": "a.jsonl", "family": "f", "columns": {"prompt": "q", "completion": "a"}},
        {"hub": "org/set", "subset": "s", "split": "train", "revision": "0a1b2c", "prompt_template": "Q: {prompt}"},
    ],
    "model": {"name": "m", "revision": "0a1b2c"},
    "splits": {"probe": 0.2, "eval": 0.0},
    "training": {
        "steps": 7,
        "betas": [0.8, 0.9],
        "schedule": "cosine",
        "precision": "bfloat16",
        "threads": 1,
        "lora": {"rank": 4, "target_modules": ["q_proj"]},
        "snapshots": [0.0, 0.5, 1.0],
    },
    "probes": {"top_k": "full", "too_long": "drop"},
    "energy": PAIRWISE
    | {"utility": "heldout_gain", "target_weights": {"é 😀": 1.0}, "beta": -1.0, "prior": {"é 😀": 0.5}},
    "feasible": {"lower": {"é 😀": 0.1}, "upper": {"é 😀": 0.9}},
    "mixture": {"unit": "examples", "budget": 1000},
}


def written(folder: Path, config: Any) -> Path:
    path = folder / "run.yaml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config, allow_unicode=True))
    return path


def refusal(folder: Path, config: Any) -> str:
    """What the one line says after the file's name."""
    path = written(folder, config)
    with pytest.raises(tp.InputError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def dumped(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


def keys(values: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of all settings; the names of tasks and columns are no settings."""
    if isinstance(values, list):
        return [key for i, item in enumerate(values) for key in keys(item, (*place, i))]
    free = ("columns", "target_weights", "prior", "lower", "upper")
    if not isinstance(values, dict) or (place and place[-1] in free):
        return []
    return [found for key, value in values.items() for found in ((*place, key), *keys(value, (*place, key)))]


def with_setting(place: tuple[str | int, ...], value: Any, base: dict[str, Any] = LEAST) -> dict[str, Any]:
    """A copy of a configuration in which one setting is replaced."""
    changed = yaml.safe_load(yaml.safe_dump(base))
    section = changed
    for part in place[:-1]:
        section = section[part] if isinstance(section, list) else section.setdefault(part, {})
    section[place[-1]] = value
    return changed


EVERY_KEY = keys(dumped(RunConfig.model_validate(FULL)))


def test_the_defaults_survive_being_written_out(tmp_path: Path) -> None:
    least = load_config(written(tmp_path, LEAST))
    everything = dumped(least)
    assert set(everything) == set(RunConfig.model_fields)
    assert load_config(written(tmp_path, everything)) == least


def test_a_full_configuration_survives_being_written_out(tmp_path: Path) -> None:
    full = load_config(written(tmp_path, FULL))
    assert load_config(written(tmp_path, dumped(full))) == full
    assert full.training.lora is not None
    assert full.training.lora.target_modules == ("q_proj",)
    assert full.tasks[0].name == "é 😀"


def test_only_tasks_and_the_models_name_have_no_default() -> None:
    for kind in (RunConfig, *(field.annotation for field in RunConfig.model_fields.values())):
        for name, field in getattr(kind, "model_fields", {}).items():
            assert not field.is_required() or name in ("tasks", "model", "name")


@pytest.mark.parametrize("place", EVERY_KEY, ids=lambda place: ".".join(map(str, place)))
def test_a_misspelt_key_suggests_the_right_one(tmp_path: Path, place: tuple[str | int, ...]) -> None:
    wrong = f"{place[-1]}x"
    config = with_setting((*place[:-1], wrong), 1, dumped(RunConfig.model_validate(FULL)))
    shown = ".".join(map(str, (*place[:-1], wrong)))
    assert refusal(tmp_path, config) == f"{shown}: unknown key; did you mean {place[-1]!r}?"


def test_a_key_like_no_other_lists_the_known_ones(tmp_path: Path) -> None:
    assert refusal(tmp_path, LEAST | {"qqqq": 1}).startswith("qqqq: unknown key; known: tasks, model, splits,")
    assert refusal(tmp_path, {"tsks": [], "model": {"name": "m"}}) == "tsks: unknown key; did you mean 'tasks'?"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("tasks",), {"a": 1}, "tasks: input should be a valid tuple."),
        (("tasks", 1), 5, "tasks.1: input should be a valid dictionary"),
        (("tasks", 1), {}, "tasks.1: give either path (a file) or hub"),
        (("tasks", 1), {"path": "a", "hub": "b"}, "tasks.1: give either path (a file) or hub"),
        (("tasks", 1), {"hub": "org/set", "split": "train"}, "tasks.1: hub data set 'org/set': pin revision"),
        (("tasks", 1), {"path": "a", "columns": {"promt": "x"}}, "unknown role 'promt'; did you mean 'prompt'?"),
        (("tasks", 1), {"path": "a", "name": 5}, "tasks.1.name: input should be a valid string (found 5)."),
        (("model",), "m", "model: input should be a valid dictionary"),
        (("model",), {}, "model.name: missing; this setting has no default."),
        (("splits",), {"probe": 0.6, "eval": 0.4}, "splits: probe 0.6 and eval 0.4 leave nothing to train on"),
        (("splits", "probe"), 0.0, "splits.probe: input should be greater than 0 (found 0.0)."),
        (("splits", "eval"), 1.0, "splits.eval: input should be less than 1"),
        (("training", "steps"), 0, "training.steps: input should be greater than or equal to 1"),
        (("training", "steps"), "many", "training.steps: input should be a valid integer"),
        (("training", "learning_rate"), float("nan"), "training.learning_rate: input should be a finite number"),
        (("training", "betas"), [0.9], "training.betas.1: missing"),
        (("training", "betas"), [0.9, 1.0], "training.betas.1: input should be less than 1 (found 1.0)."),
        (("training", "schedule"), "liner", "training.schedule: input should be 'linear', 'cosine' or"),
        (("training", "snapshots"), [0.1, 1.0], "training.snapshots: expected increasing shares from 0.0 to 1.0."),
        (("training", "snapshots"), [0.0, 0.5], "training.snapshots: expected increasing shares from 0.0 to 1.0."),
        (("training", "snapshots"), [0.0, 0.5, 0.4, 1.0], "training.snapshots: expected increasing shares"),
        (("training", "snapshots"), [], "training.snapshots: expected increasing shares"),
        (("training", "lora"), {"rank": 0}, "training.lora.rank: input should be greater than or equal to 1"),
        (("training", "lora"), 8, "training.lora: input should be a valid dictionary"),
        (("probes", "top_k"), 0, "probes.top_k: expected a positive number or 'full' (found 0)."),
        (("probes", "top_k"), "all", "probes.top_k"),
        (("probes", "too_long"), "cut", "probes.too_long: input should be 'refuse' or 'drop' (found 'cut')."),
        (("energy", "beta"), float("inf"), "energy.beta: input should be a finite number (found inf)."),
        (("energy", "kind"), "graph", "energy.kind: input should be 'coverage' or 'pairwise' (found 'graph')."),
        (("energy",), PAIRWISE | {"utility": "supplied"}, "energy: utility: supplied needs supplied"),
        (("energy",), PAIRWISE | {"supplied": {"a": 1.0}}, "energy: utility: supplied needs supplied"),
        (
            ("energy",),
            PAIRWISE | {"target_weights": {"a": 1.0}},
            "energy: target_weights are only used by kind: coverage, and by utility: heldout_gain.",
        ),
        (("energy", "choose"), {"knee": True, "utility_share": 0.5}, "energy.choose: give exactly one of"),
        (("energy", "choose"), {}, "energy.choose: give exactly one of"),
        (("energy", "choose"), {"nearest_prior": 1.0}, "energy.choose.nearest_prior: input should be less than 1"),
        (("energy", "choose"), {"nearest": 0.8}, "energy.choose.nearest: unknown key; did you mean 'nearest_prior'?"),
        (
            ("energy", "choose"),
            {"knee": True},
            "energy: choose belongs to kind: pairwise; add that, or leave choose out",
        ),
        (("energy", "rho"), 0.7, "energy: rho belongs to kind: pairwise; add that, or leave rho out"),
        (("energy",), PAIRWISE | {"curves": "envelope"}, "energy: curves belongs to kind: coverage; add that"),
        (
            ("energy",),
            PAIRWISE | {"choose": {"knee": True}, "beta": 1.0},
            "energy: choose chooses beta; leave beta out",
        ),
        (
            ("energy",),
            PAIRWISE | {"choose": {"nearest_prior": 0.5}, "tau": 1.0},
            "energy: choose: nearest_prior minimises",
        ),
        (("energy", "prior"), {"a": 0.0}, "energy.prior.a: input should be greater than 0 (found 0.0)."),
        (("feasible", "floor"), 1.5, "feasible.floor: input should be less than or equal to 1 (found 1.5)."),
        (("feasible", "lower"), {"a": "lots"}, "feasible.lower.a: input should be a valid number"),
        (("mixture", "unit"), "words", "mixture.unit: input should be 'tokens' or 'examples' (found 'words')."),
        (("splits",), None, "splits: input should be a valid dictionary"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(
    tmp_path: Path, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    assert message in refusal(tmp_path, with_setting(place, value))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path, {"tasks": []}) == "model: missing; this setting has no default."
    assert refusal(tmp_path, {"model": {"name": "m"}}) == "tasks: missing; this setting has no default."
    assert refusal(tmp_path, "").startswith("expected settings such as tasks: and model:, found NoneType")
    with pytest.raises(tp.InputError, match=r"none\.yaml: no such file"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [a, b\nmodel: {name: m}\n", "not valid YAML, line 2: expected ',' or ']', but got ':'."),
        ("tasks:\n\t- a\n", "not valid YAML, line 2: found character '\\t' that cannot start any token."),
        ("tasks: !!python/object:os.system {}\n", "not valid YAML, line 1: could not determine a constructor"),
        ("a: 1\n---\nb: 1\n", "not valid YAML, line 2: but found another document."),
        ("tasks: [2020-13-45]\n", "not usable YAML (month must be in 1..12)."),
        ("[" * 5000, "not usable YAML (maximum recursion depth exceeded"),
        ("- a\n- b\n", "expected settings such as tasks: and model:, found list."),
        ("1: 2\ntasks: []\nmodel: {name: m}\n", "1: keys should be strings (found 1)."),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text).startswith(message)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"pth": "a"}], "tasks.0: pth: unknown key; did you mean 'path'?"),
        ("nothing", None),
        (5, "expected a list of tasks, or a configuration with tasks: [...]."),
    ],
)
def test_a_plain_list_of_tasks_is_checked_the_same_way(tmp_path: Path, tasks: Any, message: str | None) -> None:
    path = written(tmp_path, {"tasks": tasks})
    with pytest.raises(tp.InputError) as caught:
        tp.load_tasks(path)
    expected = f"{path}: {message}" if message else f"{tmp_path / 'nothing'}: unknown file type"
    assert str(caught.value).startswith(expected)
    with pytest.raises(tp.InputError, match=r"run.yaml: splits: prbe: unknown key; did you mean 'probe'\?"):
        tp.load_tasks(written(tmp_path, {"tasks": ["a"], "splits": {"prbe": 0.1}}))


def test_paths_are_relative_to_the_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep" / "models" / "m").mkdir(parents=True)
    outside = str(tmp_path / "elsewhere" / "c.jsonl")
    config = {"tasks": ["../a.jsonl", {"path": outside}], "model": {"name": "models/m"}}
    path = written(tmp_path / "deep", config)
    monkeypatch.chdir(tmp_path)
    loaded = load_config(path.relative_to(tmp_path))
    assert [task.path for task in loaded.tasks] == [str(Path("deep", "../a.jsonl")), outside]
    assert loaded.model.name == str(Path("deep", "models", "m"))
    assert load_config(written(tmp_path / "deep", LEAST)).model.name == "m"  # no such folder: a name on the hub


@given(st.integers(1, 10_000), st.lists(st.floats(0.0, 1.0), max_size=8))
def test_snapshots_are_steps_from_first_to_last(steps: int, shares: list[float]) -> None:
    snapshots = tuple(sorted({0.0, 1.0, *shares}))
    taken = TrainingSettings(steps=steps, snapshots=snapshots).snapshot_steps()
    assert (taken[0], taken[-1]) == (0, steps)
    assert taken == sorted(set(taken))
    assert all(abs(share * steps - min(taken, key=lambda s: abs(s - share * steps))) <= 0.5 for share in snapshots)
