"""What the embedded tasks ask for: small operations on letters, brackets, truth values and digits.

An operation draws an input from a random source and returns it with the right answer:

    reverse(random.Random(0))           # ("ghfc", "cfhg"), say
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

Operation: TypeAlias = Callable[[random.Random], tuple[str, str]]
LETTERS = "abcdefghijkl"
WORD_LENGTH = 4
CIPHER = str.maketrans(LETTERS, "hdkaflbgjeic")


def random_word(source: random.Random) -> str:
    return "".join(source.choice(LETTERS) for _ in range(WORD_LENGTH))


def copy(source: random.Random) -> tuple[str, str]:
    word = random_word(source)
    return word, word


def upper(source: random.Random) -> tuple[str, str]:
    word = random_word(source)
    return word, word.upper()


def reverse(source: random.Random) -> tuple[str, str]:
    word = random_word(source)
    return word, word[::-1]


def sort(source: random.Random) -> tuple[str, str]:
    word = random_word(source)
    return word, "".join(sorted(word))


def shift(source: random.Random) -> tuple[str, str]:
    word = random_word(source)
    return word, "".join(chr((ord(letter) - ord("a") + 1) % 26 + ord("a")) for letter in word)


def count(source: random.Random) -> tuple[str, str]:
    word = "".join(source.choice("abc") for _ in range(source.randint(4, 9)))
    return word, str(word.count("a"))


def brackets(source: random.Random) -> tuple[str, str]:
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


def boolean(source: random.Random) -> tuple[str, str]:
    values = [source.random() < 0.5 for _ in range(source.randint(2, 4))]
    operator = source.choice("&|")
    result = all(values) if operator == "&" else any(values)
    return operator.join("FT"[value] for value in values), "FT"[result]


def noise(source: random.Random) -> tuple[str, str]:
    return random_word(source), random_word(source)


def addition(source: random.Random) -> tuple[str, str]:
    a, b = source.randint(10, 99), source.randint(10, 99)
    return f"{a}+{b}", str(a + b)


def code(source: random.Random) -> tuple[str, str]:
    word = random_word(source)
    return word, _encoded(word)


def reversed_code(source: random.Random) -> tuple[str, str]:
    word = random_word(source)
    return word, _encoded(word)[::-1]


def pick(source: random.Random) -> tuple[str, str]:
    word = "".join(source.sample(LETTERS, WORD_LENGTH))
    place = source.randrange(WORD_LENGTH)
    return f"{word}{place + 1}", word[place]


def _encoded(word: str) -> str:
    return word.translate(CIPHER)


OPERATIONS: dict[str, Operation] = {
    "copy": copy,
    "upper": upper,
    "reverse": reverse,
    "sort": sort,
    "shift": shift,
    "count": count,
    "brackets": brackets,
    "boolean": boolean,
    "noise": noise,
    "addition": addition,
    "code": code,
    "reversed code": reversed_code,
    "pick": pick,
}
