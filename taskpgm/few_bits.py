"""A frozen base in 8 or 4 bits a weight (bitsandbytes), under adapters: QLoRA (Dettmers et al. 2023).

    check_few_bits("4bit")                              # InputError where bitsandbytes is not there
    settings = quantisation("4bit", "bfloat16")         # for from_pretrained
    model = prepared(model)                             # norms, embeddings and output layer in float32

Four bits are NF4 with quantised constants, products in the precision; eight are LLM.int8().
"""

from __future__ import annotations

import importlib.util
from typing import Any, Literal, TypeAlias

from taskpgm.types import InputError

LoadIn: TypeAlias = Literal["8bit", "4bit"]


def check_few_bits(load_in: LoadIn) -> None:
    """Before anything is loaded.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"model.load_in: {load_in} needs bitsandbytes, which is not installed; install it with:"
            " pip install 'taskpgm[few-bits]'."
        )


def quantisation(load_in: LoadIn, precision: str) -> Any:
    """What from_pretrained takes as quantization_config."""
    import torch
    from transformers import BitsAndBytesConfig

    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, precision),
    )


def prepared(model: Any) -> Any:
    """The model for adapters on it: frozen, and what is not in few bits in float32."""
    from bitsandbytes.nn import Linear4bit
    from peft import prepare_model_for_kbit_training

    for module in model.modules():
        if isinstance(module, Linear4bit):
            # on some processors a model that is read is packed for reading, and no gradient goes through it any more
            module.support_avx512bf16_for_cpu = False
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
