"""Compiles the Triton kernels for an NVIDIA card of capability 9.0, with no card in sight; run by tests/test_device.py.

    python tests/compiled_kernels.py fp32

Prints a line for each: its name and size, and how many logarithms of the special function unit are in its machine code.
"""

from __future__ import annotations

import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from taskpgm.divergences import triton_kernels as kernels
from taskpgm.divergences.device import STEPS, TOKENS

CARD = GPUTarget("cuda", 90, 32)
POINTERS = {"starts": "*i32", "tops": "*i32", "lefts": "*i32", "weights": "*fp64", "out": "*fp64", "totals": "*fp64"}
NUMBERS = ("by_expert", "by_context", "by_token", "vocabulary", "experts", "width", "chunks")


def logarithms(kernel: Any, real: str, inputs: str, **constants: Any) -> int:
    """Compile one kernel for inputs of a type; how often its code calls lg2.approx."""
    types = dict.fromkeys(NUMBERS, "i32") | {"logs": f"*{inputs}", "logits": f"*{inputs}"} | POINTERS
    types["out"] = f"*{real}" if kernel is kernels.log_sums else "*fp64"
    signature = {name: "constexpr" if name in constants else types.get(name, f"*{real}") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): value for name, value in constants.items()})
    compiled = triton.compile(source, target=CARD, options={"enable_fp_fusion": False})
    assert len(compiled.asm["cubin"]) > 0
    return str(compiled.asm["ptx"]).count("lg2.approx.ftz.f32")


def main() -> None:
    real = sys.argv[1]
    arithmetic = {"REAL": {"fp32": tl.float32, "fp64": tl.float64}[real], "TOKENS": TOKENS}
    for inputs in {"fp32": ("bf16", "fp16", "fp32"), "fp64": ("fp64",)}[real]:
        print(f"log_sums:{inputs}", logarithms(kernels.log_sums, real, inputs, **{**arithmetic, "TOKENS": 8 * TOKENS}))
        for shifted in (False, True):
            found = logarithms(kernels.scale, real, inputs, **arithmetic, SHIFTED=shifted, EXPERTS=32)
            print(f"scale:{inputs}:{shifted}", found)
    for side in (4, 8):
        own = {"SPECIAL": real == "fp32", "SIDE": side, "CHUNK": STEPS * TOKENS}
        print(f"pair_sums:{side}", logarithms(kernels.pair_sums, real, real, **arithmetic, **own))


if __name__ == "__main__":
    main()
