"""Tokens: the target starts where it should under every kind of tokenizer, and probes do not depend on task order."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers_of_others import BYTES, PIECES, build

import taskpgm as tp
from taskpgm.suite import CONTEXT_WINDOW, build_tokenizer
from taskpgm.tokens import (
    TokenExample,
    TokenTask,
    check_vocabulary,
    context_window,
    make_probes,
    marginal_log_probs,
    pad_batch,
    tokenize,
)
from taskpgm.types import Example, Task, TaskSet, TaskSize

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETFUL = CHATML.replace("message.content", "(message.content if loop.last else '...')")
CHAT = Example(messages=(("system", "Be brief."), ("user", "Hi 😀"), ("assistant", "Hello.")))
TASKS = ("one", "two", "three")
KINDS = ("characters", "bytes", "bytes with bos", "bytes without eos")


@functools.cache
def tokenizer(kind: str) -> Any:
    """The suite's character tokenizer, or a byte-level one trained on the spot."""
    if kind == "characters":
        return build_tokenizer()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.train_from_iterator(["the cat sat on the mat, the hat on the cat"] * 3, trainer)
    if kind == "bytes with bos":
        model.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    eos = {} if kind == "bytes without eos" else {"eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", model_max_length=1000, **eos)


built = functools.cache(build)


def chat_tokenizer(kind: str, template: str) -> Any:
    copy = tokenizer.__wrapped__(kind)
    copy.chat_template = template
    return copy


def task_of(*examples: Example) -> TaskSet:
    return TaskSet((Task("one", examples, examples, ()),))


def tokenised(kind: str | Any, *examples: Example) -> tuple[TokenExample, ...]:
    return tokenize(task_of(*examples), tokenizer(kind) if isinstance(kind, str) else kind, 1000)[0].train


# ------------------------------------------------------------------------------------------------- prompts and targets


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.data())
def test_prompt_and_target_decode_to_what_was_given(kind: str, text: st.DataObject) -> None:
    letters = "abcXYZ019:=+&|!()[]{} " if kind == "characters" else None
    texts = st.text(alphabet=letters or st.characters(exclude_categories=["Cs"]), max_size=12)
    prompt, completion = text.draw(texts), text.draw(texts.filter(str.strip))
    encoder = tokenizer(kind)
    row = tokenised(kind, Example(prompt, completion))[0]
    start, end = "<s>" if kind == "bytes with bos" else "", encoder.eos_token or ""
    assert encoder.decode(row.ids[row.target_start :]) == completion + end
    if start or prompt or end:  # something must stand before the target: at worst the end token, or its own first
        assert encoder.decode(row.ids[: row.target_start]) == (start + prompt or end)
    else:
        assert (row.target_start, row.ids[0]) == (1, row.ids[1])
    assert list(row.ids).count(encoder.bos_token_id) == (1 if start else 0)


@pytest.mark.parametrize("kind", [BYTES, PIECES])
@given(
    prompt=st.text(max_size=12).filter(lambda text: not text.startswith((" ", "▁"))),
    completion=st.text(min_size=1, max_size=12),
)
def test_a_target_goes_on_where_the_prompt_ends(kind: str, prompt: str, completion: str) -> None:
    """Also with a tokenizer that begins every text with a space: none is between the two, unless it is given."""
    encoder = built(kind)
    row = tokenised(encoder, Example(prompt, completion))[0]
    whole = (prompt + completion).encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("▁", " ")
    told = encoder.decode(row.ids, skip_special_tokens=True)
    assert told == (whole if prompt else told)
    assert told.endswith(completion.replace("▁", " "))
    starts = [token for token in row.ids if token == encoder.bos_token_id != encoder.eos_token_id]
    assert len(starts) == (kind == PIECES)


def test_only_texts_of_their_own_begin_with_a_space() -> None:
    encoder = built(PIECES)
    row = tokenised(encoder, Example("copy:abc=", "abc"), Example("copy:abc=", " abc"))
    first, second = ([*encoder.convert_ids_to_tokens(each.ids[each.target_start :])] for each in row)
    assert not first[0].startswith("▁")
    assert second[0].startswith("▁")
    assert encoder.convert_ids_to_tokens(row[0].ids)[:2] == ["<s>", "▁c"]


