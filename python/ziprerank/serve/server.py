"""Runs the service as a process: its socket, its signals, and an exit that waits for the accepted requests."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ziprerank.errors import InvalidInput
from ziprerank.serve.admission import Admission
from ziprerank.serve.logs import logger

_CONNECTIONS = 512  # open at the same time, most of them idle; beyond that uvicorn answers 503


def listen(host: str, port: int) -> socket.socket:
    """Binds a socket.

    Args:
        host: IPv4 or IPv6 address, or a host name with an IPv4 address.
        port: TCP port; 0 takes a free one.

    Returns:
        The bound socket.

    Raises:
        InvalidInput: The address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol is written out because asyncio sets TCP_NODELAY only on sockets that name it
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise InvalidInput(f"cannot listen on {host}:{port} ({error}): choose another address or port") from error
    return bound


def serve(app: FastAPI, bound: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Returns when every accepted request has an answer, or when the time to drain is over.

    Args:
        app: The application of ``create_app``.
        bound: A bound socket.
    """
    admission: Admission = app.state.service.admission
    config = uvicorn.Config(
        app,
        http="h11",  # bounds the size of headers; a request here costs far more than its parsing
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=round(admission.settings.drain) + 5,  # the service itself gives up first
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # uvicorn raises the signal again when it is done
    _Server(config, admission).run(sockets=[bound])


class _Server(uvicorn.Server):
    """A uvicorn server that stops admission as soon as the signal arrives, and then limits the time to drain."""

    def __init__(self, config: uvicorn.Config, admission: Admission) -> None:
        super().__init__(config)
        self._admission = admission

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or []:
            host, port = bound.getsockname()[:2]
            name = f"[{host}]" if ":" in host else host
            logger.info("listening", extra={"fields": {"url": f"http://{name}:{port}"}})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._admission.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        admission = self._admission
        logger.info("draining", extra={"fields": {"requests": admission.requests, "seconds": admission.settings.drain}})
        asyncio.get_running_loop().call_later(admission.settings.drain, admission.given_up.set)
        await super().shutdown(sockets)
