"""The shape of a model from its configuration and the headers of its weight files: no weight is loaded.

    shape = read_shape(Path("path/to/model"), lora=None)
    shape.parameters

Where the weights are not there (a hub model that was not downloaded), the architecture is built on torch's meta device,
which has shapes and no memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from taskpgm.base import Base, load_model_config
from taskpgm.config import LoraSettings
from taskpgm.costs import ModelShape
from taskpgm.storage import first_line, read_json
from taskpgm.tensor_files import read_header
from taskpgm.types import InputError

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
INDEX_FILE = "model.safetensors.index.json"
OUTER = re.compile(r"(^|\.)(embed\w*|wte|wpe|\w*embeddings?|lm_head|output_embed\w*)\.weight$")
BUFFERS = re.compile(r"\.(attn\.bias|attn\.masked_bias|inv_freq)$")  # in old files, and no parameters
WRITTEN_OUT = ("gelu_new", "gelu_fast", "quick_gelu")  # in Python, step by step: GPT-2's is
ROUTED = re.compile(r"\.experts\.")


def read_shape(folder: Path, lora: LoraSettings | None = None) -> ModelShape:
    """The shape of the model in a folder, with the adapters that these settings put on it.

    Raises:
        InputError: a configuration that cannot be read, or adapters on modules that the model does not have.
    """
    config = load_model_config(Base(folder, "")).get_text_config()
    shapes = stored_shapes(folder) or built_shapes(config, folder)
    heads = int(_setting(config, folder, "num_attention_heads"))
    width = int(_setting(config, folder, "hidden_size"))
    routed = _share_of_experts(config)
    return ModelShape(
        layers=int(_setting(config, folder, "num_hidden_layers")),
        width=width,
        attention=heads * int(getattr(config, "head_dim", None) or width // heads),
        inner=_inner(config, width),
        inner_kept=_inner_kept(config, shapes),
        vocabulary=int(_setting(config, folder, "vocab_size")),
        parameters=sum(map(math.prod, shapes.values())),
        active=round(sum(math.prod(shape) * (routed if ROUTED.search(n) else 1.0) for n, shape in _matrices(shapes))),
        adapter=0 if lora is None else adapter_parameters(shapes, lora),
        linear=sum(math.prod(shape) for _, shape in _matrices(shapes) if len(shape) == 2),
    )


def adapter_parameters(shapes: Shapes, lora: LoraSettings) -> int:
    """How many parameters low-rank adapters have: rank times rows and columns of each matrix that has one.

    Raises:
        InputError: the settings name modules that the model does not have.
    """
    matrices = [(name.removesuffix(".weight"), shape) for name, shape in _matrices(shapes)]
    if lora.target_modules != "all-linear":
        wanted = lora.target_modules
        matrices = [
            (name, shape) for name, shape in matrices if any(f".{name}".endswith(f".{each}") for each in wanted)
        ]
        if not matrices:
            raise InputError(f"training.lora does not fit the model: it has no modules {', '.join(wanted)}.")
    return sum(lora.rank * sum(shape[-2:]) * math.prod(shape[:-2]) for _, shape in matrices)


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in the headers of a folder's safetensors, by name; none where there are no such files."""
    found: dict[str, tuple[int, ...]] = {}
    for path in _weight_files(folder):
        found |= _shapes_in(path)
    return {name: shape for name, shape in found.items() if not BUFFERS.search(name)}


def built_shapes(config: Any, folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a model with this configuration, built without memory."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise InputError(f"model {str(folder)!r}: its shape cannot be told ({first_line(error)}).") from error
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _weight_files(folder: Path) -> list[Path]:
    index, whole = folder / INDEX_FILE, folder / "model.safetensors"
    if index.is_file():
        stored = read_json(index)
        named = stored.get("weight_map", {}) if isinstance(stored, dict) else None
        if not isinstance(named, dict) or not all(isinstance(n, str) and _is_plain(n) for n in named.values()):
            raise InputError(f"{index}: its weight_map does not name files of this folder; download the model whole.")
        return sorted({folder / name for name in named.values()})
    return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in the folder itself."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def _shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        return {name: tuple(each["shape"]) for name, each in read_header(path)[0].items()}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file, but {INDEX_FILE} names it; download the model whole.") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a whole file of weights.") from error


def _matrices(shapes: Shapes) -> Iterable[tuple[str, tuple[int, ...]]]:
    """The matrices inside the layers."""
    return ((name, shape) for name, shape in shapes.items() if len(shape) >= 2 and not OUTER.search(name))


def _inner(config: Any, width: int) -> int:
    """The width of the feed-forward part that one token meets."""
    names = ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim")
    inner = next((value for name in names if (value := getattr(config, name, None))), 4 * width)
    return int(inner) * int(getattr(config, "num_experts_per_tok", None) or 1)


def _inner_kept(config: Any, shapes: Shapes) -> int:
    """Before and after the activation; of both branches and their product; and what a written-out one keeps besides."""
    gated = any("gate_proj" in name or "gate_up_proj" in name or ".w3." in name for name in shapes)
    activation = getattr(config, "hidden_act", None) or getattr(config, "activation_function", None)
    return (4 if gated else 2) + (3 if activation in WRITTEN_OUT else 0)


def _share_of_experts(config: Any) -> float:
    """Of a mixture of experts, the share of them that one token meets; 1 for other models."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    of = next((value for name in names if (value := getattr(config, name, None))), None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return 1.0 if not of or not chosen else float(chosen) / float(of)


def _setting(config: Any, folder: Path, name: str) -> Any:
    value = getattr(config, name, None)
    if value is None:
        raise InputError(f"model {str(folder)!r}: config.json has no {name}; its costs cannot be told.")
    return value
