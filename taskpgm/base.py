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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from taskpgm.executors import Source
from taskpgm.few_bits import LoadIn, check_few_bits, prepared, quantisation
from taskpgm.halving import enough_memory, out_of_memory
from taskpgm.storage import content_hash, file_hash, first_line, is_folder, versions
from taskpgm.types import InputError

DESCRIPTION_FILES = ("*.json", "*.model", "*.txt", "*.jinja")
MODEL_FILES = (*DESCRIPTION_FILES, "*.safetensors")
ROOM = "training: {precision: bfloat16}, with LoRA model: {load_in: 4bit}, more cards with model: {device_map: auto}"
_SYSTEM_ERROR = re.compile(r"os error (\d+)|Os \{ code: (\d+)")  # the second of safetensors before 0.6


@dataclass(frozen=True)
class Base:
    """A base model on disk, how it is loaded, and the hash of everything that determines what it predicts.

    load_in: few bits a weight, for adapters. device_map: "auto" spreads it over all cards; it is no part of the hash,
    as where a model lies changes last digits alone.
    """

    path: Path
    fingerprint: str
    load_in: LoadIn | None = None
    device_map: Literal["auto"] | None = None


def locate_base(
    name: str | Path,
    revision: str | None = None,
    *,
    load_in: LoadIn | None = None,
    device_map: Literal["auto"] | None = None,
) -> Base:
    """The base model under a local folder or a hub name (downloaded once, then taken from the hub's cache).

    Args:
        name: the folder or the name.
        revision: of a hub model, a commit.
        load_in: few bits a weight, for adapters.
        device_map: "auto" for a model that no card can hold alone.

    Raises:
        InputError: unknown, unreachable, unpinned, without safetensors weights, or bitsandbytes is not there for
            load_in.
    """
    if load_in is not None:
        check_few_bits(load_in)
    found = _located(name, revision)
    if load_in is None:
        return replace(found, device_map=device_map)
    made = {"base": found.fingerprint, "load_in": load_in, "versions": versions("bitsandbytes")}
    return Base(found.path, content_hash(made), load_in, device_map)


def _located(name: str | Path, revision: str | None) -> Base:
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


def base_source(base: Base) -> Source:
    """The base as what items of work read."""
    return Source(base.path, MODEL_FILES, shared=True)


def load_tokenizer(base: Base) -> Any:
    """The base's tokenizer."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path)
    except (OSError, ValueError, ImportError) as error:  # the last: a library that only this tokenizer needs
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


def load_base(base: Base, precision: str) -> Any:
    """The base model, in evaluation mode."""
    return load_model(base.path, precision, base.load_in, base.device_map)


def load_model(
    path: Path, precision: str = "float32", load_in: LoadIn | None = None, device_map: Literal["auto"] | None = None
) -> Any:
    """A causal language model from a folder of safetensors, in evaluation mode.

    It lies on the GPU where there is one; with device_map "auto" on all of them.

    Raises:
        InputError: it cannot be loaded, or there is no room for it.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()

    how: dict[str, Any] = {"dtype": getattr(torch, precision), "use_safetensors": True}
    if load_in is not None:
        how |= {"quantization_config": quantisation(load_in, precision), "device_map": device_map or {"": device()}}
    elif device_map is not None:
        how["device_map"] = device_map
    with enough_memory(f"model {str(path)!r}", ROOM):
        try:
            model = AutoModelForCausalLM.from_pretrained(path, **how)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            asked = "" if load_in is None else f" with model.load_in: {load_in}"
            raise InputError(f"model {str(path)!r}: cannot be loaded{asked} ({first_line(error)}).") from error
        model = model.to(device()) if "device_map" not in how else model
    check_placed(model, f"model {str(path)!r}")
    return (model if load_in is None else prepared(model)).eval()


def check_placed(model: Any, name: str) -> None:
    """Whether all of a model lies where it can be trained.

    Raises:
        InputError: device_map "auto" found no room for some of it on the cards.
    """
    places = {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()}
    if "disk" in places or ("cpu" in places and device() != "cpu"):
        raise InputError(f"{name}: the cards have no room for all of it; what helps: {ROOM}.")


def save_parts(folder: Path, *parts: Any) -> None:
    """Put a model, and what belongs to it, into a folder.

    Raises:
        OSError: no room, say; also where a library hides it in an error of its own.
    """
    for part in parts:
        try:
            part.save_pretrained(folder)
        except Exception as error:  # safetensors and tokenizers have no finer one
            found = None if isinstance(error, OSError) else _SYSTEM_ERROR.search(str(error))
            if found is None:
                raise
            code = int(found[1] or found[2])
            raise OSError(code, os.strerror(code), str(folder)) from error


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Run a block with this many processor threads in torch; None is OMP_NUM_THREADS, else all cores.

    The number is always set, since other libraries (numba's parallel kernels) change it behind torch's back, and the
    last digits of sums, and so of trained weights, depend on it.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(chosen_threads(count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def chosen_threads(count: int | None) -> int:
    """How many threads that is."""
    if count is not None:
        return count
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
