"""Connections while the server ends (row 7): whoever was accepted, or waits for it, is answered."""

from __future__ import annotations

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attackers import HEAD, answered, closed, connect, encode, many, until
from server_process import Server
from waiting import wait_until

PATIENT = "import ziprerank.serve.connections as connections\nconnections.QUIET = 3600"
ASK = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"


def long_request(pdf: bytes) -> bytes:
    """A request that is ranked for some seconds."""
    document = {"pdf": encode(pdf)}
    body = json.dumps({"query": "x", "documents": [document], "window": 2, "stride": 1, "top_n": 1}).encode()
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


def until_it_drains(server: Server) -> None:
    wait_until(lambda: any(line["message"] == "draining" for line in server.log))


def is_last(answer: bytes) -> bool:
    return b"\r\nconnection: close\r\n" in answer.lower().partition(b"\r\n\r\n")[0] + b"\r\n"


def test_connections_that_wait_to_be_accepted_are_answered(bundle_path: Path) -> None:
    """More than the event loop accepts at a time, and than one address may have open, while the server does not run."""
    with Server("--bundle", bundle_path) as server:
        server.signal(signal.SIGSTOP)
        with many(400, lambda _: connect(server, ASK)) as waiting:
            server.terminate()
            server.signal(signal.SIGCONT)
            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(closed, waiting))
        assert all(answer.startswith(b"HTTP/1.1 503 ") and is_last(answer) for answer in answers)
        assert server.wait() == 0


def test_kept_connections_are_told(bundle_path: Path, make_pdf: Any) -> None:
    """A request on a connection that was idle when the server began to drain, and one whose answer was under way."""
    with Server("--bundle", bundle_path, before=PATIENT) as server, connect(server, ASK) as kept:
        assert answered(kept).startswith(b"HTTP/1.1 200 ")
        with connect(server, long_request(make_pdf(100))) as ranked:
            until(server, "ziprerank_requests_in_flight", 1)
            server.terminate()
            until_it_drains(server)
            kept.sendall(f"{HEAD}Content-Length: {32 << 20}\r\n\r\n".encode())
            kept.sendall(b" " * (32 << 20))  # the answer is there before, and stays
            answer = closed(kept)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert is_last(answer)
            assert b"the server is shutting down" in answer
            kept.close()
            answer = closed(ranked)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert is_last(answer)
        assert server.wait() == 0


def test_connections_without_a_request_do_not_hold_the_end(bundle_path: Path) -> None:
    """Whoever has sent a part of a header is told, the others are closed."""
    with (
        Server("--bundle", bundle_path, "--drain", 60, "--header-timeout", 600, "--keep-alive", 600) as server,
        connect(server, ASK) as kept,
        connect(server) as silent,
        connect(server, HEAD) as begun,
    ):
        assert answered(kept).startswith(b"HTTP/1.1 200 ")
        until(server, "ziprerank_connections", 4)
        server.terminate()
        assert closed(kept) == closed(silent) == b""
        answer = closed(begun)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert is_last(answer)
        assert server.wait(30) == 0


def test_an_early_answer_reaches_a_client_that_still_sends(bundle_path: Path) -> None:
    """The socket is not reset under the answer; who goes on sending is cut off at the deadline of bodies."""
    announced = f"{HEAD}Connection: close\r\nContent-Length: {32 << 20}\r\n\r\n"
    with Server("--bundle", bundle_path, "--max-body-mib", 1, "--body-timeout", 2) as server:
        with connect(server, announced) as connection:
            connection.sendall(b" " * (32 << 20))
            answer = closed(connection)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert is_last(answer)
        with connect(server, announced) as connection:
            assert closed(connection).startswith(b"HTTP/1.1 413 ")
            until_reset(connection)
        until(server, "ziprerank_connections", 1)  # the one that asks
        assert server.stop() == 0


def until_reset(connection: socket.socket) -> None:
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            connection.sendall(b" ")
            time.sleep(0.05)
    except OSError:
        return
    raise AssertionError("the connection is still open")
