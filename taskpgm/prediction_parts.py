"""What a model predicts on one task's probes, kept under what it depends on: the model, the probes, the tokens kept.

    base = base_parts(experts, 64, vocabulary, {key: probes}, batch_size=32)
    known = expert_parts(experts, 0, 64, {key: probes}, base, batch_size=32)    # computes what is not in its folder
    known[key]["log_probs"]                                                     # (C_t, 65) StoredTensor

A folder belongs to one model, base, precision and number of tokens. In it, a part has the name of its probes' content;
where a task is in a list, or what it is called, says nothing. So one task more costs every model that task's probes,
and one less costs nothing. What is computed in one go is one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskpgm.base import load_model, torch_threads
from taskpgm.experts import Experts
from taskpgm.integrity import keep_sound
from taskpgm.storage import content_hash, remove_partial, versions
from taskpgm.tensor_files import Layout, StoredTensor, stored_tensors, tensors_damage, write_tensors
from taskpgm.types import Probes

SCHEMA = 3
Parts: TypeAlias = Mapping[str, Mapping[str, StoredTensor]]
"""By probes' key and by name ("log_probs", "subset", "targets"), where the numbers are."""


def base_parts(experts: Experts, k: int, vocabulary: int, wanted: Mapping[str, Probes], batch_size: int) -> Parts:
    """The base's k most probable tokens of each context, ascending (none are stored of k = vocabulary), and targets."""
    whole = k == vocabulary

    def layout(missing: Mapping[str, Probes]) -> Layout:
        return {**({} if whole else _layout(missing, "subset", np.int32, k)), **_layout(missing, "targets", np.float32)}

    def chunks(missing: Mapping[str, Probes]) -> Iterator[NDArray[Any]]:
        model, targets = load_model(experts.base.path, experts.training.precision), []
        for _, _, log_probs, true in _through(model, missing, batch_size):
            if not whole:
                yield log_probs.topk(k, dim=1).indices.sort(dim=1).values.cpu().numpy().astype(np.int32)
            targets.append(true)
        yield from targets

    return _parts(experts, _folder(experts, "base", k), wanted, layout, chunks)


def expert_parts(
    experts: Experts, index: int, k: int, wanted: Mapping[str, Probes], base: Parts, batch_size: int
) -> Parts:
    """One expert's log-probabilities of the base's k tokens, the pooled rest last, and of the true tokens."""

    def layout(missing: Mapping[str, Probes]) -> Layout:
        return {**_layout(missing, "log_probs", np.float32, k + 1), **_layout(missing, "targets", np.float32)}

    def chunks(missing: Mapping[str, Probes]) -> Iterator[NDArray[Any]]:
        targets = []
        for key, contexts, log_probs, true in _through(experts.load(index), missing, batch_size):
            subset = base[key].get("subset")
            kept = None if subset is None else subset.rows(int(contexts[0]), int(contexts[-1]) + 1)
            yield _pooled(log_probs, kept)
            targets.append(true)
        yield from targets

    return _parts(experts, _folder(experts, experts.fingerprint(index), k), wanted, layout, chunks)


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


def _parts(
    experts: Experts,
    folder: Path,
    wanted: Mapping[str, Probes],
    layout: Callable[[Mapping[str, Probes]], Layout],
    chunks: Callable[[Mapping[str, Probes]], Iterator[NDArray[Any]]],
) -> Parts:
    """The parts in a folder, after those of them that were missing have been computed into a file of their own."""
    known = _known(folder)
    missing = {key: probes for key, probes in wanted.items() if key not in known}
    if not missing:
        return known
    remove_partial(folder)
    with torch_threads(experts.training.threads):
        write_tensors(folder / f"{content_hash(sorted(missing))}.safetensors", layout(missing), chunks(missing))
    return _known(folder)


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
