"""Hypothesis strategies for all that the tests draw: networks of many kinds, levels, mixtures, log-probabilities.

Arrays come from a drawn seed and a few drawn shape parameters: fast to generate, and an example shrinks to a small
network of a simple kind. `random_network` and `SIMILARITIES` serve the tests with explicit seeds as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from taskpgm.coverage import CoverageNetwork
from taskpgm.envelope_curves import EnvelopeCurves
from taskpgm.expected_curves import ExpectedCurves
from taskpgm.learning_curves import LearningCurves
from taskpgm.levels import LevelsNetwork
from taskpgm.mixture import UNITS, Mixture
from taskpgm.network import TaskNetwork
from taskpgm.pairwise import PairwiseNetwork
from taskpgm.separable import SeparableNetwork
from taskpgm.transfer_network import TransferNetwork
from taskpgm.types import FloatArray, IntArray, TaskSize

SEEDS = st.integers(0, 2**32 - 1)
ODD_NAMES = ("copy", "été", "задача", "排序", "😀", "two words", "line\nbreak", "comma, 'quote\"", "{brace}", " ")

Similarity = Callable[[int, np.random.Generator], FloatArray]


def identity(n: int, rng: np.random.Generator) -> FloatArray:
    return np.eye(n)


def full_rank(n: int, rng: np.random.Generator) -> FloatArray:
    features = rng.standard_normal((n, n + 2))
    return features @ features.T / n


def low_rank(n: int, rng: np.random.Generator) -> FloatArray:
    features = rng.standard_normal((n, max(1, n // 3)))
    return features @ features.T


def divergences(n: int, rng: np.random.Generator) -> FloatArray:
    """Mean Jensen-Shannon divergences in nats between n sets of predictive distributions over shared contexts."""
    probs = rng.dirichlet(np.full(6, 0.3), size=(n, 4)) + 1e-12
    pair = 0.5 * (probs[:, None] + probs[None, :])
    entropy = -(probs * np.log(probs)).sum(-1)
    mixed = -(pair * np.log(pair)).sum(-1)
    values = (mixed - 0.5 * (entropy[:, None] + entropy[None, :])).mean(-1)
    return np.maximum(0.5 * (values + values.T), 0.0) * (1.0 - np.eye(n))


def exponential_kernel(n: int, rng: np.random.Generator) -> FloatArray:
    return np.exp(-rng.choice([0.1, 1.0, 10.0]) * divergences(n, rng))


def negative_distances(n: int, rng: np.random.Generator) -> FloatArray:
    """Positive semidefinite on the sum-zero subspace only: its trace is zero."""
    places = rng.standard_normal((n, 3))
    return -((places[:, None] - places[None, :]) ** 2).sum(-1)


def duplicated(n: int, rng: np.random.Generator) -> FloatArray:
    """Some tasks repeated exactly: many minimisers."""
    original = rng.integers(0, max(1, (n + 1) // 2), size=n)
    return full_rank(n, rng)[np.ix_(original, original)]


def indefinite(n: int, rng: np.random.Generator) -> FloatArray:
    """Negative curvature on the sum-zero subspace (not one of SIMILARITIES)."""
    matrix = rng.standard_normal((n, n))
    return 0.5 * (matrix + matrix.T) - 2.0 * np.eye(n)


SIMILARITIES: dict[str, Similarity] = {
    "identity": identity,
    "full_rank": full_rank,
    "low_rank": low_rank,
    "exponential_kernel": exponential_kernel,
    "negative_distances": negative_distances,
    "duplicated": duplicated,
}
UTILITIES = ("random", "zero", "equal")
BOUNDS = ("none", "lower", "upper", "both")


def random_bounds(kind: str, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Bounds on both sides of a random mixture, so that at least that one is feasible."""
    inside = rng.dirichlet(np.ones(n))
    lower = inside * rng.uniform(0.0, 0.9, n) if kind in ("lower", "both") else np.zeros(n)
    upper = inside + (1.0 - inside) * rng.uniform(0.05, 0.5, n) if kind in ("upper", "both") else np.ones(n)
    return lower, np.minimum(upper, 1.0)


