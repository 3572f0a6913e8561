"""The tasks' data as one data set whose rows say which task they are of, and where the rows of each are.

data = joined({"copy": copy, "sort": sort}, held_out={})
rows_of(trainer.train_dataset, data, sizes)     # rows of copy, rows of sort: after the trainer prepared them too
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset

from taskpgm.types import InputError, IntArray

COLUMN = "taskpgm_task"
"""The column of the joint data set that says which part a row is of: an index into the sorted names, and for held-out
rows that many more. They are prepared by the trainer with the rest, and never drawn."""


def joined(datasets: Mapping[str, Any], held_out: Mapping[str, Any]) -> Any:
    """The data of all tasks by their sorted names, one after the other, then what is held out of each.

    Hugging Face data sets get a column with the index of the part.

    Raises:
        InputError: data of different kinds or columns.
    """
    from datasets import Dataset, concatenate_datasets

    parts = [(f"data of task {name!r}", datasets[name]) for name in sorted(datasets)]
    parts += [(f"held-out data of task {name!r}", held_out[name]) for name in sorted(held_out)]
    hugging_face = [label for label, data in parts if isinstance(data, Dataset)]
    if not hugging_face:
        return ConcatDataset([data for _, data in parts])
    first, columns = parts[0][0], getattr(parts[0][1], "column_names", None)
    for label, data in parts:
        if not isinstance(data, Dataset):
            raise InputError(f"{label} is no datasets.Dataset, as {hugging_face[0]} is; use one kind.")
        if data.column_names != columns:
            raise InputError(
                f"{label} has columns {data.column_names}, {first} {columns}; give all tasks the same columns."
            )
        if COLUMN in data.column_names:
            raise InputError(f"{label} has a column {COLUMN!r} already; remove it.")
    try:
        return concatenate_datasets(
            [data.add_column(COLUMN, np.full(len(data), index)) for index, (_, data) in enumerate(parts)]
        )
    except ValueError as error:
        raise InputError(f"the tasks' data sets cannot be joined: {str(error).splitlines()[0]}") from error


def rows_of(data: Any, joint: Any, sizes: Sequence[int]) -> list[IntArray]:
    """For each part, where its rows are in a trainer's data, which may have lost some of them.

    Args:
        data: the trainer's. joint: what `joined` gave. sizes: rows of each part in it.

    Raises:
        InputError: data whose rows do not say any more which task they are of.
    """
    if data is joint and isinstance(data, ConcatDataset):
        ends = np.cumsum(sizes)
        return [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    if COLUMN not in (getattr(data, "column_names", None) or ()):
        raise InputError(
            f"the trainer's training data has no column {COLUMN!r}: give it train_dataset=mix.dataset, keep the"
            " column where you change the data, and switch packing off, which joins examples of several tasks."
        )
    part = np.asarray(data.with_format("numpy")[COLUMN][:], dtype=np.int64)
    return [np.flatnonzero(part == index) for index in range(len(sizes))]
