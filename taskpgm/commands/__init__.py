"""The commands of the program, one file each; their order here is the order of the help page.

A new command is a file with one function, and one line in COMMANDS.
"""

from __future__ import annotations

from taskpgm.commands.cleaning import clean
from taskpgm.commands.comparing import compare
from taskpgm.commands.deciding import decisions
from taskpgm.commands.evaluating import evaluate
from taskpgm.commands.exporting import export
from taskpgm.commands.inspecting import status
from taskpgm.commands.planning import plan
from taskpgm.commands.reporting import report
from taskpgm.commands.running import demo, run
from taskpgm.commands.solving import solve
from taskpgm.commands.verifying import verify

COMMANDS = (demo, plan, run, solve, compare, evaluate, decisions, verify, export, report, status, clean)
