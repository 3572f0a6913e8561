"""What a model predicts on one task's probes, kept under what it depends on: the model, the probes, the tokens kept.

    item = expert_item(models, 0, 64, vocabulary, {key: probes}, batch_size=32)    # None: all is in its folder
    expert_parts(experts, 0, 64)[key]["log_probs"]                                  # (C_t, 65) StoredTensor

A folder belongs to one model, base, precision and number of tokens. In it, a part has the name of its probes' content;
where a task is in a list, or what it is called, says nothing. So one task more costs every model that task's probes,
and one less costs nothing. What is computed in one go is one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskpgm.base import base_source, chosen_threads, torch_threads
from taskpgm.executors import Item, Job, Source
from taskpgm.expert_models import ExpertModels
from taskpgm.experts import Experts
from taskpgm.halving import enough_memory
from taskpgm.integrity import keep_sound
from taskpgm.storage import content_hash, remove_partial, versions
from taskpgm.tensor_files import Layout, StoredTensor, stored_tensors, tensors_damage, write_tensors
from taskpgm.types import Probes

SCHEMA = 3
MODELS = "models"  # what models that stay in memory are kept as
Parts: TypeAlias = Mapping[str, Mapping[str, StoredTensor]]
"""By probes' key and by name ("log_probs", "subset", "targets"), where the numbers are."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What it takes to have one model read some probes, as plain data. experts: their settings, without any of them.
    keys: of the probes among the item's common data. k: how many of the `vocabulary` tokens of a context are kept."""

    experts: Experts
    keys: tuple[str, ...]
    k: int
    vocabulary: int
    batch_size: int

    @property
    def whole(self) -> bool:
        """Whether all tokens are kept, so that no subset is."""
        return self.k == self.vocabulary


def base_item(
    models: ExpertModels, k: int, vocabulary: int, wanted: Mapping[str, Probes], batch_size: int
) -> Item | None:
    """Reading by the base: the k most probable tokens of each context, ascending (none are stored of k = vocabulary),
    and targets. None where nothing is missing."""
    reading = Reading(_settings(models.experts), (), k, vocabulary, batch_size)
    sources = (base_source(models.experts.base),)
    return _item("the base model", _read_base, reading, _folder(models.experts, "base", k), sources, models, wanted)


def expert_item(
    models: ExpertModels, index: int, k: int, vocabulary: int, wanted: Mapping[str, Probes], batch_size: int
) -> Item | None:
    """Reading by one expert, when the base has: log-probabilities of the base's k tokens, the pooled rest last, and of
    the true tokens. None where nothing is missing."""
    experts = models.experts
    reading = Reading(_settings(experts), (), k, vocabulary, batch_size)
    sources = [Source(experts.directories[index]), Source(_folder(experts, "base", k), shared=True)]
    if experts.on_base:
        sources.append(base_source(experts.base))
    name = f"the expert of task {experts.names[index]!r}"
    return _item(
        name, _read_expert, reading, _folder(experts, experts.fingerprint(index), k), tuple(sources), models, wanted
    )


def base_parts(experts: Experts, k: int) -> Parts:
    """What is there of the base's."""
    return _known(_folder(experts, "base", k))


def expert_parts(experts: Experts, index: int, k: int) -> Parts:
    """What is there of an expert's."""
    return _known(_folder(experts, experts.fingerprint(index), k))


def _item(
    name: str,
    work: Callable[[Job], None],
    reading: Reading,
    folder: Path,
    sources: tuple[Source, ...],
    models: ExpertModels,
    wanted: Mapping[str, Probes],
) -> Item | None:
    known = _known(folder)
    missing = tuple(key for key in wanted if key not in known)
    if not missing:
        return None
    remove_partial(folder)
    path = folder / f"{content_hash(sorted(missing))}.safetensors"
    threads = chosen_threads(reading.experts.training.threads)
    return Item(name, work, replace(reading, keys=missing), sources, path, threads, True, {MODELS: models}, wanted)


def _read_base(job: Job) -> None:
    reading: Reading = job.data
    probes = {key: job.common[key] for key in reading.keys}
    job.report(0)

    def chunks() -> Iterator[NDArray[Any]]:
        model, targets = _models(job, job.sources[0]).base(), []
        for _, _, log_probs, true in _through(model, probes, reading.batch_size):
            if not reading.whole:
                kept = log_probs.topk(reading.k, dim=1).indices.sort(dim=1).values
                yield kept.cpu().numpy().astype(np.int32)
            targets.append(true)
        yield from targets

    subset = {} if reading.whole else _layout(probes, "subset", np.int32, reading.k)
    _write(job, {**subset, **_layout(probes, "targets", np.float32)}, chunks())


