"""How fast a card takes logarithms, where nothing else is to be waited for."""

from __future__ import annotations

import triton
import triton.language as tl

from taskpgm.divergences.triton_kernels import log2

CHAINS = 16
THREADS = 128
_CHAINS, _THREADS = tl.constexpr(CHAINS), tl.constexpr(THREADS)


@triton.jit
def logarithms(out, times, SPECIAL: tl.constexpr):
    """`times` logarithms in a row in each of CHAINS chains of each of THREADS threads; out: (programs,) float32."""
    place = tl.arange(0, _CHAINS)[:, None] * _THREADS + tl.arange(0, _THREADS)[None, :]
    x = 1.0 + place.to(tl.float32) / (_CHAINS * _THREADS)
    for _ in range(times):
        x = tl.fma(log2(x, SPECIAL), 0.25, 1.5)
    tl.store(out + tl.program_id(0), tl.sum(tl.sum(x, axis=1), axis=0))
