"""Runs the service as a process: its socket, its signals, and an exit that waits for the accepted requests."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import resource
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from ziprerank.errors import InvalidInput
from ziprerank.serve.admission import Admission
from ziprerank.serve.connections import QUIET, Connections, bind
from ziprerank.serve.logs import logger
from ziprerank.serve.service import Service
from ziprerank.serve.sockets import address_of, remove

_ACCEPTED_AT_ONCE = 64  # connections that one turn of the event loop accepts, before any of them is counted
_WAITING = 2048  # connections that the system keeps until they are accepted
_OTHER_FILES = 256  # handles for everything but connections: these, documents, caches, downloads, workers
_GRACE = 2.0  # seconds after the time to drain in which the last answers are sent


def serve(app: FastAPI, bound: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Returns when every accepted request has an answer, or when the time to drain is over. If something still runs a
    little later, the process ends without it. SIGHUP is logged and does nothing else.

    Args:
        app: The application of ``create_app``.
        bound: A bound socket.

    Raises:
        InvalidInput: The process may not open as many files as there may be connections.
    """
    service: Service = app.state.service
    settings = service.settings
    _allow_files(settings.max_connections)
    connections = Connections(settings, service.metrics.rejected)
    service.metrics.gauge("ziprerank_connections", "Connections open", lambda: len(connections))
    config = uvicorn.Config(
        app,
        loop="asyncio",  # uvloop would take over where it happens to be installed, with other limits
        http=bind(connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the address is the connection's; nobody's word is taken for it
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=math.ceil(settings.drain + _GRACE / 2),  # the service itself gives up first
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # uvicorn raises the signal again when it is done
    signal.signal(signal.SIGHUP, _ignore)
    try:
        _Server(config, service.admission, connections).run(sockets=[bound])
    finally:
        if settings.uds is not None:
            remove(bound, settings.uds)


class _Server(uvicorn.Server):
    """A uvicorn server that stops admission as soon as the signal arrives, and then limits the time to drain."""

    def __init__(self, config: uvicorn.Config, admission: Admission, connections: Connections) -> None:
        super().__init__(config)
        self._admission = admission
        self._connections = connections

        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # of the application; uvicorn would give a client a minute for its TLS handshake
        self._loop = loop = asyncio.get_running_loop()
        for bound in sockets or []:
            server = await loop.create_server(
                self._protocol,
                sock=bound,
                backlog=_ACCEPTED_AT_ONCE,
                **self._tls(),
            )
            self.servers.append(server)
            bound.listen(_WAITING)  # asyncio took the smaller number for both
            logger.info("listening", extra={"fields": {"url": address_of(bound, tls=self.config.ssl is not None)}})

    def _protocol(self) -> asyncio.Protocol:
        config = self.config
        made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _tls(self) -> dict[str, Any]:
        """Returns what asyncio is told of TLS: a client may take as long for its handshake as for a header."""
        if not self.config.ssl:
            return {}
        return {"ssl": self.config.ssl, "ssl_handshake_timeout": self._admission.settings.header_timeout}

    async def on_tick(self, counter: int) -> bool:
        self._connections.sweep()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._admission.draining:
            threading.Thread(target=self._end, name="ziprerank-end", daemon=True).start()
            if self._loop is not None:  # from now on ``shutdown`` accepts, no faster than it answers
                self._loop.call_soon_threadsafe(self._pause)
        self._admission.draining = True
        super().handle_exit(sig, frame)

    def _pause(self) -> None:
        for server in self.servers:
            for one in server.sockets:
                asyncio.get_running_loop().remove_reader(one.fileno())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        admission, loop = self._admission, asyncio.get_running_loop()
        fields = {"requests": admission.requests, "seconds": admission.settings.drain}
        loop.call_later(admission.settings.drain, admission.given_up.set)
        self._connections.draining = loop.time()
        sweeping = asyncio.create_task(self._sweep())
        try:
            for server, bound in zip(self.servers, sockets or [], strict=True):
                await self._stop_listening(server, bound)
            logger.info("draining", extra={"fields": fields})
            await super().shutdown(sockets)
        finally:
            sweeping.cancel()

    async def _stop_listening(self, server: asyncio.Server, bound: socket.socket) -> None:
        """Closes a socket once every connection that the system keeps for it is accepted: it would be reset."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(bound)
        await asyncio.sleep(0)  # the loop takes over what it has accepted, which it could not once the server is closed
        settings = self._admission.settings
        most = min(settings.max_connections, settings.max_connections_per_address)
        at_once = min(_ACCEPTED_AT_ONCE, most)
        until = loop.time() + 2 * QUIET
        more, late = _WAITING, set[asyncio.Task[None]]()
        while more > 0:
            while len(self._connections) > most - at_once and loop.time() < until:
                await asyncio.sleep(0.01)  # for those before to be told, whose places others would take
            accepted: list[socket.socket] = []
            with contextlib.suppress(OSError):  # BlockingIOError where there are no more
                while len(accepted) < at_once:
                    accepted.append(bound.accept()[0])
            more = more - len(accepted) if len(accepted) == at_once else 0
            if not more:
                server.close()  # at once, before another one comes
            if taken := {asyncio.create_task(self._take(one)) for one in accepted}:
                late |= (await asyncio.wait(taken, timeout=0.1))[1]
        if late:
            await asyncio.wait(late)

    async def _take(self, accepted: socket.socket) -> None:
        """Serves an accepted connection. One whose TLS handshake fails, or takes long, is closed."""
        taken = asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted, **self._tls())
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(taken, QUIET)

    async def _sweep(self) -> None:
        """Keeps the deadlines of connections while the server drains, when there are no ticks any more."""
        while True:
            await asyncio.sleep(0.1)
            self._connections.sweep()

    def _end(self) -> None:
        """Ends the process after the time to drain. A thread, because the event loop might be what does not end."""
        time.sleep(self._admission.settings.drain + _GRACE)
        logger.error("work that cannot be interrupted still runs after the time to drain: the process ends without it")
        os._exit(1)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    logger.warning("SIGHUP does nothing: restart the server to change its options")


def _allow_files(connections: int) -> None:
    """Raises the process's limit of open files to what the connections need. Raises InvalidInput."""
    needed = connections + _ACCEPTED_AT_ONCE + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            most = max(0, hard - _ACCEPTED_AT_ONCE - _OTHER_FILES)
            raise InvalidInput(
                f"max_connections {connections:,}: this process may open {hard:,} files, enough for {most:,} "
                "connections: lower --max-connections, or raise the limit (ulimit -n)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
