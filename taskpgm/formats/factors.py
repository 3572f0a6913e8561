"""Between files and networks: factors, as all formats list them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from taskpgm.formats.words import Words
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import FloatArray, InputError

Factor: TypeAlias = tuple[list[int], FloatArray]
"""The places of its variables, none to two, and its energies."""
OURS = "taskpgm"
"""The name of problems that we wrote."""


def energies_of(probabilities: FloatArray, words: Words, what: str) -> FloatArray:
    """-log p, infinite for 0.

    Raises:
        InputError: a value that is negative or infinite; `what` names the factor.
    """
    if (probabilities < 0.0).any() or np.isinf(probabilities).any():
        raise words.wrong(f"{what} has a value that is negative or infinite")
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(probabilities))


def factors_of(network: PairwiseNetwork) -> Iterator[Factor]:
    """The constant, if it is not 0, then nodes, then edges."""
    if network.constant != 0.0:
        yield [], np.array(network.constant)
    for i, values in enumerate(network.unary):
        yield [i], values
    yield from zip(network.edges.tolist(), network.tables, strict=True)


def network_of(
    path: Path, states: Sequence[int], factors: Sequence[Factor], names: Sequence[str] = ()
) -> PairwiseNetwork:
    """The network of a file's factors.

    Raises:
        InputError: factors that make no network, with the file's name.
    """
    try:
        return PairwiseNetwork.from_factors(states, factors, names=names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def refuse_budget(network: PairwiseNetwork, path: str | Path) -> None:
    """Raises InputError for a network with a budget, which no format of others holds."""
    if network.budget is not None:
        raise InputError(
            f"{path}: the format holds no budget; write network.folded(), where it is part of the energies."
        )
