"""From the rows of a data file to examples: which column is what, and how texts become a prompt and a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskpgm.config import TaskSource
from taskpgm.limits import shown
from taskpgm.templates import filled
from taskpgm.types import Example, InputError

LAYOUTS: tuple[tuple[str, ...], ...] = (
    ("messages",),
    ("prompt", "completion"),
    ("instruction", "input", "output"),
    ("instruction", "output"),
    ("input", "target"),
)
ALPACA = (
    "Below is an instruction that describes a task{with_input}. Write a response that appropriately completes the"
    " request.\n\n### Instruction:\n{instruction}\n\n{input_block}### Response:\n"
)


def roles_of(row: Mapping[str, Any], source: TaskSource, place: str) -> dict[str, str]:
    """role -> column; from the source, or the first known layout whose columns are all there."""
    if source.columns is not None:
        layout = next((known for known in LAYOUTS if set(known) == set(source.columns)), None)
        if layout is None:
            raise InputError(f"{place}: columns name {sorted(source.columns)}; use one of {_layout_names()}.")
        missing = [column for column in source.columns.values() if column not in row]
        if missing:
            raise InputError(f"{place}: no column {missing[0]!r}; there are {sorted(map(str, row))}.")
        return dict(source.columns)
    for layout in LAYOUTS:
        if all(role in row for role in layout):
            return {role: role for role in layout}
    raise InputError(f"{place}: columns {sorted(map(str, row))}; say which is which with columns: ({_layout_names()}).")


def _layout_names() -> str:
    return " or ".join("/".join(layout) for layout in LAYOUTS)


def templates_of(source: TaskSource, roles: Mapping[str, str], kind: str) -> tuple[str | None, str | None]:
    """(prompt, completion) format strings over the roles; None is the layout's own."""
    prompt, completion = source.prompt_template, source.completion_template
    if kind == "bbh" and set(roles) == {"input", "target"}:
        prompt, completion = prompt or "Q: {input}\nA:", completion or " {target}"
    return prompt, completion


def example_of(row: Mapping[str, Any], roles: Mapping[str, str], templates: Any, place: str) -> Example:
    """A row's example.

    Raises:
        InputError: no text where one is needed, or a template that does not fit; `place` says where.
    """
    if "messages" in roles:
        return Example(messages=_messages(row.get(roles["messages"]), place))
    texts = {role: _text(row.get(column), role, f"{place}, column {column!r}") for role, column in roles.items()}
    prompt_template, completion_template = templates
    answer = texts.get("completion", texts.get("output", texts.get("target", "")))
    prompt = _formatted(prompt_template, texts, place) if prompt_template else _plain_prompt(texts)
    completion = _formatted(completion_template, texts, place) if completion_template else answer
    if not completion.strip():
        raise InputError(f"{place}: the target is empty; remove the row or fill it in.")
    return Example(prompt, completion)


def _plain_prompt(texts: Mapping[str, str]) -> str:
    if "instruction" in texts:
        given = texts.get("input", "")
        block = f"### Input:\n{given}\n\n" if given else ""
        with_input = ", paired with an input that provides further context" if given else ""
        return ALPACA.format(with_input=with_input, instruction=texts["instruction"], input_block=block)
    return texts.get("prompt", texts.get("input", ""))


def _formatted(template: str, texts: Mapping[str, str], place: str) -> str:
    try:
        return filled(template, texts)
    except (KeyError, ValueError) as error:
        raise InputError(f"{place}: template {shown(template)} does not fit; it may use {sorted(texts)}.") from error


def _text(value: Any, role: str, place: str) -> str:
    if value is None and role == "input":
        return ""
    if isinstance(value, bool | int | str) or (isinstance(value, float) and value == value):
        return str(value)
    raise InputError(f"{place}: expected text, found {'nothing' if value is None else repr(value)[:40]}.")


def _messages(value: Any, place: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise InputError(f"{place}: expected a list of at least two messages with role and content.")
    messages = []
    for message in value:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise InputError(f"{place}: every message needs a role and a content, both texts.")
        messages.append((message["role"], message["content"]))
    if messages[-1][0] != "assistant" or not messages[-1][1].strip():
        raise InputError(f"{place}: the last message must be the assistant's, and not empty: it is what is learned.")
    return tuple(messages)
