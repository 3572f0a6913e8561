"""The mixed data itself, for trainers that have no weights and for whoever wants to look at it: JSONL or Parquet.

    written = materialise(mixture, tasks, "mix.jsonl", budget=10_000, unit="examples")
    written.rows                        # {"copy": 7012, "sort": 2988}

Every row carries its task's name, and the prompt and completion, or the messages, as the experts saw them. A task's
rows come without repetition until all have come, and every seed has one order. The output may be larger than memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from taskpgm.amounts import whole_counts
from taskpgm.exporters.places import Place, file_name
from taskpgm.exporters.plan import Plan, Wish, budget_of, listed
from taskpgm.mixing import mixed_rows, rows_for
from taskpgm.mixture import Mixture, Unit
from taskpgm.progress import Progress, silent
from taskpgm.storage import atomic_file, versions
from taskpgm.tokens import token_lengths
from taskpgm.training_data import TrainingData
from taskpgm.types import Example, InputError, IntArray, TaskSet, TaskSize

BATCH = 1000
ENDINGS = (".jsonl", ".parquet")


@dataclass(frozen=True)
class Written:
    """What was written: the plan as it was carried out, rows by task name, and what the user should know.

    amounts: what was aimed at, by task name and in the budget's unit, where a tokenizer counted it.
    """

    path: Path
    plan: Plan
    rows: Mapping[str, int]
    warnings: tuple[str, ...]
    amounts: Mapping[str, int] | None = None


def materialise(
    mixture: Mixture,
    data: TaskSet | TrainingData,
    path: str | Path,
    *,
    budget: int | None = None,
    unit: Unit | None = None,
    seed: int = 0,
    tokenizer: Any = None,
    progress: Progress = silent,
) -> Written:
    """Write the rows of a mixture in the order in which to train on them.

    Args:
        mixture: its weights decide how many rows of each task there are.
        data: loaded tasks, of which the training part is written; or the examples of every task of positive weight.
        path: ends with .jsonl or .parquet.
        budget: how much is written, counted in `unit`; what the mixture was made for where not given.
        unit: of the budget; the mixture's own where not given.
        seed: of the order of the rows, and of each task's.
        tokenizer: a transformers tokenizer, to count a budget in tokens exactly; mean lengths convert it otherwise.
        progress: called with the rows written.

    Raises:
        InputError: an unknown ending, a task without examples, or a budget that cannot be converted.
    """
    path, wish = Path(path), Wish(budget, unit)
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: mixed data is written as {' or '.join(ENDINGS)}.")
    names = [name for name, weight in mixture.weights.items() if weight > 0.0]
    data = TrainingData.of(data, names) if isinstance(data, TaskSet) else data
    missing = [name for name in names if not data.examples.get(name)]
    if missing:
        raise InputError(f"task {missing[0]!r}: no examples of it.")
    lengths = None
    if tokenizer is not None:
        lengths = {name: token_lengths(data.examples[name], tokenizer, f"task {name!r}") for name in names}
        mixture = replace(mixture, sizes=_sizes(mixture, lengths))
    plan = Plan.of(mixture, "examples", wish, dict.fromkeys(mixture.weights, Place()))
    if plan.budget is None:
        raise InputError("how many rows to write is not known: give --budget.")
    counts = {task.name: task.count or 0 for task in plan.tasks}
    amounts = None
    if lengths is not None:
        counts, amounts = _counted(mixture, wish, plan, lengths, seed)
    chat, notes = _form(data, [name for name, count in counts.items() if count > 0])
    rows = _rows(data, counts, seed, chat)
    done: Counter[str] = Counter()
    with atomic_file(path) as stream:
        write = _write_parquet if path.suffix == ".parquet" else _write_lines
        write(stream, _noted(rows, done, sum(counts.values()), progress), chat)
    available = {name: len(data.examples[name]) for name in counts}
    plan = plan.realised(done, available, Place(str(path)), chat)
    return Written(
        path, plan, {name: done[name] for name in counts if done[name]}, (*data.notes, *notes, *plan.warnings), amounts
    )


def write_tasks(mixture: Mixture, data: TrainingData, folder: Path) -> tuple[Mixture, tuple[str, ...]]:
    """Each task's training examples in a JSONL file of its own, all in one form, for trainers that read rows.

    Returns:
        The mixture with its data there (paths from the current folder), and what the user should know.
    """
    names = [name for name, weight in mixture.weights.items() if weight > 0.0]
    chat, notes = _form(data, names)
    roles = ("messages",) if chat else ("prompt", "completion")
    where = {}
    for name in names:
        path = folder / f"{file_name(name)}.jsonl"
        with atomic_file(path) as stream:
            _write_lines(stream, (_content(example, chat) for example in data.examples[name]), chat)
        where[name] = {"path": str(path), "columns": {role: role for role in roles}}
    told = {**mixture.details, "data": {"tasks": where}}
    return replace(mixture, details=told), (*data.notes, *notes)


# ------------------------------------------------------------------------------------------------------------- amounts


def _sizes(mixture: Mixture, lengths: Mapping[str, IntArray]) -> dict[str, TaskSize]:
    """The tasks' sizes as this tokenizer counts them; tasks of weight 0 have none that would matter."""
    nothing = TaskSize(1, 1, 1)
    measured = {
        name: TaskSize(len(each), int(each[:, 0].sum()), int(each[:, 1].sum())) for name, each in lengths.items()
    }
    return {name: measured.get(name, nothing) for name in mixture.weights}


