"""Reads JSON files that come from outside: the manifests of bundles, and the files of checkpoints.

Anyone can write such a file, so nothing in it is taken on trust. A file is read once, from a descriptor of a regular
file, up to a limit. Numbers of over 19 digits, NaN, infinities, keys that stand twice, lone surrogates and deep nesting
are refused for whole files; ``Fields`` refuses the rest, value by value. Every error names the file and the key.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ziprerank.errors import ZipRerankError, quoted

MOST_BYTES = 4 << 20  # of a file that no one said more about
_MOST_VALUES = 1_000_000  # by its commas: a value of two bytes becomes an object of 64
_MOST_DEPTH = 64
_MOST_DIGITS = 19  # of whole numbers: 2^63
_MOST_TEXT = 100_000  # characters of one text, 25 pages of print
_MOST_ITEMS = 10_000  # of one list
_LONGEST_NAME = 255  # bytes of a file's name, on every file system that bundles are kept on

_T = TypeVar("_T")
_MISSING = object()
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class _Refused(ValueError):
    pass


def read_file(path: Path, error: type[ZipRerankError], most: int) -> bytes:
    """Reads a regular file whole.

    Args:
        path: The file; it is opened once, and never waited for.
        error: What is raised.
        most: Most bytes.

    Raises:
        error: It is a folder, a pipe or a device, is too large, or cannot be read.
        FileNotFoundError: There is none.
    """
    try:
        descriptor = open_regular(path, error)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror}") from reason
    if len(content) > most:
        raise error(f"{path} has more than {most:,} bytes, which no such file needs: copy or export it again")
    return content


def open_regular(path: Path, error: type[ZipRerankError]) -> int:
    """Opens a regular file for reading, and returns its descriptor.

    Raises:
        error: It is a folder, a pipe or a device.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{path} is no regular file: copy or export it again")
    return descriptor


def parse_object(
    content: bytes, file: str, error: type[ZipRerankError], *, most_values: int = _MOST_VALUES
) -> dict[str, Any]:
    """Parses a JSON object.

    Args:
        content: The file's bytes.
        file: What errors call it.
        error: What is raised.
        most_values: Most values, by the commas between them.

    Raises:
        error: It is not a JSON object in UTF-8, or breaks a rule of this module.
    """
    try:
        if content.count(b",") > most_values:
            raise _Refused(f"over {most_values:,} values")
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_fraction,
            parse_constant=_constant,
        )
        if not isinstance(value, dict):
            raise error(f"{file} must hold a JSON object, not {type(value).__name__}")
        _check(value)
    except UnicodeDecodeError as reason:
        raise error(f"{file} is not valid JSON: byte {reason.start} is not UTF-8") from reason
    except _Refused as reason:
        raise error(f"{file}: {reason}") from None
    except ValueError as reason:
        raise error(f"{file} is not valid JSON: {reason}") from reason
    except RecursionError:
        raise error(f"{file}: nested deeper than {_MOST_DEPTH} levels") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _Refused(f"the key {quoted(counts.most_common(1)[0][0])} stands twice in one object")
    return found


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise _Refused(f"a number of {len(digits):,} digits, at most {_MOST_DIGITS}")
    return int(digits)


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or len(text) > 100:
        raise _Refused(f"{quoted(text)} is no number that a file needs")
    return value


def _constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no number in JSON")


def _check(value: dict[str, Any]) -> None:
    """Raises _Refused for text that is none, and for deep nesting."""
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(_MOST_DEPTH):
        deeper: list[tuple[str, Any]] = []
        for path, item in level:
            if isinstance(item, str):
                if _SURROGATE.search(item):
                    raise _Refused(f"{quoted(path)} holds half a surrogate pair, which is no text")
            elif isinstance(item, list):
                deeper.extend((path, one) for one in item)
            elif isinstance(item, dict):
                for key, one in item.items():
                    if _SURROGATE.search(key):
                        raise _Refused(f"the key {quoted(key)} holds half a surrogate pair, which is no text")
                    deeper.append((key, one))
        if not deeper:
            return
        level = deeper
    raise _Refused(f"nested deeper than {_MOST_DEPTH} levels")


