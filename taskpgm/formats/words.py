"""The words of a text file, taken one by one, with what is expected next, where it is, and how much it may ask for.

words = Words(Path("model.uai"))
words.whole("the number of variables", 1)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from taskpgm.limits import MOST_ENTRIES
from taskpgm.text_files import text_lines
from taskpgm.types import InputError


class Words:
    """The words between white space; those behind a comment's mark are left out."""

    def __init__(self, path: Path, comment: str | None = None) -> None:
        self.path, self.line = path, 1
        self._words, self._entries = self._split(comment), 0

    def _split(self, comment: str | None) -> Iterator[str]:
        for number, line in enumerate(text_lines(self.path), 1):
            self.line = number
            yield from (line if comment is None else line.split(comment)[0]).split()

    def word(self, what: str) -> str:
        found = next(self._words, None)
        if found is None:
            raise InputError(f"{self.path}: ends where {what} should be; the file is cut short.")
        return found

    def number(self, what: str) -> float:
        word = self.word(what)
        try:
            value = float(word)
        except ValueError:
            raise self.wrong(f"expected {what}, found {word[:40]!r}") from None
        if math.isnan(value):
            raise self.wrong(f"{what} is nan")
        return value

    def whole(self, what: str, least: int = 0) -> int:
        value = self.number(what)
        if not value.is_integer() or value < least:
            raise self.wrong(f"expected {what}, a whole number from {least}, found {value:g}")
        return int(value)

    def states(self, what: str) -> int:
        """How many states a variable has, for which there has to be room."""
        found = self.whole(what, 1)
        self.make_room([found])
        return found

    def make_room(self, shape: Iterable[int]) -> None:
        """Count the entries of a table that is about to be made.

        Raises:
            InputError: they are too many, with those of the tables before it.
        """
        self._entries += math.prod(shape)
        if self._entries > MOST_ENTRIES:
            raise self.wrong(f"tables of more than {MOST_ENTRIES:,} entries; no method takes a network of that size")

    def scope(self, count: int, nodes: int, what: str) -> list[int]:
        if count > 2:
            raise self.wrong(f"{what} is over {count} variables; only networks of pairs can be read")
        found = [self.whole(f"a variable of {what}") for _ in range(count)]
        if any(i >= nodes for i in found) or len(set(found)) < count:
            raise self.wrong(f"{what} is over variables {found}; there are {nodes}, from 0, each at most once")
        return found

    def wrong(self, text: str) -> InputError:
        return InputError(f"{self.path}, line {self.line}: {text}.")
