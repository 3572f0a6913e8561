"""The Triton kernels of the Jensen-Shannon divergence. Imported on first use: triton is an extra (`taskpgm[gpu]`).

The arithmetic is that of the numba kernel (`taskpgm.divergences.kernels`). With r_v the largest probability that any
expert gives to token v, P_i = a_i 2 r / T_i (T_i the sum of its probabilities before they are normalised) and
s_v = a_i / T_i + a_j / T_j,

    F_ij = sum_v 2 r_v s_v log2 s_v,      JSD(P_i, P_j) = ln 2 / 2 * (F_ii / 2 + F_jj / 2 - F_ij)

since r cancels: one logarithm for a pair and token. F is linear in the contexts, so that the kernels only add it up;
the divergence is taken from the sums (`taskpgm.divergences.device`).

Three kernels, for a group of contexts small enough for the card's cache:

1. `log_sums`, for logits alone: the logarithm of each row's sum of exponentials, in one pass with a running maximum.
2. `scale`: a_i, 2 r and the T_i. These divide only when pairs are added up, so that log-probabilities, normalised or
   nearly so, come from memory once, where a second look at the same few tokens finds them in the cache. Logits come
   twice.
3. `pair_sums`: F. A program holds SIDE x SIDE pairs of experts, for each of TOKENS tokens, in registers: a thread
   of TOKENS has all pairs for one token at a time. It sums in the arithmetic's precision; every CHUNK tokens the sums
   of the threads are added up, and go on in float64.

The order of all sums depends on the shapes alone, and is the same for every pair: equal experts have equal F.
"""

from __future__ import annotations

import triton
import triton.language as tl

NEGLIGIBLE = tl.constexpr(1e-36)
"""A token that no expert finds more probable is left out."""
SMALLEST = tl.constexpr(1e-30)
"""The least a_i: no logarithm of 0 is taken, and no number is denormal."""