def _read_expert(job: Job) -> None:
    reading: Reading = job.data
    job.report(0)
    directory, base, *more = job.sources
    known = _known(base)
    probes = {key: reading.experts.as_read(directory, job.common[key]) for key in reading.keys}

    def chunks() -> Iterator[NDArray[Any]]:
        model, targets = _models(job, *more).at(directory), []
        for key, contexts, log_probs, true in _through(model, probes, reading.batch_size):
            subset = known[key].get("subset")
            kept = None if subset is None else subset.rows(int(contexts[0]), int(contexts[-1]) + 1)
            yield _pooled(log_probs, kept)
            targets.append(true)
        yield from targets

    rows = _layout(probes, "log_probs", np.float32, reading.k + 1)
    _write(job, {**rows, **_layout(probes, "targets", np.float32)}, chunks())


def _models(job: Job, *base: Path) -> ExpertModels:
    """The models in this process, or new ones whose base lies here."""
    if MODELS not in job.memory:
        experts: Experts = job.data.experts
        here = replace(experts.base, path=base[0]) if base else experts.base
        job.memory[MODELS] = ExpertModels(replace(experts, base=here))
    models: ExpertModels = job.memory[MODELS]
    return models


def _settings(experts: Experts) -> Experts:
    return replace(experts, names=(), directories=(), probes=(), shared=())


def _write(job: Job, layout: Layout, chunks: Iterator[NDArray[Any]]) -> None:
    assert job.place is not None
    with torch_threads(job.threads), enough_memory("predictions", "a smaller probes.batch_size"):
        write_tensors(job.place, layout, chunks)


def folders(experts: Experts, k: int) -> list[Path]:
    """The folders of what the base and every expert say of the base's k tokens."""
    models = ["base", *(experts.fingerprint(i) for i in range(len(experts.names)))]
    return [_folder(experts, model, k) for model in models]


def _folder(experts: Experts, model: str, k: int) -> Path:
    """The folder of everything that a model says of the base's k tokens."""
    key = {
        "schema": SCHEMA,
        "model": model,
        "base": experts.base.fingerprint,
        "precision": experts.training.precision,
        "versions": versions("torch", "transformers", "peft"),
        "k": k,
    }
    return experts.out / "predictions" / content_hash(key)


def _known(folder: Path) -> Parts:
    found: dict[str, dict[str, StoredTensor]] = {}
    for path in sorted(folder.glob("[!.]*.safetensors")):
        if not keep_sound(path, tensors_damage):
            continue
        for name, tensor in stored_tensors(path).items():
            key, _, kind = name.partition("/")
            found.setdefault(key, {})[kind] = tensor
    return found


def _through(
    model: Any, probes: Mapping[str, Probes], batch_size: int
) -> Iterator[tuple[str, NDArray[np.int64], Any, NDArray[np.float32]]]:
    """A model on probes, key after key, as (key, contexts, their (c, V) log_probs, (c,) of the true tokens).

    No batch holds probes of two keys: what is padded to which length, and so the last digits, depends on one task.
    """
    import torch

    from taskpgm.forward import context_log_probs

    for key, own in probes.items():
        for contexts, log_probs in context_log_probs(model, own, batch_size):
            true = torch.as_tensor(own.targets[contexts], device=log_probs.device)
            yield key, contexts, log_probs, log_probs.gather(1, true[:, None])[:, 0].cpu().numpy()


def _pooled(log_probs: Any, subset: NDArray[np.int32] | None) -> NDArray[np.float32]:
    """(c, k + 1) what is kept of (c, V) log-probabilities: those of the (c, k) tokens, and the rest in one."""
    import torch

    if subset is None:
        rest = log_probs.new_full((len(log_probs), 1), float("-inf"))
        return np.asarray(torch.cat([log_probs, rest], dim=1).cpu().numpy())
    tokens = torch.as_tensor(subset, dtype=torch.int64, device=log_probs.device)
    rest = torch.logsumexp(log_probs.scatter(1, tokens, float("-inf")), dim=1, keepdim=True)
    return np.asarray(torch.cat([log_probs.gather(1, tokens), rest], dim=1).cpu().numpy())


def _layout(probes: Mapping[str, Probes], kind: str, dtype: type[np.generic], *width: int) -> Layout:
    return {f"{key}/{kind}": (dtype, (len(own.targets), *width)) for key, own in probes.items()}
