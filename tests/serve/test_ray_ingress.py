"""Tests of the ingress of Ray Serve by itself: what it repeats, what it does not, and the errors that it returns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
)
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.requests import Request
from ziprerank.scale import ray_ingress
from ziprerank.scale.ray_ingress import Answer, Ingress
from ziprerank.serve.settings import Settings

BODY = bytes(range(256)) * 8
HEADERS = [(b"x-of-the-replica", b"1"), (b"x-of-the-replica", b"2")]
RIGHT = Answer(200, HEADERS, BODY)
DIED = ActorDiedError()
FULL = BackPressureError(16, 16)


class Sent:
    """The stand-in for the response that a Ray handle returns for a call."""

    def __init__(self, outcome: Answer | Exception | None) -> None:
        self._outcome = outcome
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Answer]:
        if self._outcome is None:
            yield from asyncio.Event().wait().__await__()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A stand-in for Ray's handle: successive calls end with ``outcomes``; a call with the outcome None never ends."""

    def __init__(self, *outcomes: Answer | Exception | None) -> None:
        self._outcomes = iter(outcomes)
        self.answer = self
        self.bodies: list[bytes] = []
        self.sent: list[Sent] = []

    def remote(self, scope: dict[str, Any], body: bytes) -> Sent:
        assert scope["path"] == "/v1/rerank"
        self.bodies.append(body)
        self.sent.append(Sent(next(self._outcomes)))
        return self.sent[-1]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_ingress, "start_logging", lambda _: None)  # it would take pytest's handlers away
    monkeypatch.setattr(ray_ingress, "_UNNOTICED", 0)
    monkeypatch.setattr(ray_ingress, "_FULL", 0)


def ask(handle: Handle, attempts: int = 3, leaves: bool = False, timeout: float = 60) -> tuple[int, Any, bytes]:
    """Returns the status, headers and body that a client gets; with ``leaves`` it disconnects after its body."""
    messages = [{"type": "http.request", "body": BODY[:99], "more_body": True}]
    messages.append({"type": "http.request", "body": BODY[99:], "more_body": False})

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(0 if leaves else 3600)
        return {"type": "http.disconnect"}

    async def run() -> tuple[int, Any, bytes]:
        scope = {"type": "http", "method": "POST", "path": "/v1/rerank", "query_string": b"", "headers": []}
        settings = Settings(timeout=timeout, timeout_per_page=0)
        ingress = Ingress(handle, attempts, settings, "error")  # type: ignore[arg-type]
        response = await ingress(Request(scope, receive))
        await asyncio.sleep(0)  # lets cancelled tasks end
        return response.status_code, response.raw_headers, bytes(response.body)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [
        DIED,
        ActorUnavailableError("no route", b"0" * 16),
        OutOfMemoryError("killed by the monitor"),
        NodeDiedError("gone"),
        ObjectLostError("00", None, ""),
    ],
)
def test_the_next_replica_gets_the_same_request(error: Exception) -> None:
    handle = Handle(error, error, RIGHT)
    assert ask(handle) == (200, HEADERS, BODY)
    assert handle.bodies == [BODY] * 3


def test_attempts_are_bounded() -> None:
    handle = Handle(*[DIED] * 9)
    status, headers, body = ask(handle, attempts=4)
    assert (status, len(handle.sent)) == (503, 4)
    assert json.loads(body)["error"] == {
        "message": "the replica that handled the request died (attempt 4 of 4): try again later",
        "type": "replica_lost",
        "param": None,
        "code": 503,
    }
    assert dict(headers)[b"retry-after"] == b"1"


def test_full_replicas_refuse_new_requests_only() -> None:
    status, _, body = ask(Handle(FULL, RIGHT))
    assert (status, json.loads(body)["error"]["type"]) == (503, "queue_full")
    assert ask(Handle(DIED, FULL, FULL, FULL, FULL, RIGHT), attempts=2) == (200, HEADERS, BODY)


def test_no_replica_at_all() -> None:
    status, _, body = ask(Handle(RayServeException("failed to deploy"), RIGHT))
    assert (status, json.loads(body)["error"]["type"]) == (503, "unavailable")


def test_errors_are_not_repeated() -> None:
    assert ask(Handle(Answer(500, HEADERS, b"{}"), RIGHT)) == (500, HEADERS, b"{}")
    status, _, body = ask(Handle(RayTaskError("answer", "a traceback", ValueError("a secret")), RIGHT))
    assert status == 500
    assert b"secret" not in body


def test_the_call_of_a_client_that_left_is_cancelled() -> None:
    handle = Handle(None)
    assert ask(handle, leaves=True)[0] == 499
    assert [sent.cancelled for sent in handle.sent] == [True]


def test_the_deadline_holds_over_all_attempts() -> None:
    handle = Handle(DIED, None)
    assert ask(handle, timeout=0.2)[0] == 504
    assert [sent.cancelled for sent in handle.sent] == [False, True]
