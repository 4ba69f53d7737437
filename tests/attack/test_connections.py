"""Attacks by connections: those that send nothing, little, or what nobody gets to read."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from attackers import HEAD, answered, closed, connect, encode, many, noise, rank, until
from server_process import Server
from uvicorn.server import ServerState
from ziprerank.serve.connections import Connections, bind
from ziprerank.serve.settings import Settings

PROBES = ("/health", "/ready", "/metrics")


def test_a_thousand_silent_connections_keep_nobody_out(server: Server, picture: str) -> None:
    """Row 1: half of them send nothing, half a header that does not end, from two addresses."""

    def silent(number: int) -> socket.socket:
        return connect(server, f"{HEAD}X: " if number % 2 else b"", source=f"127.0.0.{2 + number % 4 // 2}")

    with many(1_000, silent):
        for path in PROBES:
            assert httpx.get(server.url + path, timeout=30).status_code == 200
        assert rank(server, picture).status_code == 200
        assert server.metric("ziprerank_connections") <= 512
        assert server.files() < 700
    until(server, "ziprerank_connections", 1)  # the one that asks


def test_a_silent_connection_is_closed(bundle_path: Path) -> None:
    """Row 1: at its deadline, whatever it trickles, and also between two requests."""
    with Server("--bundle", bundle_path, "--header-timeout", 1, "--keep-alive", 1) as server:
        with connect(server) as nothing, connect(server, HEAD) as header, connect(server) as later:
            later.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert later.recv(65536).startswith(b"HTTP/1.1 200 ")
            later.sendall(b"GET /health HTTP/1.1\r\n")
            trickled = 0
            for connection in (nothing, header, later):
                connection.settimeout(20)
            header.setblocking(False)
            while trickled < 200:
                try:
                    header.sendall(b"X: y\r\n")
                    if not (ended := header.recv(65536)):
                        break
                    assert ended.startswith(b"HTTP/1.1 408 ")
                except BlockingIOError:
                    trickled += 1
                    time.sleep(0.05)
                except OSError:
                    break
            assert trickled < 200
            assert closed(nothing) == b""
            assert b"HTTP/1.1 408 " in closed(later)
        assert server.stop() == 0


def test_one_address_has_a_share_of_the_connections(bundle_path: Path, picture: str) -> None:
    """Row 1: it loses its own oldest silent connection, and those of other addresses stay."""
    with Server("--bundle", bundle_path, "--max-connections-per-address", 8) as server:
        with (
            connect(server, source="127.0.0.2") as other,
            many(8, lambda _: connect(server, source="127.0.0.3")) as first,
            connect(server, source="127.0.0.3") as ninth,
        ):
            assert closed(first[0]) == b""
            for connection in (other, first[1], ninth):
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert rank(server, picture).status_code == 200
        assert server.stop() == 0


def test_announced_bodies_take_neither_places_nor_memory(server: Server, picture: str) -> None:
    """Row 5: 40 requests of which one byte has come, each announcing as much as a body may have."""
    start = f"{HEAD}Content-Length: {64 << 20}\r\n\r\n{{"
    with many(40, lambda _: connect(server, start)):
        until(server, "ziprerank_held_bytes", 40)
        assert rank(server, picture).status_code == 200
    until(server, "ziprerank_held_bytes", 0)


def test_bodies_that_stall_give_way(server: Server, picture: str) -> None:
    """Row 5: four bodies fill the memory for bodies but for the last bytes, which do not come."""
    size = 64 << 20
    start = f"{HEAD}Content-Length: {size}\r\n\r\n".encode() + b" " * (size - 4096)
    with many(4, lambda _: connect(server, start)):
        until(server, "ziprerank_held_bytes", 4 * (size - 4096))
        time.sleep(2.5)  # from now on they have stalled
        assert rank(server, picture).status_code == 200
        assert rank(server, picture + " " * (8 << 20)).status_code == 200
    until(server, "ziprerank_held_bytes", 0)


def test_a_body_has_a_deadline_of_its_own(bundle_path: Path) -> None:
    """Row 5: at which a request holds no place, whatever trickles in."""
    with Server("--bundle", bundle_path, "--body-timeout", 1) as server:
        with connect(server, f"{HEAD}Connection: close\r\nContent-Length: 9000\r\n\r\n{{") as connection:
            assert closed(connection).startswith(b"HTTP/1.1 408 ")
        until(server, "ziprerank_held_bytes", 0)
        assert server.stop() == 0


@pytest.mark.parametrize("path", ["/v1/rerank", "/nowhere"])
def test_the_rest_of_a_body_that_was_answered_has_its_deadline(bundle_path: Path, path: str) -> None:
    """Row 5: an answer that needed no body (413, 404) leaves the connection open for the next request, not for ever."""
    head = HEAD.replace("/v1/rerank", path) + f"Content-Length: {9 << 30}\r\n\r\n{{"
    options = ["--body-timeout", 1, "--header-timeout", 600, "--keep-alive", 600]
    with Server("--bundle", bundle_path, *options) as server:
        with connect(server, head) as connection:
            assert answered(connection).startswith(b"HTTP/1.1 4")
            connection.sendall(b"{")
            assert closed(connection) == b""
        assert server.stop() == 0


@pytest.mark.parametrize("dropped_by", ["deadline", "others"])
def test_answers_that_nobody_reads_are_dropped(bundle_path: Path, dropped_by: str) -> None:
    """Row 5: they count as held until they are read; a deadline ends them, or others that need the room."""
    image = encode(noise(1600, 2000))
    request = {"query": "x", "documents": [image], "return_documents": True}
    body = json.dumps(request).encode()
    head = f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode()
    seconds, held = (2, 256) if dropped_by == "deadline" else (60, 64)
    options = ["--answer-timeout", seconds, "--max-held-mib", held]
    with Server("--bundle", bundle_path, *options) as server, ExitStack() as stack:
        unread = []
        for number in range(1, 5):
            unread.append(stack.enter_context(connect(server, head + body, buffer=4096)))
            until(server, "ziprerank_pages_total", number)
        if dropped_by == "deadline":
            until(server, "ziprerank_held_bytes", 0)
            assert all(len(closed(connection)) < len(image) for connection in unread)
        else:
            assert server.metric("ziprerank_held_bytes") > 3 * len(image)
            time.sleep(2.5)  # from now on they have stalled
            assert rank(server, image, return_documents=True).status_code == 200
            assert server.metric("ziprerank_rejected_total", reason="stalled") > 0
        stack.close()
        until(server, "ziprerank_held_bytes", 0)
        assert server.stop() == 0


def test_a_client_that_has_read_all_there_is_is_not_cut_off() -> None:
    """An answer in events lasts for minutes; that its client once read slowly is no reason to close it later."""

    class Transport(asyncio.Transport):
        written = 0
        aborted = False

        def abort(self) -> None:
            self.aborted = True

        def get_write_buffer_size(self) -> int:
            return self.written

        def is_closing(self) -> bool:
            return False

    async def run() -> None:
        settings, transport = Settings(answer_timeout=30), Transport()
        config = uvicorn.Config(lambda *_: None, http=bind(Connections(settings, lambda _: None)), log_config=None)
        config.load()
        connection: Any = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
        connection.connection_made(transport)
        connection.cycle = SimpleNamespace(response_complete=False, more_body=False)  # an answer is under way
        transport.written = 1 << 20
        connection.pause_writing()
        connection._unread -= 20
        assert connection.overdue(settings) is None
        assert connection.spare
        transport.written = 0
        connection.resume_writing()
        assert connection.overdue(settings) is None
        assert not connection.spare  # it is being ranked again
        transport.written = 1
        assert connection.overdue(settings) is None
        connection._unread -= 31
        assert not transport.aborted
        assert connection.overdue(settings) == "answer not read"
        assert transport.aborted

    asyncio.run(run())
