"""The embedded suite: fourteen procedural character tasks with planted structure, and a base model made on the spot.

The truth that a good mixture should find: copy, echo, same and dupl are one task under four names (easy, 4,000 examples
each); uppr and caps are another under two. nois has random targets, so nothing in it can be learned beyond letter
frequencies. addn (two-digit addition) is too hard for the experts' budget; bool is small and easy. The base model has
seen every operation, but under random names: it knows how to reverse, not that "revr" means it.

    tasks = demo_suite(seed=0)
    tasks.names                         # ("copy", "echo", "same", "dupl", "uppr", ...)
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskpgm.config import ProbeSettings, SplitSettings, TrainingSettings
from taskpgm.tasks import split_tasks
from taskpgm.types import Example, TaskSet

LETTERS = "abcdefghijkl"
WORD_LENGTH = 4
CONTEXT_WINDOW = 48
BASE_EXAMPLES_PER_OPERATION = 1500


def demo_suite(seed: int = 0) -> TaskSet:
    """The suite's tasks: rows `name:input=target`, the same for the same seed."""
    named = []
    for name, family, size in TASKS:
        source = random.Random(f"taskpgm suite {seed} {name}")
        examples = [_example(name, *OPERATIONS[family](source)) for _ in range(size)]
        named.append((name, examples, family))
    return split_tasks(named, SplitSettings(probe=0.15, eval=0.15))


DEMO_TRAINING = TrainingSettings(
    steps=100, batch_size=32, learning_rate=2e-3, betas=(0.9, 0.98), warmup_steps=20, threads=1
)
DEMO_PROBES = ProbeSettings(per_task=32, top_k="full", batch_size=256)
BASE_TRAINING = TrainingSettings(
    steps=300, batch_size=32, learning_rate=2e-3, betas=(0.9, 0.98), warmup_steps=20, threads=1
)


def base_recipe(seed: int) -> dict[str, Any]:
    """Everything that determines the demo's base model, for its fingerprint."""
    return {"suite": 1, "seed": seed, "training": BASE_TRAINING.model_dump(mode="json"), "model": MODEL}


def build_base(directory: Path, seed: int, on_step: Callable[[int], None]) -> None:
    """Train the suite's base model and save it, with its tokenizer, into an existing folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    from taskpgm.base import torch_threads
    from taskpgm.experts import fine_tune, training_sequence
    from taskpgm.tokens import tokenize

    tokenizer = build_tokenizer()
    operations = _base_tasks(seed)
    examples = [row for task in tokenize(operations, tokenizer, CONTEXT_WINDOW) for row in task.train]
    set_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                max_position_embeddings=CONTEXT_WINDOW,
                **MODEL,
            )
        )
    settings = BASE_TRAINING.model_copy(update={"seed": seed})
    with torch_threads(settings.threads):
        fine_tune(model, training_sequence(examples, settings), settings, on_step)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


MODEL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
}


def build_tokenizer() -> Any:
    """A character tokenizer built without any file; loads back with AutoTokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    characters = sorted(set(string.ascii_letters + string.digits + ":=+&|!()[]{} "))
    vocabulary = {token: i for i, token in enumerate([*special, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=CONTEXT_WINDOW,
    )


# --------------------------------------------------------------------------------------------------------- operations


def _word(source: random.Random) -> str:
    return "".join(source.choice(LETTERS) for _ in range(WORD_LENGTH))


def _copy(source: random.Random) -> tuple[str, str]:
    word = _word(source)
    return word, word


def _upper(source: random.Random) -> tuple[str, str]:
    word = _word(source)
    return word, word.upper()


def _reverse(source: random.Random) -> tuple[str, str]:
    word = _word(source)
    return word, word[::-1]


def _sort(source: random.Random) -> tuple[str, str]:
    word = _word(source)
    return word, "".join(sorted(word))


def _shift(source: random.Random) -> tuple[str, str]:
    word = _word(source)
    return word, "".join(chr((ord(letter) - ord("a") + 1) % 26 + ord("a")) for letter in word)


def _count(source: random.Random) -> tuple[str, str]:
    word = "".join(source.choice("abc") for _ in range(source.randint(4, 9)))
    return word, str(word.count("a"))


def _brackets(source: random.Random) -> tuple[str, str]:
    text = ""
    closing: list[str] = []
    for _ in range(source.randint(2, 5)):
        if closing and source.random() < 0.5:
            text += closing.pop()
        else:
            text, closing = (
                text + (opening := source.choice("([{")),
                [*closing, {"(": ")", "[": "]", "{": "}"}[opening]],
            )
    balanced = text + "".join(reversed(closing))
    if source.random() < 0.5:
        return balanced, "T"
    place = source.randrange(len(balanced))
    broken = balanced[:place] + source.choice([c for c in "()[]{}" if c != balanced[place]]) + balanced[place + 1 :]
    return broken, "F"


def _boolean(source: random.Random) -> tuple[str, str]:
    values = [source.random() < 0.5 for _ in range(source.randint(2, 4))]
    operator = source.choice("&|")
    result = all(values) if operator == "&" else any(values)
    return operator.join("FT"[value] for value in values), "FT"[result]


def _noise(source: random.Random) -> tuple[str, str]:
    return _word(source), _word(source)


def _addition(source: random.Random) -> tuple[str, str]:
    a, b = source.randint(10, 99), source.randint(10, 99)
    return f"{a}+{b}", str(a + b)


OPERATIONS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "copy": _copy,
    "upper": _upper,
    "reverse": _reverse,
    "sort": _sort,
    "shift": _shift,
    "count": _count,
    "brackets": _brackets,
    "boolean": _boolean,
    "noise": _noise,
    "addition": _addition,
}

TASKS: tuple[tuple[str, str, int], ...] = (
    ("copy", "copy", 4000),
    ("echo", "copy", 4000),
    ("same", "copy", 4000),
    ("dupl", "copy", 4000),
    ("uppr", "upper", 2500),
    ("caps", "upper", 2500),
    ("revr", "reverse", 1500),
    ("sort", "sort", 1500),
    ("shft", "shift", 1000),
    ("cont", "count", 800),
    ("brac", "brackets", 800),
    ("bool", "boolean", 400),
    ("nois", "noise", 3000),
    ("addn", "addition", 2000),
)


def _example(name: str, given: str, target: str) -> Example:
    return Example(f"{name}:{given}=", target)


def _base_tasks(seed: int) -> TaskSet:
    """Every operation under random names, from a stream of its own."""
    named = []
    for family, operation in OPERATIONS.items():
        source = random.Random(f"taskpgm base {seed} {family}")
        examples = []
        for _ in range(BASE_EXAMPLES_PER_OPERATION):
            name = "".join(source.choice(string.ascii_lowercase) for _ in range(4))
            examples.append(_example(name, *operation(source)))
        named.append((family, examples, family))
    return split_tasks(named, SplitSettings(probe=0.01, eval=0.0))
