"""What every section of a configuration is: a frozen model, read from YAML; errors name the place and the nearest key.

validated(RunConfig, read_yaml(path), str(path))        # read_yaml is in taskpgm.yaml_files
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taskpgm.limits import shown
from taskpgm.types import InputError

Share: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0)]
Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """A section of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validated(kind: type[Model], values: Any, source: str) -> Model:
    """Settings from plain values.

    Raises:
        InputError: not a mapping, or a missing, unknown or wrong setting, named with its place in the source.
    """
    if not isinstance(values, dict):
        keys = " and ".join(f"{name}:" for name in list(kind.model_fields)[:2])
        raise InputError(f"{source}: expected settings such as {keys}, found {type(values).__name__}.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, kind)}") from error


def explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first validation error as one line: where, what, and the nearest known key."""
    errors = error.errors()
    # a misspelt key also leaves its setting missing: the misspelling is what helps
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, first["loc"][:-1])
        return f"{place}: unknown key{suggestion(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{place}: missing; this setting has no default."
    message = first["msg"].removeprefix("Value error, ")
    found = "" if isinstance(first["input"], dict | list) else f" (found {shown(first['input'])})"
    return f"{place}: {message[:1].lower()}{message[1:]}{found}." if place else f"{message}."


def suggestion(word: str, known: Iterable[str]) -> str:
    """The nearest known word, as the end of a message; all of them where none is near."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _fields_at(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: Any = kind
    for part in location:
        if isinstance(part, str) and part in current.model_fields:
            current = _model_in(current.model_fields[part].annotation) or current
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg)) is not None), None)
