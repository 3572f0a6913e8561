"""The items of a real run, done in this process and noted: what each takes, and what would travel."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from taskpgm import expert_training, prediction_parts
from taskpgm.divergences import tiles
from taskpgm.executors import LOCAL, Executor, Item
from taskpgm.executors.executor import Work
from taskpgm.storage import size_of

KINDS: dict[Work, str] = {
    expert_training._read_base: "base on probes",
    expert_training._train: "expert",
    prediction_parts._read_base: "base's predictions",
    prediction_parts._read_expert: "expert's predictions",
    tiles._add_up: "divergences",
}


@dataclass(frozen=True)
class Recorded:
    """What an item of a real run took. kind: of work. sent: bytes of its data, and of sources of its own; shared: of
    sources that a machine keeps; made: bytes that come back."""

    kind: str
    seconds: float
    sent: int
    shared: int
    made: int


class Recorder(Executor):
    """This process, which notes what every item takes."""

    elsewhere: ClassVar[bool] = True  # so that divergences come in tiles, too

    def __init__(self) -> None:
        self.recorded: list[Recorded] = []

    def run(
        self,
        items: Iterable[Item],
        report: Callable[[int, int], None],
        failed: Callable[[int, str], None] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(items):
            start = time.perf_counter()
            [(_, value)] = LOCAL.run([item], report)
            seconds = time.perf_counter() - start
            sizes = {
                shared: sum(size_of(s.path) for s in item.sources if s.shared is shared) for shared in (True, False)
            }
            sizes[True] += len(pickle.dumps(item.common))
            made = (0 if item.path is None else size_of(item.path)) + len(pickle.dumps(value))
            sent = sizes[False] + len(pickle.dumps(item.data))
            self.recorded.append(Recorded(KINDS[item.work], seconds, sent, sizes[True], made))
            yield index, value
