"""Configurations to and from plain mappings and YAML. Imports no torch.

A mapping names its task; every problem in it comes in one message, under the name of the file that it stands in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from elman.errors import OptionError, describe, did_you_mean
from elman.tasks.registry import TaskEntry, find_task

__all__ = ["LENGTHS", "checked", "from_mapping", "read_yaml", "to_mapping"]

LENGTHS = ("epochs", "samples", "steps")  #: the units in which the length of training is given
_LARGEST = 1 << 20  # bytes


def to_mapping(task: TaskEntry, config: Any) -> dict[str, Any]:
    """Return a configuration as plain values, the task first."""
    return {"task": task.name, **_plain(dataclasses.asdict(config))}


def from_mapping(mapping: Mapping[str, Any], *, source: str | None, base: Any = None) -> tuple[TaskEntry, Any]:
    """Check a mapping and make the configuration.

    Args:
        mapping: names and values, as YAML gives them; ``task`` names the task.
        source: the file that it comes from, for messages; None for flags.
        base: a configuration whose values stand for the names that the mapping leaves out.

    Raises:
        OptionError: names that there are not (each with the nearest that there is), values of the wrong type or out of
            range, options that contradict each other: all of them in one message.

    Example:
        >>> task, config = from_mapping({"task": "classification", "data": "digits"}, source="example")
        >>> config.model.cell
        'lstm'
    """
    if "task" not in mapping:
        raise OptionError(describe(f"{source}: task", expected="named", got=", ".join(mapping) or "nothing"))
    task = find_task(str(mapping["task"]))
    given = {name: value for name, value in mapping.items() if name != "task"}
    if base is not None:
        given = _merged(_without_length(dataclasses.asdict(base), given), given)
    try:
        return task, TypeAdapter(task.config).validate_python(given)
    except ValidationError as error:
        problems = [_problem(task.config, item, as_flag=source is None) for item in error.errors()]
        raise OptionError(" ".join(problems if source is None else [f"{source}:", *problems])) from None


def checked(task: TaskEntry, config: Any) -> Any:
    """Return a configuration made of flags, if all its values are in range.

    Raises:
        OptionError: some are not; one message names all of them by their flags.
    """
    return from_mapping(to_mapping(task, config), source=None)[1]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        OptionError: it is missing, too large, no text, no YAML, or no mapping of names.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise OptionError(describe(str(path), expected=f"at most {_LARGEST} bytes", got=f"{path.stat().st_size}"))
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise OptionError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise OptionError(describe(str(path), expected="a mapping of names", got=type(content).__name__))
    return content


def _problem(config: type[Any], error: Any, *, as_flag: bool) -> str:
    """Say one of pydantic's errors in a sentence."""
    path = [str(part) for part in error["loc"]]
    name = _flag(config, path) if as_flag else ".".join(path)
    if error["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return f"{name} is unknown. {did_you_mean(path[-1], _names_at(config, path[:-1]))}"
    if error["type"] == "missing":
        return f"{name} is missing."
    if error["type"] == "value_error":  # from __post_init__, which names the flags itself
        return str(error["ctx"]["error"])
    return f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r}."


def _flag(config: type[Any], path: list[str]) -> str:
    """Return the flag of a value, and where that is a mapping the key in it: ``--zoneout h``."""
    kind: Any = config
    for place, part in enumerate(path):
        kind = get_type_hints(kind).get(part)
        if not dataclasses.is_dataclass(kind):
            keys = path[place + 1 : place + 2] if get_origin(kind) is dict else []
            return " ".join([f"--{part.replace('_', '-')}", *keys])
    return f"--{path[-1].replace('_', '-')}"


def _names_at(config: type[Any], path: list[str]) -> Iterator[str]:
    """Yield the names that a configuration has at a place."""
    if not path:
        return (field.name for field in dataclasses.fields(config))
    adapter = TypeAdapter(config)
    schema = adapter.json_schema()
    for part in path:
        reference = schema["properties"][part]
        inner = schema["$defs"][reference["$ref"].rpartition("/")[2]]
        schema = {**inner, "$defs": schema["$defs"]}
    return iter(schema["properties"])


def _without_length(base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the base's length where one is given, whichever unit that has."""
    training = given.get("training")
    if not isinstance(training, Mapping) or all(training.get(name) is None for name in LENGTHS):
        return base
    return {**base, "training": {**base["training"], **dict.fromkeys(LENGTHS)}}


def _merged(base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the given values over those of the base, section by section."""
    result = dict(base)
    for name, value in given.items():
        below = result.get(name)
        result[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return result


def _plain(value: Any) -> Any:
    """YAML has no tuples and no paths."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, Path):
        return str(value)
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value
