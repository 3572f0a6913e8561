"""Items done here, one after the other, each straight into its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, ClassVar

from taskpgm.executors.executor import Executor, Item, Job
from taskpgm.types import InputError


class LocalExecutor(Executor):
    """This process."""

    elsewhere: ClassVar[bool] = False

    def run(
        self,
        items: Iterable[Item],
        report: Callable[[int, int], None],
        failed: Callable[[int, str], None] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(items):
            sources = tuple(source.path for source in item.sources)
            job = Job(sources, item.path, item.data, item.common, item.threads, partial(report, index), item.memory)
            try:
                value = item.work(job)
            except InputError as error:
                if failed is None:
                    raise
                failed(index, str(error))
                continue
            yield index, value


LOCAL = LocalExecutor()