class Fields:
    """An object of a JSON file, whose values are read by type and range.

    Every method takes the key, and raises the error of the file when the key is missing or its value does not do. A
    ``default`` stands for a key that is missing or null.
    """

    def __init__(self, values: dict[str, Any], file: str, error: type[ZipRerankError], inside: str = "") -> None:
        """Takes an object that ``parse_object`` returned.

        Args:
            values: The object.
            file: What errors call its file.
            error: What is raised.
            inside: The key of the object in its file; empty for the file's own.
        """
        self.values = values
        self._file = file
        self._error = error
        self._inside = inside

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def refuse(self, key: str, reason: str) -> NoReturn:
        """Raises the error of the file: ``reason`` follows the key."""
        place = f" (in {quoted(self._inside)})" if self._inside else ""
        raise self._error(f"{self._file}: {quoted(key)} {reason}{place}")

    def whole(self, key: str, least: int, most: int, default: Any = _MISSING) -> int:
        """Returns a whole number in ``least..most``."""
        return self._whole(key, self._get(key, default), least, most)

    def number(self, key: str, least: float, most: float, default: Any = _MISSING) -> float:
        """Returns a number in [``least``, ``most``]."""
        return self._number(key, self._get(key, default), least, most)

    def text(self, key: str, default: Any = _MISSING, *, most: int = _MOST_TEXT) -> str:
        """Returns a text of at most ``most`` characters."""
        return self._text(key, self._get(key, default), most)

    def flag(self, key: str, default: Any = _MISSING) -> bool:
        """Returns true or false."""
        return self._typed(key, self._get(key, default), bool)

    def choice(self, key: str, allowed: Sequence[str], default: Any = _MISSING) -> str:
        """Returns one of ``allowed``."""
        value = self.text(key, default)
        if value not in allowed:
            names = ", ".join(allowed)
            raise self._error(f"{self._file}: {key} is {quoted(value)}, this ziprerank knows {names}")
        return value

    def object(self, key: str, default: Any = _MISSING) -> Fields:
        """Returns an object inside of this one."""
        values = self._typed(key, self._get(key, default), dict)
        return Fields(values, self._file, self._error, f"{self._inside}.{key}" if self._inside else key)

    def objects(self, key: str, default: Any = _MISSING) -> list[Fields]:
        """Returns a list of objects."""
        items = self._list(key, (0, _MOST_ITEMS), default)
        return [
            Fields(self._typed(key, item, dict), self._file, self._error, f"{self._inside}{key}[{number}]")
            for number, item in enumerate(items)
        ]

    def wholes(self, key: str, count: tuple[int, int], least: int, most: int, default: Any = _MISSING) -> list[int]:
        """Returns a list of ``count[0]`` to ``count[1]`` whole numbers in ``least..most``."""
        return [self._whole(key, item, least, most) for item in self._list(key, count, default)]

    def numbers(self, key: str, count: tuple[int, int], least: float, most: float) -> list[float]:
        """Returns a list of ``count[0]`` to ``count[1]`` numbers in [``least``, ``most``]."""
        return [self._number(key, item, least, most) for item in self._list(key, count, _MISSING)]

    def texts(self, key: str, default: Any = _MISSING) -> list[str]:
        """Returns a list of texts."""
        items = self._list(key, (0, _MOST_ITEMS), default)
        if not all(isinstance(item, str) for item in items):
            self.refuse(key, "must be a list of strings")
        return [self._text(key, item, _MOST_TEXT) for item in items]

    def _get(self, key: str, default: Any) -> Any:
        if self.values.get(key) is None and default is not _MISSING:
            return default
        if key not in self.values:
            place = f" (in {quoted(self._inside)})" if self._inside else ""
            raise self._error(f"{self._file} misses {quoted(key)}{place}")
        return self.values[key]

    def _typed(self, key: str, value: Any, kind: type[_T] | tuple[type[_T], ...]) -> _T:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(key, f"has the wrong type {type(value).__name__}")
        return value

    def _whole(self, key: str, value: Any, least: int, most: int) -> int:
        number = self._typed(key, value, int)
        if not least <= number <= most:
            self.refuse(key, f"is {number}, it must lie in {least}..{most}")
        return number

    def _number(self, key: str, value: Any, least: float, most: float) -> float:
        number = float(self._typed(key, value, (int, float)))
        if not least <= number <= most:
            self.refuse(key, f"is {number:g}, it must lie in {least:g}..{most:g}")
        return number

    def _text(self, key: str, value: Any, most: int) -> str:
        text = self._typed(key, value, str)
        if len(text) > most:
            self.refuse(key, f"has {len(text):,} characters, at most {most:,}")
        return text

    def _list(self, key: str, count: tuple[int, int], default: Any) -> list[Any]:
        items: list[Any] = self._typed(key, self._get(key, default), list)
        if not count[0] <= len(items) <= count[1]:
            wanted = f"{count[0]}" if count[0] == count[1] else f"{count[0]} to {count[1]:,}"
            self.refuse(key, f"has {len(items):,} values, it must have {wanted}")
        return items


def read_fields(path: Path, error: type[ZipRerankError], *, file: str | None = None, most: int = MOST_BYTES) -> Fields:
    """Reads a file that holds a JSON object.

    Args:
        path: The file.
        error: What is raised.
        file: What errors call the file; None is its path.
        most: Most bytes.

    Raises:
        error: The file cannot be read, or is not a JSON object by the rules of this module.
        FileNotFoundError: There is none.
    """
    name = str(path) if file is None else file
    return Fields(parse_object(read_file(path, error, most), name, error), name, error)


def is_plain_name(name: str) -> bool:
    """Whether ``name`` is a path of files and folders below the one that it is relative to, written in one way only."""
    parts = name.split("/")
    return "\0" not in name and all(
        part not in ("", ".", "..") and len(os.fsencode(part)) <= _LONGEST_NAME for part in parts
    )
