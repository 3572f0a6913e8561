"""The embedded suite: planned sizes, right answers (worked out again), a base that has not met the tasks' names."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

import taskpgm as tp
from taskpgm.suite import BASE_EXAMPLES_PER_OPERATION, CONTEXT_WINDOW, EASY_REDUNDANT, SUITES, build_tokenizer
from taskpgm.tokens import tokenize
from taskpgm.types import Example, Task, TaskSet

PLANNED = {
    "copy": ("copy", 4000),
    "echo": ("copy", 4000),
    "same": ("copy", 4000),
    "dupl": ("copy", 4000),
    "uppr": ("upper", 2500),
    "caps": ("upper", 2500),
    "revr": ("reverse", 1500),
    "sort": ("sort", 1500),
    "shft": ("shift", 1000),
    "cont": ("count", 800),
    "brac": ("brackets", 800),
    "bool": ("boolean", 400),
    "nois": ("noise", 3000),
    "addn": ("addition", 2000),
}
ALPHABET = string.ascii_lowercase


def is_shifted(given: str, target: str) -> bool:
    return [ALPHABET.index(b) - ALPHABET.index(a) for a, b in zip(given, target, strict=True)] == [1] * len(given)


def is_balanced(text: str) -> bool:
    """Balanced brackets vanish when innermost pairs are removed until none is left."""
    while (shorter := re.sub(r"\(\)|\[\]|\{\}", "", text)) != text:
        text = shorter
    return not text


def truth(text: str) -> str:
    """T or F by Python's own evaluation."""
    return "FT"[eval(text.replace("T", "True").replace("F", "False"), {"__builtins__": {}})]


RIGHT: dict[str, Callable[[str, str], bool]] = {
    "copy": lambda given, target: target == given,
    "upper": lambda given, target: target.isupper() and target.lower() == given,
    "reverse": lambda given, target: all(target[-1 - i] == letter for i, letter in enumerate(given)),
    "sort": lambda given, target: Counter(target) == Counter(given) and list(target) == sorted(target),
    "shift": is_shifted,
    "count": lambda given, target: int(target) == len(re.findall("a", given)),
    "brackets": lambda given, target: target == ("T" if is_balanced(given) else "F"),
    "boolean": lambda given, target: target == truth(given),
    "noise": lambda given, target: len(target) == len(given) == 4,
    "addition": lambda given, target: int(target) == sum(map(int, given.split("+"))),
    "pick": lambda given, target: given[int(given[-1]) - 1] == target,
}


@pytest.fixture(scope="module")
def suite() -> TaskSet:
    return tp.demo_suite(seed=0)


@pytest.fixture(scope="module")
def base() -> TaskSet:
    return EASY_REDUNDANT.base_tasks(seed=0)


def everything(task: Task) -> list[Example]:
    return [*task.train, *task.probe, *task.eval]


def parsed(example: Example) -> tuple[str, str, str]:
    """The task's name, the input and the target of a row `name:input=target`."""
    match = re.fullmatch(r"([a-z]{4}):(.+)=", example.prompt)
    assert match is not None
    return match[1], match[2], example.completion


def test_tasks_families_and_sizes_are_the_planned_ones(suite: TaskSet) -> None:
    assert {task.name: (task.family, len(everything(task))) for task in suite} == PLANNED
    assert len(suite) == 14
    assert len({task.family for task in suite}) == 10
    for task in suite:
        assert len(task.train) == pytest.approx(0.7 * len(everything(task)), rel=0.15)  # bool: 55 distinct rows
        assert min(len(task.probe), len(task.eval)) >= 50


def test_every_answer_is_right(suite: TaskSet, base: TaskSet) -> None:
    for task in (*suite, *base):
        rows = [parsed(example) for example in everything(task)]
        assert all(RIGHT[task.family](given, target) for _, given, target in rows)
        if task in suite.tasks:
            assert {name for name, _, _ in rows} == {task.name}


def test_no_answer_can_be_guessed_without_reading(suite: TaskSet) -> None:
    """Both answers occur about as often, and counts are spread out: a constant answer would be no task."""
    for name in ("brac", "bool"):
        answers = Counter(example.completion for example in everything(suite[name]))
        assert set(answers) == {"T", "F"}
        assert min(answers.values()) > 0.3 * sum(answers.values())
    counts = Counter(example.completion for example in everything(suite["cont"]))
    assert max(counts.values()) < 0.4 * sum(counts.values())


def test_noise_has_targets_that_do_not_depend_on_the_input(suite: TaskSet) -> None:
    rows = [parsed(example) for example in everything(suite["nois"])]
    letters = np.array([[[ord(letter) - ord("a") for letter in text] for text in row[1:]] for row in rows])
    given, target = letters[:, 0], letters[:, 1]
    expected = len(rows) / 12**2
    for i in range(4):
        for j in range(4):  # chi-square of every pair of positions: 143 degrees of freedom, deviation 17
            table = np.histogram2d(given[:, i], target[:, j], bins=12)[0]
            assert ((table - expected) ** 2 / expected).sum() < 143 + 5 * 17
    assert (given == target).mean() == pytest.approx(1 / 12, abs=0.02)


