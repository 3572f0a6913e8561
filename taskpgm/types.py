"""The values that travel between the stages: frozen, and built on numpy alone.

Nothing here computes. A stage takes some of these and returns others, so that whoever reads a signature knows what
flows. Arrays are made read-only when they enter one of these classes.

    example = Example(prompt="copy:abc=", completion="abc")
    example.digest                      # what decides its split
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from taskpgm.stored import StoredLogProbs

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one line: what, where, and the remedy."""


def readonly(array: Any, dtype: Any) -> NDArray[Any]:
    """A read-only copy of `array` with the given dtype."""
    copy = np.array(array, dtype=dtype)
    copy.setflags(write=False)
    return copy


# ---------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Example:
    """One training example: what the model is given and what it must produce.

    Either `prompt` and `completion`, or a chat in `messages` (pairs of role and content, the last one the assistant's),
    which the model's own chat template turns into text.
    """

    prompt: str = ""
    completion: str = ""
    messages: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content. It decides the split, so neither file order nor the task's name matters."""
        content = json.dumps([self.prompt, self.completion, self.messages], ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Task:
    """A named data set in three disjoint parts, each sorted by content digest."""

    name: str
    train: tuple[Example, ...]
    probe: tuple[Example, ...]
    eval: tuple[Example, ...]
    family: str = ""


@dataclass(frozen=True)
class TaskSet:
    """Tasks in the user's order, and what was noticed while loading them (repeated examples, say).

    origin: where the data lies, as plain JSON values: {"splits": shares held out, "tasks": {name: its source}}, with
    paths that can be opened from the current folder; empty for tasks of no file. Not compared between task sets.
    """

    tasks: tuple[Task, ...]
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, name: str) -> Task:
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)


@dataclass(frozen=True)
class TaskSize:
    """How much training data a task has, in the three units that trainers count in."""

    examples: int
    tokens: int
    target_tokens: int


# ------------------------------------------------------------------------------------------------------------- evidence


@dataclass(frozen=True, eq=False)
class Probes:
    """Held-out examples of all tasks, as token ids. Every expert is evaluated on all of them.

    names: the tasks. tokens: one int array per probe, prompt then target. target_start: index of each probe's first
    target token. task: index into `names` for each probe. The order of the probes depends on their content only.
    """

    names: tuple[str, ...]
    tokens: tuple[IntArray, ...]
    target_start: IntArray
    task: IntArray

    @cached_property
    def context_probe(self) -> IntArray:
        """(C,) the probe that each context (target position) belongs to."""
        lengths = [len(ids) - start for ids, start in zip(self.tokens, self.target_start, strict=True)]
        return readonly(np.repeat(np.arange(len(self.tokens)), lengths), np.int64)

    @cached_property
    def context_task(self) -> IntArray:
        """(C,) the task that each context belongs to."""
        return readonly(self.task[self.context_probe], np.int64)

    @cached_property
    def context_position(self) -> IntArray:
        """(C,) the position of each context within its target, from 0."""
        parts = [np.arange(len(ids) - start) for ids, start in zip(self.tokens, self.target_start, strict=True)]
        return readonly(np.concatenate(parts), np.int64)

    @cached_property
    def targets(self) -> IntArray:
        """(C,) the true token of each context."""
        parts = [ids[start:] for ids, start in zip(self.tokens, self.target_start, strict=True)]
        return readonly(np.concatenate(parts), np.int64)

    @cached_property
    def weights(self) -> FloatArray:
        """(C,) context weights that sum to 1 and give each task the same mass."""
        counts = np.bincount(self.context_task, minlength=len(self.names))
        return readonly(1.0 / (len(self.names) * counts[self.context_task]), np.float64)


@dataclass(frozen=True, eq=False)
class Reported:
    """Which entries of Predictions a server reported; the others are one guess of many (see `taskpgm.served`).

    known: (n, C, k) bool, True where the expert's probability of the token was reported.
    caps: (n, C) float64, the most that a token which was not reported can have.
    """

    known: BoolArray
    caps: FloatArray


@dataclass(frozen=True, eq=False)
class Predictions:
    """What every expert, and the base, predicts on the same contexts.

    names: (n,) the experts, one per task.
    log_probs: (n, C, k + 1) float32, natural logarithms on the base's top k tokens of each context; the last column is
        the logarithm of all the rest together (-inf where k is the whole vocabulary). An array, or what stays in its
        files and is read where it is indexed (`taskpgm.stored`).
    target_log_probs: (n, C) float32, log-probability of the true token.
    base_target_log_probs: (C,) float32, the same for the base.
    marginal_log_probs: (C,) float32, the same for the task's marginal over tokens at that target position.
    context_task: (C,) index of the task a context comes from. context_probe: (C,) index of its probe.
    weights: (C,) float64, sum 1, equal mass per task.
    reported: for predictions of a server, what of log_probs it said; None where all of it was measured.
    """

    names: tuple[str, ...]
    log_probs: Float32Array | StoredLogProbs
    target_log_probs: Float32Array
    base_target_log_probs: Float32Array
    marginal_log_probs: Float32Array
    context_task: IntArray
    context_probe: IntArray
    weights: FloatArray
    reported: Reported | None = None


