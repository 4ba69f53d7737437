"""Clients of the service that do not behave, and one that does."""

from __future__ import annotations

import base64
import io
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image
from server_process import Server
from waiting import wait_until

HEAD = "POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def noise(width: int, height: int) -> bytes:
    """A PNG of random pixels, which takes three bytes a pixel."""
    stream = io.BytesIO()
    cells = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(cells).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def connect(server: Server, sent: str | bytes = b"", *, source: str = "127.0.0.1", buffer: int = 0) -> socket.socket:
    """A connection that has sent these bytes; ``buffer`` is the size of what it can receive without reading."""
    where = urlsplit(server.url)
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(60)
    connection.bind((source, 0))
    connection.connect((where.hostname, where.port))
    connection.sendall(sent.encode() if isinstance(sent, str) else sent)
    return connection


def closed(connection: socket.socket) -> bytes:
    """What came until the server closed the connection; an error if it does not."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def answered(connection: socket.socket) -> bytes:
    """An answer whose body is a JSON object, from a connection that stays open."""
    received = b""
    while not received.endswith(b"}"):
        part = connection.recv(65536)
        assert part, f"closed after {received!r}"
        received += part
    return received


@contextmanager
def many(count: int, make: Callable[[int], socket.socket]) -> Iterator[list[socket.socket]]:
    """That many connections, closed at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 256:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 256, hard))
    connections: list[socket.socket] = []
    try:
        for number in range(count):
            connections.append(make(number))
        yield connections
    finally:
        for connection in connections:
            connection.close()


def rank(server: Server, picture: str, **more: object) -> httpx.Response:
    """What an honest client gets."""
    return httpx.post(f"{server.url}/v1/rerank", json={"query": "x", "documents": [picture], **more}, timeout=60)


def until(server: Server, name: str, value: float, seconds: float = 60, **labels: str) -> None:
    """Waits for a metric to have a value."""

    def seen() -> float:
        return server.metric(name, **labels)

    wait_until(lambda: seen() == value, seconds, lambda: f"{name} is {seen()}, not {value}")
