"""Inputs made from a seed, one by one, and what a reader did with each."""

from __future__ import annotations

import random
import re
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parts.fuzz_mutation import LARGEST, changed_value, damaged
from parts.fuzz_reader import Reader

from taskpgm.types import InputError

PATIENCE = 10.0
"""Seconds of processor time that a reader may take for an input of at most 64 KiB."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|[\[({].*[\])}]")
_NUMBER = re.compile(r"-?[0-9][0-9.e+-]*")


class HangError(Exception):
    """A reader took longer than PATIENCE."""


@dataclass(frozen=True)
class Finding:
    """An input that was neither read nor refused: what happened instead, and where."""

    reader: str
    number: int
    error: str
    place: str
    data: bytes


@dataclass
class Tally:
    """What became of a reader's inputs. messages: how often each refusal was given, numbers and quotes left out."""

    inputs: int = 0
    accepted: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: float = 0.0


def made_input(reader: Reader, seed: int, number: int) -> bytes:
    """The input of a number: the same whenever and wherever it is made."""
    rng = random.Random(f"{seed}/{reader.name}/{number}")
    codec = reader.codec
    if codec is None or rng.random() < 0.5:
        return damaged(rng, reader.seeds)
    value = changed_value(rng, codec.values(rng.choice(reader.seeds)))
    try:
        data = codec.data(value)
    except (TypeError, ValueError, AttributeError, RecursionError, OverflowError):
        return damaged(rng, reader.seeds)
    return data[:LARGEST] if rng.random() < 0.9 else damaged(rng, [data])


def tried(reader: Reader, path: Path, data: bytes, tally: Tally, number: int = -1) -> None:
    """Give an input to a reader and write down what it did."""
    path.write_bytes(data)
    start = time.process_time()
    tally.inputs += 1
    try:
        with _patience(), warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(path)
    except InputError as error:
        tally.messages[message_kind(str(error), path)] += 1
        if "\n" in str(error).strip() and len(str(error)) > 20_000:
            tally.findings.append(Finding(reader.name, number, "a refusal of many lines", "", data))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        tally.findings.append(
            Finding(reader.name, number, f"{type(error).__name__}: {error}"[:300], _place(error), data)
        )
    else:
        tally.accepted += 1
    tally.slowest = max(tally.slowest, time.process_time() - start)


def fuzzed(
    reader: Reader, folder: Path, inputs: int, seed: int, first: int = 0, told: Callable[[int], None] = lambda _: None
) -> Tally:
    """So many inputs of a seed for a reader, in a folder that is its own."""
    tally, path = Tally(), folder / reader.file
    for number in range(first, first + inputs):
        told(number)
        tried(reader, path, made_input(reader, seed, number), tally, number)
    return tally


def minimised(reader: Reader, path: Path, finding: Finding, tries: int = 400) -> bytes:
    """A shorter input that ends in the same place: pieces are left out as long as it does."""
    data, size = finding.data, max(1, len(finding.data) // 2)
    while size >= 1 and tries > 0:
        place, shorter = 0, False
        while place < len(data) and tries > 0:
            candidate, tries, tally = data[:place] + data[place + size :], tries - 1, Tally()
            tried(reader, path, candidate, tally)
            same = bool(tally.findings) and tally.findings[0].place == finding.place
            data, place, shorter = (candidate, place, True) if same else (data, place + size, shorter)
        size = size if shorter and size < len(data) else size // 2
    return data


def message_kind(message: str, path: Path) -> str:
    """A message without what differs from input to input."""
    text = message.replace(str(path), "FILE").replace(str(path.parent), "FOLDER")
    return _NUMBER.sub("0", _QUOTED.sub("Q", text.splitlines()[0] if text else ""))[:100]


def _place(error: BaseException) -> str:
    """The last line of ours that an error went through, and what it was: the same for the same bug."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "taskpgm" in Path(frame.filename).parts] or frames[-1:]
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} at {where}"


@contextmanager
def _patience() -> Iterator[None]:
    def late(number: int, frame: Any) -> None:
        raise HangError(f"longer than {PATIENCE:g} s")

    before = signal.signal(signal.SIGPROF, late)  # of processor time: the machine may have other things to do
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