def random_network(
    n: int,
    seed: int,
    kind: str = "full_rank",
    *,
    utility: str = "random",
    bounds: str = "none",
    scale: float = 1.0,
    beta: float = 1.0,
    lam: float = 1.0,
    tau: float = 0.0,
    names: Sequence[str] = (),
) -> TaskNetwork:
    """A network of the given kind with utility, S and tau in units of `scale`; equal arguments give equal networks."""
    rng = np.random.default_rng(seed)
    make = indefinite if kind == "indefinite" else SIMILARITIES[kind]
    similarity = scale * make(n, rng)
    values = {"random": rng.standard_normal(n), "zero": np.zeros(n), "equal": np.full(n, 0.7)}[utility]
    lower, upper = random_bounds(bounds, n, rng)
    prior = rng.dirichlet(np.full(n, 5.0)) + 0.1
    return TaskNetwork(
        scale * values,
        similarity,
        names,
        beta=beta,
        lam=lam,
        tau=scale * tau,
        prior=prior / prior.sum(),
        lower=lower,
        upper=upper,
    )


@st.composite
def networks(
    draw: st.DrawFn,
    *,
    max_tasks: int = 6,
    kinds: Sequence[str] = tuple(SIMILARITIES),
    bounds: Sequence[str] = BOUNDS,
    scales: Sequence[float] = (1.0, 1e-3, 1e3),
    taus: Sequence[float] = (0.0,),
) -> TaskNetwork:
    """Small networks; convex unless `kinds` names "indefinite"."""
    n = draw(st.integers(2, max_tasks))
    return random_network(
        n,
        draw(SEEDS),
        draw(st.sampled_from(kinds)),
        utility=draw(st.sampled_from(UTILITIES)),
        bounds=draw(st.sampled_from(bounds)),
        scale=draw(st.sampled_from(scales)),
        beta=draw(st.sampled_from([1.0, 0.0, 0.1, 10.0])),
        lam=draw(st.sampled_from([1.0, 0.1, 10.0])),
        tau=draw(st.sampled_from(taus)),
        names=draw(st.sampled_from([(), ODD_NAMES[:n]])) if n <= len(ODD_NAMES) else (),
    )


