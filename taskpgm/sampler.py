"""A torch sampler that draws the tasks of a mixture, for training loops of one's own.

data = torch.utils.data.ConcatDataset([datasets[name] for name in datasets])
sampler = MixtureSampler(mixture, datasets, seed=0)
loader = DataLoader(data, batch_size=32, sampler=sampler, num_workers=2)
torch.save(sampler.state_dict(consumed=32 * steps), path)       # what was trained on, not what was prefetched
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from taskpgm.drawing import Drawing
from taskpgm.mixture import Mixture
from taskpgm.types import InputError


def shares_of_examples(weights: Mixture | Mapping[str, float]) -> Mapping[str, float]:
    """By task name: a mixture's weights as shares of the examples (by mean lengths), or such shares as they are."""
    return weights.shares("examples") if isinstance(weights, Mixture) else weights


class MixtureSampler(Sampler[int]):
    """Indices into the tasks' data sets put one after the other, in the order of `datasets`.

    The draws are one endless sequence (`Drawing`), cut into epochs of `length`. An iteration goes to the end of the
    present epoch, and the next one goes on from there, so `set_epoch` is not needed. With several processes each
    takes every world_size-th draw: together they see exactly what one process alone would.
    """

    def __init__(
        self,
        weights: Mixture | Mapping[str, float],
        datasets: Mapping[str, Sized | int],
        *,
        seed: int = 0,
        length: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """
        Args:
            weights: a mixture, whose weights in tokens are converted by the tasks' mean lengths, or shares of the
                examples by task name.
            datasets: by task name, the data or how many examples it has.
            seed: of the order of every task's rows.
            length: examples in an epoch, of all processes together; those that the data has where not given.
            rank, world_size: which of how many processes this one is.

        Raises:
            InputError: weights and data that do not fit, or a length that the processes cannot share evenly.
        """
        sizes = {name: data if isinstance(data, int) else len(data) for name, data in datasets.items()}
        if not 0 <= rank < world_size:
            raise InputError(f"rank {rank} of {world_size} processes: expected 0 to {world_size - 1}.")
        if length is None:
            length = max(1, sum(sizes.values()) // world_size) * world_size
        if length < 1 or length % world_size:
            raise InputError(f"length {length}: expected a positive multiple of the {world_size} processes.")
        self._drawing = Drawing(sizes, shares_of_examples(weights), seed)
        self._settled = self._drawing.copy()
        starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
        self._starts = [starts[name] for name in self._drawing.names]
        self._length, self._rank, self._world_size = length, rank, world_size

    def __len__(self) -> int:
        """Examples of this process in a whole epoch."""
        return self._length // self._world_size

    def __iter__(self) -> Iterator[int]:
        for _ in range((self._length - self._drawing.position % self._length) // self._world_size):
            for rank in range(self._world_size):
                task, row = self._drawing.draw()
                if rank == self._rank:
                    index = self._starts[task] + row
            yield index

    @property
    def position(self) -> int:
        """Draws so far, of all processes together."""
        return self._drawing.position

    def counts(self) -> dict[str, int]:
        """How many examples of each task were drawn so far, by all processes together."""
        return dict(zip(self._drawing.names, self._drawing.counts.tolist(), strict=True))

    def set_weights(self, weights: Mixture | Mapping[str, float], at: int | None = None) -> None:
        """Draw by other weights from a position on, which the state remembers.

        Args:
            weights: as for the sampler itself.
            at: in draws of all processes together; the next draw where not given. Several processes must name the same,
                and a position beyond what a loader with workers has prefetched makes runs repeatable.
        """
        shares = shares_of_examples(weights)
        at = self._drawing.position if at is None else at
        self._drawing.set_shares(shares, at)
        self._settled.set_shares(shares, at)

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Where the sequence is, as plain JSON values: the same on every process, whatever their number.

        Args:
            consumed: how many examples this process has trained on since the sampler began (those before a loaded state
                counted too); a loader with workers has drawn more. All that were drawn where not given.

        Raises:
            InputError: fewer consumed than an earlier call said, or more than were drawn.
        """
        position = self._drawing.position if consumed is None else consumed * self._world_size
        if not self._settled.position <= position <= self._drawing.position:
            raise InputError(
                f"consumed {consumed}: expected {self._settled.position // self._world_size} to"
                f" {self._drawing.position // self._world_size}, the examples of this process stated before and drawn."
            )
        while self._settled.position < position:
            self._settled.draw_task()
        return self._settled.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken: the next iteration draws the rest of its epoch."""
        self._drawing.load_state_dict(state)
        self._settled.load_state_dict(state)
        if self._drawing.position % self._world_size:
            raise InputError(
                f"the state stands at draw {self._drawing.position}, which {self._world_size} processes cannot share"
                " evenly; take states after whole steps of all processes."
            )
