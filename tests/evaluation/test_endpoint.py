"""A server of ours ranks as the engine does; answers and failures of other servers are told apart."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from eval_data import page_image
from server_process import Server
from typer.testing import CliRunner
from ziprerank.bundle import Bundle
from ziprerank.cli.app import app
from ziprerank.errors import EngineError, InvalidInput, PageError
from ziprerank.evaluation import endpoint
from ziprerank.evaluation.endpoint import Endpoint
from ziprerank.evaluation.formats import read_data
from ziprerank.inputs.workers.limits import PageLimits

NOW = 1_800_000_000
BROKEN_OFF = b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"resu'
SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a PDF, a JPEG, and a GIF, which is sent as PNG."""
    folder = tmp_path_factory.mktemp("endpoint") / "data"
    (folder / "documents").mkdir(parents=True)
    (folder / "documents" / "a.pdf").write_bytes(SAMPLE.read_bytes())
    (folder / "documents" / "b.jpg").write_bytes(page_image("a whale and a bird", size=(300, 500)))
    (folder / "documents" / "c.gif").write_bytes(page_image("the board", "GIF"))
    (folder / "queries.tsv").write_text("q1\twhale bird rats\nq2\tdividend of the board\n", encoding="utf-8")
    (folder / "qrels.txt").write_text("q1 0 a:17 1\nq2 0 a:5 1\n", encoding="utf-8")
    pages = ["a:5", "b", "a:17", "c", "a:2"]
    run = [
        f"{query} Q0 {page} {rank} {-rank} x\n" for query in ("q1", "q2") for rank, page in enumerate(pages, start=1)
    ]
    (folder / "run.trec").write_text("".join(run), encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", ["content", "image", "string"])
def test_our_service_ranks_as_the_engine(form: str, folder: Path, bundle: Path, tmp_path: Path) -> None:
    with Server("--bundle", bundle) as server:
        command = ["eval", str(folder), str(tmp_path / "out"), "--bundle", str(bundle)]
        result = CliRunner().invoke(app, [*command, "--endpoint", server.url, "--endpoint-documents", form])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "out" / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2
    for row in rows:
        ours, theirs = row["systems"].values()
        assert (ours["fault"], theirs["fault"]) == (None, None)
        assert theirs["order"] == ours["order"]
        assert theirs["tokens"]["kept_tokens"] == ours["tokens"]["kept"]


class Peer(BaseHTTPRequestHandler):
    """Answers with what the test put into ``answers``, the last one again and again, and keeps the requests."""

    answers: list[tuple[int, Any]] = []  # noqa: RUF012
    asked: list[tuple[dict[str, str], dict[str, Any]]] = []  # noqa: RUF012
    retry_after: str | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((dict(self.headers), json.loads(body)))
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        if status != 200 and self.retry_after is not None:
            self.send_header("Retry-After", self.retry_after)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(endpoint, "_WAIT_S", 0.0)
    Peer.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Peer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Raw:
    """A server that answers each connection with bytes, the last of ``answers`` again and again, and hangs up."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.asked = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as sent:
                self.asked += 1
                length = next(int(line.split(b":")[1]) for line in sent if line.lower().startswith(b"content-length"))
                while sent.readline().strip():
                    pass
                sent.read(length)
                connection.sendall(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Iterator[Raw]:
    monkeypatch.setattr(endpoint, "_WAIT_S", 0.0)
    server = Raw()
    yield server
    server.close()


def results(*order: int) -> dict[str, Any]:
    return {"results": [{"index": index, "relevance_score": 1 / rank} for rank, index in enumerate(order, start=1)]}


def test_the_order_of_the_answer_decides(peer: str, folder: Path) -> None:
    Peer.answers = [(503, {}), (429, {}), (200, results(1, 0))]
    system = Endpoint(peer, Bundle.load().image, model="m", key="secret")
    (ranked,) = system.rank("whale", ["b", "a:17"], read_data(folder))
    assert ranked.order == [1, 0]
    headers, body = Peer.asked[-1]
    assert len(Peer.asked) == 3
    assert headers["Authorization"] == "Bearer secret"
    assert (body["query"], body["model"], len(body["documents"])) == ("whale", "m", 2)
    assert body["documents"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert body["documents"][1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")


def test_options_of_a_ranking_are_sent_and_belong_to_the_run(peer: str, folder: Path, tmp_path: Path) -> None:
    Peer.answers = [(200, results(0, 1, 2, 3, 4))]
    command = ["eval", str(folder), str(tmp_path / "out"), "--no-engine", "--endpoint", peer]
    given = ["--endpoint-option", "first_stage=relevance", "--endpoint-option", "candidates=7"]
    done = CliRunner().invoke(app, [*command, *given, "--endpoint-option", "instruct=Find = tables"])
    assert done.exit_code == 0, done.output
    sent = {"first_stage": "relevance", "candidates": 7, "instruct": "Find = tables"}
    for _, body in Peer.asked:
        assert sent.items() <= body.items()
    (settings,) = json.loads((tmp_path / "out" / "job.json").read_text())["systems"].values()
    assert settings["options"] == sent
    other = CliRunner().invoke(app, [*command, *given])
    assert other.exit_code == 1
    assert "holds rows of another run" in " ".join(other.output.split())
    assert "options" not in Endpoint(peer, Bundle.load().image).settings()  # as runs of old have it


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["candidates"], "endpoint option 'candidates': give NAME=VALUE"),
        (["=7"], "give NAME=VALUE"),
        (["query=x"], "query is set by the evaluation: leave it out"),
        (["top_n=3"], "top_n is set by the evaluation: leave it out"),
        (["window=3", "window=4"], "window is given twice"),
    ],
    ids=str,
)
def test_options_that_cannot_be_sent_are_refused(given: list[str], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        endpoint.read_options(given)


def test_values_of_options_are_json_or_strings() -> None:
    given = ["a=0.5", "b=true", "c=[1]", 'd="7"', "e=x", "f=NaN", "g=", "h=" + "[" * 100_000]
    read = [0.5, True, [1], "7", "x", "NaN", "", "[" * 100_000]
    assert list(endpoint.read_options(given).values()) == read


def test_options_for_no_endpoint_are_refused(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["eval", str(folder), str(tmp_path / "out"), "--endpoint-option", "window=3"])
    assert done.exit_code == 1
    assert "give --endpoint too" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("asked", "waited"), [("7", 7), ("soon", 0), (formatdate(NOW + 30, usegmt=True), 30), (formatdate(0), 0)]
)
def test_a_busy_server_says_when_to_come_back(
    peer: str, folder: Path, monkeypatch: pytest.MonkeyPatch, asked: str, waited: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(endpoint, "time", SimpleNamespace(sleep=slept.append, time=lambda: NOW, perf_counter=float))
    monkeypatch.setattr(Peer, "retry_after", asked)
    Peer.answers = [(503, {}), (200, results(0))]
    Endpoint(peer, Bundle.load().image).rank("whale", ["b"], read_data(folder))
    assert slept == [waited]


def test_a_server_that_asks_to_come_back_too_late_ends_the_run(
    peer: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Peer, "retry_after", "3600")
    Peer.answers = [(429, {}), (200, results(0))]
    with pytest.raises(EngineError, match=r"come back after 3,600 s, 120 is the longest wait"):
        Endpoint(peer, Bundle.load().image).rank("whale", ["b"], read_data(folder))
    assert len(Peer.asked) == 1


def test_pages_that_cannot_be_shown_are_not_sent_if_they_may_be_skipped(
    peer: str, folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    (data / "documents" / "c.gif").write_bytes(page_image("the board", "GIF")[:100])
    Peer.answers = [(200, results(1, 0))]
    (ranked,) = Endpoint(peer, Bundle.load().image, on_bad_page="skip").rank("x", ["c", "b", "a:5"], read_data(data))
    assert (ranked.order, list(ranked.skipped)) == ([2, 1], ["c"])
    assert len(Peer.asked[-1][1]["documents"]) == 2
    with pytest.raises(PageError) as caught:
        Endpoint(peer, Bundle.load().image).rank("x", ["b", "c"], read_data(data))
    assert caught.value.index == 1
    with pytest.raises(PageError):
        Endpoint(peer, Bundle.load().image, on_bad_page="skip").rank("x", ["c"], read_data(data))


@pytest.mark.parametrize(
    ("status", "answer", "kind", "told"),
    [
        (200, results(0), InvalidInput, "not each of 2 candidates once"),
        (200, results(0, 0), InvalidInput, "not each of 2 candidates once"),
        (200, {"data": []}, InvalidInput, "no results"),
        (200, [1], InvalidInput, "answered list"),
        (422, {"detail": "too large"}, InvalidInput, "422.*too large"),
        (404, {"detail": "no route"}, EngineError, "404.*no route"),
        (500, {}, EngineError, "500"),
        (503, {}, EngineError, "503.*run the command again"),
    ],
)
def test_answers_that_are_none(
    peer: str, folder: Path, status: int, answer: Any, kind: type[Exception], told: str
) -> None:
    """What is wrong with one request is that query's fault; what is wrong with the server ends the run."""
    Peer.answers = [(status, answer)]
    with pytest.raises(kind, match=told):
        Endpoint(peer, Bundle.load().image).rank("whale", ["b", "a:17"], read_data(folder))


@pytest.mark.parametrize("answer", [BROKEN_OFF, b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200])
def test_an_answer_that_breaks_off_is_asked_for_again(raw: Raw, folder: Path, answer: bytes) -> None:
    whole = json.dumps(results(0)).encode()
    raw.answers = [answer, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(whole), whole)]
    (ranked,) = Endpoint(raw.url, Bundle.load().image).rank("whale", ["b"], read_data(folder))
    assert (ranked.order, raw.asked) == ([0], 2)
    raw.answers, raw.asked = [answer], 0
    with pytest.raises(EngineError, match=r"does not rank: .+; run the command again"):
        Endpoint(raw.url, Bundle.load().image).rank("whale", ["b"], read_data(folder))
    assert raw.asked == endpoint.TRIES