@dataclass(frozen=True, eq=False)
class Blocks:
    """The evidence of an affinity cut into blocks of whole probes, so that it can be drawn again from itself.

    stratum: (B,) which blocks may be drawn for each other: those of one task, or of one group of tasks. mass: (B,) the
    sum of its contexts' weights. divergence: (B, n, n) the weighted sum over them of the divergences (Jensen-Shannon:
    nats); over all blocks it adds up to the affinity's. members: (C,) the block of each context. scores: the
    predictions without their log_probs, for the utilities. note: what was coarsened for want of memory, else empty.
    """

    stratum: IntArray
    mass: FloatArray
    divergence: FloatArray
    members: IntArray
    scores: Predictions
    note: str = ""


@dataclass(frozen=True, eq=False)
class Affinity:
    """How useful each task is and how alike any two of them make a model behave.

    utility: (n,). divergence: (n, n), Jensen-Shannon in nats unless another was asked for, with certified
    divergence_lower and divergence_upper (infinite where pooling leaves no bound).
    similarity: (n, n) in [0, 1], unit diagonal. gain: (n, n) nats per target token; gain[i, j] is what training on
    task i does for task j. blocks: the evidence it comes from, for `taskpgm.bootstrap`.
    """

    names: tuple[str, ...]
    utility: FloatArray
    divergence: FloatArray
    divergence_lower: FloatArray
    divergence_upper: FloatArray
    similarity: FloatArray
    gain: FloatArray
    utility_name: str
    similarity_name: str
    blocks: Blocks | None = None


@dataclass(frozen=True, eq=False)
class LossCurves:
    """How every expert's loss on every task changed while it was trained.

    names: (n,) the experts, one per task.
    examples: (n, S) int64, training examples that expert i had seen at snapshot s.
    target_tokens: (n, S) int64, the same in target tokens.
    losses: (n, S, n) float64, [expert, snapshot, task]: mean nats per target token on the task's probes. Snapshot 0 is
        the base model, the same for all experts.
    """

    names: tuple[str, ...]
    examples: IntArray
    target_tokens: IntArray
    losses: FloatArray


# ------------------------------------------------------------------------------------------------------------- answers


class Status(enum.Enum):
    """What is known about an answer, set by the driver alone. The value says what to do next."""

    optimal = "Proved: the energy is within the tolerance of a lower bound on every feasible mixture."
    bound = "Feasible, with a lower bound further away than the tolerance: allow more time or use an exact method."
    feasible = "Feasible, with no lower bound: compare it with a method that gives one (SimplexQP, Exhaustive)."
    timeout = "Stopped at the deadline with the best answer so far: raise the deadline or choose a faster method."
    refused = "The method does not take this problem: the message says why; choose another method."
    failed = "The method gave no usable answer: the message says what happened; try another method."


@dataclass(frozen=True)
class TracePoint:
    """The best energy and the best lower bound that a method had after some seconds."""

    seconds: float
    energy: float
    bound: float


@dataclass(frozen=True, eq=False)
class Solution:
    """A method's answer after the driver has judged it.

    point: (n,) mixture in float64, integer levels, or states; None where there is no answer.
    energy, bound: of the answer, and a lower bound on the least energy (-inf where unknown). gap: energy - bound.
    stats: what the method counted. message: the reason of a refusal or failure, else empty.
    ties: how many points share the least energy, where the method counted them; None elsewhere.
    seconds: wall-clock. memory: peak bytes beyond those at the start (of the whole process for foreign solvers); None
    where the system cannot tell. trace: how energy and bound came about, for methods that note it.
    """

    method: str
    status: Status
    point: NDArray[Any] | None = None
    energy: float = np.inf
    bound: float = -np.inf
    gap: float = np.inf
    message: str = ""
    stats: Mapping[str, Any] = field(default_factory=dict)
    ties: int | None = None
    seconds: float = 0.0
    memory: int | None = None
    trace: tuple[TracePoint, ...] = ()


# ------------------------------------------------------------------------------------------------------------ marginals


class MarginalStatus(enum.Enum):
    """What is known about marginals, set by the driver alone. The value says what to do next."""

    exact = "Exact up to rounding: the method sums over every assignment."
    bounded = "Approximate, with a log Z that is sure to lie on one side: compare a method that bounds the other side."
    estimate = "Approximate, with no guarantee: compare with an exact method on a smaller network."
    timeout = "Not converged: allow more time or iterations, more damping, or a higher temperature."
    refused = "The method does not take this network: the message says why; choose another method."
    failed = "The method gave no usable answer: the message says what happened; try another method."


@dataclass(frozen=True, eq=False)
class Marginals:
    """A method's marginals of p(s) = exp(-E(s) / temperature) / Z after the driver has checked them.

    nodes: for each node the (d_i,) probabilities of its states; () where there is no answer. pairs: for each edge the
    (d_i, d_j) probabilities, where the method has them. log_partition: log Z in nats, nan where unknown; lower and
    upper: what is certain about it.
    """

    method: str
    status: MarginalStatus
    nodes: tuple[FloatArray, ...] = ()
    pairs: tuple[FloatArray, ...] | None = None
    log_partition: float = np.nan
    lower: float = -np.inf
    upper: float = np.inf
    message: str = ""
    stats: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