@st.composite
def levels_networks(
    draw: st.DrawFn, *, max_tasks: int = 5, max_quanta: int = 6, taus: Sequence[float] = (0.0,)
) -> LevelsNetwork:
    """Levels with a cap, or with lower and upper bounds that leave at least one drawn point feasible."""
    network = draw(networks(max_tasks=max_tasks, bounds=("none",), scales=(1.0, 1e-3), taus=taus))
    n, quanta = len(network), draw(st.integers(1, max_quanta))
    if draw(st.booleans()):
        return network.levels(quanta, draw(st.integers(-(-quanta // n), quanta)))
    rng = np.random.default_rng(draw(SEEDS))
    inside = rng.multinomial(quanta, np.full(n, 1.0 / n))
    return rebounded(network, rng.integers(0, inside + 1) / quanta, rng.integers(inside, quanta + 1) / quanta).levels(
        quanta
    )


def rebounded(network: TaskNetwork, lower: FloatArray, upper: FloatArray) -> TaskNetwork:
    """The same energy with other bounds."""
    return TaskNetwork(
        network.utility,
        network.similarity,
        network.names,
        beta=network.beta,
        lam=network.lam,
        tau=network.tau,
        prior=network.prior,
        lower=lower,
        upper=upper,
    )


def feasible_mixtures(network: TaskNetwork, count: int, seed: int) -> FloatArray:
    """(count, n) feasible mixtures: averages of a few random vertices of the feasible set."""
    from taskpgm.exact import minimize_linear

    rng = np.random.default_rng(seed)
    n = len(network)
    mixtures = np.empty((count, n))
    for row in mixtures:
        directions = rng.standard_normal((rng.integers(1, 4), n))
        vertices = [minimize_linear(d.tolist(), network.lower.tolist(), network.upper.tolist()) for d in directions]
        row[:] = rng.dirichlet(np.ones(len(vertices))) @ np.array(vertices)
    return mixtures


def random_levels(levels: LevelsNetwork, seed: int) -> IntArray:
    """(n,) a random point of the box that keeps the budget."""
    rng = np.random.default_rng(seed)
    x = np.array(levels.minimum)
    while x.sum() < levels.quanta:
        x[rng.choice(np.flatnonzero(x < levels.maximum))] += 1
    return x


@st.composite
def log_probabilities(
    draw: st.DrawFn, *, max_experts: int = 5, max_contexts: int = 6, max_tokens: int = 8
) -> FloatArray:
    """(n, C, V) log-probabilities in nats, each row normalised; flat to very peaked, some with zeros (-inf)."""
    shape = (draw(st.integers(2, max_experts)), draw(st.integers(1, max_contexts)), draw(st.integers(2, max_tokens)))
    sharpness = draw(st.sampled_from([0.0, 1.0, 10.0, 300.0]))
    zeros = draw(st.sampled_from([0.0, 0.3, 0.9]))
    rng = np.random.default_rng(draw(SEEDS))
    logits = sharpness * rng.standard_normal(shape)
    dropped = rng.random(shape) < zeros
    np.put_along_axis(dropped, rng.integers(0, shape[2], size=(*shape[:2], 1)), False, axis=-1)  # one token stays
    logits[dropped] = -np.inf
    peak = logits.max(axis=-1, keepdims=True)
    return logits - peak - np.log(np.exp(logits - peak).sum(axis=-1, keepdims=True))


@st.composite
def evidence_arguments(draw: st.DrawFn, *, max_tasks: int = 8) -> dict[str, Any]:
    """Arguments of `make_evidence`, which print in one line where the evidence itself fills pages."""
    n, runs = draw(st.integers(2, max_tasks)), draw(st.integers(5, 20))
    return {"seed": draw(SEEDS), "n": n, "runs": runs, "targets": draw(st.booleans())}


# ------------------------------------------------------------------------------------------------- pairwise networks


def random_pairwise(
    seed: int,
    *,
    nodes: int = 5,
    most_states: int = 3,
    density: float = 0.6,
    tree: bool = False,
    scale: float = 1.0,
    forbidden: float = 0.0,
    budget: bool = False,
    whole: bool = False,
) -> PairwiseNetwork:
    """A network of random energies; equal arguments give equal networks.

    tree: a random tree instead of edges with probability `density`. forbidden: the share of pair entries that are
    infinite (one random assignment is always allowed). budget: the levels of a random allowed assignment must be kept.
    whole: energies are small whole numbers, so that there are ties.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1 if nodes > 2 else 2, most_states + 1, size=nodes)
    allowed = rng.integers(0, sizes)
    pairs = [(i, j) for i in range(nodes) for j in range(i + 1, nodes)]
    edges = (
        [(int(rng.integers(j)), j) for j in range(1, nodes)] if tree else [e for e in pairs if rng.random() < density]
    )

    def energies(*shape: int) -> FloatArray:
        return scale * (rng.integers(-2, 3, size=shape).astype(float) if whole else rng.standard_normal(shape))

    factors: list[tuple[list[int], FloatArray]] = [([i], energies(sizes[i])) for i in range(nodes)]
    for i, j in edges:
        table = energies(sizes[i], sizes[j])
        banned = rng.random(table.shape) < forbidden
        banned[allowed[i], allowed[j]] = False
        factors.append(([i, j], np.where(banned, np.inf, table)))
    return PairwiseNetwork.from_factors(
        sizes.tolist(), factors, constant=float(energies(1)[0]), budget=int(allowed.sum()) if budget else None
    )


@st.composite
def pairwise_networks(
    draw: st.DrawFn,
    *,
    max_nodes: int = 5,
    max_states: int = 3,
    trees: bool | None = None,
    forbidden: Sequence[float] = (0.0,),
    budgets: bool | None = False,
    scales: Sequence[float] = (1.0, 1e-3, 1e3),
) -> PairwiseNetwork:
    """Small networks of any shape; None for trees or budgets means either."""
    return random_pairwise(
        draw(SEEDS),
        nodes=draw(st.integers(1, max_nodes)),
        most_states=max_states,
        density=draw(st.sampled_from([0.3, 0.6, 1.0])),
        tree=draw(st.booleans()) if trees is None else trees,
        scale=draw(st.sampled_from(scales)),
        forbidden=draw(st.sampled_from(forbidden)),
        budget=draw(st.booleans()) if budgets is None else bool(budgets),
        whole=draw(st.booleans()),
    )


def random_curves(n: int, seed: int, shapes: int = 3, names: Sequence[str] = ()) -> LearningCurves:
    """Curves that fall from a few nats to under one, at scales from 10 to 1,000 examples."""
    rng = np.random.default_rng(seed)
    size = (n, shapes)
    spread = 0.02 * rng.standard_normal((n, shapes, 2, 2))
    covariance = np.einsum("nkab,nkcb->nkac", spread, spread)
    return LearningCurves(
        names or tuple(f"task {i}" for i in range(n)),
        rng.dirichlet(np.ones(shapes), n),
        rng.uniform(0.0, 1.0, size),
        rng.uniform(0.0, 3.0, size) * (rng.random(size) < 0.9),
        np.exp(rng.uniform(np.log(10.0), np.log(1000.0), size)),
        rng.choice([0.5, 1.0, 2.0, 0.8], size),
        np.stack([covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]], axis=-1),
    )


def random_expected(n: int, seed: int, shapes: int = 4, names: Sequence[str] = ()) -> ExpectedCurves:
    """Averages of power laws and Hill curves with scales from 3 to 300; every third set of power laws alone."""
    rng = np.random.default_rng(seed)
    size = (n, shapes)
    return ExpectedCurves(
        names or tuple(f"task {i}" for i in range(n)),
        rng.dirichlet(np.ones(shapes), n),
        rng.uniform(0.0, 1.0, size),
        rng.uniform(0.0, 3.0, size) * (rng.random(size) < 0.9),
        np.exp(rng.uniform(np.log(3.0), np.log(300.0), size)),
        1.0 if seed % 3 == 0 else rng.choice([1.0, 1.5, 2.0, 3.0], size),
        rng.choice([0.5, 1.0, 2.0], size),
    )


def random_separable(
    n: int, seed: int, *, tau: float = 0.03, bounds: str = "none", names: Sequence[str] = ()
) -> SeparableNetwork:
    """What is left of a run with 100 examples a task; equal arguments give equal networks."""
    rng = np.random.default_rng(seed + 1)
    lower, upper = random_bounds(bounds, n, rng)
    prior = rng.dirichlet(np.full(n, 5.0)) + 0.1
    return SeparableNetwork(
        random_expected(n, seed, names=names),
        rng.uniform(0.0, 50.0, n) * (rng.random(n) < 0.7),
        100.0 * n,
        target_weights=rng.random(n) + 0.1,
        tau=tau,
        prior=prior / prior.sum(),
        lower=lower,
        upper=upper,
    )


@st.composite
def separables(
    draw: st.DrawFn, *, max_tasks: int = 6, taus: Sequence[float] = (0.03, 0.0, 1.0), bounds: Sequence[str] = BOUNDS
) -> SeparableNetwork:
    n = draw(st.integers(2, max_tasks))
    return random_separable(
        n,
        draw(SEEDS),
        tau=draw(st.sampled_from(taus)),
        bounds=draw(st.sampled_from(bounds)),
        names=draw(st.sampled_from([(), ODD_NAMES[:n]])),
    )


def random_transfer(
    n: int, seed: int, *, tau: float = 0.03, bounds: str = "none", names: Sequence[str] = (), late: bool = False
) -> TransferNetwork:
    """The same with a sparse graph; late curves bend downwards at first, and leave the envelopes a gap."""
    rng = np.random.default_rng(seed + 2)
    alone = random_separable(n, seed, tau=tau, bounds=bounds, names=names)
    graph = rng.random((n, n)) * (rng.random((n, n)) < 0.4)
    np.fill_diagonal(graph, 1.0)
    if late:
        scales = rng.uniform(30.0, 150.0, (n, 1))
        curves = ExpectedCurves(alone.names, 1.0, 0.1, rng.uniform(1.0, 3.0, (n, 1)), scales, 3.0, 1.0)
        alone = alone.changed(curves=curves, done=0.3 * alone.done, remaining=40.0 * n)
    return TransferNetwork.of(alone, graph)


@st.composite
def transfers(
    draw: st.DrawFn, *, max_tasks: int = 4, taus: Sequence[float] = (0.03, 0.0, 1.0), bounds: Sequence[str] = BOUNDS
) -> TransferNetwork:
    n = draw(st.integers(2, max_tasks))
    return random_transfer(
        n,
        draw(SEEDS),
        tau=draw(st.sampled_from(taus)),
        bounds=draw(st.sampled_from(bounds)),
        names=draw(st.sampled_from([(), ODD_NAMES[:n]])),
        late=draw(st.booleans()),
    )


def random_envelopes(n: int, seed: int, snapshots: int = 6, names: Sequence[str] = ()) -> EnvelopeCurves:
    """Envelopes of noisy snapshots that mostly fall, over 60 to 600 examples."""
    rng = np.random.default_rng(seed)
    exposures = np.cumsum(rng.uniform(10.0, 100.0, (n, snapshots)), axis=1)
    exposures -= exposures[:, :1]
    falls = np.exp(-exposures / np.exp(rng.uniform(np.log(10.0), np.log(1000.0), (n, 1))))
    losses = rng.uniform(0.0, 1.0, (n, 1)) + 2.0 * falls * rng.uniform(0.9, 1.1, falls.shape)
    return EnvelopeCurves(names or tuple(f"task {i}" for i in range(n)), exposures, losses)


def random_coverage(
    n: int,
    seed: int,
    *,
    tau: float = 0.05,
    bounds: str = "none",
    names: Sequence[str] = (),
    envelopes: bool = False,
) -> CoverageNetwork:
    """A coverage energy with sparse transfer; equal arguments give equal networks."""
    rng = np.random.default_rng(seed + 1)
    transfer = rng.random((n, n)) * (rng.random((n, n)) < 0.4)
    np.fill_diagonal(transfer, 1.0)
    lower, upper = random_bounds(bounds, n, rng)
    prior = rng.dirichlet(np.full(n, 5.0)) + 0.1
    forgetting = rng.random(n) * (rng.random(n) < 0.5)
    return CoverageNetwork(
        random_envelopes(n, seed, names=names) if envelopes else random_curves(n, seed, names=names),
        transfer,
        100.0 * n,
        forgetting=forgetting,
        target_weights=rng.random(n) + 0.1,
        lengths=rng.uniform(0.5, 2.0, n),
        tau=tau,
        prior=prior / prior.sum(),
        lower=lower,
        upper=upper,
    )


@st.composite
def coverages(
    draw: st.DrawFn,
    *,
    max_tasks: int = 6,
    taus: Sequence[float] = (0.05, 0.0, 1.0),
    envelopes: Sequence[bool] = (False, True),
) -> CoverageNetwork:
    n = draw(st.integers(2, max_tasks))
    return random_coverage(
        n,
        draw(SEEDS),
        tau=draw(st.sampled_from(taus)),
        bounds=draw(st.sampled_from(BOUNDS)),
        names=draw(st.sampled_from([(), ODD_NAMES[:n]])),
        envelopes=draw(st.sampled_from(envelopes)),
    )


# ------------------------------------------------------------------------------------------------------------ mixtures

HOSTILE_NAMES = (
    *ODD_NAMES,
    *("</script>", "a/b", "../up", "#5", "x=y", "--flag", "$(id)", "`id`", "null", "1.5", "- a: b", "a\\", "HF::x:y"),
    *("\u2028line", "\x85next", "tab\t", "\r\nrow: 1", "'" * 3, "%s", "été" * 60, "\x7f", "~", "!!python/none", "a,b"),
)


@st.composite
def mixtures(draw: st.DrawFn, *, sizes: bool = True) -> Mixture:
    """Weights under hostile names, some of them 0, one alone now and then; sizes from a row to many, of any lengths."""
    names = draw(st.lists(st.sampled_from(HOSTILE_NAMES), min_size=2, max_size=7, unique=True))
    raw = draw(st.lists(st.sampled_from([0.0, 1e-6, 0.01, 1.0, 1.0, 3.7]), min_size=len(names), max_size=len(names)))
    raw[draw(st.integers(0, len(names) - 1))] = 1.0
    measured = {}
    for name in names:
        rows, targets, prompt = (draw(st.integers(least, most)) for least, most in ((1, 5000), (1, 40), (0, 300)))
        measured[name] = TaskSize(rows, rows * (targets + prompt), rows * targets)
    return Mixture(
        TaskNetwork(np.zeros(len(names)), np.eye(len(names)), names),
        {name: weight / sum(raw) for name, weight in zip(names, raw, strict=True)},
        *(0.0, 0.0, 0.0, "optimal", "drawn"),
        unit=draw(st.sampled_from(UNITS)),
        sizes=measured if sizes else None,
    )
