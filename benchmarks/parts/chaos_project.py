"""A run small enough to be ruined hundreds of times: a random model of letters, and tasks of letters."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

OPERATIONS: dict[str, Callable[[str], str]] = {
    "copy": str,
    "upper": str.upper,
    "reverse": lambda word: word[::-1],
    "first": lambda word: word[0],
    "double": lambda word: word + word,
}
EXAMPLES = 60
CONFIG = """\
tasks: [tasks/*.jsonl]
model: {name: model}
training: {steps: 8, batch_size: 4, learning_rate: 0.01, warmup_steps: 1, threads: 1}
probes: {per_task: 6, top_k: 16}
"""


def write_project(folder: Path) -> Path:
    """The model, the tasks and run.yaml in a folder; where run.yaml is."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from taskpgm.suite import CONTEXT_WINDOW, build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=CONTEXT_WINDOW, **sizes, **ids)
    )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "tasks").mkdir(exist_ok=True)
    for name, operation in OPERATIONS.items():
        source = random.Random(name)
        words = ["".join(source.choice("abcdef") for _ in range(3)) for _ in range(EXAMPLES)]
        rows = [json.dumps({"prompt": f"{name[:4]}:{word}=", "completion": operation(word)}) for word in words]
        (folder / "tasks" / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "run.yaml").write_text(CONFIG)
    return folder / "run.yaml"