def test_the_words_of_an_error_may_break_off(raw: Raw, folder: Path) -> None:
    raw.answers = [b"HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ntoo large\r\n50\r\nand"]
    with pytest.raises(InvalidInput, match="answered 422"):
        Endpoint(raw.url, Bundle.load().image).rank("whale", ["b"], read_data(folder))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * 100_000, "answered no JSON"),
        (b'{"results": [{"index": Infinity, "relevance_score": 1}]}', "no results"),
        (b'{"results": [{"index": 0, "relevance_score": %s}]}' % (b"9" * 400), "no results"),
        (b'{"results": [{"index": 0, "relevance_score": NaN}]}', "no results"),
    ],
    ids=["nested", "index", "score", "no number"],
)
def test_bodies_that_are_no_answer(raw: Raw, folder: Path, body: bytes, told: str) -> None:
    raw.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)]
    with pytest.raises(InvalidInput, match=told):
        Endpoint(raw.url, Bundle.load().image).rank("whale", ["b"], read_data(folder))


def test_a_server_that_is_not_there_ends_the_run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(endpoint, "_WAIT_S", 0.0)
    with pytest.raises(EngineError, match="does not rank"):
        Endpoint("http://127.0.0.1:9", Bundle.load().image).rank("whale", ["b"], read_data(folder))


