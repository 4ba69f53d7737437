"""Tests of bad requests: the answer is a 4xx that names the field and the document, and the server keeps running."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pypdfium2 as pdfium
import pytest
from PIL import Image
from server_process import Server

Text = Callable[[bytes], str]
MANY_KEYS = {str(key): 1 for key in range(60)}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>'


def png_bomb(side: int) -> bytes:
    """Returns a PNG of ``side`` x ``side`` white pixels in a few KB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * (side // 8)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refused(answer: httpx.Response, status: int, param: str | None, index: int | None = None) -> str:
    """Checks an error in each of the styles in which the body repeats it, and returns its message."""
    body = answer.json()
    assert answer.status_code == status, body
    error = body["error"]
    assert (error["param"], error.get("index"), error["code"]) == (param, index, status)
    detail = body["detail"][0]["msg"] if status == 422 else body["detail"]
    assert error["message"] == body["message"] == detail
    return str(error["message"])


@pytest.fixture
def post(client: httpx.Client, images: list[bytes], text: Text) -> Callable[..., httpx.Response]:
    """Posts a request with a good document followed by the given ones."""

    def post(*documents: Any, **more: Any) -> httpx.Response:
        good = {"image": text(images[0])}
        return client.post("/v1/rerank", json={"query": "soup", "documents": [good, *documents], **more})

    return post


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        ({"image": "AAA*"}, ".image", "not valid base64"),
        ({"image": "data:image/png,AAAA"}, ".image", "data:TYPE;base64,DATA"),
        ({"image": ""}, ".image", "the file is empty"),
        ({"image": "Z2lm"}, ".image", "known are PDF, JPEG, PNG, WebP, TIFF"),
        ({"image": "/etc/passwd"}, ".image", "not valid base64"),
        ({"image": "file:///etc/passwd"}, ".image", "not valid base64"),
        ({"image": "https://example.com/a.png"}, ".image", "does not fetch URLs"),
        ({"pdf": "iVBORw0KGgo="}, ".pdf", "this is not a PDF"),
        ("iVBORw0KGgoAAAANSUhEUgAA*", "", "not valid base64"),
        ("plain words", "", "set render_text"),
        ({"text": "plain words"}, ".text", "set render_text"),
        ({"content": [{"type": "text", "text": "words"}]}, ".content[0].text", "set render_text"),
        ({"content": [{"type": "video_url"}]}, ".content[0]", "image_url"),
        ({"content": []}, ".content", "at least 1 item"),
        ({"image": 3}, ".image", "valid string"),
        ({"image": "AAAA", "page": 3}, ".page", "not permitted"),
        ({"picture": "AAAA"}, "", "an object with image, pdf, content, text or document_id"),
        (7, "", "an object with image, pdf, content, text or document_id"),
        (None, "", "an object with image, pdf, content, text or document_id"),
    ],
)
def test_documents(post: Callable[..., httpx.Response], document: Any, field: str, message: str) -> None:
    answer = post(document)
    if field == ".content[0]":  # pydantic names the union's case too
        assert answer.json()["error"]["index"] == 1
    else:
        assert message in refused(answer, 422, f"documents[1]{field}", 1)


def test_svg(post: Callable[..., httpx.Response], text: Text) -> None:
    assert "known are PDF, JPEG" in refused(post({"image": text(SVG)}), 422, "documents[1].image", 1)


def test_a_decompression_bomb(post: Callable[..., httpx.Response], text: Text) -> None:
    bomb = png_bomb(12_000)
    assert len(bomb) < 500_000
    message = refused(post({"image": text(bomb)}), 422, "documents[1].image", 1)
    assert "144,000,000" in message


