"""Files of tensors that are written and read a few rows at a time, in the safetensors format.

    write_tensors(path, {"a": (np.float32, (1000, 5))}, chunks)     # chunks: arrays, the bytes of a one after another
    stored_tensors(path)["a"].rows(10, 20)                          # (10, 5), nothing else is read

The safetensors library writes files from memory and maps them to read; here neither a file nor its pages are ever in
memory. The format is eight bytes with the length of a JSON header, the header, and the tensors' bytes. Our files hold
their own SHA-256 in the header: that of the file with zeros in its place.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskpgm.integrity import CHANGED, DIGEST
from taskpgm.limits import LONGEST_HEADER
from taskpgm.storage import atomic_file, canonical_json
from taskpgm.types import InputError

Layout: TypeAlias = Mapping[str, tuple[type[np.generic], tuple[int, ...]]]
"""By name, the dtype and shape of each tensor, in the order in which their bytes come."""
DTYPES: dict[str, type[np.generic]] = {"F32": np.float32, "I32": np.int32}
CODES = {kind: code for code, kind in DTYPES.items()}
ALIGNMENT = 8
BLOCK = 1 << 20
METADATA = "__metadata__"
NO_DIGEST = "0" * 64
_FIELD = f'"{DIGEST}":"'.encode()


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. offset: of its first byte. Its rows follow each other, as in a C-contiguous array."""

    path: Path
    offset: int
    dtype: type[np.generic]
    shape: tuple[int, ...]

    def rows(self, low: int = 0, high: int | None = None) -> NDArray[Any]:
        """(high - low, ...) some of the rows; to the end where high is None."""
        out = np.empty((self.shape[0] if high is None else high) - low, dtype=np.dtype((self.dtype, self.shape[1:])))
        self.read_into(out, low)
        return out

    def read_into(self, out: NDArray[Any], low: int) -> None:
        """Fill a C-contiguous array of rows from row `low` on.

        Raises:
            InputError: the file is gone, or not as long as it was.
        """
        view = out.reshape(-1).view(np.uint8).data
        row = math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize
        try:
            with self.path.open("rb", buffering=0) as stream:
                stream.seek(self.offset + low * row)
                done = 0
                while done < len(view):
                    more = stream.readinto(view[done:])
                    if not more:
                        raise _broken(self.path)
                    done += more
        except FileNotFoundError as error:
            raise InputError(f"{self.path}: no such file; it was there when the predictions were made.") from error


def write_tensors(path: Path, layout: Layout, chunks: Iterable[NDArray[Any]]) -> None:
    """Write a file, whole or not at all, from arrays whose bytes are those of the layout's tensors one after another.

    Raises:
        ValueError: more or fewer bytes than the layout says, or of another dtype.
    """
    header: dict[str, Any] = {METADATA: {DIGEST: NO_DIGEST}}
    end = 0
    for name, (kind, shape) in layout.items():
        start, end = end, end + math.prod(shape) * np.dtype(kind).itemsize
        header[name] = {"dtype": CODES[kind], "shape": list(shape), "data_offsets": [start, end]}
    kinds = [np.dtype(kind) for kind, _ in layout.values()]
    text = canonical_json(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with atomic_file(path) as stream:
        head = len(text).to_bytes(8, "little") + text
        stream.write(head)
        digest, written = hashlib.sha256(head), 0
        for chunk in chunks:
            if chunk.dtype not in kinds:
                raise ValueError(f"{path}: a chunk of {chunk.dtype}; expected one of {kinds}")
            data = np.ascontiguousarray(chunk).data
            digest.update(data)
            written += stream.write(data)
        if written != end:
            raise ValueError(f"{path}: {written} bytes for a layout of {end}")
        stream.seek(head.index(_FIELD) + len(_FIELD))
        stream.write(digest.hexdigest().encode())


def tensors_damage(path: Path) -> str | None:
    """What is wrong with a file that `write_tensors` wrote."""
    with path.open("rb") as stream:
        size = stream.read(8)
        head = size + stream.read(min(int.from_bytes(size, "little"), LONGEST_HEADER))
        place = head.find(_FIELD) + len(_FIELD)
        stated = head[place : place + len(NO_DIGEST)]
        digest = hashlib.sha256(head[:place] + NO_DIGEST.encode() + head[place + len(NO_DIGEST) :])
        while block := stream.read(BLOCK):
            digest.update(block)
    return None if _FIELD in head and stated == digest.hexdigest().encode() else f"{path}: {CHANGED}"


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors in a file, by name; nothing but the header is read.

    Raises:
        InputError: not a whole file of this format.
    """
    try:
        header, start = read_header(path)
        found = {name: _tensor(path, start, each) for name, each in header.items()}
        end = start + max((each["data_offsets"][1] for each in header.values()), default=0)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _broken(path) from error
    if path.stat().st_size != end:
        raise _broken(path)
    return found


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """(what a safetensors file says of each of its tensors, by name, the place of the first byte behind its header).

    Raises:
        ValueError: not a file of this format.
        FileNotFoundError: no file.
    """
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        text = stream.read(min(size, LONGEST_HEADER))
    try:
        header = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested without end") from error
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    header.pop(METADATA, None)
    if not all(isinstance(each, dict) and _are_whole(each.get("shape")) for each in header.values()):
        raise ValueError("a tensor without a shape")
    return header, 8 + size


def _are_whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(each) is int and each >= 0 for each in values)


def _tensor(path: Path, start: int, said: Mapping[str, Any]) -> StoredTensor:
    """A tensor as a header has it; its bytes must be as many as its shape says, whatever that is."""
    kind, shape, offsets = DTYPES[said["dtype"]], tuple(said["shape"]), said["data_offsets"]
    if not _are_whole(offsets):
        raise ValueError("offsets that are no whole numbers")
    low, high = offsets
    if high - low != math.prod(shape) * np.dtype(kind).itemsize or not shape:
        raise ValueError("a shape that is not that of its bytes")
    return StoredTensor(path, start + low, kind, shape)


def _broken(path: Path) -> InputError:
    return InputError(f"{path}: not a whole file of predictions; delete it, and it is made again.")
