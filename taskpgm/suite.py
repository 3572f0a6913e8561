"""The embedded suites: procedural character tasks with planted structure, and base models made on the spot.

A row is `name:input=target`. A suite's base model has seen operations, but under random names: it knows how to reverse,
not that "revr" means it. The truth that a good mixture should find:

easy-redundant (demo_suite): copy, echo, same and dupl are one task under four names (easy, 4,000 examples each); uppr
and caps are another under two. nois has random targets, so nothing in it can be learned beyond letter frequencies. addn
(two-digit addition) is too hard for the experts' budget; bool is small and easy.

hard-redundant: the tasks that need most training are the redundant ones. revr, back, flip and mirr are reversal under
four names, addn, plus and summ addition under three; all others are single. By size half of the budget goes to them.

interacting: mapc and mapr ask for the copy and for the reverse of the same prompts, "mapp:abcd=", so what one gains
the other loses. rvcd is code (a cipher) read backwards, with few examples: 1,280 of them leave it at chance (1.98 nats)
when alone or next to other tasks, and reach 1.66 with code, 1.76 with revr, 1.47 with both (seed 0); it is of no use to
either. Delayed jumps: in a uniform run of 500 steps pick (the letter at a given place) and mapr stay flat until about
step 225, then fall from 1.1 to 0.7 and from 1.9 to 1.1. This base has seen neither cipher nor reversal nor pick.

    tasks = demo_suite(seed=0)
    tasks.names                         # ("copy", "echo", "same", "dupl", "uppr", ...)
    SUITES["interacting"].tasks(seed=0)
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from taskpgm.config import ProbeSettings, SplitSettings, TrainingSettings
from taskpgm.operations import OPERATIONS
from taskpgm.tasks import split_tasks
from taskpgm.types import Example, InputError, TaskSet

Architecture: TypeAlias = Literal["Llama", "Qwen2"]

CONTEXT_WINDOW = 48
BASE_EXAMPLES_PER_OPERATION = 1500
DEMO_TRAINING = TrainingSettings(
    steps=100, batch_size=32, learning_rate=2e-3, betas=(0.9, 0.98), warmup_steps=20, threads=1
)
DEMO_PROBES = ProbeSettings(per_task=32, top_k="full", batch_size=256)
BASE_TRAINING = TrainingSettings(
    steps=300, batch_size=32, learning_rate=2e-3, betas=(0.9, 0.98), warmup_steps=20, threads=1
)
MODEL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Planned:
    """One task of a suite: so many examples of an operation, under the name `label` in the prompts.

    Tasks with one label have the same prompts. The family is the operation where not given, and the label the name.
    """

    name: str
    operation: str
    size: int
    family: str = ""
    label: str = ""

    def examples(self, seed: int) -> list[Example]:
        """The task's rows, the same for the same seed."""
        label = self.label or self.name
        source = random.Random(f"taskpgm suite {seed} {label}")
        return [_example(label, *OPERATIONS[self.operation](source)) for _ in range(self.size)]


@dataclass(frozen=True)
class Suite:
    """Tasks with planted structure, and the operations that their base model has seen under random names."""

    name: str
    planned: tuple[Planned, ...]
    known: tuple[str, ...]

    def tasks(self, seed: int = 0) -> TaskSet:
        """The suite's tasks, the same for the same seed."""
        named = [(row.name, row.examples(seed), row.family or row.operation) for row in self.planned]
        return split_tasks(named, SplitSettings(probe=0.15, eval=0.15))

    def base_tasks(self, seed: int) -> TaskSet:
        """What the base model is trained on: every known operation under random names, from a stream of its own."""
        named = []
        for family in self.known:
            source = random.Random(f"taskpgm base {seed} {family}")
            examples = []
            for _ in range(BASE_EXAMPLES_PER_OPERATION):
                name = "".join(source.choice(string.ascii_lowercase) for _ in range(4))
                examples.append(_example(name, *OPERATIONS[family](source)))
            named.append((family, examples, family))
        return split_tasks(named, SplitSettings(probe=0.01, eval=0.0))

    def base_recipe(self, seed: int, architecture: Architecture = "Llama") -> dict[str, Any]:
        """Everything that determines the base model, for its fingerprint: suites that know the same share a base."""
        training = BASE_TRAINING.model_dump(mode="json")
        model = {**MODEL, "architecture": architecture}
        return {"suite": 2, "known": self.known, "seed": seed, "training": training, "model": model}


