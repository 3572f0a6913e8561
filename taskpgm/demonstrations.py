"""In-context experts: the base with examples of one task before whatever it reads. Nothing is trained.

    chosen = demonstrations_of(tasks, base, seed, settings, probes)
    directories = keep_demonstrations(chosen, base, out)                # one folder each, with token ids alone
    shown = shown_before(probes, read_demonstrations(folder))           # the probes, with what is put before them

A demonstration is the very tokens that a fine-tuned expert is trained on, prompt, target and end token, so that an
expert of either kind is asked the same. Where a tokenizer has no end token, an empty line stands between two examples;
what every text begins with comes once. Contexts and targets stay the probes' own: only their positions move. As many
demonstrations come before a probe as fit into the context window, those nearest to it first, so that what an expert
says of a probe depends on nothing but the two.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from taskpgm.base import Base, load_model_config, load_tokenizer
from taskpgm.expert_curves import NO_CURVE, expert_damage, write_curve
from taskpgm.expert_settings import ExpertSettings
from taskpgm.integrity import keep_sound, read_sealed, seal
from taskpgm.storage import atomic_directory, content_hash, write_atomic
from taskpgm.tokens import TokenTask, context_window, leading_tokens, plain_tokens
from taskpgm.types import InputError, Probes, readonly

SCHEMA = 1
DEMONSTRATIONS_FILE = "demonstrations.json"
SEPARATOR = "\n\n"  # between examples, for tokenizers without an end token
REMEDY = "take a model with a longer window, shorter examples, or experts: {kind: fine_tuned}"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demonstrations:
    """What an expert shows the base, as token ids. start: what every text begins with. rows: the examples without it,
    each with what ends it, the last one nearest to the probe. window: the most tokens that the model takes."""

    start: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    window: int

    def fitting(self, tokens: int) -> tuple[tuple[int, ...], ...]:
        """The rows that fit together before so many tokens, `start` included; the nearest are taken first."""
        kept, room = [], self.window - tokens
        for row in reversed(self.rows):
            if len(row) <= room:
                kept.append(row)
                room -= len(row)
        return tuple(reversed(kept))


def demonstrations_of(
    tasks: Sequence[TokenTask], base: Base, seed: int, settings: ExpertSettings, probes: Sequence[Probes]
) -> list[Demonstrations]:
    """What each task's expert shows the base. probes: each task's, before which demonstrations have to fit.

    Raises:
        InputError: not one of a task's demonstrations fits before the longest probe.
    """
    tokenizer = load_tokenizer(base)
    start = tuple(leading_tokens(tokenizer))
    between = () if tokenizer.eos_token_id is not None else tuple(plain_tokens(tokenizer, SEPARATOR))
    window = context_window(load_model_config(base).get_text_config(), tokenizer)
    chosen = [choose(task, settings.demonstrations, seed, start, between, window) for task in tasks]
    _check_room([task.name for task in tasks], chosen, probes, settings.demonstrations)
    return chosen


def keep_demonstrations(chosen: Sequence[Demonstrations], base: Base, out: Path) -> list[Path]:
    """The folder of each, made where it is missing or damaged; tasks with the same data share one."""
    directories = [out / "experts" / _key(each, base) for each in chosen]
    for each, directory in zip(chosen, directories, strict=True):
        if not (directory.is_dir() and keep_sound(directory, expert_damage)):
            with atomic_directory(directory) as folder:
                write_atomic(folder / DEMONSTRATIONS_FILE, seal(asdict(each)))
                write_curve(folder, NO_CURVE, {})
    return directories


def choose(
    task: TokenTask, count: int, seed: int, start: tuple[int, ...], between: tuple[int, ...], window: int
) -> Demonstrations:
    """`count` different examples of a task's training part, or all that there are, the same for the same seed."""
    different = list(dict.fromkeys(row.ids for row in task.train))
    order = np.random.default_rng(seed).permutation(len(different))[:count]
    rows = tuple((*_without(different[i], start), *between) for i in order.tolist())
    return Demonstrations(start, rows, window)


def read_demonstrations(folder: Path) -> Demonstrations:
    """What lies in an expert's folder."""
    stored: dict[str, Any] = read_sealed(folder / DEMONSTRATIONS_FILE)
    rows = tuple(tuple(row) for row in stored["rows"])
    return Demonstrations(tuple(stored["start"]), rows, int(stored["window"]))


def shown_before(probes: Probes, demonstrations: Demonstrations) -> Probes:
    """The probes as the expert reads them: longer, with the same targets in the same order.

    Raises:
        InputError: not one demonstration fits before some probe.
    """
    start, tokens, target_start = demonstrations.start, [], []
    for ids, target, task in zip(probes.tokens, probes.target_start.tolist(), probes.task.tolist(), strict=True):
        own = _without(tuple(ids.tolist()), start)
        rows = demonstrations.fitting(len(start) + len(own))
        if not rows:
            raise InputError(f"experts: {_no_room(probes.names[task], len(ids), demonstrations.window)}")
        before = [*start, *(token for row in rows for token in row)]
        tokens.append(readonly([*before, *own], np.int64))
        target_start.append(target + len(before) + len(own) - len(ids))
    return replace(probes, tokens=tuple(tokens), target_start=readonly(target_start, np.int64))


def _without(ids: tuple[int, ...], start: tuple[int, ...]) -> tuple[int, ...]:
    """An example's tokens without what every text begins with, of which its target is never a part."""
    return ids[len(start) :] if start and ids[: len(start)] == start else ids


def _key(demonstrations: Demonstrations, base: Base) -> str:
    """The hash of everything that such an expert is."""
    return content_hash({"schema": SCHEMA, "base": base.fingerprint, "in_context": asdict(demonstrations)})


def _check_room(names: Sequence[str], chosen: Sequence[Demonstrations], probes: Sequence[Probes], wanted: int) -> None:
    """Say where fewer demonstrations than wanted come before probes, and refuse where none does."""
    longest, of = max((len(ids), own.names[0]) for own in probes for ids in own.tokens)
    fewest = {name: len(each.fitting(longest)) for name, each in zip(names, chosen, strict=True)}
    for name, count in fewest.items():
        if count == 0:
            raise InputError(f"task {name!r}: {_no_room(of, longest, chosen[0].window)}")
    few = min(fewest, key=lambda name: fewest[name])
    if fewest[few] < wanted:
        _log.warning(
            "experts.demonstrations: of %d, as few as %d (of task %r) are put before a probe: so many fit into the"
            " window of %d tokens before the longest one (%d, of task %r), or the task has no more.",
            *(wanted, fewest[few], few, chosen[0].window, longest, of),
        )


def _no_room(task: str, tokens: int, window: int) -> str:
    return f"no demonstration fits before a probe of task {task!r} ({tokens} tokens of a window of {window}); {REMEDY}."
