"""Files of text, whole or line by line, within limits: what is too large is refused before it fills the memory.

    read_text(Path("run.yaml"), limits.MOST_SETTINGS)
    for line in text_lines(Path("rows.jsonl")): ...      # one line is in memory at a time

A byte-order mark is dropped, every line ends with "\\n" however the file ends it, and halves of characters stay, as our
own files have them. Devices are refused: they may never end.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from taskpgm.limits import LONGEST_LINE, MOST_BYTES
from taskpgm.types import InputError

BLOCK = 1 << 20
MARK = b"\xef\xbb\xbf"


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """A file as UTF-8 text.

    Raises:
        InputError: missing, unreadable, not UTF-8, or of more than `most` bytes.
    """
    data = bytearray()
    with _opened(path, most) as stream:
        while block := stream.read(
            BLOCK
        ):  # a read of `most` bytes would take the memory for them, however few there are
            data += block
            if len(data) > most:
                raise _too_large(path, f"more than {_size(most)}")
    return _line_ends(_decoded(path, data.removeprefix(MARK), len(MARK) if data.startswith(MARK) else 0))


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a file as UTF-8 text, each with its end; the last one may have none.

    Raises:
        InputError: as `read_text`, or a line of more than LONGEST_LINE bytes.
    """
    done, number = 0, 0
    with _opened(path, MOST_BYTES) as stream:
        while raw := stream.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                raise InputError(f"{path}, line {number}: longer than {_size(LONGEST_LINE)}; one row takes one line.")
            start = len(MARK) if done == 0 and raw.startswith(MARK) else 0
            text = _line_ends(_decoded(path, raw[start:], done + start))
            done += len(raw)
            if done > MOST_BYTES:
                raise _too_large(path, f"more than {_size(MOST_BYTES)}")
            yield from _split(text)


def _split(text: str) -> Iterator[str]:
    """Lines by line feeds alone: other characters that look like ends of lines may stand in a text."""
    while text:
        line, end, text = text.partition("\n")
        yield line + end


@contextlib.contextmanager
def _opened(path: Path, most: int) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                raise InputError(f"{path}: a device, not a file.")
            if status.st_size > most:
                raise _too_large(path, f"{_size(status.st_size)}, more than {_size(most)}")
            yield stream
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{str(path)!r}: not the name of a file ({error}).") from error


def _decoded(path: Path, data: bytes | bytearray, before: int) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {before + error.start}); save it as UTF-8.") from error


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _too_large(path: Path, found: str) -> InputError:
    return InputError(f"{path}: {found}, is not read as one file; split it.")


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{count / 2**20:.3g} MiB"
