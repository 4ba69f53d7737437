"""Tests of where the service listens: below a prefix, with TLS, at a Unix domain socket."""

from __future__ import annotations

import datetime
import ipaddress
import re
import runpy
import signal
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient
from server_process import Server
from typer.testing import CliRunner
from ziprerank.cli.app import app
from ziprerank.errors import InvalidInput
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app
from ziprerank.serve.prefix import check_prefix
from ziprerank.serve.sockets import listen_at, remove

is_healthy = runpy.run_path(str(Path(__file__).parents[2] / "deploy" / "docker" / "health.py"))["is_healthy"]


@pytest.fixture(scope="module")
def below(bundle_path: Path) -> Iterator[Server]:
    with Server("--bundle", bundle_path, "--root-path", "/ranker/of/pages") as server:
        yield server


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*form))
    return paths


@pytest.mark.parametrize("prefix", ["/ranker/of/pages", ""], ids=["kept", "stripped"])
def test_everything_is_below_the_prefix(below: Server, prefix: str, sample: bytes) -> None:
    """Whether the proxy strips the prefix or not, the addresses that the server writes have it."""
    with httpx.Client(base_url=below.url, timeout=60) as client:
        page = client.get(f"{prefix}/")
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.text):
            assert not link.startswith("/")
            assert client.get(f"{prefix}/{link}").status_code == 200
        links = re.findall(r'["\'](/[^"\']+)["\']', client.get(f"{prefix}/docs").text)
        assert len(links) >= 4
        assert all(link.startswith("/ranker/of/pages/") for link in links)
        for link in links:
            if "oauth2" not in link:  # Swagger's page for a kind of login that is not used
                assert client.get(link).status_code == 200
        schema = client.get(f"{prefix}/openapi.json").json()
        assert schema["servers"] == [{"url": "/ranker/of/pages"}]
        asked = {"data": {"query": "x", "pages": "1"}, "files": {"files": ("a.pdf", sample)}}
        before = below.metric("ziprerank_requests_total", path="/v1/rerank/files", status="200")
        client.post(f"{prefix}/v1/rerank/files", **asked).raise_for_status()  # type: ignore[arg-type]
        assert below.metric("ziprerank_requests_total", path="/v1/rerank/files", status="200") == before + 1
        assert client.get(f"{prefix}/none").status_code == 404


def test_the_health_check_of_the_images_knows_the_port(below: Server) -> None:
    port = below.url.rpartition(":")[2]
    every = {"ZIPRERANK_HOST": "0.0.0.0"}
    assert is_healthy(["ziprerank", "serve"], {**every, "ZIPRERANK_PORT": port})
    assert is_healthy(["tini", "--", "ziprerank", "serve", "--port", port], {**every, "ZIPRERANK_PORT": "1"})
    assert is_healthy(["ziprerank", "serve", f"--port={port}", "--queue", "3"], {})
    assert not is_healthy(["ziprerank", "serve"], {**every, "ZIPRERANK_PORT": "1"})
    names = {**every, "ZIPRERANK_PORT": port, "ZIPRERANK_ALLOWED_HOST": "other.example rank.example"}
    assert not is_healthy(["ziprerank", "serve"], names)  # the Host header is one of these; this server has others


def test_the_prefix_alone_leads_to_the_page(below: Server) -> None:
    """Without the slash the page's own links would lead out of the prefix. The address has no scheme to be wrong."""
    answer = httpx.get(f"{below.url}/ranker/of/pages")
    assert answer.status_code == 307
    assert answer.headers["Location"] == "/ranker/of/pages/"


@pytest.mark.parametrize("prefix", ["", "/of/ray"])
def test_a_slash_at_the_end_changes_nothing(reranker: Reranker, prefix: str) -> None:
    """It is answered in place: a redirect would have the scheme http, also behind a proxy with TLS."""
    client = TestClient(create_app(reranker), root_path=prefix, follow_redirects=False)
    for path in ("/health", "/docs", "/openapi.json", "/static/app.js"):
        assert client.get(f"{prefix}{path}/").content == client.get(f"{prefix}{path}").content != b""
    assert client.post(f"{prefix}/v1/rerank/", json={}).status_code == 422
    for path in ("/none/", "/static/", "/none//"):
        assert client.get(f"{prefix}{path}").status_code == 404
    assert 'ziprerank_requests_total{path="/docs",status="200"} 2.0' in client.get(f"{prefix}/metrics/").text


def test_the_prefix_of_another_server_counts(reranker: Reranker) -> None:
    """Ray's proxy gives its route_prefix as ASGI's root_path, with whole paths."""
    client = TestClient(create_app(reranker), root_path="/of/ray")
    assert client.get("/of/ray/openapi.json").json()["servers"] == [{"url": "/of/ray"}]
    for path in ("/", "/docs", "/static/app.js", "/health"):
        assert client.get(f"/of/ray{path}").status_code == 200
    counted = client.get("/of/ray/metrics").text
    assert 'ziprerank_requests_total{path="/docs",status="200"} 1.0' in counted


