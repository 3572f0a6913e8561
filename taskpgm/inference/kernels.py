"""The numba kernel of the stochastic search. Imported on first use, since compiling and importing numba takes time."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
def exchange_sweep(
    coupling: Any,
    rise: Any,
    fall: Any,
    minimum: Any,
    levels: Any,
    field: Any,
    owner: Any,
    best: Any,
    energy: float,
    least: float,
    temperature: float,
    proposals: int,
    random: Any,
) -> Any:
    """Metropolis steps at one temperature; returns (energy, least energy so far, moves accepted).

    Each step draws one of the quanta above the minimum and a task to move it to. levels (n,), field (n,) = coupling @
    levels, owner (quanta above the minimum,) the task of each, and best (n,) the levels of least energy are changed in
    place. Energies are relative to where the search began. rise and fall are those of `swap_search.level_steps`.
    """
    n, accepted = len(levels), 0
    for _ in range(proposals):
        quantum, taker = random.integers(0, len(owner)), random.integers(0, n)
        giver = owner[quantum]
        if giver == taker:
            continue
        change = fall[giver, levels[giver] - minimum[giver]] + rise[taker, levels[taker] - minimum[taker]]
        change += field[taker] - field[giver] - coupling[giver, taker]
        if change > 0.0 and random.random() >= np.exp(-change / temperature):
            continue
        owner[quantum] = taker
        levels[giver] -= 1
        levels[taker] += 1
        for k in range(n):
            field[k] += coupling[taker, k] - coupling[giver, k]
        energy += change
        accepted += 1
        if energy < least:
            least = energy
            best[:] = levels
    return energy, least, accepted