def test_pixels_that_turn_out_bad_when_decoded(
    post: Callable[..., httpx.Response], images: list[bytes], text: Text
) -> None:
    documents = [{"image": text(images[1])}, {"image": text(images[3][: len(images[3]) // 2])}]
    assert "cannot be decoded" in refused(post(*documents), 422, "documents[2].image", 2)


def test_an_encrypted_pdf(post: Callable[..., httpx.Response], encrypted: bytes, text: Text) -> None:
    answer = post({"pdf": text(encrypted)})
    assert refused(answer, 422, "documents[1].pdf", 1).endswith("encrypted: pass its password in the field password")
    answer = post({"pdf": text(encrypted), "password": "wrong"})
    assert "does not open" in refused(answer, 422, "documents[1].pdf", 1)


def test_pdf_pages(post: Callable[..., httpx.Response], make_pdf: Callable[..., bytes], text: Text) -> None:
    few = text(make_pdf(3))
    assert "outside 1..3" in refused(post({"pdf": few, "pages": "2-9"}), 422, "documents[1].pdf", 1)
    assert "not understood" in refused(post({"pdf": few, "pages": "all"}), 422, "documents[1].pdf", 1)
    stream, document = io.BytesIO(), pdfium.PdfDocument.new()
    for _ in range(5000):
        document.new_page(300, 400)
    document.save(stream)
    many = text(stream.getvalue())
    message = refused(post({"pdf": many}), 413, "documents[1].pdf", 1)
    assert "5,001 pages up to here, at most 200" in message
    assert post({"pdf": many, "pages": "4990-4992"}).status_code == 200


def test_too_many_documents(post: Callable[..., httpx.Response]) -> None:
    message = refused(post(*[{"image": "AAAA"}] * 9999), 413, "documents", 200)
    assert message == "10,000 documents, at most 200 in one request: split"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": 3}, "query"),
        ({"query": "x" * 100_000}, "query"),
        ({"query": "<|image_pad|>"}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "soup"}, "documents"),
        ({"top_n": -1}, "top_n"),
        ({"top_n": "three"}, "top_n"),
        ({"top_n": 2.5}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"keep_ratio": 0}, "keep_ratio"),
        ({"keep_ratio": 1.5}, "keep_ratio"),
        ({"keep_ratio": "0.5"}, "keep_ratio"),
        ({"stride": 30}, "stride"),
        ({"include": ["everything"]}, "include[0]"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"an unknown option": 1}, "an unknown option"),
    ],
)
def test_options(post: Callable[..., httpx.Response], options: dict[str, Any], param: str) -> None:
    refused(post(**options), 422, param)


def test_a_query_that_makes_the_prompt_too_long(
    post: Callable[..., httpx.Response], make_pdf: Callable[..., bytes], text: Text
) -> None:
    """The prompt repeats it for each page: over many pages it is refused before it waits for the engine."""
    query = "annual report of the board " * 100
    document = {"pdf": text(make_pdf(19))}
    message = refused(post(document, query=query), 422, "query")
    assert re.fullmatch(
        r"the query makes a prompt of 1\d,\d{3} tokens for 20 pages in a pass, at most 4,096: shorten or summarise it, "
        r"rank fewer pages in a pass \(window\), or load the engine with a higher max_prompt_tokens",
        message,
    )
    assert post(document, query=query, window=2).status_code == 200


