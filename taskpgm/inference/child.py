"""Solvers that others wrote run in a process of their own, so that a crash or a missed deadline costs one answer.

One helper process is kept. It has imported the solver's modules and forks itself for every request, so each solve is
a fresh process without the seconds of importing. The helper kills what overstays its deadline. Requests are npz
arrays without pickle behind one line of JSON; answers are JSON.

    run_in_child(method, problem, Deadline(10.0), seed=0)
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, BinaryIO

import numpy as np

from taskpgm.inference.memory import resident_memory
from taskpgm.inference.method import Answer, Deadline, MarginalAnswer, MarginalMethod, Method, Note
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import readonly

GRACE = 1.0  # seconds beyond the deadline in which a solver may still hand in what it has


class ChildError(RuntimeError):
    """The solver raised, crashed or was killed; the text says which."""


def run_in_child(
    method: Method | MarginalMethod, problem: PairwiseNetwork, deadline: Deadline, seed: int
) -> tuple[dict[str, Any] | None, int]:
    """(answer as plain values, peak memory in bytes) of one run; the answer is None where the deadline killed it.

    Raises:
        ChildError: the solver raised or its process died.
    """
    left = deadline.left()
    request: dict[str, Any] = {
        "class": [type(method).__module__, type(method).__qualname__],
        "settings": asdict(method) if is_dataclass(method) else {},
        "foreign": list(method.foreign),
        "deadline": left if math.isfinite(left) else None,
        "seed": seed,
    }
    reply = _Helper.shared().ask(request, _packed(problem))
    if reply["late"]:
        return None, reply["memory"]
    if reply["error"]:
        raise ChildError(reply["error"])
    return reply["answer"], reply["memory"]


def map_answer(values: Mapping[str, Any], deadline: Deadline, offset: float) -> Answer:
    """The Answer that a child sent; its notes go to the deadline, counted from `offset` seconds after its start."""
    for seconds, point, bound in values["notes"]:
        kept = None if point is None else np.array(point, dtype=np.int64)
        deadline.notes.append(Note(seconds + offset, kept, bound))
    point = None if values["point"] is None else np.array(values["point"], dtype=np.int64)
    return Answer(point, values["bound"], values["finished"], values["message"], values["stats"], values["ties"])


def marginal_answer(values: Mapping[str, Any]) -> MarginalAnswer:
    """The MarginalAnswer that a child sent."""
    pairs = values["pairs"]
    return MarginalAnswer(
        tuple(readonly(node, np.float64) for node in values["nodes"]),
        None if pairs is None else tuple(readonly(pair, np.float64) for pair in pairs),
        values["log_partition"],
        values["finished"],
        values["message"],
        values["stats"],
    )


# ---------------------------------------------------------------------------------------------------------- the caller


class _Helper:
    """The helper process, started when it is first needed and again when it has died."""

    _shared: _Helper | None = None
    _owner = 0
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "taskpgm.inference.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self.stop)

    @classmethod
    def shared(cls) -> _Helper:
        with cls._lock:
            mine = cls._shared is not None and cls._owner == os.getpid()
            if not mine or cls._shared is None or cls._shared.process.poll() is not None:
                cls._shared, cls._owner = cls(), os.getpid()
            return cls._shared

    def ask(self, request: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self._lock:
            try:
                header = json.dumps({**request, "bytes": len(payload)}).encode() + b"\n"
                self.process.stdin.write(header + payload)
                self.process.stdin.flush()
                line = self.process.stdout.readline()
            except BaseException as error:
                self.stop()  # what it would still send belongs to this request: nobody may read it as another's
                if isinstance(error, OSError):
                    raise ChildError("the helper process for foreign solvers is gone") from error
                raise
        if not line:
            raise ChildError("the helper process for foreign solvers is gone")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def stop(self) -> None:
        """Kill the helper and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _packed(problem: PairwiseNetwork) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.frombuffer(json.dumps(problem.names).encode(), dtype=np.uint8),
        states=problem.states,
        unary=np.concatenate(problem.unary),
        edges=problem.edges,
        tables=np.concatenate([np.zeros(0), *(table.ravel() for table in problem.tables)]),
        levels=np.concatenate(problem.levels),
        numbers=np.array([problem.constant]),
        budget=np.array([] if problem.budget is None else [problem.budget], dtype=np.int64),
    )
    return buffer.getvalue()