@triton.jit
def log_sums(
    logits,
    out,
    by_expert,
    by_context,
    by_token,
    vocabulary,
    REAL: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """log sum exp of each row; grid (k, n).

    logits: (n, k, V) with these strides. out: (k, n) REAL.
    """
    context, expert = tl.program_id(0), tl.program_id(1)
    row = logits + expert.to(tl.int64) * by_expert + context.to(tl.int64) * by_context
    largest = tl.full((), float("-inf"), REAL)
    total = tl.full((), 0.0, REAL)
    for low in range(0, vocabulary, TOKENS):
        tokens = low + tl.arange(0, TOKENS)
        x = tl.load(row + tokens.to(tl.int64) * by_token, mask=tokens < vocabulary, other=float("-inf")).to(REAL)
        above = tl.maximum(largest, tl.max(x, axis=0))
        # while all are -inf, nothing is subtracted: -inf - -inf is not a number
        base = tl.where(above == float("-inf"), 0.0, above)
        total = total * tl.exp(largest - base) + tl.sum(tl.exp(x - base), axis=0)
        largest = above
    tl.store(out + context * tl.num_programs(1) + expert, largest + tl.log(total))


@triton.jit
def _probabilities(
    columns,
    shifts,
    some,
    inside,
    by_expert,
    experts,
    SHIFTED: tl.constexpr,
    REAL: tl.constexpr,
):
    """(EXPERTS, TOKENS) exp of what some experts have at the places of `columns`; 0 outside."""
    known = inside & (some < experts)[:, None]
    x = tl.load(columns + some.to(tl.int64)[:, None] * by_expert, mask=known, other=float("-inf")).to(REAL)
    if SHIFTED:
        x -= tl.load(shifts + some, mask=some < experts, other=0.0)[:, None]
    return tl.exp(x)


@triton.jit
def scale(
    logs,
    shifts,
    scaled,
    doubled,
    totals,
    by_expert,
    by_context,
    by_token,
    experts,
    vocabulary,
    width,
    SHIFTED: tl.constexpr,
    REAL: tl.constexpr,
    EXPERTS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """P_i / (2 r), 2 r, and the sums of the P_i over TOKENS tokens each; grid (k, width / TOKENS).

    logs: (n, k, V) with these strides. shifts: (k, n) REAL, subtracted from them where SHIFTED. scaled: (k, n, width)
    REAL. doubled: (k, width) REAL, 0 for tokens that nobody finds likely and beyond V. totals: (k, width / TOKENS, n)
    float64. EXPERTS: how many are taken at a time.
    """
    context, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    tokens = part * TOKENS + tl.arange(0, TOKENS)
    inside = (tokens < vocabulary)[None, :]
    columns = logs + context * by_context + tokens.to(tl.int64)[None, :] * by_token
    shift = shifts + context * experts
    sums = totals + (context * tl.num_programs(1) + part) * experts
    largest = tl.zeros((TOKENS,), REAL)
    for first in range(0, experts, EXPERTS):
        some = first + tl.arange(0, EXPERTS)
        p = _probabilities(columns, shift, some, inside, by_expert, experts, SHIFTED, REAL)
        largest = tl.maximum(largest, tl.max(p, axis=0))
        tl.store(sums + some, tl.sum(p, axis=1).to(tl.float64), mask=some < experts)
    likely = largest > NEGLIGIBLE
    tl.store(doubled + context * width + tokens, tl.where(likely, 2.0 * largest, 0.0))
    inverse = tl.where(likely, 0.5 / tl.where(likely, largest, 1.0), 0.0)
    for first in range(0, experts, EXPERTS):
        some = first + tl.arange(0, EXPERTS)
        p = _probabilities(columns, shift, some, inside, by_expert, experts, SHIFTED, REAL)
        rows = scaled + (context * experts + some)[:, None] * width
        share = tl.maximum(p * inverse[None, :], SMALLEST)
        tl.store(rows + tokens[None, :], share, mask=(some < experts)[:, None])


@triton.jit
def log2(x, SPECIAL: tl.constexpr):
    """log2 of positive normal numbers: by the special function unit of an NVIDIA card, or to rounding."""
    if SPECIAL:
        return tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    return tl.log2(x)


# Were the width known to be a multiple of 16, tokens would be read four to a thread and then dealt out through shared
# memory; one to a thread, they are where they are needed.
@triton.jit(do_not_specialize=["width"])
def pair_sums(
    scaled,
    doubled,
    inverses,
    weights,
    starts,
    tops,
    lefts,
    out,
    experts,
    width,
    chunks,
    REAL: tl.constexpr,
    SPECIAL: tl.constexpr,
    SIDE: tl.constexpr,
    TOKENS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """The weighted sums F of a square of pairs over a piece of the contexts; grid (squares, pieces).

    scaled, doubled: from `scale`. inverses: (k, n) REAL, 1 / T_i. weights: (k,) float64. starts: (pieces + 1,) int32,
    the units that a piece begins with and the last one ends before; unit u is chunk u % chunks of context u // chunks.
    tops, lefts: (squares,) int32, the squares' first experts. out: (pieces, squares, SIDE, SIDE) float64.
    """
    square, piece = tl.program_id(0), tl.program_id(1)
    inner = tl.arange(0, SIDE)
    rows = tl.minimum(tl.load(tops + square) + inner, experts - 1)  # what is beyond the last expert is not read
    columns = tl.minimum(tl.load(lefts + square) + inner, experts - 1)
    result = tl.zeros((SIDE, SIDE), tl.float64)
    for unit in range(tl.load(starts + piece), tl.load(starts + piece + 1)):
        context, low = (unit // chunks).to(tl.int64), (unit % chunks) * CHUNK
        row_factors = tl.load(inverses + context * experts + rows)[:, None]
        column_factors = tl.load(inverses + context * experts + columns)[:, None]
        row_places = scaled + (context * experts + rows)[:, None] * width
        column_places = scaled + (context * experts + columns)[:, None] * width
        sums = tl.zeros((SIDE, SIDE, TOKENS), REAL)
        for start in range(low, tl.minimum(low + CHUNK, width), TOKENS):
            tokens = start + tl.arange(0, TOKENS)
            a = tl.load(row_places + tokens[None, :]) * row_factors
            b = tl.load(column_places + tokens[None, :]) * column_factors
            twice = tl.load(doubled + context * width + tokens)
            s = a[:, None, :] + b[None, :, :]
            sums = tl.fma(s * twice[None, None, :], log2(s, SPECIAL), sums)
        result += tl.load(weights + context) * tl.sum(sums, axis=2).to(tl.float64)
    place = (piece.to(tl.int64) * tl.num_programs(0) + square) * SIDE * SIDE
    tl.store(out + place + inner[:, None] * SIDE + inner[None, :], result)
