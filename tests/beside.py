"""Runs a command beside the tests, for as long as these last:  python tests/beside.py OWNER FOLDER COMMAND ...

FOLDER gets its output and errors and, when it has ended, its code. It is killed when the process OWNER is no more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

EACH = 0.1  # seconds between looks


@dataclass(frozen=True)
class Beside:
    """A command that runs in a folder, or has run there."""

    folder: Path

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        path = self.folder / "code"
        return int(path.read_text()) if path.exists() else None

    def wait(self) -> int:
        """The exit code, once it has one."""
        while (code := self.code) is None:
            time.sleep(EACH)
        return code

    @property
    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()


def beside(owner: int, folder: Path, command: list[str]) -> Beside:
    """Start the command, unless another process of the same tests has: the first to make the folder does."""
    try:
        folder.mkdir()
    except FileExistsError:
        return Beside(folder)
    RUNNING.append(subprocess.Popen([sys.executable, __file__, str(owner), str(folder), *command]))
    return Beside(folder)


RUNNING: list[subprocess.Popen[bytes]] = []


def main(owner: int, folder: Path, command: list[str]) -> None:
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=errors)
    while process.poll() is None and _lives(owner):
        time.sleep(EACH)
    process.kill()
    partial = folder / "code.partial"
    partial.write_text(f"{process.wait()}")
    partial.rename(folder / "code")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
