"""A run is one process. Started by `accelerate launch` or `torchrun` it would be several, each doing the same work.

check_one_process()         # InputError in one of several processes
"""

from __future__ import annotations

import os

from taskpgm.types import InputError


def check_one_process() -> None:
    """Before anything starts.

    Raises:
        InputError: a launcher has started several of us.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise InputError(
            f"WORLD_SIZE={processes}: taskpgm works as one process, so start it without accelerate launch or torchrun;"
            " a model that no card can hold alone is spread over all of them with model: {device_map: auto}."
        )