def test_a_seed_gives_the_same_suite_and_another_seed_another(suite: TaskSet) -> None:
    assert tp.demo_suite(seed=0) == suite
    other = tp.demo_suite(seed=1)
    assert other.names == suite.names
    for one, two in zip(suite, other, strict=True):
        assert one.train != two.train
    assert EASY_REDUNDANT.base_recipe(0) == EASY_REDUNDANT.base_recipe(0)
    assert EASY_REDUNDANT.base_recipe(0) != EASY_REDUNDANT.base_recipe(1)
    assert EASY_REDUNDANT.base_recipe(0, "Qwen2") != EASY_REDUNDANT.base_recipe(0)


def test_tasks_of_one_family_have_inputs_of_their_own(suite: TaskSet) -> None:
    inputs = {task.name: [parsed(example)[1] for example in everything(task)] for task in suite}
    for one, two in combinations(("copy", "echo", "same", "dupl"), 2):
        common = len(set(inputs[one]) & set(inputs[two]))
        assert common < 0.35 * 4000  # 12^4 words: about a fifth in common by chance
        assert inputs[one] != inputs[two]


def test_the_base_knows_the_operations_but_not_their_names(base: TaskSet) -> None:
    assert base.names == tuple(dict.fromkeys(family for family, _ in PLANNED.values()))
    assert EASY_REDUNDANT.base_tasks(seed=0) == base
    assert EASY_REDUNDANT.base_tasks(seed=1) != base
    names: Counter[str] = Counter()
    for task in base:
        own = Counter(parsed(example)[0] for example in everything(task))
        assert sum(own.values()) == BASE_EXAMPLES_PER_OPERATION
        assert max(own.values()) <= 3
        names += own
    # 15,000 draws from 26^4 names: each of the 14 tasks' names once in 30 draws of the whole base
    assert sum(names[name] for name in PLANNED) <= 4
    letters = Counter(letter for name in names.elements() for letter in name)
    assert set(letters) == set(ALPHABET)
    assert max(letters.values()) < 1.15 * min(letters.values())


def test_every_example_is_made_of_known_characters_and_fits(suite: TaskSet, base: TaskSet) -> None:
    tokenizer = build_tokenizer()
    for tasks in (suite, base):
        for task in tokenize(tasks, tokenizer, CONTEXT_WINDOW):
            assert task.dropped == 0
            assert not any(tokenizer.unk_token_id in example.ids for example in task.train)


# --------------------------------------------------------------------------------------------------- the other suites


@pytest.mark.parametrize("name", ["hard-redundant", "interacting"])
def test_the_other_suites_are_seeded_have_families_and_fit_the_window(name: str) -> None:
    made, other = tp.embedded_suite(name, 0), tp.embedded_suite(name, 1)
    assert made.names == other.names
    assert 12 <= len(made) <= 14
    tokenizer = build_tokenizer()
    for task, changed in zip(made, other, strict=True):
        assert task.family
        assert task.train != changed.train
        assert min(len(task.probe), len(task.eval)) >= 20
    for task in tokenize(made, tokenizer, CONTEXT_WINDOW):
        assert task.dropped == 0
        assert not any(tokenizer.unk_token_id in example.ids for example in task.train)


def test_in_the_second_suite_the_hard_tasks_are_the_redundant_ones() -> None:
    families = Counter(task.family for task in tp.embedded_suite("hard-redundant"))
    assert {family: count for family, count in families.items() if count > 1} == {"reverse": 4, "addition": 3}
    for task in tp.embedded_suite("hard-redundant"):
        assert all(RIGHT[task.family](*parsed(example)[1:]) for example in everything(task))


def test_in_the_third_suite_two_tasks_contradict_each_other_on_the_same_prompts() -> None:
    suite = tp.embedded_suite("interacting")
    answers = [{row.prompt: row.completion for row in everything(suite[name])} for name in ("mapc", "mapr")]
    assert answers[0].keys() == answers[1].keys()
    assert all(answers[1][prompt] == answer[::-1] for prompt, answer in answers[0].items())
    differ = [prompt for prompt, answer in answers[0].items() if answer != answers[1][prompt]]
    assert len(differ) > 0.95 * len(answers[0])


def test_in_the_third_suite_a_composition_needs_its_parts() -> None:
    suite = tp.embedded_suite("interacting")
    cipher = {a: b for row in suite["code"].train for a, b in zip(parsed(row)[1], row.completion, strict=True)}
    assert sorted(cipher) == sorted(cipher.values()) == list("abcdefghijkl")
    assert all(
        cipher[a] == b for row in suite["code"].eval for a, b in zip(parsed(row)[1], row.completion, strict=True)
    )
    for row in everything(suite["rvcd"]):
        assert row.completion == "".join(cipher[letter] for letter in parsed(row)[1])[::-1]
    for name, family in (("revr", "reverse"), ("pick", "pick")):
        assert all(RIGHT[family](*parsed(example)[1:]) for example in everything(suite[name]))
    assert not {"reverse", "code", "reversed code", "pick"} & set(SUITES["interacting"].known)


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(tp.InputError, match="suite 'easy': there is none of this name; the suites are easy-redundant,"):
        tp.embedded_suite("easy")
