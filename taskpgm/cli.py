"""The command line: parse, call, print. Each command is a file in commands/."""

from __future__ import annotations

import io
import sys

import typer

from taskpgm.commands import COMMANDS
from taskpgm.discretion import without_secrets
from taskpgm.progress import notes_on_stderr
from taskpgm.stopping import Stopped, stopping_cleanly
from taskpgm.types import InputError

app = typer.Typer(
    name="taskpgm",
    help="How much of each task goes into a fine-tuning budget: a Markov random field over tasks, solved with a proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Entry point: bad input and the system's refusals end with one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a task's name must not end the run
            stream.reconfigure(errors="backslashreplace")
    try:
        with stopping_cleanly(), notes_on_stderr():
            app(prog_name="taskpgm")
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}. Nothing finished so far is lost.")
    except Stopped as stop:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(stop.exit_code)


def _fail(message: str) -> None:
    print(f"error: {without_secrets(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)
