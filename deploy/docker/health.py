"""Health check of the images: asks /health where the server listens, by its command line and its variables.

Only the standard library is imported, because Docker runs this every few seconds.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 2.0


class _AtPath(http.client.HTTPConnection):
    """A connection to a Unix domain socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


def option(name: str, default: str, arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """Returns an option as ``ziprerank serve`` reads it: from the last flag, else from the variable.

    Args:
        name: Such as ``ssl-certfile``.
        default: Where it is not given.
        arguments: The server's command line.
        variables: The server's environment.
    """
    value = variables.get(f"ZIPRERANK_{name.upper().replace('-', '_')}") or default
    for at, argument in enumerate(arguments):
        flag, equals, after = argument.partition("=")
        if flag == f"--{name}":
            value = after if equals else "".join(arguments[at + 1 : at + 2])
    return value


def is_healthy(arguments: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Returns whether the server with this command line and these variables answers /health."""
    host = option("host", "127.0.0.1", arguments, variables)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = int(option("port", "8000", arguments, variables))
    connection: http.client.HTTPConnection
    if path := option("uds", "", arguments, variables):
        connection = _AtPath(path)
    elif option("ssl-certfile", "", arguments, variables):
        unchecked = ssl._create_unverified_context()  # the certificate is for other names
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=unchecked)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    names = option("allowed-host", "", arguments, variables).split()
    try:
        connection.request("GET", "/health", headers={"Host": names[0]} if names else {})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    server = Path("/proc/1/cmdline").read_bytes().decode().split("\0")
    sys.exit(0 if is_healthy(server, os.environ) else 1)
