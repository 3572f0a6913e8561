"""What training and reading a model cost: operations, memory and bytes on disk. Arithmetic alone; nothing is loaded.

    shape = ModelShape(layers=24, width=896, attention=896, inner=4864, inner_kept=4, vocabulary=151936, ...)
    work = training_work(lengths, batch_size=32)        # lengths: tokens of each example, in the order of the run
    training_flops(shape, work), training_bytes(shape, work, "bfloat16")

Counted are multiplications and additions of matrix products, as is usual (Kaplan et al. 2020, section 2.1): 2 for each
parameter and token forward, twice that backward, so 6 N T for T tokens; embeddings are looked up and cost nothing, the
output layer counts. Attention between positions adds 12 L a T^2 for a sequence of T tokens, L layers and heads of
width a together. What is computed is every position of a padded batch, not its real tokens alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from taskpgm.few_bits import LoadIn
from taskpgm.types import IntArray

Precision: TypeAlias = Literal["float32", "bfloat16"]
WIDTHS: dict[Precision, int] = {"float32": 4, "bfloat16": 2}
FLOAT = 4  # bytes of a float32
FEW_BITS: dict[LoadIn, float] = {"8bit": 1.0, "4bit": 0.5 + 0.127 / 8}  # bytes; Dettmers et al. 2023: 0.127 bits more
ADAM = 2 * FLOAT  # two moments
FILES, ADAPTER_FILES = 2_000, 8_500  # bytes of the small files next to an expert's weights, or its adapter's


@dataclass(frozen=True)
class ModelShape:
    """What the arithmetic needs to know of a model.

    layers: how many. width: of the hidden states. attention: heads times their width. inner: of the feed-forward part,
    for one token. inner_kept: how many values of that width the backward pass needs. vocabulary: rows of the output
    layer. parameters: all of them. active: parameters of the layers' matrices that one token meets. adapter: parameters
    of the low-rank adapters that are trained instead of all, 0 without. linear: parameters of the layers' matrices that
    few bits can hold.
    """

    layers: int
    width: int
    attention: int
    inner: int
    inner_kept: int
    vocabulary: int
    parameters: int
    active: int
    adapter: int = 0
    linear: int = 0

    @property
    def output(self) -> int:
        """Parameters of the output layer, tied to the embeddings or not."""
        return self.vocabulary * self.width


@dataclass(frozen=True)
class Saving:
    """What makes a model fit. load_in: bits of a frozen weight under adapters. checkpointing: activations twice."""

    load_in: LoadIn | None = None
    checkpointing: bool = False


NOTHING_SAVED = Saving()


@dataclass(frozen=True)
class Work:
    """What a model is asked to compute, counted over batches.

    tokens: real ones. positions: the same with padding. squares: the sum over rows of their padded length squared.
    outputs: positions that go through the output layer. batches: how many. most_positions, most_outputs: of one batch.
    """

    tokens: float = 0.0
    positions: float = 0.0
    squares: float = 0.0
    outputs: float = 0.0
    batches: float = 0.0
    most_positions: float = 0.0
    most_outputs: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.tokens + other.tokens,
            self.positions + other.positions,
            self.squares + other.squares,
            self.outputs + other.outputs,
            self.batches + other.batches,
            max(self.most_positions, other.most_positions),
            max(self.most_outputs, other.most_outputs),
        )

    def in_parts(self, batch_size: int, micro_batch: int | None) -> Work:
        """The same work with batches that go through the model in parts; the padding that parts save is not counted."""
        if micro_batch is None or micro_batch >= batch_size:
            return self
        return replace(
            self,
            batches=self.batches * math.ceil(batch_size / micro_batch),
            most_positions=self.most_positions * micro_batch / batch_size,
            most_outputs=self.most_outputs * micro_batch / batch_size,
        )

    def times(self, factor: float) -> Work:
        """The same work done so many times."""
        return Work(
            factor * self.tokens,
            factor * self.positions,
            factor * self.squares,
            factor * self.outputs,
            factor * self.batches,
            self.most_positions,
            self.most_outputs,
        )


def training_work(lengths: IntArray, batch_size: int) -> Work:
    """Training on examples of these lengths, (m,) in tokens: every batch is padded to its longest example."""
    total = Work()
    for start in range(0, len(lengths), batch_size):
        own = lengths[start : start + batch_size]
        rows, longest = len(own), int(own.max())
        total += batch_work(int(own.sum()), rows, longest, rows * longest)
    return total


def batch_work(tokens: int, rows: int, longest: int, outputs: int) -> Work:
    """One batch of so many rows, padded to `longest`."""
    positions = rows * longest
    return Work(tokens, positions, rows * longest * longest, outputs, 1, positions, outputs)


# ----------------------------------------------------------------------------------------------------------- operations


def reading_flops(shape: ModelShape, work: Work) -> float:
    """Forward alone: 2 N for every position, and 4 L a T^2 for the attention within a row of T positions."""
    layers = 2.0 * shape.active * work.positions + 4.0 * shape.layers * shape.attention * work.squares
    return layers + 2.0 * shape.output * work.outputs


def training_flops(shape: ModelShape, work: Work, saving: Saving = NOTHING_SAVED) -> float:
    """Forward and backward: 6 N; through frozen matrices, with adapters, 4 N, since their own gradients are not needed.

    Adapters (Hu et al. 2021) add 6 times their own parameters. The attention within a row has no parameters: always
    three times its forward part. With checkpointing the layers' forward part is computed once more.
    """
    forward = reading_flops(shape, work)
    again = forward - 2.0 * shape.output * work.outputs if saving.checkpointing else 0.0
    if not shape.adapter:
        return 3.0 * forward + again
    between = 4.0 * shape.layers * shape.attention * work.squares
    return 2.0 * forward + again + between + 6.0 * shape.adapter * work.positions


# --------------------------------------------------------------------------------------------------------------- memory


def frozen_bytes(shape: ModelShape, precision: Precision, load_in: LoadIn | None = None) -> float:
    """Weights that are only read. In few bits the layers' matrices are, and all others are float32."""
    if load_in is None:
        return WIDTHS[precision] * shape.parameters
    return FEW_BITS[load_in] * shape.linear + FLOAT * (shape.parameters - shape.linear)