def test_tokens_that_the_model_does_not_have_are_refused() -> None:
    rows = (TokenExample((1, 2, 9), 1),)
    check_vocabulary([TokenTask("one", rows, rows, (), 0)], 10)
    with pytest.raises(tp.InputError, match=r"task 'one': the model's tokenizer gives token 9.*9 rows.*resize"):
        check_vocabulary([TokenTask("one", rows, rows, (), 0)], 9)


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    row = tokenised("bytes", Example("a\ud83d\ude00\ud800", "\udfff\ufeff"))[0]
    assert tokenizer("bytes").decode(row.ids) == "a😀\ufffd\ufffd\ufeff</s>"


@pytest.mark.parametrize("kind", ["bytes", "bytes with bos"])
@pytest.mark.parametrize("start", ["", "{{ bos_token }}"])
def test_a_chat_is_rendered_by_its_template(kind: str, start: str) -> None:
    encoder = chat_tokenizer(kind, start + CHATML)
    row = tokenised(encoder, CHAT)[0]
    messages = [{"role": role, "content": content} for role, content in CHAT.messages]
    prompt = encoder.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("Hi 😀<|im_end|>\n<|im_start|>assistant\n")
    assert encoder.decode(row.ids[: row.target_start]) == prompt
    assert encoder.decode(row.ids[row.target_start :]) == "Hello.<|im_end|>\n"
    assert list(row.ids).count(encoder.bos_token_id) == (1 if start else 0)


def test_chats_and_plain_rows_can_be_mixed() -> None:
    encoder = chat_tokenizer("bytes", CHATML)
    rows = tokenised(encoder, Example("a", "b"), CHAT, Example("c", "d"))
    assert [encoder.decode(row.ids[row.target_start :]) for row in rows] == ["b</s>", "Hello.<|im_end|>\n", "d</s>"]


@pytest.mark.parametrize(
    ("template", "message"),
    [(None, "has no chat template"), (FORGETFUL, "the chat template rewrites earlier messages")],
)
def test_a_chat_that_cannot_be_split_is_refused(template: Any, message: str) -> None:
    with pytest.raises(tp.InputError, match=f"task 'one': .*{message}"):
        tokenised(chat_tokenizer("bytes", template), CHAT)


def test_examples_longer_than_the_window_are_refused_or_dropped() -> None:
    encoder = tokenizer("characters")
    tasks = task_of(Example("ab", "c"), Example("abc", "d"), Example("abcdefg", "e"))
    with pytest.raises(tp.InputError, match=r"task 'one': 1 train example.*window of 8 tokens \(the longest has 9\)"):
        tokenize(tasks, encoder, 8)
    assert len(tokenize(tasks, encoder, 9)[0].train) == 3
    (task,) = tokenize(tasks, encoder, 5, too_long="drop")
    assert [len(part) for part in (task.train, task.probe, task.eval)] == [2, 2, 0]
    assert task.dropped == 2
    with pytest.raises(tp.InputError, match="task 'one': every train example is longer than the window of 3"):
        tokenize(tasks, encoder, 3, too_long="drop")


def test_the_window_is_the_smaller_of_models_and_tokenizers() -> None:
    for positions, window in ((4096, CONTEXT_WINDOW), (32, 32)):
        assert context_window(SimpleNamespace(max_position_embeddings=positions), tokenizer("characters")) == window
    assert context_window(SimpleNamespace(), tokenizer("characters")) == CONTEXT_WINDOW


def test_sizes_count_the_training_part() -> None:
    rows = (TokenExample((1, 2, 3, 4), 1), TokenExample((1, 2), 1), TokenExample((1, 2, 3), 2))
    assert TokenTask("one", rows, rows[:1], (), 0).size == TaskSize(3, 9, 5)


