"""The vision-language teacher against a real server that misbehaves in all the ways such servers do."""

from __future__ import annotations

import base64
import email.utils
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import ChatServer, Reply, chat_server, completion, hang_up, outwait, raw
from PIL import Image
from ziprerank.train.errors import TrainError
from ziprerank.train.teachers.base import Candidate
from ziprerank.train.teachers.endpoint import Endpoint, Patience
from ziprerank.train.teachers.vlm import Vlm, VlmSettings

KEY = "sk-secret-0123456789"


def _png(seed: int, size: tuple[int, int] = (20, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PAGES = [Candidate(image=_png(seed)) for seed in range(3)]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def _settings(chat: ChatServer, folder: Path, **changes: Any) -> VlmSettings:
    settings = VlmSettings(
        model="eye-1",
        cache=folder / "cache",
        url=chat.url,
        key_variable="TEACHER_KEY",
        input_price=0.25,
        output_price=2.0,
        patience=Patience(timeout=60.0, tries=4, first_pause=1.0, longest_pause=60.0),
    )
    return replace(settings, **changes)


def _no_secret(folder: Path) -> bool:
    return all(KEY.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_request_order_and_cost(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(_png(9))
    candidates = [PAGES[0], Candidate(image=tmp_path / "b.png"), PAGES[2]]
    with chat_server(completion("[C] > [A] > [B]", 1200, 30)) as chat:
        teacher = Vlm(_settings(chat, tmp_path, options={"temperature": 0}))
        assert teacher.order("who {pays}?", candidates) == (2, 0, 1)
    assert chat.paths == ["/v1/chat/completions"]
    assert chat.keys == [f"Bearer {KEY}"]
    (body,) = chat.requests
    assert (body["model"], body["temperature"]) == ("eye-1", 0)
    (message,) = body["messages"]
    parts = message["content"]
    assert [part["type"] for part in parts] == ["text", *["text", "image_url"] * 3]
    assert "who {pays}?" in parts[0]["text"]
    assert "[C] > [A]" in parts[0]["text"]
    assert [part["text"] for part in parts[1::2]] == ["[A]", "[B]", "[C]"]
    sent = [part["image_url"]["url"].split(",") for part in parts[2::2]]
    assert [head for head, _ in sent] == ["data:image/png;base64"] * 3
    assert [base64.b64decode(data) for _, data in sent] == [PAGES[0].image, _png(9), PAGES[2].image]
    usage = teacher.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.answers, usage.retries) == (1200, 30, 1, 0)
    assert usage.cost == pytest.approx(1200 * 0.25e-6 + 30 * 2e-6)
    assert _no_secret(tmp_path)
    assert KEY not in repr(vars(teacher)) + repr(vars(teacher.endpoint))


def test_large_pictures_are_scaled_down_and_odd_types_converted(tmp_path: Path) -> None:
    bitmap = io.BytesIO()
    Image.new("RGB", (8, 6), (10, 200, 30)).save(bitmap, "BMP")
    with chat_server(completion("[A] > [B]")) as chat:
        Vlm(_settings(chat, tmp_path, longest_side=64)).order(
            "q", [Candidate(image=_png(0, (200, 100))), Candidate(image=bitmap.getvalue())]
        )
    first, second = (part["image_url"]["url"] for part in chat.requests[0]["messages"][0]["content"][2::2])
    with Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 32))
    with Image.open(io.BytesIO(base64.b64decode(second.partition(",")[2]))) as image:
        assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (8, 6), (10, 200, 30))


GOOD = completion("[B] > [A] > [C]", 100, 10)
NO_ORDER = completion("I would rather not say.", 100, 5)


