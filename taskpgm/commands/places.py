"""Where a command's models run: the options, and the executor that they name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from taskpgm.types import InputError

if TYPE_CHECKING:
    from taskpgm.executors import Executor

PLACES = ("local", "ray")
On = Annotated[
    str, typer.Option("--on", help="Where models are trained and read: local, this process, or ray, a cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="The Ray cluster: auto (the one that this machine belongs to) or host:port;"
        " without it that of RAY_ADDRESS, a running one, or one started here for the command."
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Graphics cards that one model takes on a cluster that has any; 0.5: two share one. [default: 1]",
    ),
]


@contextlib.contextmanager
def executor_at(on: str, address: str | None, gpus: float | None) -> Iterator[Executor]:
    """The executor that the options name, for as long as the block lasts.

    Raises:
        InputError: no such place, or an option of another place.
    """
    if on not in PLACES:
        raise InputError(f"--on {on!r}: expected one of {', '.join(PLACES)}.")
    if on == "ray":
        from taskpgm.executors.cluster import ray_cluster

        # Ray tells of processes that died on standard output, which is the command's own
        with (
            contextlib.redirect_stdout(sys.stderr),
            ray_cluster(address, gpus=1.0 if gpus is None else gpus) as executor,
        ):
            yield executor
        return
    for name, value in (("--address", address), ("--gpus", gpus)):
        if value is not None:
            raise InputError(f"{name} {value} says which cluster, or how much of it: it goes with --on ray.")
    from taskpgm.executors import LOCAL

    yield LOCAL
