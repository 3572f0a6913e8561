"""Tiny random models and small task files, made on the spot: what the tests of the model half run on."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from taskpgm.suite import CONTEXT_WINDOW, build_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
OPERATIONS: dict[str, Callable[[str], str]] = {
    "copy": lambda word: word,
    "upper": lambda word: word.upper(),
    "reverse": lambda word: word[::-1],
}


def save_model(directory: Path, kind: str = "Llama", seed: int = 0, **changes: Any) -> Path:
    """A random model of the given architecture with the suite's character tokenizer. changes: in its configuration."""
    import torch
    import transformers

    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT_WINDOW,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **SIZES,
        **changes,
    }
    config = getattr(transformers, f"{kind}Config")(**settings)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def write_tasks(
    directory: Path, names: tuple[str, ...] = ("copy", "upper", "reverse"), examples: int = 60
) -> list[Path]:
    """One JSONL file per task; `name` picks the operation, so equal names under other folders hold equal tasks."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in names:
        source = random.Random(name)
        words = ["".join(source.choice("abcdef") for _ in range(3)) for _ in range(examples)]
        rows = [{"prompt": f"{name[:4]}:{word}=", "completion": OPERATIONS[name](word)} for word in words]
        path = directory / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        paths.append(path)
    return paths


def write_config(directory: Path, **changes: Any) -> Path:
    """A run's YAML over the tiny model and tasks in the same folder, made where they are missing."""
    if not (directory / "model").is_dir():
        save_model(directory / "model")
    paths = write_tasks(directory / "tasks")
    config: dict[str, Any] = {
        "tasks": [f"tasks/{path.name}" for path in paths],
        "model": {"name": "model"},
        "training": {"steps": 6, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1},
        "probes": {"per_task": 4, "top_k": "full"},
        **changes,
    }
    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