@pytest.mark.parametrize("window", [0, 21, 2.5, "all"])
def test_windows(post: Callable[..., httpx.Response], window: Any) -> None:
    answer = post(window=window)
    assert refused(answer, 422, "window") == "window: must be 1..20, 'auto' or 'off'"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b'{"query":', 400),
        (json.dumps({"query": "x", "documents": [{"content": [MANY_KEYS] * 3}] * 199}).encode(), 413),
        (b"[" * 100_000, 400),
        (b'{"query": "x", "documents": [' + b'"a",' * 2_000_000 + b'"a"]}', 413),
        (b'{"query": "x", "documents": ["a"], "keep_ratio": NaN}', 400),
        (b'{"query": "x", "documents": ["a"], "keep_ratio": 1e999}', 422),
        (b'{"query": "x", "documents": ["a"], "top_n": ' + b"9" * 5000 + b"}", 400),
        (b'{"query": "\\ud800", "documents": ["a"]}', 400),
        (b'{"query": "\xff\xfe", "documents": ["a"]}', 400),
        (b"[]", 422),
        (b"null", 422),
    ],
)
def test_bodies(client: httpx.Client, body: bytes, status: int) -> None:
    answer = client.post("/rerank", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == status


def test_a_body_that_is_no_json(client: httpx.Client) -> None:
    message = refused(client.post("/rerank", content=b"{}"), 415, None)
    assert "Content-Type: application/json" in message


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_of_500_mb(server: Server, client: httpx.Client, announced: bool) -> None:
    """The server refuses the body by its declared length or once too much has arrived, and never holds it."""
    del client
    before = server.memory()
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    length = "Content-Length: 500000000" if announced else "Transfer-Encoding: chunked"
    block = b"a" * (1 << 20)
    with socket.create_connection((host or "", port or 0), timeout=30) as connection:
        head = f"POST /rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(0 if announced else 70):
            connection.sendall(b"%x\r\n" % len(block) + block + b"\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert server.memory() - before < 200 << 20


def test_a_flood_of_headers(server: Server, client: httpx.Client) -> None:
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    with socket.create_connection((host or "", port or 0), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        try:
            for number in range(20_000):
                connection.sendall(b"X-Header-%d: %s\r\n" % (number, b"a" * 100))
            answer = connection.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""  # closed while we were still sending
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("form", "files", "param", "index"),
    [
        ({}, [b"a"], "query", None),
        ({"query": "x"}, [], "files", None),
        ({"query": "x", "top_n": "-1"}, [b"a"], "top_n", None),
        ({"query": "x", "keep_ratio": "nan"}, [b"a"], "keep_ratio", None),
        ({"query": "x", "window": "99"}, [b"a"], "window", None),
        ({"query": "x", "include": "all"}, [b"a"], "include[0]", None),
        ({"query": "x"}, [SVG], "files[0]", 0),
        ({"query": "x"}, [b""], "files[0]", 0),
    ],
)
def test_forms(client: httpx.Client, form: dict[str, str], files: list[bytes], param: str, index: int | None) -> None:
    parts = [("files", (f"{number}.png", data)) for number, data in enumerate(files)] or {"pages": (None, "1")}
    refused(client.post("/v1/rerank/files", data=form, files=parts), 422, param, index)


@pytest.mark.parametrize("path", ["/v1/rerank/files", "/v1/documents"])
def test_nothing_in_a_form_is_dropped(client: httpx.Client, path: str) -> None:
    for more, message in (
        ([("model", (None, "x"))], "model: the form has no such field; it has "),
        ([("x" * 300, (None, "x"))], "x: the form has no such field; it has "),
        ([("password", (None, "x")), ("password", (None, ""))], "password: given more than once"),
    ):
        answer = client.post(path, files=[("query", (None, "x"))] * (path != "/v1/documents") + more)
        assert message in refused(answer, 422, more[0][0][:200])


def test_a_form_of_many_parts(client: httpx.Client) -> None:
    parts = [("files", (f"{number}.png", b"a")) for number in range(1500)]
    answer = client.post("/v1/rerank/files", data={"query": "x"}, files=parts)
    assert answer.status_code == 400
    assert "1000" in answer.json()["message"]


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    refused(client.get("/v3/rerank"), 404, None)
    refused(client.get("/v1/rerank"), 405, None)


def test_a_large_image_is_not_a_bomb(post: Callable[..., httpx.Response], text: Text) -> None:
    stream = io.BytesIO()
    Image.new("L", (2000, 2000), 200).save(stream, "PNG")
    answer = post({"image": text(stream.getvalue())})
    assert answer.status_code == 200, json.dumps(answer.json())
