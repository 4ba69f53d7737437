"""YAML to dataclasses: every key known, every type right, or an error that names file and key."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml  # type: ignore[import-untyped]
from ziprerank.errors import ZipRerankError
from ziprerank.train.errors import TrainError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.1 as PyYAML reads it, but ``3e-6`` is a number, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise TrainError(f"line {node.start_mark.line + 1}: {key!r} is given twice in one mapping")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        TrainError: it cannot be read, is no YAML, or holds something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TrainError(f"{path} cannot be read: {error}") from error
    except TrainError as error:
        raise TrainError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise TrainError(f"{path} holds {content!r:.60}: it must be a mapping")
    return content


def override(content: dict[str, Any], assignments: Sequence[str]) -> None:
    """Apply ``stages.0.optimisation.steps=5``: list elements by number, values in YAML; the last key may be new.

    Raises:
        TrainError: no such place, or no ``=``.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise TrainError(f"{assignment!r}: write KEY=VALUE, such as stages.0.optimisation.steps=100")
        place: Any = content
        *path, last = name.strip().split(".")
        for key in path:
            place = _entry(place, key, assignment)
        value = yaml.load(text, _Loader)
        if isinstance(place, list):
            _entry(place, last, assignment)
            place[int(last)] = value
        elif isinstance(place, dict):
            place[last] = value
        else:
            raise TrainError(f"{assignment!r}: nothing can be set in {place!r:.60}")


def fill(kind: type[T], content: Any, where: str) -> T:
    """An instance of the dataclass ``kind`` from a mapping.

    Args:
        kind: its fields may be bool, int, float, str, Path, Literal, tuples of them, optional, and dataclasses.
        content: the mapping that was read.
        where: names the place in errors, such as ``paper.yaml: stages[0]``.

    Raises:
        TrainError: a key is unknown or missing, a value of the wrong type, or the dataclass refuses it.
    """
    if not isinstance(content, Mapping):
        raise TrainError(f"{where} is {content!r:.60}: it must be a mapping")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    if unknown := [key for key in content if key not in fields]:
        raise TrainError(f"{where}: unknown key {unknown[0]!r}, known are {', '.join(fields)}")
    hints = get_type_hints(kind)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in content:
            raise TrainError(f"{where}: {name!r} is missing")
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in content.items()}
    try:
        return kind(**values)
    except ZipRerankError as error:  # of the room that knows the limit
        raise TrainError(f"{where}: {error}") from error


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass as JSON values, for the check of a resumed run; without paths, which may differ between machines."""

    def values(part: Any) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if dataclasses.is_dataclass(value):
                kept |= {f"{field.name}.{name}": inner for name, inner in values(value).items()}
            elif not isinstance(value, Path):
                kept[field.name] = list(value) if isinstance(value, tuple) else value
        return kept

    return values(settings)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _value(inner, value, where)
    if origin is Literal:
        if value not in arguments:
            raise TrainError(f"{where} is {value!r}: use one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return fill(kind, value, where)
    return _scalar(kind, value, where)


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TrainError(f"{where} is {value!r:.60}: it must be a list")
    variable = arguments[-1] is Ellipsis
    if not variable and len(value) != len(arguments):
        raise TrainError(f"{where} has {len(value)} entries: it must have {len(arguments)}")
    kinds = [arguments[0]] * len(value) if variable else arguments
    return tuple(_value(each, item, f"{where}[{number}]") for number, (each, item) in enumerate(zip(kinds, value)))  # noqa: B905


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (bool, int, str) and type(value) is kind:  # True is an int too
        return value
    name = {Path: "a path", float: "a number", int: "an integer", bool: "true or false", str: "text"}.get(
        kind, str(kind)
    )
    raise TrainError(f"{where} is {value!r:.60}: it must be {name}")


def _entry(place: Any, key: str, assignment: str) -> Any:
    if isinstance(place, list) and key.isdigit() and int(key) < len(place):
        return place[int(key)]
    if isinstance(place, dict) and key in place:
        return place[key]
    raise TrainError(f"{assignment!r}: there is no {key!r} to set something in")
