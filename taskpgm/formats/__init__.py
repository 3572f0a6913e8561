"""Discrete networks in the files of others: UAI, toulbar2's WCSP and CFN, and libDAI's factor graphs.

    network = read_network("model.uai")         # by the file's ending: .uai, .wcsp, .cfn, .fg
    write_network(network, "model.cfn")         # .uai, .wcsp, .cfn

Files of probabilities become energies, E = -log p, with infinity for 0. A UAI file holds no constant, and a WCSP file
whole numbers: what that changes is said at their functions. A CFN file holds names and real costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from taskpgm.formats.cfn import read_cfn, write_cfn
from taskpgm.formats.libdai import read_fg
from taskpgm.formats.uai import read_uai, write_uai
from taskpgm.formats.wcsp import read_wcsp, write_wcsp
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import InputError

__all__ = [
    "read_cfn",
    "read_fg",
    "read_network",
    "read_uai",
    "read_wcsp",
    "write_cfn",
    "write_network",
    "write_uai",
    "write_wcsp",
]

READERS: dict[str, Callable[[Path], PairwiseNetwork]] = {
    ".uai": read_uai,
    ".wcsp": read_wcsp,
    ".cfn": read_cfn,
    ".fg": read_fg,
}
WRITERS: dict[str, Callable[[PairwiseNetwork, Path], Any]] = {".uai": write_uai, ".wcsp": write_wcsp, ".cfn": write_cfn}


def read_network(path: str | Path) -> PairwiseNetwork:
    """The network in a file, by the ending of its name.

    Raises:
        InputError: another ending, or a file that cannot be read as what its ending says.
    """
    network: PairwiseNetwork = _by_ending(Path(path), READERS)(Path(path))
    return network


def write_network(network: PairwiseNetwork, path: str | Path) -> None:
    """Write a network in the format that the file's ending names.

    Raises:
        InputError: another ending, or a network that the format cannot hold; the message says which can.
    """
    _by_ending(Path(path), WRITERS)(network, Path(path))


def _by_ending(path: Path, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    try:
        return known[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path}: the name must end in {', '.join(known)}.") from None