def test_the_suites_tokenizer_comes_back_from_disk(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    build_tokenizer().save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "brac:([{}])=T F&T|F 09 xyZ"
    assert again.decode(again(text)["input_ids"]) == text
    assert again(text)["input_ids"] == build_tokenizer()(text)["input_ids"]
    assert (again.eos_token_id, again.pad_token_id, again.model_max_length) == (2, 0, CONTEXT_WINDOW)


# -------------------------------------------------------------------------------------------------------------- probes


def random_tasks(seed: int) -> tuple[TokenTask, ...]:
    """Three tasks of different sizes and lengths, with probes in common."""
    source = random.Random(seed)
    common = TokenExample((5, 6, 7), 2)
    made = []
    for name, count in zip(TASKS, (2, 5, 9), strict=True):
        rows = [[source.randrange(9) for _ in range(source.randint(2, 5))] for _ in range(count)]
        probes = [common, *(TokenExample(tuple(row), source.randint(1, len(row) - 1)) for row in rows)]
        made.append(TokenTask(name, tuple(probes), tuple(probes), (), 0))
    return tuple(made)


@given(st.integers(0, 1000), st.permutations(range(3)), st.integers(1, 8))
def test_probes_do_not_depend_on_the_order_of_tasks(seed: int, order: Sequence[int], per_task: int) -> None:
    tasks = random_tasks(seed)
    one, two = make_probes(tasks, per_task), make_probes([tasks[i] for i in order], per_task)
    assert [ids.tolist() for ids in one.tokens] == [ids.tolist() for ids in two.tokens]
    assert np.array_equal(one.target_start, two.target_start)
    assert [one.names[i] for i in one.task] == [two.names[i] for i in two.task]
    assert one.names == TASKS
    assert np.bincount(one.task).tolist() == [min(per_task, len(task.probe)) for task in tasks]


@given(st.integers(0, 1000), st.integers(1, 8))
def test_contexts_are_the_target_positions(seed: int, per_task: int) -> None:
    probes = make_probes(random_tasks(seed), per_task)
    contexts = [
        (probe, int(probes.task[probe]), place - start, int(ids[place]))
        for probe, (ids, start) in enumerate(zip(probes.tokens, probes.target_start, strict=True))
        for place in range(start, len(ids))
    ]
    found = (probes.context_probe, probes.context_task, probes.context_position, probes.targets)
    assert list(zip(*(array.tolist() for array in found), strict=True)) == contexts
    assert probes.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.bincount(probes.context_task, probes.weights) == pytest.approx([1 / 3] * 3, abs=1e-12)


# ------------------------------------------------------------------------------------------------------------ marginal


def test_a_probe_that_occurs_twice_is_taken_once() -> None:
    rows = (TokenExample((1, 2), 1), TokenExample((1, 2), 1), TokenExample((1, 3), 1), TokenExample((1, 2), 0))
    task = TokenTask("a", rows, rows, (), 0)
    assert len(make_probes([task], 10).tokens) == 3
    assert [ids.tolist() for ids in make_probes([task], 2).tokens] == [[1, 2], [1, 3]]


def answering(answers: Sequence[Sequence[int]], probes: Sequence[Sequence[int]]) -> TokenTask:
    rows = [tuple(TokenExample((99, *answer), 1) for answer in part) for part in (answers, probes)]
    return TokenTask("one", *rows, (), 0)


def test_constant_answers_have_probability_one() -> None:
    task = answering([(7, 8)] * 500, [(7, 8)])
    marginal = marginal_log_probs([task], make_probes([task], 1), vocabulary=100)
    assert np.all(marginal < 0.0)
    assert marginal == pytest.approx(np.zeros(2), abs=0.005)


def test_random_answers_cost_the_logarithm_of_the_tokens_used() -> None:
    source = np.random.default_rng(0)
    answers, probes = source.integers(10, size=(5000, 3)).tolist(), source.integers(10, size=(200, 3)).tolist()
    task = answering(answers, probes)
    marginal = marginal_log_probs([task], make_probes([task], 200), vocabulary=1000)
    assert -marginal.mean() == pytest.approx(math.log(10), abs=0.01)


@given(st.integers(1, 20), st.integers(1, 3), st.integers(0, 1000))
def test_the_marginal_is_a_distribution_without_zeros(rows: int, length: int, seed: int) -> None:
    vocabulary = 12
    source = np.random.default_rng(seed)
    answers = source.integers(4, size=(rows, length)).tolist()
    task = answering(answers, [[token] * (length + 1) for token in range(vocabulary)])
    probes = make_probes([task], vocabulary)
    marginal = marginal_log_probs([task], probes, vocabulary)
    assert np.all(np.isfinite(marginal))
    for position in range(length + 1):  # the last position occurs in no training answer
        assert np.exp(marginal[probes.context_position == position]).sum() == pytest.approx(1.0, abs=1e-12)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=5))
def test_padding_is_on_the_right_and_masked(rows: list[list[int]]) -> None:
    ids, mask = pad_batch(rows, padding=0)
    assert ids.shape == mask.shape == (len(rows), max(map(len, rows)))
    for row, padded, real in zip(rows, ids, mask, strict=True):
        assert padded[: len(row)].tolist() == row
        assert real.tolist() == [1] * len(row) + [0] * (ids.shape[1] - len(row))
        assert not padded[len(row) :].any()