@pytest.mark.parametrize("prefix", ["/v1", "/docs", "/static"])
def test_a_prefix_that_begins_other_paths_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidInput, match=f"root_path '{prefix}': the service has a path {prefix}"):
        check_prefix(prefix, ["/docs", "/v1/rerank", "/static"])
    check_prefix("/v", ["/docs", "/v1/rerank"])


def test_https(bundle_path: Path, certificate: tuple[Path, Path]) -> None:
    files = ["--ssl-certfile", certificate[0], "--ssl-keyfile", certificate[1]]
    # curl and others speak HTTP/1.1 over TLS after a handshake, for which a client has as long as for a header
    with Server("--bundle", bundle_path, *files, "--header-timeout", 1) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with httpx.Client(verify=ssl.create_default_context(cafile=certificate[0])) as client:
            assert client.get(f"{server.url}/ready").json() == {"status": "ready"}
            port = int(server.url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as silent:
                silent.settimeout(30)
                assert silent.recv(1) == b""
            trusted = ssl.create_default_context(cafile=certificate[0])
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                trusted.wrap_socket(plain, server_hostname="127.0.0.1") as sender,
            ):
                sender.sendall(b"POST /rerank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nx")
                sender.settimeout(30)
                answer = b"".join(iter(lambda: sender.recv(4096), b""))  # to the end
                assert answer.startswith(b"HTTP/1.1 413 ")
            with pytest.raises(httpx.HTTPError):
                httpx.get(server.url.replace("https", "http"))
            assert client.get(f"{server.url}/health").status_code == 200
        where = {"ZIPRERANK_PORT": str(port)}
        assert not is_healthy(["ziprerank", "serve"], where)  # without TLS
        assert is_healthy(["ziprerank", "serve"], {**where, "ZIPRERANK_SSL_CERTFILE": str(certificate[0])})
        assert is_healthy(["ziprerank", "serve", f"--ssl-certfile={certificate[0]}"], where)
        assert server.stop() == 0
    assert [line for line in server.log if line.get("level") not in ("info", "warning")] == []


def test_https_while_the_server_ends(bundle_path: Path, certificate: tuple[Path, Path]) -> None:
    """Clients that wait for their handshake are answered, silent ones hold nothing, and no answer is lost."""
    files = ["--ssl-certfile", certificate[0], "--ssl-keyfile", certificate[1]]
    context = ssl.create_default_context(cafile=certificate[0])
    with Server("--bundle", bundle_path, *files, "--header-timeout", 600, "--max-body-mib", 1) as server:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        with (
            socket.create_connection(address) as plain,
            context.wrap_socket(plain, server_hostname=address[0]) as early,
        ):
            early.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
            early.sendall(b"Content-Type: application/json\r\nContent-Length: 33554432\r\n\r\n" + b" " * (32 << 20))
            answer = b""
            while not answer.endswith(b"}"):
                part = early.recv(65536)
                assert part
                answer += part
            assert answer.startswith(b"HTTP/1.1 413 ")
        server.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(4) as threads, ExitStack() as stack:
            for _ in range(100):  # more than are accepted at a time
                stack.enter_context(socket.create_connection(address))
            asked = [threads.submit(httpx.get, f"{server.url}/ready", verify=context, timeout=60) for _ in range(4)]
            time.sleep(1)  # until they wait for the server
            server.terminate()
            server.signal(signal.SIGCONT)
            assert [answer.result().status_code for answer in asked] == [503] * 4
            assert server.wait() == 0


def test_a_unix_socket(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "http"
    # as many connections at once as one address may have, which is none here
    with Server("--bundle", bundle_path, "--uds", path, "--max-connections-per-address", 1) as server:
        assert server.url == f"unix:{path}"
        clients = [httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) for _ in range(3)]
        for client in [*clients, *clients]:
            assert client.get("http://any.example/health").status_code == 200
        with pytest.raises(InvalidInput, match=f"cannot listen at {path}"):
            listen_at(path)
        for client in clients:
            client.close()
        assert is_healthy(["ziprerank", "serve", "--uds", str(path)], {})
        assert server.stop() == 0
    assert not path.exists()


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "http"
    listen_at(path).close()
    assert path.exists()
    bound = listen_at(path)
    bound.listen()
    assert stat.S_ISSOCK(path.stat().st_mode)
    remove(bound, path)
    assert not path.exists()


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("mine")
    with pytest.raises(InvalidInput, match="choose another path"):
        listen_at(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--root-path", "ranker"], "root_path 'ranker': must be like /ranker"),
        (["--root-path", "/ranker/"], "without a slash at the end"),
        (["--ssl-keyfile", "key.pem"], "ssl_keyfile without ssl_certfile"),
        (["--ssl-certfile", "none.pem"], "ssl_certfile none.pem cannot be used (No such file or directory)"),
        (["--uds", "/none/at/all"], "cannot listen at /none/at/all"),
    ],
)
def test_a_server_that_cannot_listen_says_why(options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
