"""A ranking of 500 pages ends within a step of the engine: its client leaves, its deadline passes, the server ends."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_client import ask_and_leave
from fastapi import FastAPI
from fastapi.testclient import TestClient
from reportlab.pdfgen.canvas import Canvas
from stepping_engine import SteppingEngine
from waiting import until_true, wait_until
from ziprerank.reranker import Reranker
from ziprerank.serve import exchange
from ziprerank.serve.admission import Admission, Permit
from ziprerank.serve.app import create_app
from ziprerank.serve.settings import Settings

PAGES = 500
HALT = 27  # within the second window's pages: 20 pages and a pass are behind
BOUNDARY = b"----a boundary"
REASONS = {"left": "client left", "late": "deadline", "drained": "draining"}
STATUSES = {"left": 499, "late": 504, "drained": 503}
SAID = {"left": b"", "late": b"no answer within 540 s", "drained": b"the server is shutting down"}


@pytest.fixture(scope="module")
def long_pdf() -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(60, 60), invariant=1)
    for page in range(PAGES):
        canvas.setFillGray((page % 50) / 60)  # small pages of one colour
        canvas.rect(5, 5, 20 + page // 50, 50, fill=1, stroke=0)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def form(pdf: bytes, **fields: str) -> bytes:
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (BOUNDARY, name.encode(), value.encode())
        for name, value in fields.items()
    ]
    head = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="a.pdf"\r\n\r\n' % BOUNDARY
    return b"".join([*parts, head, pdf, b"\r\n--%s--\r\n" % BOUNDARY])


class Clock:
    """Stands in for ``asyncio`` in ``exchange``: deadlines pass when ``over`` is set, and not before."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def wait(self, work: Iterable[Any], timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
        if timeout is None:
            return await asyncio.wait(work, return_when=return_when)
        over = asyncio.ensure_future(self.over.wait())
        done, pending = await asyncio.wait({*work, over}, return_when=return_when)
        over.cancel()
        return done - {over}, pending - {over}


async def ask(app: FastAPI, engine: SteppingEngine, clock: Clock, body: bytes, end: str) -> list[dict[str, Any]]:
    """Asks, and ends the request while the engine stands still in a step. Returns what was sent."""
    left = asyncio.Event()
    admission = app.state.service.admission
    rejected: list[str] = []
    admission.rejected = rejected.append

    content_type = "multipart/form-data; boundary=" + BOUNDARY.decode()
    work = asyncio.ensure_future(ask_and_leave(app, "/v1/rerank/files", content_type, body, left.wait))
    assert await asyncio.to_thread(engine.reached.wait, 60)
    {"left": left, "late": clock.over, "drained": admission.given_up}[end].set()
    await until_true(lambda: bool(rejected))  # the service has noticed
    assert rejected == [REASONS[end]]
    assert admission.requests == 1  # its place is taken while the step runs
    engine.go.set()
    sent = await asyncio.wait_for(work, 60)
    await until_true(lambda: not admission.requests)
    admission.given_up.clear()
    return sent


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("end", list(REASONS))
def test_it_ends_within_one_step(
    reranker: Reranker, long_pdf: bytes, monkeypatch: pytest.MonkeyPatch, end: str, stream: str
) -> None:
    engine, clock = SteppingEngine(reranker.engine), Clock()
    app = create_app(Reranker(reranker.bundle, engine))
    body = form(long_pdf, query="invoice", first_stage="none", stream=stream)
    with TestClient(app) as client:
        wait_until(lambda: app.state.service.ready)
        engine.steps, engine.halt = 0, HALT
        with monkeypatch.context() as patched:
            patched.setattr(exchange, "asyncio", SimpleNamespace(**{**vars(asyncio), "wait": clock.wait}))
            sent = client.portal.call(ask, app, engine, clock, body, end)  # type: ignore[union-attr]
        assert engine.steps == HALT  # the step that ran was the last one
        files = {"files": ("a.pdf", long_pdf)}
        answer = client.post("/v1/rerank/files", data={"query": "x", "pages": "1"}, files=files)
        assert answer.status_code == 200, answer.text
        assert app.state.service.admission.held == 0
    whole = b"".join(message.get("body", b"") for message in sent)
    if stream == "true":
        assert sent[0]["status"] == 200
        counts = [json.loads(one.partition(b"data: ")[2]) for one in whole.split(b"\n\n") if b"progress" in one]
        assert counts[-1] == {"pages_done": HALT - 2, "pages": PAGES, "passes_done": 1, "passes": 49}
        assert (b"event: error" in whole) == (end != "left")
    else:
        assert sent[0]["status"] == STATUSES[end]
    assert b"event: result" not in whole
    assert SAID[end] in whole


def test_a_deadline_grows_with_the_pages() -> None:
    settings = Settings(timeout=60, timeout_per_page=1, max_pages=500)
    permit = Permit(Admission(settings))
    assert permit.seconds == 60
    for pages, seconds in ((0, 60), (20, 60), (21, 61), (500, 540), (30, 540)):
        permit.allow(pages)  # a deadline never shrinks
        assert permit.seconds == seconds
    assert settings.longest == 540
    constant = Permit(Admission(Settings(timeout=7, timeout_per_page=0)))
    constant.allow(500)
    assert constant.seconds == 7


@pytest.mark.parametrize(("per_page", "status"), [(3_000.0, 200), (0.0, 504)])
def test_pages_that_are_counted_late_still_have_their_time(
    monkeypatch: pytest.MonkeyPatch, per_page: float, status: int
) -> None:
    """The deadline of the header passes while the handler runs, which has counted 21 pages before."""
    limits: list[float] = []

    async def run() -> int:
        watched, counted, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def wait(work: set[Any], timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
            if timeout is not None:
                limits.append(timeout)
            if len(limits) == 2:  # for the handler, after the body
                watched.set()
                await counted.wait()
                return set(), work
            if len(limits) == 3:
                go.set()
            return await asyncio.wait(work, return_when=return_when)

        async def messages() -> AsyncIterator[dict[str, Any]]:
            yield {"type": "http.request", "body": b"x", "more_body": False}
            await asyncio.Event().wait()

        async def handle(_: Any) -> Any:
            await watched.wait()
            permit.allow(21)
            counted.set()
            await go.wait()
            return exchange.Response()

        monkeypatch.setattr(exchange, "asyncio", SimpleNamespace(**{**vars(asyncio), "wait": wait}))
        settings = Settings(timeout=60, timeout_per_page=per_page)
        permit = Permit(Admission(settings))
        request = exchange.Request({"type": "http", "method": "POST", "path": "/", "headers": []}, messages().__anext__)
        try:
            return (await exchange.run_admitted(handle, request, permit)).status_code
        except exchange.Refused as refused:
            return refused.status_code

    assert asyncio.run(asyncio.wait_for(run(), 60)) == status
    assert [limit > 60 for limit in limits] == ([False, False, True] if per_page else [False, False])