def _unpacked(data: bytes) -> PairwiseNetwork:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        states = arrays["states"]
        cuts = np.cumsum(states)[:-1]
        edges = arrays["edges"]
        sizes = states[edges[:, 0]] * states[edges[:, 1]]
        flat = np.split(arrays["tables"], np.cumsum(sizes)[:-1]) if len(edges) else []
        factors = [([i], values) for i, values in enumerate(np.split(arrays["unary"], cuts))]
        factors += [
            ([int(i), int(j)], table.reshape(states[i], states[j])) for (i, j), table in zip(edges, flat, strict=True)
        ]
        return PairwiseNetwork.from_factors(
            states.tolist(),
            factors,
            names=json.loads(arrays["names"].tobytes()),
            constant=float(arrays["numbers"][0]),
            levels=np.split(arrays["levels"], cuts),
            budget=int(arrays["budget"][0]) if len(arrays["budget"]) else None,
        )


# ---------------------------------------------------------------------------------------------------------- the helper


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until there are no more, each in a forked process."""
    while header := requests.readline():
        request = json.loads(header)
        payload = requests.read(request["bytes"])
        reply = _solved(request, payload)
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def _solved(request: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    try:
        for module in (request["class"][0], *request["foreign"]):
            importlib.import_module(module)
    except Exception as error:
        return {"answer": None, "error": f"{type(error).__name__}: {error}", "late": False, "memory": 0}
    reading, writing = os.pipe()
    before = resident_memory("VmRSS") or 0
    process = os.fork()
    if process == 0:
        os.close(reading)
        _answer(request, payload, writing)
    os.close(writing)
    limit = math.inf if request["deadline"] is None else time.monotonic() + request["deadline"] + GRACE
    data, late = _collected(reading, limit)
    os.close(reading)
    if late:
        os.kill(process, signal.SIGKILL)
    _, status, usage = os.wait4(process, 0)
    memory = max(0, usage.ru_maxrss * 1024 - before)  # ru_maxrss starts from what the fork shares with the helper
    reply = {"answer": None, "error": "", "late": late, "memory": memory}
    if late:
        return reply
    if os.WIFSIGNALED(status):
        return {**reply, "error": f"the solver's process was ended by signal {os.WTERMSIG(status)}"}
    if not data:
        return {**reply, "error": f"the solver's process ended with exit code {os.WEXITSTATUS(status)}"}
    return {**reply, **json.loads(data)}


def _collected(reading: int, limit: float) -> tuple[bytes, bool]:
    """What the child wrote until it closed its end, and whether time ran out first."""
    parts: list[bytes] = []
    while True:
        wait = None if math.isinf(limit) else max(0.0, limit - time.monotonic())
        ready, _, _ = select.select([reading], [], [], wait)
        if not ready:
            return b"", True
        part = os.read(reading, 1 << 20)
        if not part:
            return b"".join(parts), False
        parts.append(part)


def _answer(request: Mapping[str, Any], payload: bytes, writing: int) -> None:
    """In the forked process: solve, write the answer and end."""
    code = 1
    try:
        try:
            reply: dict[str, Any] = {"answer": _run(request, payload), "error": ""}
        except Exception as error:
            reply = {"answer": None, "error": f"{type(error).__name__}: {error}"}
        data = json.dumps(reply).encode()
        while data:
            data = data[os.write(writing, data) :]
        code = 0
    finally:
        os._exit(code)


def _run(request: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    module, name = request["class"]
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in request["settings"].items()}
    method = getattr(importlib.import_module(module), name)(**settings)
    deadline = Deadline(request["deadline"])
    answer = method.run(_unpacked(payload), deadline, request["seed"])
    if isinstance(answer, MarginalAnswer):
        return {
            "nodes": [node.tolist() for node in answer.nodes],
            "pairs": None if answer.pairs is None else [pair.tolist() for pair in answer.pairs],
            "log_partition": _plain(answer.log_partition),
            "finished": answer.finished,
            "message": answer.message,
            "stats": dict(answer.stats),
        }
    return {
        "point": None if answer.point is None else np.asarray(answer.point).tolist(),
        "bound": _plain(answer.bound),
        "finished": answer.finished,
        "message": answer.message,
        "stats": dict(answer.stats),
        "ties": answer.ties,
        "notes": [
            (note.seconds, None if note.point is None else note.point.tolist(), _plain(note.bound))
            for note in deadline.notes
        ],
    }


def _plain(value: float | None) -> float | None:
    return None if value is None else float(value)


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what solvers print must not be read as an answer
    serve(sys.stdin.buffer, replies)
