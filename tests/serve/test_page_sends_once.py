"""What the web page sends in headless Chromium: each file once, also after its id has expired; and its progress."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from server_process import Server
from web_page import QUERY, SAMPLE, WAIT, rank, ratio_slider, results, titles
from ziprerank.reranker import Reranker


class Sent:
    """The requests of a page: their paths and the lengths of their bodies."""

    def __init__(self, page: Page) -> None:
        self.paths: list[str] = []
        page.on("request", self._note)

    def _note(self, request: object) -> None:
        method, url = request.method, request.url  # type: ignore[attr-defined]
        if method == "POST":
            self.paths.append(re.sub(r".*?/v1/", "", url))


@pytest.fixture
def sent(page: Page) -> Sent:
    return Sent(page)


def again(page: Page) -> None:
    """Moves the slider, and waits for the ranking."""
    ratio_slider(page).focus()
    with page.expect_response("**/files"):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true", timeout=WAIT)


def test_a_file_is_sent_once(page: Page, server: Server, sent: Sent, reranker: Reranker) -> None:
    rank(page)
    assert sent.paths[0] == "documents"
    assert set(sent.paths[1:]) == {"rerank/files"}
    held = server.metric("ziprerank_stored_documents")
    shown = titles(page)
    again(page)
    other = "lifeboat drills and evacuation"
    best = reranker.rank(other, SAMPLE, 1, keep_ratio=float(ratio_slider(page).input_value())).results[0].page
    page.get_by_label("What to look for").fill(other)
    page.get_by_label("What to look for").press("Enter")
    expect(results(page).first).to_contain_text(f"page {best} of", timeout=WAIT)
    assert titles(page) != shown
    assert sent.paths.count("documents") == 1
    assert len(sent.paths) > 3
    assert server.metric("ziprerank_stored_documents") == held
    results(page).first.get_by_role("button").press("Enter")  # the large picture names it too
    expect(page.locator("#large-sheet img")).to_have_js_property("naturalWidth", 1024, timeout=WAIT)
    assert sent.paths.count("documents") == 1


def test_a_file_that_has_expired_is_sent_again(browser: Browser, server: Server) -> None:
    """In a page without the check of its console, where Chromium reports the 404."""
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(server.url)
    sent, said = Sent(page), list[str]()

    def hear(text: str) -> None:
        said.append(text)

    page.expose_function("heard", hear)
    page.evaluate(
        "new MutationObserver(() => heard(document.getElementById('status').textContent))"
        ".observe(document.getElementById('status'), {childList: true})"
    )
    with page.expect_response("**/documents") as told:
        rank(page)
    shown = titles(page)
    identity = told.value.json()["document_id"]
    page.request.delete(f"{server.url}/v1/documents/{identity}")
    page.get_by_role("button", name="Rank pages").press("Enter")
    with page.expect_response(lambda response: response.url.endswith("/files") and response.status == 200):
        pass
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true", timeout=WAIT)
    assert titles(page) == shown
    assert sent.paths.count("documents") == 2
    assert "The server no longer had the files. Sending sample.pdf ..." in said
    expect(page.get_by_role("alert")).to_be_hidden()
    page.close()


def test_a_server_that_keeps_nothing_gets_the_files_each_time(browser: Browser, bundle_path: Path) -> None:
    with Server("--bundle", bundle_path, "--max-stored-mib", 0) as server:
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(server.url)
        sent = Sent(page)
        rank(page)
        again(page)
        assert sent.paths.count("documents") == 1  # it is asked once
        assert sent.paths.count("rerank/files") >= 2
        assert server.metric("ziprerank_stored_documents") == 0
        page.get_by_text("The same from a terminal or a program").click()
        program, command = (page.locator(where).inner_text() for where in ("#python", "#curl"))
        assert "document" not in program + command
        done = subprocess.run([sys.executable, "-c", program], cwd=SAMPLE.parent, capture_output=True, check=True)
        assert len(done.stdout.splitlines()) == 6
        if shutil.which("curl"):
            done = subprocess.run(["bash", "-c", command], cwd=SAMPLE.parent, capture_output=True, check=True)
            assert len(json.loads(done.stdout)["results"]) == 6
        page.close()
        assert server.stop() == 0


def event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def counts(pages_done: int, passes_done: int) -> str:
    data = {"pages_done": pages_done, "pages": 500, "passes_done": passes_done, "passes": 49}
    return event("progress", data)


def test_progress_is_shown_and_named(page: Page) -> None:
    """The events' reader gets them in parts of any size, and the bar has a name that says what it counts."""
    script = """parts => {
        const answer = () => new Response(new ReadableStream({async pull(to) {
            if (!parts.length) { await new Promise(() => {}); }
            to.enqueue(new TextEncoder().encode(parts.shift()));
        }}), {headers: {"content-type": "text/event-stream"}});
        const before = window.fetch;
        window.fetch = (path, options) => path.endsWith("/files") ? Promise.resolve(answer()) : before(path, options);
    }"""
    whole = ": the ranking goes on\n\n" + counts(7, 0) + counts(120, 11)
    page.evaluate(script, [whole[at : at + 9] for at in range(0, len(whole), 9)])
    page.get_by_label("Drop a PDF").set_input_files(SAMPLE)
    page.get_by_label("What to look for").fill(QUERY)
    page.get_by_label("What to look for").press("Enter")
    bar = page.get_by_role("progressbar", name="120 of 500 pages read, 11 of 49 passes done")
    expect(bar).to_be_visible()
    assert bar.evaluate("bar => [bar.value, bar.max]") == [131, 549]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        violations = Axe().run(page).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in violations] == []
    expect(page.get_by_role("status")).to_have_text("Ranking ...")  # what changes all the time is not read out


def test_progress_goes_when_the_ranking_is_done(page: Page) -> None:
    rank(page)
    expect(page.locator("#progress")).to_be_hidden()
    text = page.locator("#progress-text").text_content() or ""
    assert re.fullmatch(r"18 of 18 pages read, (\d+) of \1 pass(es)? done", text)


def test_what_fails_in_a_ranking_is_shown(page: Page) -> None:
    message = "no answer within 60 s: rank fewer pages"
    error = {"error": {"message": f"files[0]: {message}", "type": "deadline_exceeded", "code": 504}}
    body = counts(3, 0) + event("error", {**error, "message": f"document_id[0]: {message}"})
    page.route(
        "**/v1/rerank/files",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body),
    )
    page.get_by_label("Drop a PDF").set_input_files(SAMPLE)
    page.get_by_label("What to look for").fill(QUERY)
    page.get_by_label("What to look for").press("Enter")
    expect(page.get_by_role("alert")).to_have_text(f"sample.pdf: {message}")
    expect(page.locator("#progress")).to_be_hidden()
