"""The helper process for foreign solvers: it imports them once and forks itself for every request.

A message is its length in 8 bytes and then its bytes. A request is two messages, JSON and npz arrays (nothing is ever
unpickled); a reply is one, JSON. Each solve is a fresh process without the seconds of importing; what it prints goes
nowhere, and what overstays its deadline is killed. When the caller is gone, the helper ends and takes the solve along.

    main()                              # in the helper: answers what comes in on standard input
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskpgm.array_files import read_arrays
from taskpgm.inference.memory import resident_memory
from taskpgm.inference.method import Answer, Deadline, MarginalAnswer
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import InputError

GRACE = 1.0  # seconds beyond the deadline in which a solver may still hand in what it has
LENGTH = 8


class ClosedPipeError(Exception):
    """The other end of a pipe was closed."""


# -------------------------------------------------------------------------------------------------------- the messages


def send(descriptor: int, data: bytes) -> None:
    """Write one message to a pipe."""
    rest = memoryview(len(data).to_bytes(LENGTH, "big") + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> bytes:
    """Read one message from a pipe.

    Raises:
        ClosedPipeError: the other end was closed before the message was complete.
    """
    return _read(descriptor, int.from_bytes(_read(descriptor, LENGTH), "big"))


def _read(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            raise ClosedPipeError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def packed(problem: PairwiseNetwork) -> bytes:
    """A network as npz arrays."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.frombuffer(json.dumps(problem.names).encode(), dtype=np.uint8),
        states=problem.states,
        unary=np.concatenate(problem.unary),
        edges=problem.edges,
        tables=np.concatenate([np.zeros(0), *(table.ravel() for table in problem.tables)]),
        levels=np.concatenate(problem.levels),
        constant=np.array([problem.constant]),
        budget=np.array([] if problem.budget is None else [problem.budget], dtype=np.int64),
    )
    return buffer.getvalue()


def unpacked(data: bytes) -> PairwiseNetwork:
    """The network that `packed` wrote.

    Raises:
        InputError: anything else.
    """
    try:
        with np.errstate(all="raise"):
            return _network(read_arrays(data))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, RecursionError) as error:
        raise InputError(f"not the arrays of a network ({type(error).__name__}: {error})") from error


def _network(arrays: Mapping[str, NDArray[Any]]) -> PairwiseNetwork:
    states, edges = arrays["states"], arrays["edges"]
    cuts, sizes = np.cumsum(states)[:-1], states[edges[:, 0]] * states[edges[:, 1]]
    flat = np.split(arrays["tables"], np.cumsum(sizes)[:-1]) if len(edges) else []
    factors = [([i], values) for i, values in enumerate(np.split(arrays["unary"], cuts))]
    factors += [([i, j], table.reshape(states[i], states[j])) for (i, j), table in zip(edges, flat, strict=True)]
    return PairwiseNetwork.from_factors(
        states.tolist(),
        factors,
        names=json.loads(arrays["names"].tobytes()),
        constant=float(arrays["constant"][0]),
        levels=np.split(arrays["levels"], cuts),
        budget=int(arrays["budget"][0]) if len(arrays["budget"]) else None,
    )


# ---------------------------------------------------------------------------------------------------------- the helper


