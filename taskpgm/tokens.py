"""Examples as token ids: the same rendering for training, probing and counting.

The prompt and the target are tokenised apart, so that the border between them is the same token in every task; the
target as it is in the middle of a text, without the space that some tokenizers put before a text. A chat is rendered
with the tokenizer's own template; everything else gets the tokenizer's leading special tokens and its end token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from taskpgm.storage import content_hash, first_line
from taskpgm.types import Example, FloatArray, InputError, IntArray, Probes, TaskSet, TaskSize, readonly

Part: TypeAlias = Literal["probe", "eval"]
BEFORE = ("\n", "0", "(")  # put before a text so that it does not begin one; the first that it does not melt into


@dataclass(frozen=True)
class TokenExample:
    """Token ids of one example, prompt then target; target_start is the index of the first target token."""

    ids: tuple[int, ...]
    target_start: int


@dataclass(frozen=True)
class TokenTask:
    """A task's parts as token ids, in the order of the task's examples; `dropped` were longer than the window."""

    name: str
    train: tuple[TokenExample, ...]
    probe: tuple[TokenExample, ...]
    eval: tuple[TokenExample, ...]
    dropped: int

    @property
    def size(self) -> TaskSize:
        """The training part in examples, tokens and target tokens."""
        tokens = sum(len(example.ids) for example in self.train)
        targets = sum(len(example.ids) - example.target_start for example in self.train)
        return TaskSize(len(self.train), tokens, targets)

    @cached_property
    def digest(self) -> str:
        """The hash of the name and of all parts."""
        parts = [[[list(row.ids), row.target_start] for row in part] for part in (self.train, self.probe, self.eval)]
        return content_hash([self.name, parts])


def tokenize(tasks: TaskSet, tokenizer: Any, context_window: int, *, too_long: str = "refuse") -> tuple[TokenTask, ...]:
    """All parts of all tasks as token ids.

    Args:
        tasks: what to tokenise.
        tokenizer: a transformers tokenizer.
        context_window: the most tokens that the model takes.
        too_long: "refuse" longer examples with an error, or "drop" them.

    Raises:
        InputError: an example longer than the window, or a chat for a tokenizer without a chat template.
    """
    return tuple(_tokenize_task(task, tokenizer, context_window, too_long) for task in tasks)


def token_lengths(examples: Sequence[Example], tokenizer: Any, place: str) -> IntArray:
    """(rows, 2) how many tokens each example has, prompt and target, and how many of them are target tokens."""
    tokenised = _tokenize_examples(examples, tokenizer, place)
    return readonly([(len(one.ids), len(one.ids) - one.target_start) for one in tokenised], np.int64)


def chosen_probes(task: TokenTask, per_task: int, part: Part = "probe") -> tuple[TokenExample, ...]:
    """The first `per_task` different held-out examples of a task: a repeated one would add cost and no evidence."""
    return tuple(dict.fromkeys(task.probe if part == "probe" else task.eval))[:per_task]


def make_probes(tasks: Sequence[TokenTask], per_task: int, part: Part = "probe") -> Probes:
    """The first `per_task` different held-out examples of every task (or all it has), sorted by length and content.

    The order depends on the examples alone, so that batches, and with them rounding errors, are the same however the
    tasks are ordered.
    """
    chosen = [(example, i) for i, task in enumerate(tasks) for example in chosen_probes(task, per_task, part)]
    chosen.sort(key=lambda pair: (len(pair[0].ids), pair[0].ids, pair[0].target_start, tasks[pair[1]].name))
    return Probes(
        names=tuple(task.name for task in tasks),
        tokens=tuple(readonly(example.ids, np.int64) for example, _ in chosen),
        target_start=readonly([example.target_start for example, _ in chosen], np.int64),
        task=readonly([i for _, i in chosen], np.int64),
    )


def probes_by_task(tasks: Sequence[TokenTask], per_task: int) -> tuple[list[str], dict[str, Probes]]:
    """(the key of each task's probes, the probes by key), each in the order that they have in `make_probes`.

    A key is the hash of token ids and of where targets begin: it knows neither the task's name nor the other tasks.
    """
    each = [make_probes([task], per_task) for task in tasks]
    rows = [zip(own.tokens, own.target_start.tolist(), strict=True) for own in each]
    keys = [content_hash([[ids.tolist(), start] for ids, start in own]) for own in rows]
    return keys, dict(zip(keys, each, strict=True))


def marginal_log_probs(tasks: Sequence[TokenTask], probes: Probes, vocabulary: int) -> FloatArray:
    """(C,) log-probability of each context's true token under its task's marginal at that target position.

    Counted on the training targets and smoothed towards the task's marginal over all positions by one observation.
    """
    result = np.empty(len(probes.targets))
    for i, task in enumerate(tasks):
        targets = [example.ids[example.target_start :] for example in task.train]
        overall = Counter(token for target in targets for token in target)
        at_position: dict[int, Counter[int]] = {}
        for target in targets:
            for position, token in enumerate(target):
                at_position.setdefault(position, Counter())[token] += 1
        total = sum(overall.values())
        for c in np.flatnonzero(probes.context_task == i):
            token, position = int(probes.targets[c]), int(probes.context_position[c])
            anywhere = (overall[token] + 1.0 / vocabulary) / (total + 1.0)
            here = at_position.get(position, Counter())
            result[c] = np.log((here[token] + anywhere) / (here.total() + 1.0))
    return result


def context_window(config: Any, tokenizer: Any) -> int:
    """The most tokens that a model with this configuration and tokenizer takes."""
    positions, most = getattr(config, "max_position_embeddings", None), int(tokenizer.model_max_length)
    return most if positions is None else min(int(positions), most)  # some models have no limit


def check_vocabulary(tasks: Sequence[TokenTask], vocabulary: int) -> None:
    """Whether a model with so many embeddings knows every token.

    Raises:
        InputError: tokens were added to the tokenizer, and the model's embeddings were not resized.
    """
    for task in tasks:
        rows = (*task.train, *task.probe, *task.eval)
        highest = max((max(row.ids) for row in rows), default=0)
        if highest >= vocabulary:
            raise InputError(
                f"task {task.name!r}: the model's tokenizer gives token {highest}, and its embeddings have"
                f" {vocabulary} rows; save the model again after model.resize_token_embeddings(len(tokenizer))."
            )


def pad_batch(rows: Sequence[IntArray | Sequence[int]], padding: int) -> tuple[IntArray, IntArray]:
    """(ids, mask), each (rows, longest): rows padded on the right, mask 1 on real tokens."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), padding, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


def _tokenize_task(task: Any, tokenizer: Any, window: int, too_long: str) -> TokenTask:
    parts: dict[str, tuple[TokenExample, ...]] = {}
    dropped = 0
    for part in ("train", "probe", "eval"):
        tokenised = _tokenize_examples(getattr(task, part), tokenizer, f"task {task.name!r}")
        kept = tuple(example for example in tokenised if len(example.ids) <= window)
        if len(kept) < len(tokenised) and too_long == "refuse":
            longest = max(len(example.ids) for example in tokenised)
            raise InputError(
                f"task {task.name!r}: {len(tokenised) - len(kept)} {part} example(s) are longer than the window of"
                f" {window} tokens (the longest has {longest}); shorten them, or set probes: {{too_long: drop}}."
            )
        if not kept and part != "eval":
            raise InputError(f"task {task.name!r}: every {part} example is longer than the window of {window} tokens.")
        dropped += len(tokenised) - len(kept)
        parts[part] = kept
    return TokenTask(task.name, parts["train"], parts["probe"], parts["eval"], dropped)


def _tokenize_examples(examples: Sequence[Example], tokenizer: Any, place: str) -> list[TokenExample]:
    if not examples:
        return []
    chats = [bool(example.messages) for example in examples]
    texts = [
        _render_chat(example, tokenizer, place) if chat else (example.prompt, example.completion)
        for example, chat in zip(examples, chats, strict=True)
    ]
    prompts = _ids(tokenizer, [prompt for prompt, _ in texts])
    targets = _continued(tokenizer, [target for _, target in texts])
    end, start = _end(tokenizer), leading_tokens(tokenizer)
    result = []
    for prompt, target, chat in zip(prompts, targets, chats, strict=True):
        head = list(prompt) if chat else [*start, *prompt]
        # the first token is never predicted: a target must not start there
        head = head or end or [target[0]]
        result.append(TokenExample((*head, *target, *([] if chat else end)), len(head)))
    return result


def leading_tokens(tokenizer: Any) -> list[int]:
    """What every text begins with, a chat's template apart."""
    end = _end(tokenizer)
    return [token for token in tokenizer("")["input_ids"] if token not in end or token == tokenizer.bos_token_id]


def plain_tokens(tokenizer: Any, text: str) -> list[int]:
    """A text alone, without anything that tokenizers put around it."""
    return _ids(tokenizer, [text])[0]


def _end(tokenizer: Any) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _ids(tokenizer: Any, texts: Iterable[str]) -> list[list[int]]:
    whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]  # no half characters
    # verbose: too long an example is ours to refuse, in one line
    ids: list[list[int]] = tokenizer(whole, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _continued(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Texts as they are tokenised in the middle of another one.

    Tokenizers in SentencePiece's manner (Llama's, Mistral's) begin a text with a space, which the model would then have
    to say between prompt and target. Where they do, something that stays a token of its own goes before the text.
    """
    ids = _ids(tokenizer, texts)
    if _after(tokenizer, BEFORE[0], ["0"]) in ([None], _ids(tokenizer, ["0"])):
        return ids
    for before in reversed(BEFORE):
        found = _after(tokenizer, before, texts)
        ids = [old if new is None else new for old, new in zip(ids, found, strict=True)]
    return ids


def _after(tokenizer: Any, before: str, texts: Sequence[str]) -> list[list[int] | None]:
    """What texts are after another one; None where the two have a token in common."""
    first, *whole = _ids(tokenizer, [before, *(before + text for text in texts)])
    return [ids[len(first) :] if ids[: len(first)] == first else None for ids in whole]


def _render_chat(example: Example, tokenizer: Any, place: str) -> tuple[str, str]:
    if tokenizer.chat_template is None:
        raise InputError(
            f"{place}: the model's tokenizer has no chat template for messages; use prompt and completion."
        )
    messages = [{"role": role, "content": content} for role, content in example.messages]
    from jinja2 import TemplateError

    try:  # transformers renders it in a sandbox, where a template reaches into nothing and loops have an end
        prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{place}: the model's chat template does not take these messages ({said}).") from error
    if not whole.startswith(prompt):
        raise InputError(f"{place}: the chat template rewrites earlier messages; use prompt and completion columns.")
    return prompt, whole[len(prompt) :]
