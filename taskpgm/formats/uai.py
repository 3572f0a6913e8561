"""UAI files: probabilities, which become energies, E = -log p, with infinity for 0. They hold no constant."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from taskpgm.formats.factors import Factor, energies_of, factors_of, network_of, refuse_budget
from taskpgm.formats.words import Words
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.storage import write_atomic
from taskpgm.types import InputError

LOG_RANGE = 700.0  # beyond it a float64 probability is 0


def read_uai(path: str | Path, evidence: str | Path | None = None) -> PairwiseNetwork:
    """A UAI file (MARKOV, or BAYES with at most one parent), energies in nats; with evidence, of what is left.

    Raises:
        InputError: not such a file; the message names the line.
    """
    words = Words(Path(path))
    kind = words.word("MARKOV or BAYES")
    if kind.upper() not in ("MARKOV", "BAYES"):
        raise words.wrong(f"starts with {kind!r} instead of MARKOV or BAYES")
    nodes = words.whole("the number of variables", 1)
    states = [words.states("a number of states") for _ in range(nodes)]
    scopes = [
        words.scope(words.whole("a number of variables"), nodes, f"factor {k}")
        for k in range(words.whole("the number of factors"))
    ]
    factors: list[Factor] = []
    for k, scope in enumerate(scopes):
        shape = tuple(states[i] for i in scope)
        entries = words.whole(f"the number of entries of factor {k}")
        if entries != math.prod(shape):
            raise words.wrong(f"factor {k} has {entries} entries, but its variables have {math.prod(shape)} states")
        values = np.array([words.number(f"an entry of factor {k}") for _ in range(entries)]).reshape(shape)
        factors.append((scope, energies_of(values, words, f"factor {k}")))
    network = network_of(words.path, states, factors)
    return network if evidence is None else network.conditioned(_evidence(Path(evidence), network))


def _evidence(path: Path, network: PairwiseNetwork) -> dict[str, int]:
    words = Words(path)
    found = {}
    for _ in range(words.whole("the number of observed variables")):
        node = words.whole("a variable")
        if node >= len(network):
            raise words.wrong(f"variable {node} of {len(network)}")
        found[network.names[node]] = words.whole("its state")
    return found


def write_uai(network: PairwiseNetwork, path: str | Path) -> None:
    """exp(-energy), each factor's largest 1: probabilities are kept, energies up to a constant.

    Raises:
        InputError: a budget, or energies of a factor that lie further apart than probabilities can tell.
    """
    refuse_budget(network, path)
    factors = list(factors_of(network))
    for scope, table in factors:
        finite = table[np.isfinite(table)]
        if finite.size and np.ptp(finite) > LOG_RANGE:
            names = " and ".join(repr(network.names[i]) for i in scope)
            raise InputError(f"{path}: the energies of {names} lie {np.ptp(finite):.3g} apart; write .cfn instead.")
    lines = ["MARKOV", str(len(network)), " ".join(map(str, network.states)), str(len(factors))]
    lines += [" ".join(map(str, [len(scope), *scope])) for scope, _ in factors]
    for _, table in factors:
        least = table.min()
        values = np.exp(-(table - (least if np.isfinite(least) else 0.0)))
        lines += ["", str(table.size), " ".join(repr(float(x)) for x in values.ravel())]
    write_atomic(Path(path), ("\n".join(lines) + "\n").encode())
