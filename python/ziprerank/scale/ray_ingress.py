"""The ingress in front of the replicas on Ray Serve, which repeats a request on another replica when one dies.

Ray itself repeats only calls that no replica had accepted, since a repeated call may take effect twice. A ranking
changes nothing but caches, so the ingress may repeat any of them. This file has both ends: ``Ingress`` holds a request
until it is answered, and ``run_app`` passes it to the service in the replica.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Scope

from ziprerank.serve.admission import Admission, Permit
from ziprerank.serve.exchange import run_admitted
from ziprerank.serve.failures import Refused, from_exception
from ziprerank.serve.logs import logger, request_id, start_logging
from ziprerank.serve.settings import Settings

MOST_REQUESTS = 10_000  # requests in an ingress; the queues of the replicas are full long before
HEALTH_PERIOD = 1.0  # seconds between checks; after three failed ones Ray sends a replica no more requests
_UNNOTICED = 4 * HEALTH_PERIOD  # seconds for which Ray still sends requests to a replica that its memory monitor killed
_FULL = 0.2  # seconds until a repeated request is sent again when all replicas are full
_LOST = (
    RayActorError,  # the replica died (ActorDiedError) or cannot be reached (ActorUnavailableError)
    OutOfMemoryError,  # Ray's memory monitor killed it
    NodeDiedError,
    ObjectLostError,  # it had answered, but its machine died before the answer was fetched
)
_PARTS = (
    *("type", "asgi", "http_version", "method", "scheme", "root_path", "path", "raw_path", "query_string"),
    *("headers", "client", "server"),
)


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Ingress:
    """A deployment without an engine, which forwards requests to the replicas.

    It bounds bodies as the service does. It does not count pages, so it bounds the time to an answer, repetitions
    included, by what a request of the most pages has.
    """

    def __init__(self, replicas: DeploymentHandle[Any], attempts: int, settings: Settings, log_level: str) -> None:
        """Starts an ingress, in which Ray calls ``__call__`` for every request.

        Args:
            replicas: Handle of a deployment whose ``answer(scope, body)`` calls ``run_app``.
            attempts: Most replicas that a request is sent to, one after another as they die.
            settings: The service's limits; ``queue`` is that of each replica.
            log_level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
        """
        start_logging(log_level)
        self._replicas = replicas
        self._attempts = attempts
        self._queue = settings.queue
        self._admission = Admission(replace(settings, queue=MOST_REQUESTS))

    async def __call__(self, request: Request) -> Response:
        request_id.set(request.headers.get("x-request-id"))  # Ray's proxy adds one if the client sent none
        permit = Permit(self._admission)
        permit.allow(self._admission.settings.max_pages)
        try:
            answer = await run_admitted(self._forward, request, permit)
            permit.leave()  # Ray has the answer now
            return answer
        except Refused as error:
            return from_exception(error)
        except Exception as error:
            logger.error("failed", exc_info=error)
            return from_exception(error)

    async def _forward(self, request: Request) -> Response:
        scope = {key: request.scope[key] for key in _PARTS if key in request.scope}
        body = await request.body()
        started, lost = perf_counter(), 0
        while lost < self._attempts:
            try:
                answer = await self._send(scope, body)
            except _LOST as error:
                lost += 1
                fields = {"attempt": lost, "of": self._attempts, "error": type(error).__name__}
                logger.warning("the replica that handled the request died", extra={"fields": fields})
                if isinstance(error, OutOfMemoryError) and lost < self._attempts:
                    await asyncio.sleep(_UNNOTICED)
            except BackPressureError:
                if not lost:
                    message = f"all replicas are full and {self._queue} requests wait: try again later"
                    raise self._refused(message, "queue_full") from None
                await asyncio.sleep(_FULL)  # a replica had accepted it before, so it is not rejected now
            except RayServeException as error:
                logger.error("Ray has no replica for the request", exc_info=error)
                message = "no replica is available: `serve status` shows the reason"
                raise self._refused(message, "unavailable") from None
            else:
                if request.method == "POST" and answer.status == 200:
                    self._admission.took((perf_counter() - started) / self._admission.requests)
                response = Response(answer.body, answer.status)
                response.raw_headers = answer.headers
                return response
        raise self._refused(
            f"the replica that handled the request died (attempt {lost} of {lost}): try again later", "replica_lost"
        )

    async def _send(self, scope: Scope, body: bytes) -> Answer:
        sent = self._replicas.answer.remote(scope, body)
        try:
            answer: Answer = await sent
        except asyncio.CancelledError:
            with suppress(Exception):  # it may have failed meanwhile
                sent.cancel()  # type: ignore[no-untyped-call]
            raise
        return answer

    def _refused(self, message: str, kind: str) -> Refused:
        return Refused(503, message, kind=kind, headers=self._admission.retry_after())


async def run_app(app: ASGIApp, scope: Scope, body: bytes) -> Answer:
    """Has an ASGI application answer a request.

    When the call is cancelled, it tells the application that the client left, and waits until that has ended.

    Args:
        app: The application.
        scope: The request's ASGI scope.
        body: The request's whole body.

    Returns:
        The whole answer.
    """
    requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    left = asyncio.Event()
    start: Message = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    work = asyncio.ensure_future(app(scope, receive, send))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        left.set()
        await asyncio.wait([work])
        raise
    return Answer(start["status"], list(start["headers"]), b"".join(parts))
