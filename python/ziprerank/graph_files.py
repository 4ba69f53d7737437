"""The files that an ONNX graph reads beside itself: external data of its tensors, and engines that were built ahead.

The format is protobuf's, of which this reads the few fields on the way to a file's name; everything else is skipped.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from ziprerank.errors import BundleError
from ziprerank.strict_json import open_regular

# The messages and fields of onnx.proto that lead to a file: {message: {field: message of the field}}.
_FIELDS = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # of an entry of a tensor's external data
_NAME, _TEXT = 1, 4  # of an attribute; that of an EPContext node has the engine's file, or the engine itself
_TEXTS = {"entry": (_KEY, _VALUE), "attribute": (_NAME, _TEXT)}
_LONGEST = 4096  # of a file's path; what is longer is an engine
_MOST_FIELDS = 5_000_000  # some seconds; the 8B model's graphs have under 100,000

_Span = tuple[int, int]


def files_read_by(graph: Path) -> set[str]:
    """Returns the names of the files, relative to the graph's folder, as the graph has them.

    Raises:
        BundleError: The file is no ONNX graph.
        OSError: It cannot be read.
    """
    with os.fdopen(open_regular(graph, BundleError), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise BundleError(f"{graph} is empty, which is no ONNX graph: copy or export the bundle again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return {name.decode("utf-8") for name in _names(data)}
            except (IndexError, ValueError) as error:
                raise BundleError(f"{graph} is no ONNX graph ({error}): copy or export the bundle again") from error


def _names(data: mmap.mmap) -> Iterator[bytes]:
    waiting: list[tuple[str, _Span]] = [("model", (0, len(data)))]
    fields = 0
    while waiting:
        message, span = waiting.pop()
        texts: dict[int, bytes] = {}
        for number, (start, end) in _spans(data, span):
            fields += 1
            if fields > _MOST_FIELDS:
                raise ValueError(f"over {_MOST_FIELDS:,} fields")
            if number in _FIELDS.get(message, ()):
                waiting.append((_FIELDS[message][number], (start, end)))
            elif number in _TEXTS.get(message, ()) and end - start <= _LONGEST:
                texts[number] = data[start:end]
        if message == "entry" and texts.get(_KEY) == b"location":
            yield texts.get(_VALUE, b"")
        if message == "attribute" and texts.get(_NAME) == b"ep_cache_context" and _TEXT in texts:
            yield texts[_TEXT]


def _spans(data: mmap.mmap, span: _Span) -> Iterator[tuple[int, _Span]]:
    """The fields of a message that have a length, by their number; the others are skipped."""
    at, end = span
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError(f"a field of {length} bytes at byte {at} is longer than its message")
            yield tag >> 3, (at, at + length)
            at += length
        else:
            raise ValueError(f"a field of kind {kind} at byte {at}")
    if at != end:
        raise ValueError(f"a field runs over the end of its message at byte {end}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of over 10 bytes at byte {at}")
