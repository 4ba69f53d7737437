"""Messages between a process and its page workers: JSON after its length, and descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct("<I")
_MOST_BYTES = 64 << 20  # the sizes of over a million pages
_MOST_DESCRIPTORS = 2

Message = dict[str, Any]


class Ended(Exception):
    """The other side is gone, or sent what is no message."""


def send(link: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Sends a message and duplicates of descriptors. Raises Ended."""
    body = json.dumps(message).encode()
    data = _LENGTH.pack(len(body)) + body
    try:
        sent = socket.send_fds(link, [data], list(descriptors)) if descriptors else 0
        link.sendall(data[sent:])
    except OSError as error:
        raise Ended from error


def receive(link: socket.socket, deadline: float | None = None) -> Message:
    """Returns the next message and drops descriptors.

    Args:
        link: The connection.
        deadline: When to give up, by ``time.monotonic``; None waits for ever.

    Raises:
        Ended: The connection is at its end, or what came is no message.
        TimeoutError: The deadline passed.
    """
    return _decoded(_exactly(link, _length(_exactly(link, _LENGTH.size, deadline)), deadline))


def receive_with_descriptors(link: socket.socket) -> tuple[Message, list[int]]:
    """Returns the next message and the descriptors beside it. Raises Ended."""
    try:
        head, descriptors, _, _ = socket.recv_fds(link, _LENGTH.size, _MOST_DESCRIPTORS)
    except OSError as error:
        raise Ended from error
    if not head:
        raise Ended
    try:
        head += _exactly(link, _LENGTH.size - len(head), None)
        return _decoded(_exactly(link, _length(head), None)), descriptors
    except Ended:
        for one in descriptors:
            os.close(one)
        raise


def _exactly(link: socket.socket, count: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < count:
        if deadline is not None:
            link.settimeout(max(1e-3, deadline - time.monotonic()))
        try:
            part = link.recv(min(count - len(data), 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise Ended from error
        if not part:
            raise Ended
        data += part
    return bytes(data)


def _length(head: bytes) -> int:
    (count,) = _LENGTH.unpack(head)
    if count > _MOST_BYTES:
        raise Ended
    return int(count)


def _decoded(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise Ended from error
    if not isinstance(message, dict):
        raise Ended
    return message