def state_bytes(shape: ModelShape, precision: Precision, saving: Saving = NOTHING_SAVED) -> float:
    """Weights, gradients and Adam's moments: 4 + 4 + 8 bytes a parameter (Rajbhandari et al. 2020, section 3.1).

    Trained weights are float32. In bfloat16 a copy of the weights is cast for the products, 2 bytes each. With adapters
    the frozen weights are held once, in the precision or in few bits, for all experts the same; only adapters, one at a
    time, have gradients and moments.
    """
    if shape.adapter:
        return frozen_bytes(shape, precision, saving.load_in) + (2 * FLOAT + ADAM) * shape.adapter
    cast = WIDTHS[precision] if precision == "bfloat16" else 0
    return (2 * FLOAT + ADAM + cast) * shape.parameters


def activation_bytes(
    shape: ModelShape, positions: float, outputs: float, precision: Precision, saving: Saving = NOTHING_SAVED
) -> float:
    """What the backward pass needs of the forward one, counted as in Korthikanti et al. 2022, section 4.1.

    A position keeps in each layer, without dropout and with attention that keeps no scores: two norms (their input and
    its normalised form in float32, their output), query, key, value and the attended values in two layouts, and the
    feed-forward part's inner values before and after the activation, of both branches where it is gated. Theirs are 34
    bytes times d where inner = 4 d at 2 bytes each: 2 of them are dropout masks, and their norms and attended values
    are kept once. The output layer keeps its logits, their logarithmic softmax and its gradient, in float32, and in
    bfloat16 the cast copies as well. Peaks measured on a processor are a tenth lower: gradients come as activations go.
    With checkpointing a position keeps what goes into each layer, in float32, and all of the layer in work.
    """
    size = WIDTHS[precision]
    norms = 4 * shape.width * FLOAT + 2 * shape.width * size
    products = (5 * shape.attention + shape.inner_kept * shape.inner) * size
    logits = 3 * FLOAT + (2 * size if precision == "bfloat16" else 0)
    layers = shape.layers * (norms + products)
    if saving.checkpointing:
        layers = shape.layers * shape.width * FLOAT + norms + products
    return positions * layers + outputs * shape.vocabulary * logits


def training_bytes(shape: ModelShape, work: Work, precision: Precision, saving: Saving = NOTHING_SAVED) -> float:
    """The peak of a training step: states, and the largest batch's activations."""
    activations = activation_bytes(shape, work.most_positions, work.most_outputs, precision, saving)
    return state_bytes(shape, precision, saving) + activations


def reading_bytes(shape: ModelShape, work: Work, precision: Precision, saving: Saving = NOTHING_SAVED) -> float:
    """The peak of a forward pass: the weights (with adapters those of one on the base), and what it needs besides."""
    weights = frozen_bytes(shape, precision, saving.load_in) + FLOAT * shape.adapter
    return weights + passing_bytes(shape, work, precision)


def passing_bytes(shape: ModelShape, work: Work, precision: Precision) -> float:
    """A forward pass besides the weights: one layer's activations, and the logits with their logarithmic softmax."""
    size = WIDTHS[precision]
    one = work.most_positions * (4 * shape.width + 5 * shape.attention + 3 * shape.inner) * size
    return one + work.most_outputs * shape.vocabulary * (size + 2 * FLOAT)


# ----------------------------------------------------------------------------------------------------------------- disk


def expert_disk(shape: ModelShape, snapshots: int, tasks: int) -> float:
    """One expert: its weights in float32, or its adapter's, and its losses on all tasks at every snapshot, as text."""
    files = ADAPTER_FILES if shape.adapter else FILES
    return FLOAT * (shape.adapter or shape.parameters) + files + 20.0 * snapshots * tasks


def prediction_disk(contexts: int, kept: int) -> float:
    """One model's predictions: at each context the kept tokens, the rest in one, and the true token, 4 bytes each."""
    return FLOAT * contexts * (kept + 2.0)


def subset_disk(contexts: int, kept: int, vocabulary: int) -> float:
    """The base's: which tokens are kept (not where all are) and its own log-probability of the true token."""
    return FLOAT * contexts * ((kept if kept < vocabulary else 0) + 1.0)


def pair_operations(models: int, contexts: int, kept: int) -> float:
    """How many times x log x is taken for all Jensen-Shannon divergences: once a pair, context and token."""
    return 0.5 * models * (models - 1) * contexts * (kept + 1.0)
