"""Archives of arrays (npz) from bytes: numbers alone, and no more of them than the bytes hold.

    arrays = read_arrays(data)          # {"states": array([2, 3]), ...}

An archive can declare any shape, unpack to any size, or hold pickled objects, which run code when they are read. All
of that is refused before an array is made.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.limits import MOST_ENTRIES
from taskpgm.types import InputError

ENDING = ".npy"
LARGEST_ITEM = 16
_UNREADABLE = (
    *(zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError),  # a damaged or encrypted archive
    *(ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, RecursionError, MemoryError),  # an odd header
)


def read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an archive that is not compressed (`numpy.savez`), by name.

    Raises:
        InputError: anything else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {info.filename.removesuffix(ENDING): _array(archive, info) for info in archive.infolist()}
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"not an archive of arrays ({type(error).__name__}: {error})") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise InputError(f"array {info.filename!r} is compressed; write it with numpy.savez.")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise InputError(f"array {info.filename!r} is of version {version}; expected (1, 0).")
        shape, fortran, kind = np.lib.format.read_array_header_1_0(stream)
        count = math.prod(shape)
        if kind.hasobject or kind.kind not in "biuf" or kind.itemsize > LARGEST_ITEM or min(shape, default=0) < 0:
            raise InputError(f"array {info.filename!r} holds {kind}; only numbers are read.")
        if count > MOST_ENTRIES or count * kind.itemsize > info.file_size:
            raise InputError(f"array {info.filename!r} declares {count:,} numbers, more than it holds.")
        values = np.frombuffer(stream.read(count * kind.itemsize), dtype=kind, count=count)
    return values.reshape(shape, order="F" if fortran else "C")
