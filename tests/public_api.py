"""Every public name with what can be passed to it and read from it, as text; the test compares it with public_api.txt.

python tests/public_api.py > tests/public_api.txt
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

import taskpgm as tp

OF_PYDANTIC = ("model_config", "model_fields", "model_computed_fields")  # which older versions put into each class
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def public_api() -> str:
    """One block for each public name, one line for each thing that users can rely on."""
    lines = [line for name in sorted(tp.__all__) for line in _described(name, getattr(tp, name))]
    return "\n".join(lines) + "\n"


def _described(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, tuple):
        yield f"{name} = {', '.join(each.name for each in value)}"
    elif isinstance(value, type) and issubclass(value, enum.Enum):
        yield f"enum {name}: {', '.join(member.name for member in value)}"
    elif isinstance(value, type):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases}){_signature(value)}"
        yield from sorted(_members(value))
    else:
        yield f"def {name}{_signature(value)}"


def _members(owner: type) -> Iterator[str]:
    """What a class has under names without an underscore, of its own and from bases of ours."""
    ours = [base for base in owner.__mro__ if base.__module__.startswith("taskpgm")]
    found = {name: member for base in reversed(ours) for name, member in vars(base).items()}
    fields = {name for base in ours for name in inspect.get_annotations(base)}
    for name in sorted({*found, *fields}):
        member = found.get(name)
        if name.startswith("_") or name in OF_PYDANTIC:
            continue
        function = inspect.unwrap(member.__func__ if isinstance(member, classmethod | staticmethod) else member)
        if inspect.isfunction(function):
            yield f"    {name}{_signature(function)}"
        else:
            yield f"    {name}"


def _signature(value: Any) -> str:
    if isinstance(value, type) and issubclass(value, BaseModel):  # whose annotations print differently each time
        fields = (
            name if field.is_required() else f"{name} = {field.default!r}" for name, field in value.model_fields.items()
        )
        return f"(*, {', '.join(fields)})"
    try:
        return _ADDRESS.sub("", str(inspect.signature(value)))
    except ValueError:  # an exception's
        return ""


if __name__ == "__main__":
    print(public_api(), end="")
