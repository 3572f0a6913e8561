"""python -m taskpgm: the command line."""

from taskpgm.cli import main

main()
