"""Attacks by what requests hold: values without number, ranges, words, answers many times their size."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from attackers import encode, noise, rank, until
from PIL import ImageFont
from server_process import Server
from ziprerank.errors import InvalidInput
from ziprerank.inputs.page_range import parse_page_range
from ziprerank.serve import bodies
from ziprerank.serve.text_page import lay_out

MANY = 900_000
KEYS = b",".join(b'"%x": 1' % number for number in range(MANY // 2))
JSON = {"Content-Type": "application/json"}
FOREVER = """
import time, ziprerank.serve.documents as documents
def lay_out(text, height, font, check):
    while True:
        check()
        time.sleep(0.01)
documents.lay_out = lay_out
"""


def test_drawing_text_measures_each_letter_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 2: a word of 1,000 letters was measured at every length, for every line and font size."""
    measured = 0
    measure = ImageFont.FreeTypeFont.getlength

    def counted(font: ImageFont.FreeTypeFont, text: str, *more: object) -> float:
        nonlocal measured
        measured += len(text)
        return measure(font, text, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageFont.FreeTypeFont, "getlength", counted)
    for text in ("a" * 1_000, "word " * 600):
        measured = 0
        lay_out(text, 1024)
        assert measured < 12 * 10 * len(text)  # 12 font sizes


def test_preparation_ends_with_its_request(bundle_path: Path, picture: str) -> None:
    """Row 2: a text that is laid out for ever is given up at the deadline."""
    with Server("--bundle", bundle_path, "--timeout", 5, before=FOREVER) as server:
        assert rank(server, "words", render_text=True).status_code == 504
        until(server, "ziprerank_requests_in_flight", 0, seconds=20)
        assert rank(server, picture).status_code == 200
        assert server.stop() == 0


def test_a_pdf_is_not_returned_with_each_of_its_pages(server: Server, make_pdf: Callable[..., bytes]) -> None:
    """Row 3: 100 pages of a PDF of 2 MB would be an answer of 200 MB."""
    pdf = encode(make_pdf(100, padding=1_500_000))
    for document in (pdf, {"pdf": pdf}, {"image": f"data:application/pdf;base64,{pdf}"}):
        answer = httpx.post(
            f"{server.url}/v1/rerank",
            json={"query": "x", "documents": [document], "return_documents": True},
            timeout=60,
        )
        assert answer.status_code == 200
        assert len(answer.content) < 100_000
        assert all("document" not in result for result in answer.json()["results"])
        assert any("not returned" in warning for warning in answer.json()["meta"]["warnings"])


@pytest.mark.parametrize(
    ("options", "param"),
    [({"return_documents": True}, "return_documents"), ({"include": ["thumbnail"], "thumbnail_side": 1024}, "include")],
)
def test_answers_are_bounded(bundle_path: Path, options: dict[str, object], param: str) -> None:
    """Row 3: an answer that would be too large is refused before it is built."""
    with Server("--bundle", bundle_path, "--max-answer-mib", 1) as server:
        pages = [encode(noise(600, 800)), *[encode(noise(600, 800 + more)) for more in range(5)]]
        body = {"query": "x", "documents": pages, **options}
        answer = httpx.post(f"{server.url}/v1/rerank", json=body, timeout=60)
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == param
        assert "at most 1,048,576" in answer.json()["message"]
        assert httpx.post(f"{server.url}/v1/rerank", json={**body, "top_n": 1}, timeout=60).status_code == (
            422 if param == "return_documents" else 200
        )
        assert server.stop() == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "x", "documents": [' + b"1," * MANY + b"1]}",
        b'{"query": "x", "documents": [{"image": "AAAA", ' + KEYS + b"}]}",
        b'{"query": "x", "documents": ["AAAA"], "include": [' + b"1," * MANY + b"1]}",
        b"{" + KEYS + b"}",
    ],
    ids=["documents", "fields of a document", "include", "fields"],
)
def test_values_without_number(server: Server, body: bytes) -> None:
    """Row 4: they are counted before each is validated and given an error of its own."""
    answer = httpx.post(f"{server.url}/v1/rerank", content=body, headers=JSON, timeout=300)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "too_large"
    assert server.most_memory() < 900 << 20


def test_large_json_is_parsed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 4: probes and other clients are answered meanwhile."""
    seen: list[bool] = []

    def parse(body: bytes, most: int) -> object:
        seen.append(threading.current_thread() is threading.main_thread())
        return parsed(body, most)

    parsed = bodies._parsed
    monkeypatch.setattr(bodies, "_parsed", parse)
    settings = SimpleNamespace(max_pages=500)
    app = SimpleNamespace(state=SimpleNamespace(service=SimpleNamespace(settings=settings)))
    for size in (10, 100_000):
        body = json.dumps(["x" * size]).encode()
        scope = {"type": "http", "app": app, "route": SimpleNamespace(path="/v1/rerank")}
        assert asyncio.run(bodies.ReceivedRequest(scope, body).json()) == ["x" * size]
    assert seen == [True, False]


def test_page_ranges_stay_ranges() -> None:
    """Row 4: 50,000 times all pages of a long file is found out without listing a page."""
    with pytest.raises(InvalidInput, match="page 1 is named twice"):
        parse_page_range("1-," * 50_000 + "1", 10**9)
    with pytest.raises(InvalidInput, match=r"outside 1\.\.3"):
        parse_page_range("9" * 5_000, 3)
    assert parse_page_range("3,1-2", 3) == [3, 1, 2]


@pytest.mark.parametrize("pages", ["1-," * 50_000 + "1", "9" * 5_000, "x" * 1_000_000])
def test_page_ranges_of_requests(server: Server, make_pdf: Callable[..., bytes], pages: str) -> None:
    """Rows 4 and 15: long ones are refused, and the answer does not repeat them."""
    document = {"pdf": encode(make_pdf(2)), "pages": pages}
    answer = httpx.post(f"{server.url}/v1/rerank", json={"query": "x", "documents": [document]}, timeout=60)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"].startswith("documents[0]")
    assert len(answer.content) < 10_000


def test_error_texts_are_short(server: Server, picture: str) -> None:
    """Row 15: what a client sent does not come back by the megabyte."""
    for body in (
        {"query": "x", "documents": [{"image": "data:" + "x" * 1_000_000}]},
        {"query": "x", "documents": [picture], "y" * 1_000_000: 1},
        {"query": "x", "documents": [picture], "window": "z" * 1_000_000},
    ):
        answer = httpx.post(f"{server.url}/v1/rerank", content=json.dumps(body), headers=JSON, timeout=60)
        assert answer.status_code == 422
        assert len(answer.content) < 10_000
    answer = httpx.get(f"{server.url}/ready", headers={"Host": "h" * 10_000}, timeout=60)
    assert len(answer.content) < 10_000


def test_a_full_disk_is_nothing_to_an_upload(bundle_path: Path) -> None:
    """Row 15: the files of a form stay in memory, so a full folder for temporary files does not matter."""
    full = "import errno, tempfile\ndef full(self): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    full += "tempfile.SpooledTemporaryFile.rollover = full"
    with Server("--bundle", bundle_path, before=full) as server:
        files = [("files", ("page.png", noise(1000, 1000)))]
        answer = httpx.post(f"{server.url}/v1/rerank/files", data={"query": "x"}, files=files, timeout=60)
        assert answer.status_code == 200, answer.text
        assert server.stop() == 0