def _counted(
    mixture: Mixture, wish: Wish, plan: Plan, lengths: Mapping[str, IntArray], seed: int
) -> tuple[dict[str, int], dict[str, int]]:
    """(rows, amounts) by task name: as many rows as come nearest to each task's share of a budget in tokens."""
    asked, unit, _ = budget_of(mixture, wish)
    if asked is None or unit == "examples":
        return {task.name: task.count or 0 for task in plan.tasks}, {}
    column = 0 if unit == "tokens" else 1
    shares = {task.name: plan.other[unit][task.name] for task in plan.tasks}
    wanted = dict(zip(shares, whole_counts(list(shares.values()), asked), strict=True))
    counts = {name: rows_for(wanted[name], lengths[name][:, column], seed, name) for name in shares}
    return counts, wanted


# ---------------------------------------------------------------------------------------------------------------- rows


def _form(data: TrainingData, names: Sequence[str]) -> tuple[bool, tuple[str, ...]]:
    """Whether rows are chats: trainers want rows of one form, so if any task is a chat, all become chats."""
    chats = {name: bool(data.examples[name][0].messages) for name in names}
    if len(set(chats.values())) < 2:
        return any(chats.values()), ()
    plain = listed([name for name, chat in chats.items() if not chat])
    return True, (
        f"{plain} have prompts and completions, and other tasks chats: they become chats of two messages, and so go"
        " through the chat template.",
    )


def _rows(data: TrainingData, counts: Mapping[str, int], seed: int, chat: bool) -> Iterator[dict[str, Any]]:
    sizes = {name: len(data.examples[name]) for name in counts}
    for name, row in mixed_rows(counts, sizes, seed):
        yield {"task": name, **_content(data.examples[name][row], chat)}


def _content(example: Example, chat: bool) -> dict[str, Any]:
    if not chat:
        return {"prompt": _whole(example.prompt), "completion": _whole(example.completion)}
    turns = example.messages or (("user", example.prompt), ("assistant", example.completion))
    return {"messages": [{"role": _whole(role), "content": _whole(content)} for role, content in turns]}


def _whole(text: str) -> str:
    """The text with half characters, which no reader takes, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _noted(
    rows: Iterator[dict[str, Any]], done: Counter[str], total: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    for written, row in enumerate(rows, start=1):
        done[row["task"]] += 1
        if written % BATCH == 0 or written == total:
            progress("rows", written, total, "written")
        yield row


def _write_lines(stream: BinaryIO, rows: Iterator[dict[str, Any]], chat: bool) -> None:
    for row in rows:
        stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def _write_parquet(stream: BinaryIO, rows: Iterator[dict[str, Any]], chat: bool) -> None:
    versions("pyarrow")
    import pyarrow
    import pyarrow.parquet

    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    content = (
        [("messages", pyarrow.list_(message))]
        if chat
        else [(key, pyarrow.string()) for key in ("prompt", "completion")]
    )
    schema = pyarrow.schema([("task", pyarrow.string()), *content])
    with pyarrow.parquet.ParquetWriter(stream, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema))
                batch = []
        if batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
