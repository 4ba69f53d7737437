"""Values that a JSON file from outside may hold where a number, a text or a list belongs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DIGITS = "9" * 400
"""A whole number that fits into no type; ``literal`` puts it into a file."""


class Literal(str):
    """Text that stands in the file as it is, such as NaN."""


def write_json(file: Path, content: Any) -> None:
    """Replaces ``file`` by ``content``, in which a ``Literal`` stands for itself."""
    literals: dict[str, str] = {}

    def marked(value: Any) -> Any:
        if isinstance(value, Literal):
            literals[f"literal {len(literals)}"] = str(value)
            return f"literal {len(literals) - 1}"
        if isinstance(value, dict):
            return {key: marked(one) for key, one in value.items()}
        if isinstance(value, list):
            return [marked(one) for one in value]
        return value

    text = json.dumps(marked(content))
    for mark, literal in literals.items():
        text = text.replace(json.dumps(mark), literal)
    file.unlink(missing_ok=True)
    file.write_text(text)


def replace_at(content: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at ``image.dpi`` or ``tokens.letters.0``; a last part of ``-`` before the key removes it."""
    *parts, last = path.split(".")
    for part in parts:
        content = content[int(part)] if isinstance(content, list) else content[part]
    content[int(last) if isinstance(content, list) else last] = value


def in_place_of(file: Path, kind: str) -> None:
    """Puts a pipe, a folder or a device in the place of a file."""
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero")


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Ends what waits for ever, so that a test fails instead of standing still."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"nothing for {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