def embedded_suite(name: str, seed: int = 0) -> TaskSet:
    """The tasks of an embedded suite: "easy-redundant", "hard-redundant" or "interacting".

    Raises:
        InputError: there is no suite of this name.
    """
    return find_suite(name).tasks(seed)


def demo_suite(seed: int = 0) -> TaskSet:
    """The tasks of the suite "easy-redundant": rows `name:input=target`, the same for the same seed."""
    return EASY_REDUNDANT.tasks(seed)


def find_suite(name: str) -> Suite:
    """The suite of a name.

    Raises:
        InputError: there is none.
    """
    if name not in SUITES:
        raise InputError(f"suite {name!r}: there is none of this name; the suites are {', '.join(SUITES)}.")
    return SUITES[name]


def build_base(
    suite: Suite, directory: Path, seed: int, on_step: Callable[[int], None], architecture: Architecture = "Llama"
) -> None:
    """Train a suite's base model and save it, with its tokenizer, into an existing folder."""
    import torch
    import transformers

    from taskpgm.base import save_parts, torch_threads
    from taskpgm.fine_tuning import fine_tune, training_sequence
    from taskpgm.tokens import tokenize

    tokenizer = build_tokenizer()
    tasks = suite.base_tasks(seed)
    examples = [row for task in tokenize(tasks, tokenizer, CONTEXT_WINDOW) for row in task.train]
    configure = getattr(transformers, f"{architecture}Config")
    transformers.set_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{architecture}ForCausalLM")(
            configure(
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
    save_parts(directory, model, tokenizer)


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


def _example(name: str, given: str, target: str) -> Example:
    return Example(f"{name}:{given}=", target)


ORDINARY = ("copy", "upper", "reverse", "sort", "shift", "count", "brackets", "boolean", "noise", "addition")

EASY_REDUNDANT = Suite(
    "easy-redundant",
    (
        Planned("copy", "copy", 4000),
        Planned("echo", "copy", 4000),
        Planned("same", "copy", 4000),
        Planned("dupl", "copy", 4000),
        Planned("uppr", "upper", 2500),
        Planned("caps", "upper", 2500),
        Planned("revr", "reverse", 1500),
        Planned("sort", "sort", 1500),
        Planned("shft", "shift", 1000),
        Planned("cont", "count", 800),
        Planned("brac", "brackets", 800),
        Planned("bool", "boolean", 400),
        Planned("nois", "noise", 3000),
        Planned("addn", "addition", 2000),
    ),
    ORDINARY,
)

HARD_REDUNDANT = Suite(
    "hard-redundant",
    (
        Planned("revr", "reverse", 3000),
        Planned("back", "reverse", 2500),
        Planned("flip", "reverse", 2000),
        Planned("mirr", "reverse", 1500),
        Planned("addn", "addition", 2500),
        Planned("plus", "addition", 2000),
        Planned("summ", "addition", 1500),
        Planned("copy", "copy", 4000),
        Planned("uppr", "upper", 2000),
        Planned("shft", "shift", 1500),
        Planned("sort", "sort", 1200),
        Planned("cont", "count", 800),
        Planned("bool", "boolean", 400),
        Planned("nois", "noise", 2500),
    ),
    ORDINARY,
)

INTERACTING = Suite(
    "interacting",
    (
        Planned("mapc", "copy", 2000, family="contradiction", label="mapp"),
        Planned("mapr", "reverse", 2000, family="contradiction", label="mapp"),
        Planned("code", "code", 2000),
        Planned("revr", "reverse", 2000),
        Planned("rvcd", "reversed code", 200),
        Planned("pick", "pick", 3000),
        Planned("copy", "copy", 3000),
        Planned("uppr", "upper", 1500),
        Planned("shft", "shift", 1000),
        Planned("sort", "sort", 1000),
        Planned("bool", "boolean", 400),
        Planned("nois", "noise", 2500),
    ),
    ("copy", "upper", "sort", "shift", "count", "brackets", "boolean", "noise", "addition"),
)

SUITES: dict[str, Suite] = {suite.name: suite for suite in (EASY_REDUNDANT, HARD_REDUNDANT, INTERACTING)}
