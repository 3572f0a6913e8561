"""Access tokens and passwords stay where they are: in no file of a run, no page, no log, and no message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny import write_config

import taskpgm as tp
from taskpgm.config import TaskSource, load_config
from taskpgm.discretion import without_secrets

SECRETS = {
    "HF_TOKEN": "hf_QwErTyUiOpAsDfGhJk",
    "HUGGING_FACE_HUB_TOKEN": "plain old secret",
    "WANDB_API_KEY": "0123abcd" * 5,
}
ADDRESS = "https://me:pass-word-of-mine@hub.example/hf_ZxCvBnMaSdFgHjKl"
TOLD = (*SECRETS.values(), "pass-word-of-mine", "ZxCvBnMaSdFgHjKl")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def test_a_run_leaves_no_secret_anywhere(tmp_path: Path, call: Call) -> None:
    out = tmp_path / "run"
    code, printed, error = call("run", write_config(tmp_path), "--out", out)
    assert code == 0, error
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {"mixture.json", "report.html", "log.jsonl"} <= {path.name for path in written}
    for text in (printed, error, *(path.read_bytes().decode("latin-1") for path in written)):
        assert [secret for secret in TOLD if secret in text] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": [{"hub": ADDRESS, "revision": "abc", "split": "train"}]},
        {"tasks": [{"hub": "o/hf_ZxCvBnMaSdFgHjKl", "revision": "abc", "split": "train"}]},
        {"tasks": [ADDRESS, "tasks/copy.jsonl"]},
        {"model": {"name": ADDRESS}},
        {"model": {"name": ADDRESS, "revision": "abc"}},
        {"training": {"steps": ADDRESS}},
        {"training": {ADDRESS: 1}},
    ],
)
def test_no_message_tells_a_secret(tmp_path: Path, call: Call, changes: dict[str, object]) -> None:
    out = tmp_path / "run"
    code, printed, error = call("run", write_config(tmp_path, **changes), "--out", out)
    assert code == 2
    assert error.startswith("error: ")
    files = [path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file()]
    for text in (printed, error, *files):
        assert [secret for secret in TOLD if secret in text] == []


def test_a_token_in_a_data_sets_name_is_refused_where_it_would_be_filed(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    source = {"hub": ADDRESS, "revision": "abc", "split": "train"}
    path.write_text(yaml.safe_dump({"tasks": [source], "model": {"name": "m"}}))
    with pytest.raises(tp.InputError, match="give its name without a token; log in with: hf auth login"):
        load_config(path)
    assert TaskSource(hub="owner/name_of-a.data-set", revision="abc", split="train").hub


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("see https://example.org/a@b:c and me@example.org", "see https://example.org/a@b:c and me@example.org"),
        ("half_life and hf_a, sk-1", "half_life and hf_a, sk-1"),
        (f"x {ADDRESS} y", "x https://***@hub.example/hf_*** y"),
        ("a plain old secret.", "a ***."),
    ],
)
def test_only_secrets_are_left_out(text: str, told: str) -> None:
    assert without_secrets(text) == told
