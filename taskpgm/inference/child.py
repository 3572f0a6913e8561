"""Solvers that others wrote run in a process of their own, so that a crash or a missed deadline costs one answer.

A helper process is kept for each solve that goes on at the same time (see `taskpgm.inference.child_helper`). It has
imported the solver's modules and forks itself for every request, so that each solve is a fresh process without the
seconds of importing: about 30 ms after the first. A helper that died is replaced at the next solve; helpers end with
this process.

    run_in_child(method, problem, Deadline(10.0), seed=0)
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from taskpgm.inference.child_helper import ClosedPipeError, packed, receive, send
from taskpgm.inference.method import Answer, Deadline, MarginalAnswer, MarginalMethod, Method, Note
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.types import readonly

HELPER = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from taskpgm.inference.child_helper import main
main()
"""


class ChildError(RuntimeError):
    """The solver raised, crashed or was killed; the text says which."""


def run_in_child(
    method: Method | MarginalMethod, problem: PairwiseNetwork, deadline: Deadline, seed: int
) -> tuple[dict[str, Any] | None, int]:
    """(answer as plain values, peak memory in bytes) of one run; the answer is None where the deadline killed it.

    Importing the solver for the first time does not count towards the deadline.

    Raises:
        ChildError: the solver raised or its process died.
    """
    if sys.platform == "win32":
        raise ChildError("solvers of others run in forked processes, which Windows does not have: use WSL")
    if type(method).__module__ == "__main__":
        raise ChildError(f"{type(method).__name__} runs in a child process: define it in a module that can be imported")
    left = deadline.left()
    request: dict[str, Any] = {
        "path": sys.path,
        "class": [type(method).__module__, type(method).__qualname__],
        "settings": asdict(method) if is_dataclass(method) else {},
        "foreign": list(method.foreign),
        "deadline": left if math.isfinite(left) else None,
        "seed": seed,
    }
    reply = _HELPERS.ask(json.dumps(request).encode(), packed(problem))
    if reply["late"]:
        return None, reply["memory"]
    if reply["error"]:
        raise ChildError(reply["error"])
    return reply["answer"], reply["memory"]


def map_answer(values: Mapping[str, Any], deadline: Deadline, offset: float) -> Answer:
    """The Answer that a child sent; its notes go to the deadline, counted from when the child began.

    offset: seconds from the deadline's start to the request, before which nothing can have been noted.
    """
    began = max(offset, values["started"] - deadline.start)  # one monotonic clock serves all processes
    for seconds, point, bound in values["notes"]:
        kept = None if point is None else np.array(point)
        deadline.notes.append(Note(began + seconds, kept, bound))
    point = None if values["point"] is None else np.array(values["point"])
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


# --------------------------------------------------------------------------------------------------------- the helpers


class _Helper:
    """A helper process and the pipes to and from it, unbuffered: nothing is left in them when this process forks."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", HELPER, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def ask(self, request: bytes, payload: bytes) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises:
            ChildError: the helper is gone.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            send(self.process.stdin.fileno(), request)
            send(self.process.stdin.fileno(), payload)
            reply: dict[str, Any] = json.loads(receive(self.process.stdout.fileno()))
        except (OSError, ClosedPipeError) as error:
            raise ChildError(
                "the helper process for foreign solvers was killed; the next solve starts a new one"
            ) from error
        return reply

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Kill the helper and what it started: they are one process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.close()

    def forget(self) -> None:
        """Let go of a helper that belongs to the process that forked this one."""
        self.process.returncode = 0  # not ours to wait for, nor to warn about
        self.close()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


class _Helpers:
    """All helpers of this process, and those that wait for a request."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: list[_Helper] = []
        self.idle: list[_Helper] = []

    def ask(self, request: bytes, payload: bytes) -> dict[str, Any]:
        """The reply of an idle helper, or of a new one."""
        helper = self._take()
        try:
            reply = helper.ask(request, payload)
        except BaseException:  # what it would still send belongs to this request: nobody may read it as another's
            self._remove(helper)
            raise
        with self.lock:
            self.idle.append(helper)
        return reply

    def _take(self) -> _Helper:
        with self.lock:
            while self.idle:
                helper = self.idle.pop()
                if helper.alive():
                    return helper
                self.all.remove(helper)
                helper.stop()
            helper = _Helper()
            self.all.append(helper)
            return helper

    def _remove(self, helper: _Helper) -> None:
        with self.lock:
            if helper in self.all:
                self.all.remove(helper)
        helper.stop()

    def stop(self) -> None:
        """Kill all helpers and their solves, when this process ends."""
        with self.lock:
            helpers, self.all, self.idle = self.all, [], []
        for helper in helpers:
            helper.stop()

    def forget(self) -> None:
        """In a fork of this process: its helpers, and perhaps the lock, are the other's."""
        for helper in self.all:
            helper.forget()
        self.lock, self.all, self.idle = threading.Lock(), [], []


_HELPERS = _Helpers()
atexit.register(_HELPERS.stop)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_HELPERS.forget)
