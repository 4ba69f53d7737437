"""The socket that the service listens on: a port or a path, with or without TLS."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path

from ziprerank.errors import InvalidInput


def listen(host: str, port: int) -> socket.socket:
    """Binds a socket to a port.

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


def listen_at(path: Path) -> socket.socket:
    """Binds a Unix domain socket. Who may connect is as the umask has it: with 0007, the owner and their group.

    A socket that a server left behind is replaced.

    Args:
        path: Where to make the socket.

    Returns:
        The bound socket.

    Raises:
        InvalidInput: A server listens there, or the socket cannot be made.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
            path.unlink()
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise InvalidInput(f"cannot listen at {path} ({error.strerror or error}): choose another path") from error
    return bound


def remove(bound: socket.socket, path: Path) -> None:
    """Closes a Unix domain socket and removes its path, unless that is another server's by now."""
    bound.close()
    with suppress(OSError):
        if not _answers(path):
            path.unlink()


def address_of(bound: socket.socket, *, tls: bool) -> str:
    """Returns where a bound socket is reached: ``http://127.0.0.1:8000`` or ``unix:/run/ziprerank/http``."""
    name = bound.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def check_certificate(certificate: Path | None, key: Path | None) -> None:
    """Reads the files of TLS once, before the model is loaded.

    Args:
        certificate: PEM file with the certificate and those between it and the authority's; None checks nothing.
        key: PEM file with its private key; None: it is in the certificate's file.

    Raises:
        InvalidInput: They cannot be read, or do not belong together.
    """
    if certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError too
        files = f"ssl_certfile {certificate}" + (f" and ssl_keyfile {key}" if key else "")
        raise InvalidInput(
            f"{files} cannot be used ({error.strerror or error}): give PEM files of a certificate and of its key, "
            "without a passphrase"
        ) from error


def hosts_of(host: str) -> tuple[str, ...]:
    """Returns the names by which a server on ``host`` is called unless its operator lists others.

    A server on a loopback address is called by that address or as localhost; a web page that has its own name resolve
    to the address is refused by its Host header. Other servers have any name.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return tuple(dict.fromkeys((host, "localhost", "127.0.0.1", "::1"))) if loopback else ()


def _answers(path: Path) -> bool:
    """Returns whether a server listens at the path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except FileNotFoundError:
            return False
    return True
