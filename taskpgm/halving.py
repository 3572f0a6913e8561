"""Rows in parts that fit into memory: where it runs out, half as many are taken at a time from then on.

    fitting = Fitting(32, "reading probes", "a smaller model")
    for rows, result in fitting.each(100, work):        # work(range) -> result; done rows stay done
        ...
    total = fitting.all(32, work, forget)               # all of it again where memory ran out; forget() comes before

What does not fit with one row is an InputError that says what helps. How many rows went together changes the last
digits of what is computed, and no more.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from taskpgm.types import InputError

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Fitting:
    """How many rows are taken at a time, for one piece of work.

    size: at first. what: the work, for messages. remedy: what the user can do where not even one row fits.
    """

    def __init__(self, size: int, what: str, remedy: str) -> None:
        self.size, self.what, self.remedy = size, what, remedy

    def each(self, rows: int, work: Callable[[range], T]) -> Iterator[tuple[range, T]]:
        """The results of all rows, part after part. Only what ran out of memory is done again."""
        start = 0
        while start < rows:
            part = range(start, min(start + self.size, rows))
            done = self._attempt(part, work)
            if done is not None:
                start = part.stop
                yield part, done[0]

    def all(self, rows: int, work: Callable[[range], T], forget: Callable[[], None]) -> list[T]:
        """The results of all parts of one size: where memory ran out, all are done again, after `forget`."""
        while True:
            size, results = self.size, []
            for start in range(0, rows, size):
                done = self._attempt(range(start, min(start + size, rows)), work)
                if done is None:
                    break
                results.append(done[0])
            else:
                return results
            forget()

    def _attempt(self, part: range, work: Callable[[range], T]) -> tuple[T] | None:
        try:
            return (work(part),)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            reason = str(error)
        # here the error is gone, and with it the tensors that its frames held
        self._halve(len(part), reason)
        return None

    def _halve(self, tried: int, reason: str) -> None:
        free_memory()
        if tried == 1:
            raise InputError(f"{self.what}: memory runs out with one example at a time; what helps: {self.remedy}.")
        self.size = tried // 2
        _log.warning("%s: memory runs out with %d examples at a time; going on with %d.", self.what, tried, self.size)
        _log.debug("%s", reason)


@contextlib.contextmanager
def enough_memory(what: str, remedy: str) -> Iterator[None]:
    """A block in which running out of memory is an InputError: what is done there cannot be done in parts."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise InputError(f"{what}: memory runs out; what helps: {remedy}.") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out: a card's, or what the processor's allocator got."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error):
        return True
    return isinstance(error, RuntimeError) and "MPS backend out of memory" in str(error)  # which old accelerate misses


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
