"""The whole way, from a run to a proved mixture, on tiny models of the architectures that people fine-tune."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers_of_others as others
import yaml
from safetensors.numpy import load_file
from tiny import OPERATIONS, SIZES

ARCHITECTURES = ("Llama", "Qwen2", "Mistral", "GPT2", "GPTNeoX")
Row = tuple[str, bool, str, bool, bool]
"""(architecture, tied embeddings, kind of tokenizer, chat template, LoRA)"""
ALL: list[Row] = list(
    itertools.product(ARCHITECTURES, (False, True), (others.BYTES, others.PIECES), (False, True), (False, True))
)
PATTERNS = ("0000", "0011", "0101", "0110", "1001")


def covering() -> list[Row]:
    """Two rows an architecture, each the other's opposite: every two choices meet."""
    rows = []
    for kind, pattern in zip(ARCHITECTURES, PATTERNS, strict=True):
        for flip in (False, True):
            tied, pieces, chat, lora = ((bit == "1") != flip for bit in pattern)
            rows.append((kind, tied, others.PIECES if pieces else others.BYTES, chat, lora))
    return rows


def save(folder: Path, kind: str, tied: bool, tokens: str, chat: bool) -> None:
    """A model whose embeddings have a few more rows than its tokenizer has tokens, as is usual."""
    import torch
    import transformers

    tokenizer = others.build(tokens, chat=chat)
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer) + 12,
        max_position_embeddings=48,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=tied,
        **SIZES,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_run(folder: Path, row: Row) -> Path:
    kind, tied, tokens, chat, lora = row
    save(folder / "model", kind, tied, tokens, chat)
    for name in ("copy", "upper"):
        words = ["".join(letters) for letters in itertools.product("abc", repeat=3)]
        pairs = [(f"{name}:{word}=", OPERATIONS[name](word)) for word in words]
        rows: list[dict[str, Any]] = [{"prompt": prompt, "completion": target} for prompt, target in pairs]
        if chat:
            roles = ("user", "assistant")
            rows = [{"messages": [{"role": r, "content": c} for r, c in zip(roles, p, strict=True)]} for p in pairs]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    training = {"steps": 2, "batch_size": 3, "learning_rate": 0.01, "warmup_steps": 0}
    config = {
        "tasks": ["copy.jsonl", "upper.jsonl"],
        "model": {"name": "model"},
        "training": training | ({"lora": {"rank": 2}} if lora else {}),
        "probes": {"per_task": 3, "top_k": 16},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def whole_way(folder: Path, row: Row, call: Callable[..., tuple[int, str, str]]) -> None:
    config, out = write_run(folder, row), folder / "out"
    code, told, error = call("run", config, "--out", out)
    assert code == 0, error
    assert "Certified" in told
    assert call("verify", out / "mixture.json")[0] == 0
    weights = json.loads((out / "mixture.json").read_text())["weights"]
    assert sum(weights.values()) == pytest.approx(1.0)
    experts = [next(iter(each.glob("*.safetensors"))) for each in sorted((out / "experts").iterdir())]
    one, two = (load_file(path) for path in experts)
    assert any(not np.array_equal(one[name], two[name]) for name in one)
    assert all(np.isfinite(values).all() for values in one.values())
    assert {path.name for path in experts} == {"adapter_model.safetensors" if row[-1] else "model.safetensors"}


@pytest.fixture(autouse=True)
def _few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Error bars know nothing of architectures, and take half of the time of runs as small as these."""
    monkeypatch.setattr("taskpgm.pipeline.REPLICATES", 5)


def ids(row: Row) -> str:
    kind, tied, tokens, chat, lora = row
    return "-".join(
        [kind, "tied" if tied else "untied", tokens, "chat" if chat else "plain", "lora" if lora else "whole"]
    )


def test_every_two_choices_meet_in_the_quick_rows() -> None:
    for i, j in itertools.combinations(range(5), 2):
        assert {(row[i], row[j]) for row in covering()} == {(row[i], row[j]) for row in ALL}


@pytest.mark.parametrize("row", covering(), ids=ids)
def test_the_whole_way(row: Row, tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    whole_way(tmp_path, row, call)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ALL if row not in covering()], ids=ids)
def test_the_whole_way_of_every_other_combination(
    row: Row, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    whole_way(tmp_path, row, call)


def test_longer_examples_than_the_model_has_positions_are_refused(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    config = write_run(tmp_path, ("GPT2", True, others.BYTES, False, False))
    long = [{"prompt": f"copy:{'ab' * 60}{i}=", "completion": "x"} for i in range(20)]
    (tmp_path / "copy.jsonl").write_text("\n".join(map(json.dumps, long)))
    code, _, error = call("run", config, "--out", tmp_path / "out")
    assert code == 2
    assert "are longer than the window of 48 tokens" in " ".join(error.split())


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    config = write_run(tmp_path, ("Llama", False, others.BYTES, False, False))
    tokenizer = others.build(others.BYTES)
    tokenizer.add_tokens([f"<new{i}>" for i in range(40)])
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"copy:{i}", "completion": "<new39>"} for i in range(20)]
    (tmp_path / "copy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, _, error = call("run", config, "--out", tmp_path / "out")
    assert code == 2
    assert "task 'copy': the model's tokenizer gives token" in " ".join(error.split())
