"""What a fuzzed reader is: valid files to start from, how to change the values in them, and what reads the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from taskpgm.integrity import DIGEST, seal


@dataclass(frozen=True)
class Codec:
    """Bytes as plain values, and back: what a change of values in between gives is well formed all the same."""

    values: Callable[[bytes], Any]
    data: Callable[[Any], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    name: for the command line and the record. file: the name of the file to read. make_seeds: valid contents. read:
    what is done with the path; what it raises but for an InputError is a finding. codec: of the contents,
    where they hold values. share: how many inputs go to it when all are fuzzed together; slow readers get fewer.
    """

    name: str
    file: str
    make_seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    codec: Codec | None = None
    share: int = 1

    @cached_property
    def seeds(self) -> Sequence[bytes]:
        return self.make_seeds()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _seal(value: Any) -> bytes:
    """Sealed where that is possible: whoever changes a file can do that too."""
    try:
        return seal(value)
    except (TypeError, ValueError, RecursionError):
        return _json(value)


def _unsealed(data: bytes) -> Any:
    value = json.loads(data)
    return {key: item for key, item in value.items() if key != DIGEST}


def _safetensors(data: bytes) -> Any:
    size = int.from_bytes(data[:8], "little")
    return {"header": json.loads(data[8 : 8 + size]), "rest": data[8 + size :].hex()}


def _as_safetensors(value: Any) -> bytes:
    header = value.get("header") if isinstance(value, dict) else value
    text = _json(header)
    rest = str(value.get("rest", "")) if isinstance(value, dict) else ""
    whole = rest if len(rest) % 2 == 0 and all(c in "0123456789abcdef" for c in rest) else ""
    return len(text).to_bytes(8, "little") + text + bytes.fromhex(whole)


def _lines(value: Any) -> bytes:
    return b"\n".join(map(_json, value)) if isinstance(value, list) else _json(value)


JSON = Codec(json.loads, _json)
JSON_LINES = Codec(lambda data: [json.loads(line) for line in data.splitlines() if line.strip()], _lines)
SEALED = Codec(_unsealed, _seal)
SAFETENSORS = Codec(_safetensors, _as_safetensors)
