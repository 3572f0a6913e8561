"""A byte that changed anywhere in a run's folder is found, named and computed again; it is never used."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import flipped
from safetensors.numpy import load_file
from tiny import save_model, write_config, write_tasks

import taskpgm as tp
from taskpgm.config import MeasureSettings, load_config
from taskpgm.evaluation_run import evaluate_config
from taskpgm.experts import tokenize_for
from taskpgm.integrity import DamageError, folder_damage, keep_sound, read_sealed, seal, sealed_damage, write_sums
from taskpgm.inventory import CHECKS, artefacts
from taskpgm.pipeline import run
from taskpgm.suite_run import suite_base
from taskpgm.tensor_files import stored_tensors, tensors_damage, write_tensors
from taskpgm.training_run import model_folder, train_on

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.text().filter(lambda key: key != "sha256")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tasks and configuration, and in `done` a finished run and its evaluation."""
    folder = tmp_path_factory.mktemp("project")
    config = write_config(folder, evaluation={"steps": 2, "mixtures": ["ours", "uniform"], "eval_per_task": 4})
    evaluate_config(load_config(config), folder / "done", seeds=1)
    return folder


# ------------------------------------------------------------------------------------------------------- single files


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_a_sealed_record_is_read_back(tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "record.json"
    path.write_bytes(seal(record))
    assert read_sealed(path) == record
    assert sealed_damage(path) is None


def test_any_byte_of_a_sealed_record_counts(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    whole = seal({"loss": [1.5, -0.0, 1e-300], "name": 'half \ud83d, "quoted" </script>\n'})
    for place in range(len(whole)):
        for bit in (0, 5):
            path.write_bytes(flipped(whole, place, bit))
            with pytest.raises(DamageError, match=r"record\.json: damaged"):
                read_sealed(path)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert sealed_damage(path) is not None


def test_any_byte_of_a_file_of_tensors_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    chunks = [np.arange(6, dtype=np.float32), np.arange(3, dtype=np.int32)]
    write_tensors(path, {"x/one": (np.float32, (2, 3)), "y/two": (np.int32, (3,))}, chunks)
    whole = path.read_bytes()
    assert tensors_damage(path) is None
    assert np.array_equal(load_file(path)["x/one"].ravel(), chunks[0])  # the library reads it
    assert set(stored_tensors(path)) == {"x/one", "y/two"}
    for place in range(len(whole)):
        path.write_bytes(flipped(whole, place))
        assert tensors_damage(path) == f"{path}: damaged: its bytes are not those that were written"
    for cut in (*range(0, len(whole), 7), len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert tensors_damage(path) is not None
    path.write_bytes(whole + b"\0")
    assert tensors_damage(path) is not None


def test_any_byte_of_a_folder_counts(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(range(40)))
    (folder / "inner" / "ünïcode name").write_bytes(b"x")
    (folder / "own.json").write_bytes(b"{}")
    write_sums(folder, leave_out=["own.json"])
    assert folder_damage(folder) is None
    (folder / "own.json").write_bytes(b"{ }")
    (folder / "unasked").write_bytes(b"left alone")
    assert folder_damage(folder) is None
    for file in (folder / "weights", folder / "inner" / "ünïcode name", folder / "SHA256SUMS"):
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(flipped(whole, place))
            assert folder_damage(folder) is not None, (file, place)
        file.write_bytes(b"")
        assert folder_damage(folder) is not None
        file.unlink()
        assert str(folder_damage(folder)).endswith("not there")
        file.write_bytes(whole)
    assert folder_damage(folder) is None


def test_what_is_sound_is_looked_at_once_until_it_is_written_again(tmp_path: Path) -> None:
    path, looks = tmp_path / "a.json", []

    def damage(path: Path) -> str | None:
        looks.append(path)
        return sealed_damage(path)

    path.write_bytes(seal({"a": 1}))
    assert keep_sound(path, damage)
    assert keep_sound(path, damage)
    assert len(looks) == 1
    path.write_bytes(seal({"a": 22}))
    assert keep_sound(path, damage)
    assert len(looks) == 2
    path.write_bytes(b"{}")
    assert not keep_sound(path, damage)
    assert not path.exists()


# --------------------------------------------------------------------------------------------------------- whole runs


def damaged_copy(project: Path, target: Path, pattern: str) -> Path:
    """A copy of the finished run in which the middle byte of the first file of a pattern has another bit; the file."""
    shutil.copytree(project / "done", target)
    file = sorted(target.glob(pattern))[0]
    whole = file.read_bytes()
    file.write_bytes(flipped(whole, len(whole) // 2))
    return file


USED_BY_A_RUN = [
    "mixture.json",
    "experts/*/model.safetensors",
    "experts/*/config.json",
    "experts/*/generation_config.json",
    "experts/*/curve.json",
    "experts/*/SHA256SUMS",
    "predictions/*/*.safetensors",
]
USED_BY_AN_EVALUATION = ["training_runs/*.json", "evaluation.json"]
REWRITTEN = ["evaluation.json"]  # by every evaluation, from the runs


def test_every_file_of_a_run_is_tried_below(project: Path) -> None:
    tried = {file for pattern in (*USED_BY_A_RUN, *USED_BY_AN_EVALUATION) for file in project.glob(f"done/{pattern}")}
    assert {file for file in (project / "done").rglob("*") if file.is_file()} == tried


@pytest.mark.parametrize(
    ("pattern", "finished"),
    [
        *((pattern, True) for pattern in USED_BY_A_RUN),
        ("experts/*/model.safetensors", False),
        pytest.param("predictions/*/*.safetensors", False, marks=pytest.mark.slow),
        pytest.param("experts/*/curve.json", False, marks=pytest.mark.slow),
    ],
)
def test_a_flipped_bit_is_named_and_the_run_ends_with_the_same_bytes(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, pattern: str, finished: bool
) -> None:
    file = damaged_copy(project, tmp_path / "done", pattern)
    if not finished:
        (tmp_path / "done" / "mixture.json").unlink()
    shutil.copytree(project / "tasks", tmp_path / "tasks")  # the mixture says where they lie
    (tmp_path / "model").symlink_to(project / "model")
    shutil.copy(project / "run.yaml", tmp_path)
    _, fresh, _ = run(load_config(tmp_path / "run.yaml"), tmp_path / "done")
    assert fresh
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    named = lines[0].split(": ")[0]
    assert len(lines) == 1
    assert named == str(file) or (file.name == "SHA256SUMS" and Path(named).parent == file.parent)
    assert "\n" not in lines[0]
    assert (tmp_path / "done" / "mixture.json").read_bytes() == (project / "done" / "mixture.json").read_bytes()
    assert all(each.damage() is None for each in artefacts(tmp_path / "done"))
    found = {path.relative_to(tmp_path / "done") for path in (tmp_path / "done").rglob("*")}
    assert found == {path.relative_to(project / "done") for path in (project / "done").rglob("*")}


@pytest.mark.parametrize("pattern", USED_BY_AN_EVALUATION)
def test_a_flipped_bit_in_a_training_run_is_named_and_the_evaluation_is_the_same(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, pattern: str
) -> None:
    file = damaged_copy(project, tmp_path / "done", pattern)
    if pattern in REWRITTEN:
        with pytest.raises(tp.InputError, match=r"evaluation\.json: .*run taskpgm evaluate again"):
            tp.write_page(tmp_path / "done")
    evaluate_config(load_config(project / "run.yaml"), tmp_path / "done", seeds=1)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.split(": ")[0] for line in lines] == ([] if pattern in REWRITTEN else [str(file)])
    for name in (
        "evaluation.json",
        *(str(path.relative_to(project / "done")) for path in (project / "done").glob(pattern)),
    ):
        assert (tmp_path / "done" / name).read_bytes() == (project / "done" / name).read_bytes()


def test_a_kept_model_and_a_suite_s_base_that_are_damaged_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = []

    def build(suite: Any, folder: Path, seed: int, on_step: Any, architecture: str) -> None:
        made.append(folder)
        save_model(folder, seed=seed)

    monkeypatch.setattr("taskpgm.suite.build_base", build)
    base = suite_base("interacting", tmp_path)
    assert suite_base("interacting", tmp_path).fingerprint == base.fingerprint
    assert len(made) == 1
    file = base.path / "tokenizer.json"
    file.write_bytes(flipped(file.read_bytes(), 9))
    assert suite_base("interacting", tmp_path).fingerprint == base.fingerprint
    assert len(made) == 2

    tasks = tokenize_for(tp.load_tasks(write_tasks(tmp_path / "tasks")), base, tp.ProbeSettings())
    training = tp.TrainingSettings(steps=1, batch_size=2, warmup_steps=0)
    kept = {"seed": 0, "out": tmp_path, "keep_model": True, "measure": MeasureSettings(per_task=2)}
    outcome = train_on(base, tasks, [0.5, 0.3, 0.2], training, **kept)
    weights = model_folder(tmp_path, outcome.key) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(flipped(whole, len(whole) - 1))
    train_on(base, tasks, [0.5, 0.3, 0.2], training, **kept)
    assert weights.read_bytes() == whole
    assert [line.split(": ")[0] for line in caplog.messages] == [str(file), str(weights)]


def test_a_mixture_of_another_version_is_said_to_be_one_and_computed_again(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(project / "done", tmp_path / "done")
    path = tmp_path / "done" / "mixture.json"
    path.write_bytes(seal({**read_sealed(path), "format": "taskpgm-mixture/1"}))
    assert run(load_config(project / "run.yaml"), tmp_path / "done")[1]
    assert "mixture.json: written by another version, as taskpgm-mixture/1; computed again" in caplog.text
    assert tp.Mixture.from_json(path).status == "optimal"


def test_every_kind_of_artefact_has_a_check_and_links_are_left_alone(project: Path, tmp_path: Path) -> None:
    kinds = {each.kind for each in artefacts(project / "done")}
    assert kinds == set(CHECKS) - {"base", "trained_models", "harness", "diverged"}
    (tmp_path / "experts").symlink_to(project / "done" / "experts")
    (tmp_path / "predictions").mkdir()
    for folder in (project / "done" / "predictions").iterdir():
        (tmp_path / "predictions" / folder.name).symlink_to(folder)
    assert artefacts(tmp_path) == []
