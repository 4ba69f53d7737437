"""A real HTTP server on this machine that answers chat completions as it is told to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler], None]


def completion(text: str, prompt_tokens: int | None = 1000, completion_tokens: int = 20) -> Reply:
    """A good answer; without ``usage`` if ``prompt_tokens`` is None."""
    message = {"role": "assistant", "content": text}
    body: dict[str, Any] = {"id": "1", "model": "served", "choices": [{"message": message}]}
    if prompt_tokens is not None:
        body["usage"] = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return raw(200, json.dumps(body).encode())


def raw(status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> Reply:
    """Any answer; ``length`` promises another number of bytes than come."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def held(release: threading.Event, then: Reply) -> Reply:
    """An answer that waits until ``release`` is set."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        release.wait()
        then(handler)

    return reply


def outwait(handler: BaseHTTPRequestHandler) -> None:
    """No answer: the server waits until the client has gone."""
    handler.connection.recv(1)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """No answer: the server closes the connection."""
    handler.connection.close()


class ChatServer:
    """Plays ``script`` reply by reply, then ``default``."""

    def __init__(self, script: list[Reply], default: Reply | None) -> None:
        self.script = list(script)
        self.default = default
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._lock:
            self.requests.append(json.loads(body))
            self.keys.append(handler.headers.get("Authorization"))
            self.paths.append(handler.path)
            reply = self.script.pop(0) if self.script else self.default
        try:
            assert reply is not None, "more requests than the test expects"
            reply(handler)
        except OSError:
            pass  # the client had gone


@contextmanager
def chat_server(*script: Reply, default: Reply | None = None) -> Iterator[ChatServer]:
    """A running server."""
    chat = ChatServer(list(script), default)
    thread = threading.Thread(target=chat.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat.server.shutdown()
        chat.server.server_close()
        thread.join()
