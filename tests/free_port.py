"""A port for programs that cannot choose one by themselves."""

import socket


def free_port() -> int:
    """Return a port of this machine that nobody listens on now: use it at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