def test_pages_of_another_size_are_another_system() -> None:
    """So that a run does not go on with them: a bundle's rules say at which size pages are sent."""
    rules = Bundle.load().image
    other = replace(rules, longest_side=rules.longest_side - rules.factor)
    assert Endpoint("http://host:1", rules).settings() != Endpoint("http://host:1", other).settings()


def test_the_url_of_a_route_is_taken_as_it_is() -> None:
    rules = Bundle.load().image
    assert Endpoint("http://host:1/", rules).url == "http://host:1/v1/rerank"
    assert Endpoint("http://host:1/v2/rerank", rules).url == "http://host:1/v2/rerank"
    with pytest.raises(InvalidInput, match="give the URL of a server"):
        Endpoint("host:1", rules)


def test_files_are_read_within_the_limits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of page workers hold for the pages that are sent too."""
    given: list[object] = []

    def opened(*_: object, limits: PageLimits | None = None) -> NoReturn:
        given.append(limits)
        raise InvalidInput("not opened")

    monkeypatch.setattr(endpoint, "open_pages", opened)
    limits = PageLimits("off", timeout=3.0)
    with pytest.raises(InvalidInput, match="not opened"):
        Endpoint("http://host:1", Bundle.load().image, limits=limits).rank("whale", ["b"], read_data(folder))
    assert given == [limits]
