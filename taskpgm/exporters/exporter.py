"""What an exporter is: a trainer's name, what its weights mean, and the files that it reads.

A new trainer is one file with a subclass of `Exporter`, and one line in the folder's tuple EXPORTERS.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from taskpgm.exporters.places import ROW_FILES
from taskpgm.exporters.plan import Plan, words
from taskpgm.mixture import Unit
from taskpgm.types import InputError


@dataclass(frozen=True)
class File:
    """A file to write: text, in UTF-8."""

    path: Path
    text: str


class Exporter(abc.ABC):
    """Writes a plan in one trainer's format.

    name: what the user types. title: the trainer. unit: what its weights count, with data as it usually gets it;
    `packable` if that changes to tokens with data packed to one length. meaning: of its weights, in one sentence. use:
    how its files are passed on. traps: what goes wrong with it, each in one line. ending: of its main file. reads: what
    it expects at a task's path, ending with `data_ending`; `prepared` if that is a format of its own. presampled: it
    has no weights, and reads one file of rows that were drawn before.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[Unit] = "examples"
    meaning: ClassVar[str]
    use: ClassVar[str] = ""
    traps: ClassVar[tuple[str, ...]] = ()
    ending: ClassVar[str] = ".yaml"
    reads: ClassVar[str] = "a JSONL, CSV or Parquet file"
    data_ending: ClassVar[str] = ".jsonl"
    packable: ClassVar[bool] = False
    prepared: ClassVar[bool] = False
    presampled: ClassVar[bool] = False

    def unit_for(self, packed: bool | None) -> Unit:
        """What its weights count, for data that is packed to one length or not (None: as it usually gets it).

        Raises:
            InputError: packing makes no difference to it.
        """
        if packed is None:
            return self.unit
        if not self.packable:
            raise InputError(f"{self.title} counts {words(self.unit)}, whatever is packed later: leave --packed out.")
        return "tokens" if packed else "examples"

    @abc.abstractmethod
    def adapted(self, plan: Plan) -> Plan:
        """The plan as this trainer carries it out: other amounts where it decides them, and what to know about it."""

    @abc.abstractmethod
    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        """The files for an adapted plan, the main one, at `out`, first.

        Raises:
            InputError: this trainer cannot do what the plan asks for.
        """

    def header(self, plan: Plan) -> str:
        """Comment lines that say what the weights mean, what comes of them, and what goes wrong easily."""
        counted = words(plan.unit)
        lines = [
            f"Mixture for {self.title}, written by taskpgm export.",
            f"Meaning: {self.meaning}",
            f"Unit: weights are shares of {counted}. Budget: {plan.budget_text}.",
            f"Reads: {self.reads}.",
            *((f"Use: {self.use}.",) if self.use else ()),
            *(f"Beware: {text}" for text in (*self.traps, *plan.warnings)),
            f"Tasks: weight, {counted} in the budget, epochs (passes over the task's training data), name, data.",
            *(_row(task.weight, task.count, task.epochs, task.name, task.place.text) for task in plan.tasks),
            *(f"  left out, weight 0: {quoted(name)}" for name in plan.dropped),
        ]
        for unit, shares in plan.other.items():
            told = ", ".join(f"{quoted(task.name)} {shares[task.name]:.6g}" for task in plan.tasks)
            lines.append(f"The same as shares of {words(unit)}: {told}")
        return "".join(f"# {line}\n" for line in lines)


def counts_of(exporter: Exporter, plan: Plan) -> list[tuple[str, int]]:
    """(path or hub name, rows) of the tasks that get any, for trainers whose weights are numbers of rows."""
    if plan.budget is None:
        raise InputError(f"{exporter.title} takes numbers of {words(plan.unit)}: give --budget.")
    return [(task.place.text, task.count) for task in plan.tasks if task.count]


def rows_of(plan: Plan) -> tuple[str, str]:
    """(path, kind as Hugging Face datasets names it) of the one file of rows that a presampled plan speaks of."""
    path = plan.tasks[0].place.text
    return path, ROW_FILES.get(Path(path).suffix, "json")


def quoted(text: str) -> str:
    """A text that stays on its line, in quotes."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def dump_yaml(value: Any) -> str:
    """A value as YAML, every text on its own line and keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


class _Dumper(yaml.SafeDumper):
    """Texts with characters that are not printable in double quotes, escaped: some line breaks would be lost."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _text_node)


def python_literal(name: str, items: Iterable[str], brackets: str = "[]") -> str:
    """`name = [...]` with one item a line."""
    inside = "".join(f"    {item},\n" for item in items)
    return f"{name} = {brackets[0]}\n{inside}{brackets[1]}\n"


def _row(weight: float, count: int | None, epochs: float | None, name: str, place: str) -> str:
    amount = "?" if count is None else str(count)
    passes = "?" if epochs is None else f"{epochs:.3g}"
    return f"  {weight:<10.6g} {amount:>10} {passes:>8}  {quoted(name)}  {quoted(place)}"
