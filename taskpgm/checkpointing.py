"""Activations that are computed again in the backward pass instead of being kept: less memory, a third more work.

    recompute_activations(model)        # until keep_activations(model); what is computed stays the same

Called on the model, since transformers renames the settings of its Trainer for this (and warns of the old names).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from taskpgm.storage import first_line
from taskpgm.types import InputError


def recompute_activations(model: Any) -> None:
    """Compute activations twice from now on, in training.

    Raises:
        InputError: the model cannot.
    """
    try:
        with _old_names():
            model.gradient_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(f"training.gradient_checkpointing does not fit the model: {first_line(error)}") from error


def keep_activations(model: Any) -> None:
    """Undo it."""
    with _old_names():
        model.gradient_checkpointing_disable()


@contextlib.contextmanager
def _old_names() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        yield
