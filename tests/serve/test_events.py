"""Answers in events: what they hold, when they begin, and what they say of a ranking that begins again."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from server_process import Server
from waiting import wait_until
from ziprerank.profiling.meter import StepCount
from ziprerank.reranker import Reranker
from ziprerank.serve import events
from ziprerank.serve.app import create_app
from ziprerank.serve.events import Events, wants_events

QUERY = "dividend shareholders board directors"
EVENTS = {"Accept": "text/event-stream"}
Told = list[tuple[str, Any]]


def parsed(text: str) -> Told:
    """The events of an answer, their data as JSON; comments are left out."""
    found = []
    for part in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in part.split("\n"))
        if "data" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def check_progress(told: Told) -> list[dict[str, int]]:
    """Counts never fall, never pass what there is in all, and end with all of it."""
    counts = [data for name, data in told if name == "progress"]
    assert counts
    for before, after in pairwise(counts):
        assert after["pages_done"] >= before["pages_done"]
        assert after["passes_done"] >= before["passes_done"]
    for one in counts:
        assert one["pages_done"] <= one["pages"]
        assert one["passes_done"] <= one["passes"]
    assert counts[-1]["pages_done"] == counts[-1]["pages"]
    assert counts[-1]["passes_done"] == counts[-1]["passes"]
    return counts


def logged(server: Server, request_id: str) -> list[dict[str, Any]]:
    """What the log says of an answer; it comes after the answer."""
    return [line for line in list(server.log) if line.get("request_id") == request_id and "status" in line]


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "id": "", "meta": {**answer["meta"], "timings_ms": None}}


def test_the_result_is_the_answer_without_events(client: httpx.Client, sample: bytes) -> None:
    fields = {"query": QUERY, "pages": "1-9", "window": "4", "stride": "2", "include": ["logit", "kept", "passes"]}
    files = {"files": ("a.pdf", sample)}
    plain = client.post("/v1/rerank/files", data=fields, files=files)
    assert plain.headers["content-type"] == "application/json"
    streams = [
        client.post("/v1/rerank/files", data=fields, files=files, headers=EVENTS),
        client.post("/v1/rerank/files", data={**fields, "stream": "true"}, files=files),
    ]
    for answer in streams:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-cache"
        told = parsed(answer.text)
        assert [name for name, _ in told[:-1]] == ["progress"] * (len(told) - 1)
        assert told[-1][0] == "result"
        assert without_times(told[-1][1]) == without_times(plain.json())
        assert told[-1][1]["id"] == answer.headers["x-request-id"]
        counts = check_progress(told)
        assert (counts[-1]["pages"], counts[-1]["passes"]) == (9, plain.json()["meta"]["windows"])
        assert counts[-1]["passes"] > 2
    assert len({result["relevance_score"] for result in plain.json()["results"]}) > 4


@pytest.mark.parametrize("path", ["/v1/rerank", "/tei/rerank", "/v1/reranking", "/score", "/v1/ranking"])
def test_every_dialect_has_them(client: httpx.Client, images: list[bytes], path: str) -> None:
    names = {"/tei/rerank": "texts", "/v1/reranking": "input", "/score": "text_2", "/v1/ranking": "passages"}
    query = "text_1" if path == "/score" else "query"
    documents = [{"image": base64.b64encode(one).decode()} for one in images]
    body = {query: QUERY, names.get(path, "documents"): documents, "truncate": "LEFT"}
    plain = client.post(path, json=body)
    assert plain.status_code == 200, plain.text
    told = parsed(client.post(path, json={**body, "stream": True}).text)
    check_progress(told)
    name, answer = told[-1]
    assert name == "result"
    if isinstance(answer, list):  # whose header for warnings was sent before there were any
        assert answer == plain.json()
        assert told[-2] == ("warnings", json.loads(plain.headers["x-warnings"]))
    else:
        for key in ("results", "data", "rankings"):
            assert answer.get(key) == plain.json().get(key)
        assert answer["meta"] == plain.json()["meta"]


def test_what_is_wrong_with_the_request_has_its_status(client: httpx.Client, sample: bytes) -> None:
    for fields, param in (
        ({"query": ""}, "query"),
        ({"query": QUERY, "pages": "17-19"}, "files[0]"),
        ({"query": QUERY, "window": "off", "first_stage": "none"}, "window"),
    ):
        files = [("files", ("a.pdf", sample))] * (2 if param == "window" else 1)  # of 18 pages
        answer = client.post("/v1/rerank/files", data=fields, files=files, headers=EVENTS)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"]["param"] == param


def test_what_fails_later_is_an_event_with_the_error_s_body(
    server: Server, client: httpx.Client, images: list[bytes], text: Callable[[bytes], str]
) -> None:
    broken = images[0][: len(images[0]) // 2]  # its header is whole
    body = {"query": QUERY, "documents": [text(images[1]), text(broken)]}
    plain = client.post("/v1/rerank", json=body)
    assert plain.status_code == 422
    answer = client.post("/v1/rerank", json={**body, "stream": True}, headers={"X-Request-ID": "broken-page"})
    assert answer.status_code == 200
    assert parsed(answer.text)[-1] == ("error", plain.json())
    wait_until(lambda: bool(logged(server, "broken-page")))
    (line,) = logged(server, "broken-page")
    assert line["status"] == 422  # also in the metrics
    assert server.metric("ziprerank_requests_total", path="/v1/rerank", status="422") >= 2


def test_a_client_that_leaves_between_events_ends_its_ranking(
    server: Server, client: httpx.Client, make_pdf: Callable[..., bytes]
) -> None:
    def metrics() -> tuple[float, float]:
        left = server.metric("ziprerank_rejected_total", reason="client left")
        return left, server.metric("ziprerank_pages_total")

    before = metrics()
    data = {"query": "page 7", "first_stage": "none", "stream": "true", "window": "3", "stride": "1"}
    files = {"files": ("a.pdf", make_pdf(200))}
    headers = {"X-Request-ID": "leaves-early"}
    with client.stream("POST", "/v1/rerank/files", data=data, files=files, headers=headers) as answer:
        assert answer.status_code == 200
        assert "event: progress" in answer.iter_lines()
    wait_until(lambda: server.metric("ziprerank_requests_in_flight") == 0)
    wait_until(lambda: bool(logged(server, "leaves-early")))
    assert logged(server, "leaves-early")[0]["status"] == 499
    assert metrics() == (before[0] + 1, before[1])  # it was not ranked to its end


def test_counts_when_a_page_is_skipped(
    reranker: Reranker, images: list[bytes], text: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranking begins again without the page, which the second of its windows finds to be broken."""
    every: list[tuple[StepCount, StepCount]] = []  # also what a client misses that reads slowly
    take = Events._take

    def record(events: Events, done: StepCount, total: StepCount) -> None:
        every.append((done, total))
        take(events, done, total)

    monkeypatch.setattr(Events, "_take", record)
    documents = [text(images[place % 5]) for place in range(24)]
    documents[3] = text(images[0][: len(images[0]) // 2])
    body = {"query": QUERY, "documents": documents, "on_bad_page": "skip", "window": 8, "stride": 4, "stream": True}
    with TestClient(create_app(reranker)) as client:
        told = parsed(client.post("/v1/rerank", json=body).text)
    assert told[-1][0] == "result"
    assert [one["index"] for one in told[-1][1]["meta"]["skipped"]] == [3]
    counts = check_progress(told)
    before = [done for done, total in every if total.pages == 24][-1]
    assert before.pages > 8  # in its second window
    assert counts[-1]["pages"] - 23 in range(before.pages, 24)
    assert counts[-1]["passes"] == before.passes + told[-1][1]["meta"]["windows"]


def test_nothing_is_told_before_a_step_is_done() -> None:
    async def run() -> list[tuple[int, ...]]:
        told, seen = Events(), []
        told.told(StepCount(0, 0), StepCount(500, 1))  # while texts are read
        for done, total in ((StepCount(1, 0), StepCount(20, 1)), (StepCount(20, 1), StepCount(20, 1))):
            told.told(done, total)
            await asyncio.sleep(0)
            one = json.loads((await told.next(asyncio.Future())).partition(b"data: ")[2])
            seen.append((one["pages_done"], one["pages"], one["passes_done"], one["passes"]))
        return seen

    assert asyncio.run(run()) == [(1, 20, 0, 1), (20, 20, 1, 1)]


@pytest.mark.parametrize(
    ("steps", "total", "wanted"),
    [
        ([(5, 0), (1, 0), (6, 0)], StepCount(20, 1), [5, 6]),
        ([(5, 1), (1, 0), (5, 0), (20, 0), (5, 1), (6, 1)], StepCount(20, 2), [5, 6]),
    ],
)
def test_what_a_ranking_repeats_is_not_told_again(
    steps: list[tuple[int, int]], total: StepCount, wanted: list[int]
) -> None:
    """It begins anew when it had given the engine back, since a page was late."""

    async def run() -> list[int]:
        told, seen, work = Events(), [], asyncio.get_running_loop().create_future()
        work.set_result(None)  # so that what is no event is nothing
        for step in steps:
            told.told(StepCount(*step), total)
            await asyncio.sleep(0)
            if event := await told.next(work):
                seen.append(json.loads(event.partition(b"data: ")[2])["pages_done"])
        return seen

    assert asyncio.run(run()) == wanted


def test_a_comment_is_sent_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        told, work = Events(), asyncio.get_running_loop().create_future()
        assert (await told.next(work)).startswith(b": ")
        told.told(StepCount(1, 0), StepCount(2, 1))
        assert b"event: progress" in await told.next(asyncio.get_running_loop().create_future())
        work.set_result(None)
        assert await told.next(work) == b""

    monkeypatch.setattr(events, "HEARTBEAT", 0.01)
    asyncio.run(run())


@pytest.mark.parametrize(
    ("stream", "accept", "wanted"),
    [
        (True, "application/json", True),
        (False, "text/event-stream", False),
        (None, "text/event-stream", True),
        (None, "Text/Event-Stream; q=0.9", True),
        (None, "application/json, text/event-stream", False),
        (None, "*/*", False),
        (None, "", False),
    ],
)
def test_who_gets_events(stream: bool | None, accept: str, wanted: bool) -> None:
    assert wants_events(stream, accept) is wanted
