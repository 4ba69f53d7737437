"""Rows of data files, one at a time: JSON lines and JSON arrays in bounded memory, faults named by file and row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from ziprerank.train.errors import TrainError

T = TypeVar("T")
Faults = Callable[[TrainError], None]
"""Told of each row that is skipped. Readers that get none raise the first fault instead."""

CHUNK = 1 << 16  # characters read at once
LARGEST_ROW = 1 << 24
"""Characters of one row of a JSON array; the longest real ones (20 passages) have about 20,000."""


def skipping(make: Callable[[], T], name: str, faults: Faults | None) -> Iterator[T]:
    """``make()``, or nothing if it fails and ``faults`` wants to know; errors begin with ``name``.

    Raises:
        TrainError: ``make`` failed and there is no ``faults``.
    """
    try:
        made = make()
    except TrainError as error:
        fault = TrainError(f"{name}: {error}")
        if faults is None:
            raise fault from error
        faults(fault)
        return
    yield made


def json_rows(path: Path, faults: Faults | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stream ``("FILE row N", object)`` of JSON lines or of one JSON array, told apart by the first character.

    Rows count from 1: lines of JSON lines, elements of an array. Blank lines are no rows.

    Args:
        faults: called with the error of each line that is no JSON object, which is then skipped. In an array the rows
            behind a malformed one cannot be told apart, so that is always raised.

    Raises:
        TrainError: the file cannot be read, is not UTF-8, or a row is no JSON object.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            if not first:
                raise TrainError(f"{path} is empty: it must hold JSON lines or a JSON array")
            if first == "[":
                yield from _array(path, file)
            else:
                yield from _lines(path, file, faults)
    except OSError as error:
        raise TrainError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TrainError(f"{path} is not UTF-8: {error}") from error


def _lines(path: Path, file: TextIO, faults: Faults | None) -> Iterator[tuple[str, dict[str, Any]]]:
    file.seek(0)
    for number, line in enumerate(file, 1):
        if line.strip("\ufeff \t\r\n"):
            name = f"{path} row {number}"
            for row in skipping(partial(_parse, line.lstrip("\ufeff")), name, faults):
                yield name, row


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TrainError(f"is not JSON ({error}): was the file cut off?") from error
    return _object(row)


def _object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise TrainError(f"is {row!r:.80}: give a JSON object")
    return row


def _array(path: Path, file: TextIO) -> Iterator[tuple[str, dict[str, Any]]]:
    """Elements behind the opening bracket. The text held is the chunk that ends the current one."""
    decoder = json.JSONDecoder()
    text, start, number = "", 0, 0
    while True:
        text, start = _next(file, text, start)
        if text[start : start + 1] == "]" and number == 0:
            break
        number += 1
        name = f"{path} row {number}"
        row, text, start = _element(decoder, file, text, start, name)
        try:
            yield name, _object(row)
        except TrainError as error:
            raise TrainError(f"{name}: {error}") from error
        text, start = _next(file, text, start)
        separator = text[start : start + 1]
        if separator == "]":
            break
        if separator != ",":
            found = repr(separator) if separator else "the end of the file"
            raise TrainError(f"{name}: followed by {found}, not by ',' or ']': was the file cut off?")
        start += 1
    text, start = _next(file, text, start + 1)
    if start < len(text):
        raise TrainError(f"{path}: {text[start : start + 20]!r} after the end of the array: give one array")


def _next(file: TextIO, text: str, start: int) -> tuple[str, int]:
    """The text from the next character that is no space, read on if need be; nothing at the end of the file."""
    while True:
        while start < len(text) and text[start].isspace():
            start += 1
        if start < len(text):
            return text, start
        text, start = file.read(CHUNK), 0
        if not text:
            return "", 0


def _element(decoder: json.JSONDecoder, file: TextIO, text: str, start: int, name: str) -> tuple[Any, str, int]:
    """One element. Text is doubled until it parses, so a long row costs a few attempts, not one per chunk."""
    if text[start : start + 1] != "{":  # a number could go on in the next chunk; an object says where it ends
        found = repr(text[start : start + 20]) if start < len(text) else "the end of the file"
        raise TrainError(f"{name}: {found}: give a JSON object")
    text = text[start:]
    while True:
        try:
            row, end = decoder.raw_decode(text)
            return row, text, end
        except json.JSONDecodeError as error:
            more = file.read(max(CHUNK, len(text))) if len(text) < LARGEST_ROW else ""
            if not more:
                raise TrainError(f"{name}: is not JSON ({error.msg} at character {error.pos} of it)") from error
            text += more
