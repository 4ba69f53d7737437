"""Requests that a browser sends for web pages of other sites (row 12)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from attackers import noise
from server_process import Server

PAGE = [("files", ("page.png", noise(40, 50)))]


def ask(server: Server, **headers: str) -> int:
    """The status of a form's post, as a web page may send one without asking."""
    answer = httpx.post(f"{server.url}/v1/rerank/files", data={"query": "x"}, files=PAGE, headers=headers, timeout=60)
    return answer.status_code


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "203.0.113.7", "[::2]", "["]
)
def test_foreign_names_are_refused(server: Server, host: str) -> None:
    """A page whose name was made to resolve to this machine has its own name as Host and the same as Origin."""
    assert ask(server, Host=host) == 421
    assert ask(server, Host=host, Origin=f"http://{host}") == 421


def test_pages_of_other_sites_are_refused(server: Server) -> None:
    port = urlsplit(server.url).port
    for origin in ("https://evil.example", "null", "http://localhost:1", f"http://127.0.0.2:{port}"):
        assert ask(server, Origin=origin) == 403
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert ask(server, Host=f"{host}:{port}", Origin=f"http://{host}:{port}") == 200
    assert ask(server) == 200  # no browser


def test_what_the_operator_allows(bundle_path: Path) -> None:
    options = ["--allowed-host", "rank.example", "--cors-origin", "https://app.example"]
    with Server("--bundle", bundle_path, *options) as server:
        assert ask(server, Host="rank.example", Origin="https://app.example") == 200
        assert ask(server, Host="rank.example", Origin="https://rank.example") == 200
        assert ask(server, Host="rank.example", Origin="https://other.example") == 403
        assert ask(server, Host="localhost") == 421
        assert server.stop() == 0


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_of_ours_load_from_here_only(server: Server, path: str) -> None:
    headers = httpx.get(server.url + path, timeout=60).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]
    assert headers["X-Content-Type-Options"] == "nosniff"
