"""The base model: found, fingerprinted and loaded. Local folders and hub names both end as a folder of safetensors.

For example:

    base = locate_base("Qwen/Qwen2.5-0.5B", revision="060db6499f32faf8b98477b0a26969ef7d8b9987")
    base.fingerprint                    # changes whenever the weights, the configuration or the tokenizer do
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskpgm.storage import content_hash, file_hash, first_line, is_folder
from taskpgm.types import InputError

DESCRIPTION_FILES = ("*.json", "*.model", "*.txt", "*.jinja")
MODEL_FILES = (*DESCRIPTION_FILES, "*.safetensors")
_SYSTEM_ERROR = re.compile(r"os error (\d+)")


@dataclass(frozen=True)
class Base:
    """A base model on disk and the hash of everything in its folder that determines predictions."""

    path: Path
    fingerprint: str


def locate_base(name: str | Path, revision: str | None = None) -> Base:
    """The base model under a local folder or a hub name (downloaded once, then taken from the hub's cache).

    Raises:
        InputError: unknown, unreachable, unpinned, or without safetensors weights.
    """
    path = Path(name)
    if is_folder(path):
        return _checked(Base(path, _folder_fingerprint(path)), str(name))
    if path.is_absolute() or str(name).startswith("."):
        raise InputError(f"model {str(name)!r}: no such folder.")
    return _checked(_from_hub(str(name), revision, MODEL_FILES), str(name))


def locate_description(name: str | Path, revision: str | None = None) -> Path:
    """The folder with a base model's configuration and tokenizer; a hub model's weights are not downloaded for it.

    Raises:
        InputError: as `locate_base`; weights that lie here have to be safetensors all the same.
    """
    path = Path(name)
    if is_folder(path):
        return _checked(Base(path, ""), str(name)).path
    if path.is_absolute() or str(name).startswith("."):
        raise InputError(f"model {str(name)!r}: no such folder.")
    return _described(_from_hub(str(name), revision, DESCRIPTION_FILES), str(name)).path


def load_tokenizer(base: Base) -> Any:
    """The base's tokenizer."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path)
    except (OSError, ValueError) as error:
        raise InputError(f"model {str(base.path)!r}: its tokenizer cannot be loaded ({first_line(error)}).") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model_config(base: Base) -> Any:
    """The base's configuration."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base.path)
    except (OSError, ValueError) as error:
        raise InputError(f"model {str(base.path)!r}: cannot be loaded ({first_line(error)}).") from error


def load_model(path: Path, precision: str = "float32") -> Any:
    """A causal language model from a folder of safetensors, on the GPU where there is one, in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()

    try:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, precision), use_safetensors=True)
    except (OSError, ValueError) as error:
        raise InputError(f"model {str(path)!r}: cannot be loaded ({first_line(error)}).") from error
    return model.to(device()).eval()


def save_parts(folder: Path, *parts: Any) -> None:
    """Put a model, and what belongs to it, into a folder.

    Raises:
        OSError: no room, say; also where a library hides it in an error of its own.
    """
    for part in parts:
        try:
            part.save_pretrained(folder)
        except Exception as error:  # safetensors and tokenizers have no finer one
            code = None if isinstance(error, OSError) else _SYSTEM_ERROR.search(str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from error


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Run a block with this many processor threads in torch; None is OMP_NUM_THREADS, else all cores.

    The number is always set, since other libraries (numba's parallel kernels) change it behind torch's back, and the
    last digits of sums, and so of trained weights, depend on it.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(_default_threads() if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _default_threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(asked) if asked.isdigit() and int(asked) > 0 else os.cpu_count() or 1


def device() -> str:
    """Where models run: the GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _from_hub(name: str, revision: str | None, files: Sequence[str]) -> Base:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"model {name!r}: unknown, neither a folder here nor a model that the hub can give now"
            f" ({first_line(error)})."
        ) from error
    commit = Path(path).name  # the hub's cache names a snapshot's folder after its commit
    return Base(Path(path), content_hash({"hub": name, "commit": commit}))


def _folder_fingerprint(path: Path) -> str:
    files = sorted({file for pattern in MODEL_FILES for file in path.glob(pattern)})
    return content_hash({file.name: file_hash(file) for file in files})


def _described(base: Base, name: str) -> Base:
    if not (base.path / "config.json").is_file():
        raise InputError(f"model {name!r}: no config.json in {base.path}; it is not a transformers model.")
    return base


def _checked(base: Base, name: str) -> Base:
    _described(base, name)
    if not any(base.path.glob("*.safetensors")):
        raise InputError(
            f"model {name!r}: no .safetensors weights; convert it (other formats can run code on loading)."
        )
    return base
