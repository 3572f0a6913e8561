"""Low-rank adapters through peft: put on a base model, read from an expert's folder, and taken off again.

    model = with_adapter(base, LoraSettings(rank=8))
    base = without_adapter(model)       # the same object, not a bit of it changed

So many experts need one base in memory. Nothing of an adapter stays behind: each expert is what it would be on a base
of its own, whatever was on the base before.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskpgm.checkpointing import keep_activations
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
        with without_needless_warnings():
            return get_peft_model(model, adapter)
    except ValueError as error:  # modules that this model does not have
        raise InputError(f"training.lora does not fit the model: {first_line(error)}") from error


def settle_description(model: Any, path: Path) -> None:
    """Have what is saved about a model's adapters be the same wherever they are trained.

    It names the base at `path`, from where they were asked for; and modules sorted: in a set, as peft has them, their
    order changes from process to process.
    """
    model.config.name_or_path = model.get_base_model().name_or_path = str(path)
    for adapter in model.peft_config.values():
        adapter.base_model_name_or_path = str(path)
        if isinstance(adapter.target_modules, set):
            adapter.target_modules = sorted(adapter.target_modules)


def adapted(base: Any, folder: Path, *, to_train: bool = False) -> Any:
    """A base model with the adapter in a folder, in evaluation mode, or to go on training it."""
    from peft import PeftModel

    with without_needless_warnings():
        model = PeftModel.from_pretrained(base, folder, is_trainable=to_train)
    return model if to_train else model.eval()


def without_adapter(model: Any) -> Any:
    """The base model under an adapter, which is dropped; a model that has none, as it is."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    base = model.unload().eval()
    keep_activations(base)
    return base


@contextlib.contextmanager
def without_needless_warnings() -> Iterator[None]:
    """Without what users can do nothing about.

    peft 0.21 reads a property that transformers 5.23 deprecates; and it says of GPT-2's layers, whose weights lie
    transposed, that it sees so by itself.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
