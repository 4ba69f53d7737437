"""Tests of the web page in headless Chromium, used by keyboard, against the library's rankings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from server_process import Server
from web_page import QUERY, SAMPLE, WAIT, drag, rank, ratio_slider, shade_switch
from ziprerank.reranker import Reranker


def kept(page: Page) -> list[int]:
    return [int(text.split()[0]) for text in page.get_by_text(re.compile(r"\d+ of \d+ kept")).all_inner_texts()]


def test_ranks_a_pdf(page: Page, reranker: Reranker) -> None:
    rank(page)
    ranking = reranker.rank(QUERY, SAMPLE, 6)
    shown = page.get_by_role("heading", level=3).all_inner_texts()
    assert [" ".join(text.split()) for text in shown] == [
        f"{best.rank} page {best.page} of sample.pdf" for best in ranking
    ]
    for place, best in enumerate(ranking):
        card = page.get_by_role("listitem").nth(place)
        expect(card).to_contain_text(f"{100 * best.probability:.1f}%")
        width = card.locator(".bar i").evaluate("bar => parseFloat(bar.style.width)")
        assert width == pytest.approx(100 * best.probability, abs=0.051)
        picture = card.get_by_role("img", name=f"page {best.page} of sample.pdf")
        assert picture.evaluate("image => image.naturalWidth") > 100
    expect(page.get_by_role("status")).to_contain_text(f"Ranked {ranking.pages} pages")
    expect(page.get_by_label("Milliseconds by stage")).to_contain_text(re.compile(r"vision.*ms.*rerank.*ms", re.S))


@pytest.mark.parametrize("where", ["#drop", "h1"])
def test_takes_files_that_are_dropped(page: Page, reranker: Reranker, where: str) -> None:
    """A file may be dropped anywhere, also outside the box."""
    drag(page, where, "dropped.pdf", SAMPLE.read_bytes())
    page.get_by_label("What to look for").fill(QUERY)
    page.get_by_role("button", name="Rank pages").press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"Ranked {reranker.rank(QUERY, SAMPLE).pages} pages")
    expect(page.get_by_role("heading", level=3).first).to_contain_text("of dropped.pdf")


def test_tab_goes_through_every_control(page: Page) -> None:
    def walk(steps: int) -> list[str]:
        found = []
        for _ in range(steps):
            page.keyboard.press("Tab")
            found.append(page.evaluate("document.activeElement.id"))
        return found

    # first the link to the API's pages; then, behind the files, the three queries for the sample
    assert walk(9) == ["", "files", "", "", "", "query", "pages", "show", "rank"]
    rank(page)
    page.get_by_role("button", name="Rank pages").focus()
    assert walk(3) == ["ratio", "shade", "compare"]


def test_shades_what_was_dropped(page: Page) -> None:
    rank(page)
    masks = page.locator("#results canvas")
    expect(masks.first).to_be_hidden()
    shade_switch(page).focus()
    page.keyboard.press("Space")
    expect(masks.first).to_be_visible()
    clear = masks.evaluate_all(
        """masks => masks.map(mask => {
            const pixels = mask.getContext("2d").getImageData(0, 0, mask.width, mask.height).data;
            return pixels.filter((value, place) => place % 4 === 3 && value === 0).length;
        })"""
    )
    assert clear == kept(page)


def test_the_slider_ranks_again_from_the_cache(page: Page, server: Server) -> None:
    rank(page)
    misses, before = server.metric("ziprerank_page_cache_misses_total"), kept(page)
    slider = ratio_slider(page)
    value = float(slider.input_value())
    slider.focus()
    with page.expect_response("**/files"):
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#ratio-value")).to_have_text(f"{value - 0.1:.2f}")
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true", timeout=WAIT)
    assert sum(kept(page)) < sum(before)
    assert server.metric("ziprerank_page_cache_misses_total") == misses


def test_errors_are_announced(page: Page) -> None:
    page.get_by_label("What to look for").fill(QUERY)
    page.get_by_role("button", name="Rank pages").press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Choose a PDF or page images first.")


def test_nothing_that_accessibility_rules_forbid(page: Page) -> None:
    rank(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        violations = Axe().run(page).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in violations] == []


def test_asks_for_a_key(browser: Browser, bundle_path: Path) -> None:
    with Server("--bundle", bundle_path, variables={"ZIPRERANK_API_KEY": "open"}) as server:
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(server.url)
        page.get_by_label("API key").fill("open")
        rank(page)
        page.close()
        assert server.stop() == 0
