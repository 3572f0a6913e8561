"""SIGINT and SIGTERM stop a command within seconds: what is under way is given up, what is finished stays.

with stopping_cleanly():                # both raise Stopped, in the main thread
    ...                                 # long work calls stop_if_asked now and then
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked: list[int] = []


class Stopped(BaseException):
    """The user, or the system, asked for an end. It is no Exception, so that nothing takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


def stop_if_asked() -> None:
    """Raise Stopped once more, if a signal came and what it raised was lost: in a destructor, say.

    Raises:
        Stopped: a signal came.
    """
    if _asked:
        raise Stopped(_asked[0])


@contextlib.contextmanager
def lost_signals_heard() -> Iterator[None]:
    """An error that leaves this block after a signal came is Stopped once more: an import may have made it of that.

    Raises:
        Stopped: a signal came, and the block ends with an error.
    """
    try:
        yield
    except Exception:
        stop_if_asked()
        raise


@contextlib.contextmanager
def stopping_cleanly() -> Iterator[None]:
    """In this block signals raise Stopped; one that is ignored (as under nohup) stays so. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        with lost_signals_heard():
            yield
    finally:
        _asked.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_noted() -> Iterator[None]:
    """Signals that come in this block are heard at its end: for a library whose code must not be left by an exception.

    Where the library takes over signals, it loses them again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is _stop:
            signal.signal(number, _note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    stop_if_asked()


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes started in this block never see the SIGINT of a terminal: who started them ends them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    raise Stopped(number)


def _note(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