@pytest.mark.parametrize(
    ("script", "spent"),
    [
        ([raw(500, b"oops"), GOOD], 100),
        ([raw(503, b""), raw(502, b"<html>"), GOOD], 100),
        ([raw(200, b"{not json"), GOOD], 100),
        ([raw(200, b'{"choices": []}'), GOOD], 100),
        ([raw(200, b'["a list"]'), GOOD], 100),
        ([raw(200, b'{"choices": [{"mess', length=5000), GOOD], 100),
        ([hang_up, GOOD], 100),
        ([NO_ORDER, GOOD], 200),  # the useless answer was paid for too
    ],
    ids=["500", "503 502", "garbage", "no choice", "list", "truncated", "hang-up", "no order"],
)
def test_faults_that_pass(tmp_path: Path, script: list[Reply], spent: int) -> None:
    pauses: list[float] = []
    with chat_server(*script) as chat:
        teacher = Vlm(_settings(chat, tmp_path), sleep=pauses.append)
        assert teacher.order("q", PAGES) == (1, 0, 2)
        assert teacher.order("q", PAGES) == (1, 0, 2)
    assert len(chat.requests) == len(script)
    assert all(request == chat.requests[0] for request in chat.requests)
    usage = teacher.usage
    assert (usage.answers, usage.cached, usage.retries, usage.prompt_tokens) == (2, 1, len(script) - 1, spent)
    assert len(pauses) == len(script) - 1
    for attempt, pause in enumerate(pauses):  # doubling, jittered downwards by at most a half
        assert 2.0**attempt / 2 <= pause <= 2.0**attempt


def test_an_answer_that_does_not_come_is_asked_for_again(tmp_path: Path) -> None:
    """The server outwaits the first try; on a busy machine it may be late for others too."""
    with chat_server(outwait, default=GOOD) as chat:
        patience = Patience(timeout=0.3, tries=100, first_pause=1.0, longest_pause=60.0)
        teacher = Vlm(_settings(chat, tmp_path, patience=patience), sleep=[].append)
        assert teacher.order("q", PAGES) == (1, 0, 2)
    assert teacher.usage.retries >= 1


def test_the_server_says_how_long_to_wait(tmp_path: Path) -> None:
    date = email.utils.formatdate(time.time() + 86400, usegmt=True)
    pauses: list[float] = []
    patience = Patience(timeout=60.0, tries=4, first_pause=1.0, longest_pause=100_000.0)
    with chat_server(raw(429, b"slow down", {"Retry-After": "7"}), raw(503, b"", {"Retry-After": date}), GOOD) as chat:
        teacher = Vlm(_settings(chat, tmp_path, patience=patience), sleep=pauses.append)
        assert teacher.order("q", PAGES) == (1, 0, 2)
    assert pauses[0] == 7.0
    assert 40_000 < pauses[1] <= 86400
    with chat_server(raw(429, b"daily quota", {"Retry-After": "86400"})) as chat:
        teacher = Vlm(_settings(chat, tmp_path), sleep=pauses.append)
        with pytest.raises(TrainError, match=r"asks to wait 86400 s, at most 60 s .* daily quota"):
            teacher.order("q", PAGES)
    assert len(pauses) == 2


def test_faults_that_do_not_pass(tmp_path: Path) -> None:
    said = f'{{"error": "no access for {KEY}"}}'.encode()
    for status in (400, 401, 403, 404):
        with chat_server(raw(status, said)) as chat:
            with pytest.raises(TrainError, match=rf"HTTP {status}: .*no access for \*\*\*") as raised:
                Vlm(_settings(chat, tmp_path)).order("q", PAGES)
            assert KEY not in str(raised.value)
            assert len(chat.requests) == 1
    assert not list(tmp_path.rglob("*.json"))


def test_a_redirect_does_not_carry_the_key_away(tmp_path: Path) -> None:
    with chat_server(default=GOOD) as other, chat_server(raw(302, b"", {"Location": other.url})) as chat:
        with pytest.raises(TrainError, match="HTTP 302"):
            Vlm(_settings(chat, tmp_path)).order("q", PAGES)
        assert other.requests == []


def test_an_endless_fault_ends_with_an_error_that_says_what_it_was(tmp_path: Path) -> None:
    pauses: list[float] = []
    with chat_server(default=raw(500, b"database on fire")) as chat:
        teacher = Vlm(_settings(chat, tmp_path), sleep=pauses.append)
        with pytest.raises(TrainError, match="gave up after 4 tries, at last: HTTP 500: database on fire"):
            teacher.order("q", PAGES)
        assert len(chat.requests) == 4
    with pytest.raises(TrainError, match="gave up after 4 tries"):  # the server is gone now
        teacher.order("q", PAGES)
    assert len(pauses) == 6
    assert teacher.usage.answers == 0


