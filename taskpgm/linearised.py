"""Experts from gradients at the end of one shared run: no expert is trained.

    directories, point = linearised_experts(tasks, base, out, training, settings, progress, executor)

After Dongyue Li et al., "Scalable Multitask Learning Using Gradient-based Estimation of Task Affinity" (KDD 2024). Near
the shared run's end a model is nearly linear in its weights, so what more training on one task would do follows from
the gradients of that task's examples there. An example's margin m is the logit of the geometric mean of its target
tokens' probabilities; log(1 + exp(-m)) is its loss per target token, exactly. With m linear in the weights, the least
loss within reach is a ridge logistic regression (`least_loss`); its answer is a combination of the gradients.

Gradients are compared by random projections to SKETCH numbers, so that none has to be kept; here each weight is added
to one of these, with a random sign (a sketch in the manner of Charikar, Chen & Farach-Colton 2002), where the paper has
Gaussian matrices, which would not fit into memory. Unlike there, the answer is not lifted through the projection, whose
noise would be large, but by one more pass of gradients; and the expert is a model like any other: the shared run's
weights with that step added, or the half of it, a quarter, ..., whichever has the least real loss on these examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.base import Base
from taskpgm.config import TrainingSettings
from taskpgm.executors import Executor, Item, Job
from taskpgm.expert_settings import ExpertSettings
from taskpgm.fine_tuning import as_in_training, collate, training_sequence
from taskpgm.progress import Progress
from taskpgm.shared_run import Memory, Stretch, from_shared_run, keep, started, stretch_item
from taskpgm.tokens import TokenExample, TokenTask
from taskpgm.types import FloatArray

SCHEMA = 1
SKETCH = 4096
RIDGE = 0.01  # relative to the mean squared length of a gradient
NEWTON_STEPS = 50
LENGTHS = (0.0, *(0.5**halvings for halvings in range(8)))  # of the step


def linearised_experts(
    tasks: Sequence[TokenTask],
    base: Base,
    out: Path,
    training: TrainingSettings,
    settings: ExpertSettings,
    progress: Progress,
    executor: Executor,
) -> tuple[list[Path], Path]:
    """(the folder of each expert, that of the shared run), made where they are missing.

    Raises:
        InputError: training diverges.
    """

    def item(task: TokenTask, directory: Path, point: Path, memory: Memory) -> Item:
        chosen = chosen_examples(task, settings.examples_each, training)
        stretch = Stretch(f"the expert of task {task.name!r}", chosen, base, training)
        return stretch_item(stretch, _work, directory, point, memory)

    how = {"linearised": SCHEMA, "examples": settings.examples_each, "ridge": RIDGE, "sketch": SKETCH}
    return from_shared_run(tasks, base, out, training, how, item, progress, executor)


def chosen_examples(task: TokenTask, count: int, training: TrainingSettings) -> tuple[TokenExample, ...]:
    """The first different examples that training on the task would take."""
    steps = -(-2 * count // training.batch_size)
    ordered = training_sequence(task.train, training.model_copy(update={"steps": steps}))
    return tuple(dict.fromkeys(ordered))[:count]


def least_loss(margins: FloatArray, products: FloatArray, ridge: float = RIDGE) -> FloatArray:
    """(N,) how much of each example's gradient the best step is.

    Minimises mean log(1 + exp(-(m + K a))) + ridge / 2 a' K a / k over a, k the mean of K's diagonal, by Newton's
    method with halved steps; a convex problem.

    Args:
        margins: (N,) m, before the step.
        products: (N, N) K, inner products of the margins' gradients, positive semidefinite.
        ridge: how short the step is kept.
    """
    n, scale = len(margins), float(np.trace(products)) / len(margins)
    if scale <= 0.0:
        return np.zeros(n)
    kernel = products / scale  # a is in these units until the end

    def loss(a: FloatArray) -> float:
        return float(np.mean(np.logaddexp(0.0, -(margins + kernel @ a))) + 0.5 * ridge * a @ kernel @ a)

    a = np.zeros(n)
    for _ in range(NEWTON_STEPS):
        wrong = 1.0 / (1.0 + np.exp(np.clip(margins + kernel @ a, -500.0, 500.0)))
        residual = ridge * a - wrong / n  # the gradient is K times this
        hessian = np.diag(wrong * (1.0 - wrong) / n) @ kernel + ridge * np.eye(n)
        step, size, now = np.linalg.solve(hessian, residual), 1.0, loss(a)
        while size > 1e-8 and loss(a - size * step) > now:
            size /= 2.0
        a = a - size * step
        if now - loss(a) <= 1e-12 * max(1.0, abs(now)):
            break
    return np.asarray(a / scale)


def _work(job: Job) -> None:
    data: Stretch = job.data
    with started(job) as model, as_in_training(data.training):
        model.eval()
        margins, products = sketched_gradients(model, data.sequence, data.training.seed, job)
        shares = least_loss(margins, products)
        take_step(model, data.sequence, shares, data.training.batch_size)
        keep(model, job)


def sketched_gradients(
    model: Any, rows: Sequence[TokenExample], seed: int, job: Job | None = None
) -> tuple[FloatArray, FloatArray]:
    """((N,) margins, (N, N) inner products of their gradients by the weights that training would change)."""
    import torch

    weights = _trained(model)
    signs = torch.Generator().manual_seed(seed)
    places = [torch.randint(SKETCH, (each.numel(),), generator=signs) for each in weights]
    turned = [torch.randint(2, (each.numel(),), generator=signs) * 2.0 - 1.0 for each in weights]
    margins, sketches = [], []
    for number, row in enumerate(rows):
        margin = _margins(model, [row])[0]
        found = torch.autograd.grad(margin, weights)
        sketch = torch.zeros(SKETCH, dtype=torch.float64)
        for gradient, place, sign in zip(found, places, turned, strict=True):
            sketch.index_add_(0, place, (gradient.reshape(-1).cpu().float() * sign).double())
        margins.append(float(margin.detach()))
        sketches.append(sketch.numpy())
        if job is not None:
            job.report(number + 1)
    stacked = np.stack(sketches)
    return np.array(margins), stacked @ stacked.T


def take_step(model: Any, rows: Sequence[TokenExample], shares: FloatArray, batch_size: int) -> float:
    """Add to the weights the gradients of the rows' margins in these shares, as far as their loss is least.

    Returns:
        How much of the step was taken; 0.0 where no part of it helps.
    """
    import torch

    weights = _trained(model)
    step = [torch.zeros_like(each) for each in weights]
    for part, some in _batches(rows, batch_size):
        share = torch.as_tensor(shares[part.start : part.stop], dtype=torch.float32)
        margins = _margins(model, some)
        for total, more in zip(
            step, torch.autograd.grad((margins * share.to(margins.device)).sum(), weights), strict=True
        ):
            total += more
    start, losses = [each.detach().clone() for each in weights], {}
    for size in LENGTHS:
        _place(weights, start, step, size)
        losses[size] = _mean_loss(model, rows, batch_size)
    best = min(LENGTHS, key=lambda size: losses[size] if np.isfinite(losses[size]) else np.inf)
    _place(weights, start, step, best)
    return best


def _place(weights: Sequence[Any], start: Sequence[Any], step: Sequence[Any], size: float) -> None:
    import torch

    with torch.no_grad():
        for each, from_here, along in zip(weights, start, step, strict=True):
            each.copy_(from_here + size * along)


def _mean_loss(model: Any, rows: Sequence[TokenExample], batch_size: int) -> float:
    """Per target token, every example the same."""
    import torch

    with torch.no_grad():
        losses = [torch.nn.functional.softplus(-_margins(model, some)).sum() for _, some in _batches(rows, batch_size)]
    return float(torch.stack(losses).double().sum()) / len(rows)


def _margins(model: Any, rows: Sequence[TokenExample]) -> Any:
    """(rows,) the logit of the geometric mean of the probabilities of an example's target tokens."""
    import torch

    place = next(model.parameters()).device
    batch = {name: values.to(place) for name, values in collate(rows).items()}
    labels = batch.pop("labels")[:, 1:]
    logs = torch.log_softmax(model(**batch).logits[:, :-1].float(), dim=-1)
    known = labels != -100
    each = logs.gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0] * known
    mean = each.sum(dim=1) / known.sum(dim=1)
    return mean - torch.log(-torch.expm1(mean.clamp(max=-1e-6)))


def _batches(rows: Sequence[TokenExample], batch_size: int) -> Iterator[tuple[range, Sequence[TokenExample]]]:
    for start in range(0, len(rows), batch_size):
        part = range(start, min(start + batch_size, len(rows)))
        yield part, rows[part.start : part.stop]


def _trained(model: Any) -> list[Any]:
    return [weights for weights in model.parameters() if weights.requires_grad]
