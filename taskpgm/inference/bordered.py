"""The linear system of the weights that may move, kept as an inverse while tasks enter and leave.

For a set F of tasks, [[0, 1'], [1, M_FF]] (multiplier; x_F) = (total; b_F). An entering task borders the system with a
row and a column, a leaving one takes them away: both are updates of the inverse by a product of two vectors.

    system = BorderedSystem(matrix, task=3)
    answer, pivot = system.column(5)
    system.add(5, answer, pivot)
    system.inverse @ np.r_[total, b[system.free]]
"""

from __future__ import annotations

import numpy as np

from taskpgm.types import FloatArray

REFRESH = 100  # updates of the inverse until it is computed anew
ROOM = 16


class BorderedSystem:
    """free: the tasks of F, in the order of the unknowns after the multiplier.

    matrix: (n, n) symmetric M. Rows of it are held together for F, so that M[:, F] x is one product. stale: whether the
    roundings of many updates are worth a new inverse (`refresh`).
    """

    def __init__(self, matrix: FloatArray, task: int) -> None:
        self.matrix = matrix
        self.free = [task]
        self.stale = False
        self._held: FloatArray = np.empty((1 + ROOM, 1 + ROOM))
        self._rows: FloatArray = np.empty((ROOM, len(matrix)))
        self.refresh()

    @property
    def inverse(self) -> FloatArray:
        """(m + 1, m + 1), of the system for the m tasks of F; the multiplier comes first."""
        size = len(self.free) + 1
        return self._held[:size, :size]

    def times(self, x: FloatArray) -> FloatArray:
        """(n,) M[:, F] x."""
        return np.asarray(x @ self._rows[: len(self.free)])

    def column(self, task: int) -> tuple[FloatArray, float]:
        """(the system's answer to the column of a task outside F, what that leaves of its diagonal entry).

        What is left is computed so that it is wrong by the square of the answer's error only: it decides what is
        singular.
        """
        column = np.append(1.0, self.matrix[task, self.free])
        answer = self.inverse @ column
        residual = column - self.product(answer)
        answer = answer + self.inverse @ residual
        return answer, float(self.matrix[task, task] - 2.0 * (column @ answer) + answer @ self.product(answer))

    def product(self, unknowns: FloatArray) -> FloatArray:
        """(m + 1,) the system times (multiplier; x_F)."""
        return np.append(unknowns[1:].sum(), self.times(unknowns[1:])[self.free] + unknowns[0])

    def add(self, task: int, answer: FloatArray, pivot: float) -> None:
        """Take a task into F; answer and pivot as from `column`."""
        size = len(self.free) + 1
        self._make_room(size + 1)
        self._held[:size, :size] += np.outer(answer, answer / pivot)
        self._held[size, :size] = self._held[:size, size] = -answer / pivot
        self._held[size, size] = 1.0 / pivot
        self._rows[size - 1] = self.matrix[task]
        self.free.append(task)
        self._count()

    def remove(self, task: int) -> None:
        """Take a task out of F: it changes places with the last one first."""
        place, last = self.free.index(task), len(self.free) - 1
        held, size = self._held, last + 2
        held[[place + 1, last + 1], :size] = held[[last + 1, place + 1], :size]
        held[:size, [place + 1, last + 1]] = held[:size, [last + 1, place + 1]]
        self._rows[place] = self._rows[last]
        self.free[place] = self.free[last]
        self.free.pop()
        column = held[: size - 1, size - 1].copy()
        held[: size - 1, : size - 1] -= np.outer(column, column / held[size - 1, size - 1])
        self._count()

    def _count(self) -> None:
        self._updates += 1
        self.stale = self.stale or self._updates >= REFRESH

    def replace(self, task: int, other: int) -> None:
        """Let `other` take the place of `task` in F."""
        self.free[self.free.index(task)] = other
        self.refresh()

    def refresh(self) -> None:
        """Compute everything anew."""
        size = len(self.free) + 1
        self._make_room(size)
        system = np.ones((size, size))
        system[0, 0] = 0.0
        system[1:, 1:] = self.matrix[np.ix_(self.free, self.free)]
        self._held[:size, :size] = np.linalg.inv(system)
        self._rows[: size - 1] = self.matrix[self.free]
        self._updates, self.stale = 0, False

    def _make_room(self, size: int) -> None:
        """Buffers for an inverse of that size, doubled where they are too small."""
        old = len(self._held)
        if size <= old:
            return
        held, rows = np.empty((2 * old, 2 * old)), np.empty((2 * old - 1, len(self.matrix)))
        held[:old, :old], rows[: old - 1] = self._held, self._rows
        self._held, self._rows = held, rows