def test_what_the_model_leaves_out_is_counted(tmp_path: Path) -> None:
    with chat_server(completion("[C] > [C] > [K]", None), completion("[A] > [B] > [C]")) as chat:
        teacher = Vlm(_settings(chat, tmp_path))
        assert teacher.order("one", PAGES) == (2, 0, 1)
        assert teacher.order("two", PAGES) == (0, 1, 2)
        again = Vlm(_settings(chat, tmp_path))
        assert again.answer("one", PAGES).missing == 2  # the cache hides nothing
    usage = teacher.usage
    assert (usage.incomplete, usage.missing, usage.repeated, usage.unknown, usage.unmetered) == (1, 2, 1, 1, 1)
    assert (again.usage.incomplete, again.usage.missing, again.usage.cached, again.usage.cost) == (1, 2, 1, 0.0)


def test_cache_knows_requests_apart_and_survives_torn_files(tmp_path: Path) -> None:
    with chat_server(default=GOOD) as chat:
        settings = _settings(chat, tmp_path)
        Vlm(settings).order("q", PAGES)
        Vlm(replace(settings, input_price=9.0, concurrency=1)).order("q", PAGES)  # nothing the model would see
        assert len(chat.requests) == 1
        Vlm(settings).order("other", PAGES)
        Vlm(settings).order("q", [PAGES[1], PAGES[0], PAGES[2]])
        Vlm(replace(settings, model="eye-2")).order("q", PAGES)
        Vlm(replace(settings, options={"temperature": 1})).order("q", PAGES)
        assert len(chat.requests) == 5
        files = sorted((tmp_path / "cache").rglob("*"))
        assert len([path for path in files if path.is_file()]) == 5
        for path in files:
            if path.is_file():
                path.write_text(path.read_text()[:20])
        Vlm(settings).order("q", PAGES)
        Vlm(settings).order("q", PAGES)
        assert len(chat.requests) == 6
    assert _no_secret(tmp_path)


def test_no_more_requests_at_once_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are counted in the client: a server may see the next one before it knows that the last one is over."""
    lock, now, seen = threading.Lock(), 0, []
    pair = threading.Barrier(2)  # breaks if fewer than two requests are ever made at once
    post = Endpoint.post

    def counted(*arguments: Any) -> Any:
        nonlocal now
        with lock:
            now += 1
            seen.append(now)
        try:
            pair.wait(timeout=600)
            return post(*arguments)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(Endpoint, "post", counted)
    with chat_server(default=GOOD) as chat:
        teacher = Vlm(_settings(chat, tmp_path, concurrency=2))
        with ThreadPoolExecutor(8) as pool:
            orders = list(pool.map(lambda number: teacher.order(f"q{number}", PAGES), range(12)))
        assert orders == [(1, 0, 2)] * 12
        assert len(chat.requests) == 12
    assert max(seen) == 2
    assert teacher.usage.prompt_tokens == 1200


def test_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server() as chat:
        settings = _settings(chat, tmp_path)
        teacher = Vlm(settings)
        with pytest.raises(TrainError, match="candidate 1 has no image"):
            teacher.order("q", [PAGES[0], Candidate(text="only text")])
        with pytest.raises(TrainError, match=r"absent.png\) cannot be read"):
            teacher.order("q", [Candidate(image=tmp_path / "absent.png")])
        with pytest.raises(TrainError, match=r"\(3 bytes\) cannot be read"):
            teacher.order("q", [Candidate(image=b"abc")])
        with pytest.raises(TrainError, match="21 candidates"):
            teacher.order("q", PAGES * 7)
        with pytest.raises(TrainError, match="options sets messages"):
            replace(settings, options={"messages": []})
        with pytest.raises(TrainError, match="http or https"):
            Vlm(replace(settings, url="file:///etc"))
        monkeypatch.delenv("TEACHER_KEY")
        with pytest.raises(TrainError, match="TEACHER_KEY is not set"):
            Vlm(settings)
        assert chat.requests == []


def test_a_server_without_a_key_and_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with chat_server(GOOD) as chat, pytest.raises(TrainError, match="cannot be"):
        Vlm(_settings(chat, tmp_path, key_variable=None)).order("q", PAGES)
    assert chat.keys in ([], [None])
    stored = tmp_path / "other"
    with chat_server(GOOD) as chat:
        Vlm(_settings(chat, tmp_path, key_variable=None, cache=stored)).order("q", PAGES)
    assert chat.keys == [None]
    (file,) = stored.rglob("*.json")
    assert json.loads(file.read_text())["text"] == "[B] > [A] > [C]"
