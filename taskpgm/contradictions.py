"""Which tasks ask the same and want different answers; spacing and capitals make no difference.

contested_prompts(tasks)            # (n, n): the share of task j's prompts that task i answers otherwise
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from taskpgm.types import Example, FloatArray, Task, readonly

Pairs: TypeAlias = Counter[tuple[str, str]]


@dataclass
class Contradictions:
    """What the tasks that were added so far, one after the other, contradict each other in.

    prompts: by task, how many different ones. contradicting: prompts of two tasks, in the order in which they came,
    that the first example of each answers differently.
    """

    prompts: Counter[str] = field(default_factory=Counter)
    contradicting: Pairs = field(default_factory=Counter)
    _answers: dict[bytes, tuple[tuple[str, bytes], ...]] = field(default_factory=dict)

    def add(self, name: str, prompt: bytes, answer: bytes) -> None:
        """An example of a task, by the hashes of its texts."""
        answers = self._answers.get(prompt, ())
        if answers and answers[-1][0] == name:
            return
        self.prompts[name] += 1
        for other, theirs in answers:
            if theirs != answer:
                self.contradicting[other, name] += 1
        self._answers[prompt] = (*answers, (name, answer))


def contested_prompts(tasks: Iterable[Task]) -> FloatArray | None:
    """(n, n) c: of the different prompts of task j the share c[i, j] is asked by task i too, and answered otherwise.

    A prompt that comes several times in a task counts once, with its first answer. None where nothing is contested.
    """
    found, places = Contradictions(), dict[str, int]()
    for i, task in enumerate(tasks):
        places[task.name] = i
        for example in (*task.train, *task.probe, *task.eval):
            found.add(task.name, *hashed_texts(example))
    if not found.contradicting:
        return None
    contested = np.zeros((len(places), len(places)))
    for pair, count in found.contradicting.items():
        for one, other in (pair, pair[::-1]):
            contested[places[one], places[other]] = count / found.prompts[other]
    return readonly(contested, np.float64)


def hashed_texts(example: Example) -> tuple[bytes, bytes]:
    """Hashes of what is asked and of what is answered."""
    if not example.messages:
        return _hashed((example.prompt,)), _hashed((example.completion,))
    *turns, (role, answer) = example.messages
    return _hashed([*(text for message in turns for text in message), role]), _hashed((answer,))


def _hashed(parts: Sequence[str]) -> bytes:
    text = "\x00".join(" ".join(part.casefold().split()) for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
