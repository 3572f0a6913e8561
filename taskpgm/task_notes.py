"""What to know of a set of tasks before anything is trained on it: texts that repeat, and tasks that contradict.

    for note in task_notes(tasks): print(note)

Spacing and capitals make no difference, but to examples that repeat an earlier one of their task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskpgm.contradictions import Contradictions, Pairs, hashed_texts
from taskpgm.types import Example, Task

SHOWN_PAIRS = 3
SHOWN_TASKS = 20
MANY, FEW = 0.05, 5
"""The share of the smaller task's prompts, and their least number, from which on another task contradicts it."""


def task_notes(tasks: Sequence[Task]) -> Iterator[str]:
    """A line for each thing that the user should know."""
    seen, repeated = _Seen(), {}
    for task in tasks:
        parts = {"train": task.train, "probe": task.probe, "eval": task.eval}
        digests = [example.digest for examples in parts.values() for example in examples]
        repeated[task.name] = len(digests) - len(set(digests))
        for part, examples in parts.items():
            for example in examples:
                seen.add(task.name, part, example)
    yield from _repeated(repeated)
    yield from _by_pair(seen.shared, "share {} example(s).", "share examples")
    yield from _by_pair(
        seen.many_contradicting(),
        "ask the same in {} prompt(s) and want different answers: what one gains the other may lose. Tell them apart in"
        " the prompt, or leave one out.",
        "contradict each other",
    )
    for name, count in seen.across_splits.most_common():
        yield (
            f"task {name!r}: {count} example(s) differ only in spacing or capitals from one on another side of the"
            " train/probe/eval split; remove them so that nothing held out is trained on."
        )


@dataclass
class _Seen:
    """What the examples so far have in common, spacing and capitals apart.

    across_splits: by task, examples that are on another side of a split as well. shared: examples of the second task
    that the first has too.
    """

    across_splits: Counter[str] = field(default_factory=Counter)
    shared: Pairs = field(default_factory=Counter)
    contradictions: Contradictions = field(default_factory=Contradictions)
    _first: dict[bytes, tuple[str, str]] = field(default_factory=dict)

    def add(self, name: str, part: str, example: Example) -> None:
        prompt, answer = hashed_texts(example)
        first_task, first_part = self._first.setdefault(prompt + answer, (name, part))
        if first_task != name:
            self.shared[first_task, name] += 1
        if first_part != part:
            self.across_splits[name] += 1
        self.contradictions.add(name, prompt, answer)

    def many_contradicting(self) -> Pairs:
        """Of the pairs of tasks that contradict each other in more than a few prompts."""
        found, prompts = self.contradictions.contradicting, self.contradictions.prompts
        least = {pair: max(FEW, MANY * min(prompts[name] for name in pair)) for pair in found}
        return Counter({pair: count for pair, count in found.items() if count >= least[pair]})


def _repeated(counts: Mapping[str, int]) -> Iterator[str]:
    found = [f"{name} ({count})" for name, count in counts.items() if count]
    if found:
        more = f" and {len(found) - SHOWN_TASKS} more tasks" if len(found) > SHOWN_TASKS else ""
        shown = ", ".join(found[:SHOWN_TASKS])
        yield f"examples that repeat an earlier one of their task, each counted: {shown}{more}."


def _by_pair(counts: Pairs, text: str, more: str) -> Iterator[str]:
    for (first, second), count in counts.most_common(SHOWN_PAIRS):
        yield f"tasks {first!r} and {second!r} {text.format(count)}"
    if len(counts) > SHOWN_PAIRS:
        yield f"{len(counts) - SHOWN_PAIRS} more pairs of tasks {more}."
