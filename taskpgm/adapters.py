"""Low-rank adapters through peft: put on a base model before training, and read from an expert's folder.

    model = with_adapter(load_model(base.path), LoraSettings(rank=8))

Everything that knows peft is here.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskpgm.config import LoraSettings
from taskpgm.storage import first_line
from taskpgm.types import InputError


def with_adapter(model: Any, lora: LoraSettings) -> Any:
    """A base model with a fresh adapter, which alone is trained.

    Raises:
        InputError: the settings name modules that the model does not have.
    """
    from peft import LoraConfig, get_peft_model

    targets = lora.target_modules
    adapter = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        with without_peft_deprecations():
            return get_peft_model(model, adapter)
    except ValueError as error:  # modules that this model does not have
        raise InputError(f"training.lora does not fit the model: {first_line(error)}") from error


def name_base(model: Any, path: Path) -> None:
    """Have what is saved of a model say that its adapters are for the base there, wherever it was read from."""
    for adapter in getattr(model, "peft_config", {}).values():
        adapter.base_model_name_or_path = str(path)


def adapted(base: Any, folder: Path) -> Any:
    """A base model with the adapter in a folder, in evaluation mode."""
    from peft import PeftModel

    with without_peft_deprecations():
        return PeftModel.from_pretrained(base, folder).eval()


@contextlib.contextmanager
def without_peft_deprecations() -> Iterator[None]:
    """peft 0.21 reads a property that transformers 5.23 deprecates; users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