def main() -> None:
    """Answer requests from standard input on standard output, both of which solvers find closed to them."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # what solvers print must not be read as an answer
    with contextlib.suppress(ClosedPipeError, BrokenPipeError):
        serve(requests, replies)


def serve(requests: int, replies: int) -> None:
    """Answer requests, each in a forked process, until there are no more."""
    while True:
        request, payload = json.loads(receive(requests)), receive(requests)
        sys.path[:] = request["path"]
        reply: dict[str, Any] = {"answer": None, "error": "", "late": False, "memory": 0}
        try:
            for module in (request["class"][0], *request["foreign"]):
                importlib.import_module(module)
            reply |= _solved(request, payload, requests, replies)
        except ClosedPipeError:
            raise
        except Exception as error:
            reply["error"] = _in_words(error)
        send(replies, json.dumps(reply).encode())


def _solved(request: Mapping[str, Any], payload: bytes, requests: int, replies: int) -> dict[str, Any]:
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        for descriptor in (reading, requests, replies):
            os.close(descriptor)
        _answer(request, payload, writing)
    os.close(writing)
    before = int.from_bytes(os.read(reading, LENGTH), "big")
    limit = math.inf if request["deadline"] is None else time.monotonic() + request["deadline"] + GRACE
    data: bytes | None = None
    try:
        data = _collected(reading, requests, limit)
    finally:
        os.close(reading)
        if data is None:
            os.kill(process, signal.SIGKILL)
        _, status, usage = os.wait4(process, 0)
    memory = max(0, usage.ru_maxrss * 1024 - before)  # ru_maxrss starts from what the fork left resident
    if data is None:
        return {"late": True, "memory": memory}
    return {"memory": memory, **_handed_in(data, status)}


def _collected(reading: int, requests: int, limit: float) -> bytes | None:
    """What the solver's process wrote until it closed its end; None where time ran out first."""
    parts: list[bytes] = []
    while True:
        wait = None if math.isinf(limit) else max(0.0, limit - time.monotonic())
        ready, _, _ = select.select([reading, requests], [], [], wait)
        if not ready:
            return None
        if requests in ready:  # nothing is due from the caller before its answer: it has ended
            raise ClosedPipeError
        part = os.read(reading, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _handed_in(data: bytes, status: int) -> dict[str, Any]:
    """The answer in what a solver's process wrote, or how the process ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        cause = f"{number} ({signal.strsignal(number)})" + (": out of memory?" if number == signal.SIGKILL else "")
        return {"error": f"the solver's process was ended by signal {cause}"}
    try:
        reply: dict[str, Any] = json.loads(data)
    except ValueError:
        return {"error": f"the solver's process ended with exit code {os.WEXITSTATUS(status)} before it answered"}
    return reply


# ------------------------------------------------------------------------------------------------- the solver's process


def _answer(request: Mapping[str, Any], payload: bytes, writing: int) -> None:
    """In the forked process: solve, write the answer and end."""
    code = 1
    try:
        # less than the helper holds: pages of files are mapped anew when they are touched
        os.write(writing, (resident_memory("VmRSS") or 0).to_bytes(LENGTH, "big"))
        with contextlib.suppress(OSError):  # where memory runs out, this process goes first
            Path("/proc/self/oom_score_adj").write_text("1000")
        try:
            data = json.dumps({"answer": _run(request, payload), "error": ""}, default=_plain).encode()
        except Exception as error:
            data = json.dumps({"answer": None, "error": _in_words(error)}).encode()
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(writing, rest) :]
        code = 0
    finally:
        os._exit(code)


def _run(request: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    module, name = request["class"]
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in request["settings"].items()}
    made: Any = importlib.import_module(module)
    for part in name.split("."):
        made = getattr(made, part)
    deadline = Deadline(request["deadline"])
    answer = made(**settings).run(unpacked(payload), deadline, request["seed"])
    return _marginals_in_words(answer) if isinstance(answer, MarginalAnswer) else _map_in_words(answer, deadline)


def _marginals_in_words(answer: MarginalAnswer) -> dict[str, Any]:
    return {
        "nodes": list(answer.nodes),
        "pairs": None if answer.pairs is None else list(answer.pairs),
        "log_partition": answer.log_partition,
        "finished": bool(answer.finished),
        "message": answer.message,
        "stats": dict(answer.stats),
    }


def _map_in_words(answer: Answer, deadline: Deadline) -> dict[str, Any]:
    return {
        "point": answer.point,
        "bound": answer.bound,
        "finished": bool(answer.finished),
        "message": answer.message,
        "stats": dict(answer.stats),
        "ties": answer.ties,
        "started": deadline.start,
        "notes": [(note.seconds, note.point, note.bound) for note in deadline.notes],
    }


def _plain(value: object) -> object:
    """Arrays and numpy's numbers as lists and numbers of Python; anything else is refused."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(
        f"an answer holds an object of type {type(value).__name__}; only numbers, texts and lists of them come back"
    )


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
