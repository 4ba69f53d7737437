"""Tests of fetching: URLs are fetched only if the rules allow it, and no client reaches the server's own network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from server_process import Server
from ziprerank.reranker import Reranker
from ziprerank.serve.fetching import Fetcher, FetchError, is_public
from ziprerank.serve.settings import Settings

PUBLIC = "93.184.215.14"


class Recorder(httpcore.AsyncMockBackend):
    """A network that gives every connection the same answer and records the addresses."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__(list(parts))
        self.addresses: list[str] = []

    async def connect_tcp(self, host: str, *args: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        self.addresses.append(host)
        return await super().connect_tcp(host, *args, **more)


def fetch(url: str, backend: Recorder, addresses: Iterable[list[str]], **settings: Any) -> tuple[bytes, int]:
    """Returns the fetched file and the bytes held for it; each look-up of a name returns the next of ``addresses``."""
    answers, held = iter(addresses), [0]

    async def resolve(_host: str, _port: int) -> list[str]:
        return next(answers)

    def hold(size: int) -> None:
        held[0] += size

    fetcher = Fetcher(Settings(**{"fetch": "public", **settings}), resolve, backend)
    return asyncio.run(fetcher.fetch(url, hold)), held[0]


def response(status: int, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


def test_the_checked_address_is_the_one_connected_to() -> None:
    """The name is looked up only once, so a rebinding attack, which needs a second answer, fails."""
    backend = Recorder(response(200, body=b"page"))
    assert fetch("http://pages.example/a.png", backend, [[PUBLIC], ["127.0.0.1"]]) == (b"page", 4)
    assert backend.addresses == [PUBLIC]


@pytest.mark.parametrize("inside", ["127.0.0.1", "169.254.169.254", "::1", "10.1.2.3"])
def test_private_addresses_are_refused(inside: str) -> None:
    for addresses in ([inside], [PUBLIC, inside]):
        backend = Recorder(response(200))
        with pytest.raises(FetchError, match="not public"):
            fetch("http://pages.example/a.png", backend, [addresses])
        assert backend.addresses == []


def test_a_redirect_to_a_private_address_is_refused() -> None:
    backend = Recorder(response(302, "Location: http://metadata.example/latest"))
    with pytest.raises(FetchError, match=r"'metadata\.example' has an address that is not public"):
        fetch("http://pages.example/a.png", backend, [[PUBLIC], ["169.254.169.254"]])
    assert backend.addresses == [PUBLIC]


def test_a_redirect_to_no_address_is_an_error() -> None:
    with pytest.raises(FetchError, match="redirects to one that is not valid"):
        fetch("http://pages.example/a.png", Recorder(response(302, "Location: http://[")), [[PUBLIC]])


def test_redirects_end() -> None:
    backend = Recorder(response(302, "Location: /b.png"))
    with pytest.raises(FetchError, match="more than 3 times"):
        fetch("http://pages.example/a.png", backend, [[PUBLIC]] * 9)
    assert len(backend.addresses) == 4


def test_size_is_capped() -> None:
    with pytest.raises(FetchError, match="over 100 bytes"):
        fetch("http://pages.example/", Recorder(response(200, body=b"a" * 101)), [[PUBLIC]], fetch_bytes=100)


def test_a_status_other_than_200_is_an_error() -> None:
    with pytest.raises(FetchError, match="status 404"):
        fetch("http://pages.example/", Recorder(response(404)), [[PUBLIC]])


@pytest.mark.parametrize(
    "url",
    ["ftp://pages.example/", "file:///etc/passwd", "http://", "http://user@pages.example/", "http://pages.example:0/",
     "http://pages.example:port/", "http://pages.example/a b", "http://p\u00e4ges.example/", "http://[::1"],
)  # fmt: skip
def test_urls_that_are_not_fetched(url: str) -> None:
    backend = Recorder(response(200))
    with pytest.raises(FetchError):
        fetch(url, backend, [[PUBLIC]])
    assert backend.addresses == []


def test_listed_hosts() -> None:
    rules: dict[str, Any] = {"fetch": "listed", "fetch_hosts": ("files.example", "*.cdn.example")}
    for host in ("files.example", "FILES.example", "a.b.cdn.example"):
        assert fetch(f"http://{host}/", Recorder(response(200, body=b"x")), [["10.0.0.1"]], **rules) == (b"x", 1)
    for host in ("example", "other.example", "cdn.example", "files.example.evil.com", "xfiles.example"):
        with pytest.raises(FetchError, match="not on this server's list"):
            fetch(f"http://{host}/", Recorder(response(200)), [[PUBLIC]], **rules)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::93.184.215.14", False),
        ("64:ff9b:1::5db8:d70e", False),
        ("fec0::1", False),
        ("192.0.0.8", False),
        ("192.88.99.1", False),
        ("3fff::1", False),
        ("5f00::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.fixture
def files(images: list[bytes]) -> Iterator[str]:
    """A file server on localhost with numbered images, redirects, and an answer that never ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name.isdigit():
                self.send_response(200)
                self.end_headers()
                self.wfile.write(images[int(name)])
            elif name == "endless":
                self.send_response(200)
                self.end_headers()
                while not stop.wait(0.1):
                    self.wfile.write(b"x")
            else:
                self.send_response(302)
                targets = {"inside": f"http://127.0.0.1:{port}/0", "moved": f"http://localhost:{port}/1"}
                self.send_header("Location", targets.get(name, f"http://[::1]:{port}/0"))
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    stop, server = threading.Event(), ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    threading.Thread(target=server.serve_forever).start()
    yield f"http://localhost:{port}"
    stop.set()
    server.shutdown()
    server.server_close()


def test_through_the_service(
    bundle_path: Path, files: str, images: list[bytes], reranker: Reranker, text: Callable[[bytes], str]
) -> None:
    options = ("--fetch", "listed", "--fetch-host", "localhost", "--fetch-timeout", 2)
    with Server("--bundle", bundle_path, *options) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        documents = [text(images[2]), f"{files}/0", {"image": f"{files}/moved"}]
        body = {"query": "soup", "documents": documents}
        answer = client.post("/v1/rerank", json=body).raise_for_status().json()
        wanted = {page.index: page.probability for page in reranker.rank("soup", [images[2], images[0], images[1]])}
        found = {result["index"]: result["relevance_score"] for result in answer["results"]}
        assert found == pytest.approx(wanted, abs=1e-6)
        for name, reason in (("inside", "not on this server's list"), ("v6", "list"), ("endless", "took over 2 s")):
            documents[1] = f"{files}/{name}"
            answer = client.post("/v1/rerank", json=body)
            error = answer.json()["error"]
            assert (answer.status_code, error["param"], error["index"]) == (422, "documents[1]", 1)
            assert reason in error["message"]
        assert "ziprerank_held_bytes 0.0" in client.get("/metrics").text
        assert server.stop() == 0
