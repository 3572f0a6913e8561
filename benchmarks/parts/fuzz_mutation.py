"""Damage to files: of their bytes, and of the values that they hold. Equal generators give equal damage."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

LARGEST = 65_536
"""Bytes of an input; what is longer is cut."""
DEEP = (40, 400, 5_000)
NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?")
WORD = re.compile(rb"[A-Za-z_]{3,}")
ODD_NUMBERS = (
    *(b"0", b"-0", b"-0.0", b"-1", b"1e-12", b"1e-400", b"1e308", b"-1e308", b"1e400", b"-1e400", b"NaN", b"Infinity"),
    *(b"-Infinity", b"inf", b"nan", b".inf", b".nan", b"2147483648", b"9223372036854775808", b"9" * 40, b"9" * 5000),
    *(b"0x7f", b"1_000", b"1:30:00", b"2026-13-45", b"true", b"null", b'"1"', b"1.", b"+1"),
)
TOKENS = (
    *(b"\x00", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\t", b'"', b"'", b",", b":", b"\\", b"\\u0000", b"\\ud800"),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", "\u202e".encode(), "e\u0301".encode(), b"\x85", b"\x0b"),
    *(b"[", b"]", b"{", b"}", b"[]", b"{}", b"null", b"- ", b"? ", b"<<: *a", b"&a ", b"*a", b"!!", b"|", b">-"),
    *(b"!!python/object/apply:os.abort []", b"!!binary x", b"!!timestamp x", b"!!int x", b"!!float x", b"!!bool x"),
    *(b"!!set {a, b}", b"!!omap [a: 1]", b"!!pairs [a: 1]", b"!<x> ", b"%YAML 9.9\n---\n", b"---\n", b"...\n"),
    *(b"../../", b"/dev/null", b"</script>", b"{prompt.__class__}", b"{0}", b"{input!r:>9}", b"{{", b"}}", b"%s"),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 0.0, -0.0, 0.5, 1e-12, 1e-300, 5e-324, 1e308, -1e308, 2**31, 2**63, 10**30),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "0", "nan", "a", "\x00", "\ud800", "\u202e", "😀", "é", "\n"),
    *("../../x", "/x", "</script>", "{prompt.__class__}", "a" * 1_000, [], {}, [[]], [None], {"": None}, {"a": {}}),
    *([0.5, 0.5], [1, 2, 3], [[1.0, 0.0], [0.0, 1.0]], ["a", "b"], "pairwise", "coverage", "tokens"),
)


def damaged(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds after one to four changes of its bytes."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(CHANGES)(rng, data, seeds)[:LARGEST]
    return data


def changed_value(rng: random.Random, value: Any) -> Any:
    """A plain value (of dicts, lists, texts and numbers) after one to three changes inside; the old one stays."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(rng, value)
    return value


def _changed(rng: random.Random, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _other(rng, value)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        new = {place: _changed(rng, value[place])} if rng.random() < 0.75 else {}
        items = [new.get(i, item) for i, item in enumerate(value)]
        return items if new else _shuffled(rng, items)
    key = rng.choice(list(value))
    action = rng.random()
    if action < 0.12:
        return {name: item for name, item in value.items() if name != key}
    if action < 0.2:
        return {**value, rng.choice(("", "x", "../x", "\ud800", "names", "kind", "weights")): rng.choice(ODD_VALUES)}
    return {**value, key: _changed(rng, value[key])}


def _shuffled(rng: random.Random, items: list[Any]) -> list[Any]:
    """A list of other items, or fewer, or more."""
    return rng.choice(
        (items[:-1], items[1:], [*items, *items], [*items, items[0]], [*items, rng.choice(ODD_VALUES)], items[::-1], [])
    )


def _other(rng: random.Random, value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((-value, value * 10, value + 1, value * value, value - 1, f"{value}"))
    if isinstance(value, str) and rng.random() < 0.4:
        return rng.choice(
            (value * 2, value[:-1], value + "\x00", value.upper(), f"../{value}", [value], value + "\ud800")
        )
    return rng.choice(ODD_VALUES)


# ------------------------------------------------------------------------------------------------- changes of the bytes


def _place(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _piece(rng: random.Random, data: bytes) -> tuple[int, int]:
    low = _place(rng, data)
    return low, min(len(data), low + rng.choice((1, 2, 4, 16, 64, 256)))


def _flip(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _random_byte(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    place = _place(rng, data)
    return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]


def _cut(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    low, high = _piece(rng, data)
    return data[:low] + data[high:]


def _truncate(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    return data[: _place(rng, data)]


def _repeat(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    low, high = _piece(rng, data)
    return data[:high] + data[low:high] * rng.choice((1, 1, 2, 50, 2_000)) + data[high:]


def _splice(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def _insert(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    place = _place(rng, data)
    return data[:place] + rng.choice(TOKENS) + data[place:]


def _number(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    return _replaced(rng, data, NUMBER, rng.choice(ODD_NUMBERS))


def _word(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    words = WORD.findall(data) or [b"x"]
    return _replaced(rng, data, WORD, rng.choice((*rng.choices(words, k=2), rng.choice(TOKENS), b"w" * 5_000)))


def _replaced(rng: random.Random, data: bytes, pattern: re.Pattern[bytes], new: bytes) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return new + data
    match = rng.choice(found)
    return data[: match.start()] + new + data[match.end() :]


def _line(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A line twice, gone, or in another place."""
    lines = data.split(b"\n")
    line = lines[rng.randrange(len(lines))]
    if rng.random() < 0.3:
        lines.remove(line)
    if rng.random() < 0.7:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def _line_ends(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\x0c\n", b"")))


def _nest(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"{", b"}"), (b"((", b"))")))
    depth, place = rng.choice(DEEP), _place(rng, data)
    return data[:place] + opening * depth + data[place : place + 8] + closing * depth + data[place + 8 :]


CHANGES: tuple[Callable[[random.Random, bytes, Sequence[bytes]], bytes], ...] = (
    *(_flip, _flip, _random_byte, _cut, _truncate, _repeat, _splice, _insert, _insert, _number, _number, _word),
    *(_line, _line_ends, _nest),
)
