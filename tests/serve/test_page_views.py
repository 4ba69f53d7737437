"""What the web page shows of a ranking in headless Chromium: large pages, two keep ratios, its address, its errors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from axe_playwright_python.sync_playwright import Axe
from pdf_files import drawn_pdf
from playwright.sync_api import Browser, Page, expect
from server_process import Server
from web_page import QUERY, SAMPLE, WAIT, drag, rank, results, titles
from ziprerank.ranking import Ranking
from ziprerank.reranker import Reranker

STATIC = Path(__file__).parents[2] / "python" / "ziprerank" / "serve" / "static"


def titles_of(ranking: Ranking) -> list[str]:
    return [f"{best.rank} page {best.page} of sample.pdf" for best in ranking]


def clear_patches(page: Page, mask: str) -> int:
    """The patches of a canvas that are not grey."""
    pixels = page.locator(mask).evaluate(
        "mask => [...mask.getContext('2d').getImageData(0, 0, mask.width, mask.height).data]"
    )
    return sum(value == 0 for value in pixels[3::4])


def test_places_of_two_digits_stay_on_one_line(page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_label("Drop a PDF").set_input_files(
        {"name": "a-report-with-a-long-name-" + "x" * 60 + ".pdf", "mimeType": "", "buffer": SAMPLE.read_bytes()}
    )
    page.get_by_label("What to look for").fill(QUERY)
    page.get_by_label("What to look for").press("Enter")
    expect(results(page)).to_have_count(10, timeout=WAIT)
    lines = page.locator("#results h3 b").evaluate_all(
        """badges => badges.map(badge => {
            const range = document.createRange();
            range.selectNodeContents(badge);
            return range.getClientRects().length;
        })"""
    )
    assert lines == [1] * 10


def test_other_files_take_the_old_results_and_errors_away(page: Page) -> None:
    rank(page)
    drag(page, "#drop", "broken.pdf", b"%PDF-1.7 broken")
    expect(page.locator("#outcome")).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text("1 file to rank.")
    page.get_by_role("button", name="Rank pages").press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("broken.pdf")
    assert "files[" not in alert.inner_text()
    expect(page.locator("#outcome")).to_be_hidden()
    drag(page, "#drop", "sample.pdf", SAMPLE.read_bytes())
    expect(alert).to_be_hidden()
    page.get_by_role("button", name="Rank pages").press("Enter")
    expect(results(page)).to_have_count(6, timeout=WAIT)


def test_what_was_skipped_is_named_by_its_file(page: Page) -> None:
    files = [
        {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 broken"},
        {"name": "sample.pdf", "mimeType": "application/pdf", "buffer": SAMPLE.read_bytes()},
    ]
    page.get_by_label("Drop a PDF").set_input_files(files)
    page.get_by_label("What to look for").fill(QUERY)
    page.get_by_label("What to look for").press("Enter")
    expect(page.get_by_role("list", name="Warnings")).to_contain_text("broken.pdf was skipped", timeout=WAIT)


def test_a_page_large_and_arrow_keys_through_the_ranking(page: Page, reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, SAMPLE, 6)
    rank(page)
    page.get_by_role("button", name=f"Show page {ranking.results[0].page} of sample.pdf large").press("Enter")
    dialog, heading = page.get_by_role("dialog"), page.locator("#large-title")
    expect(dialog).to_be_visible()
    for key, place in (("", 0), ("ArrowRight", 1), ("End", 5), ("ArrowDown", 5), ("ArrowUp", 4), ("Home", 0)):
        if key:
            page.keyboard.press(key)
        best = ranking.results[place]
        expect(heading).to_have_text(f"{place + 1} of 6: page {best.page} of sample.pdf")
        assert clear_patches(page, "#large-sheet canvas") == len(best.kept)
    expect(page.locator("#large-sheet canvas")).to_be_visible()  # what was kept is shown at once
    expect(page.locator("#large-sheet img")).to_have_js_property("naturalWidth", 1024, timeout=WAIT)
    assert [rule["id"] for rule in Axe().run(page).response["violations"]] == []
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name=f"Show page {ranking.results[1].page} of sample.pdf large")).to_be_focused()


def test_the_sample_for_a_first_visit(page: Page, reranker: Reranker) -> None:
    assert (STATIC / "sample.pdf").read_bytes() == SAMPLE.read_bytes()
    queries = page.locator("#samples button").all_inner_texts()
    with Reranker.from_bundle(check="size") as in_the_box:  # pages as large as visitors have them
        assert [in_the_box.rank(query, SAMPLE, 1).results[0].page for query in queries] == [2, 8, 17]
    page.get_by_role("button", name=queries[2]).press("Enter")
    expect(results(page)).to_have_count(10, timeout=WAIT)
    assert page.get_by_label("What to look for").input_value() == queries[2]
    assert titles(page) == titles_of(reranker.rank(queries[2], SAMPLE, 10))
    expect(page.locator("#samples")).to_be_hidden()


def test_two_keep_ratios_side_by_side(page: Page, reranker: Reranker) -> None:
    rank(page)
    page.get_by_role("switch", name="Compare with another keep ratio").focus()
    page.keyboard.press("Space")
    expect(page.locator("#others > li")).to_have_count(6, timeout=WAIT)
    ours, theirs = (reranker.rank(QUERY, SAMPLE, 6, keep_ratio=ratio) for ratio in (None, 1.0))
    assert titles(page) == titles_of(ours)
    assert titles(page, "#others") == titles_of(theirs)
    expect(page.locator("#others-title")).to_contain_text("Keep ratio 1.00")
    before = {best.page: best.rank for best in ours}
    for place, best in enumerate(theirs):
        by = before.get(best.page, 0) - best.rank
        wanted = "same place" if by == 0 else f"{abs(by)} {'better' if by > 0 else 'worse'}"
        wanted = wanted if best.page in before else "not shown"
        expect(page.locator("#others > li").nth(place)).to_contain_text(wanted)
    left, right = (page.locator(where).bounding_box() for where in ("#results", "#others"))
    assert left is not None
    assert right is not None
    assert left["x"] + left["width"] <= right["x"]
    assert [rule["id"] for rule in Axe().run(page).response["violations"]] == []
    page.keyboard.press("Space")
    expect(page.locator("#others-column")).to_be_hidden()


def test_the_address_says_what_is_shown(page: Page, browser: Browser, server: Server) -> None:
    page.locator("#samples button").first.press("Enter")
    expect(results(page)).to_have_count(10, timeout=WAIT)
    page.get_by_role("switch", name="Shade the patches").press("Space")
    results(page).nth(1).get_by_role("button").press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    address = urlsplit(page.url)
    wanted = {"query": QUERY, "show": "10", "ratio": "0.5", "shade": "1", "sample": "1", "open": "2"}
    assert parse_qs(address.fragment) == {name: [value] for name, value in wanted.items()}
    assert address.query == ""
    other = browser.new_page()
    other.set_default_timeout(WAIT)
    other.goto(page.url)
    expect(other.locator("#large-title")).to_have_text(page.locator("#large-title").inner_text())
    assert titles(other) == titles(page)
    expect(other.locator("#results canvas").first).to_be_visible()
    other.close()
    assert QUERY.split()[0] not in json.dumps(server.log)


def test_the_lines_that_do_the_same(page: Page, tmp_path: Path) -> None:
    name, query = 'it\'s "5";,.pdf', 'dividend of the board\'s "shares" $HOME \\ é'
    (tmp_path / name).write_bytes(SAMPLE.read_bytes())
    page.get_by_label("Drop a PDF").set_input_files(tmp_path / name)
    page.get_by_label("What to look for").fill(query)
    page.get_by_label("Pages of each PDF").fill("1-9")
    page.get_by_label("What to look for").press("Enter")
    expect(results(page)).to_have_count(9, timeout=WAIT)
    shown = [int(re.findall(r"page (\d+) of", title)[0]) for title in titles(page)]
    page.get_by_text("The same from a terminal or a program").click()
    program = page.locator("#python").inner_text()
    for lines in (program, page.locator("#curl").inner_text()):  # the file is sent once, and named by its id
        assert "v1/documents" in lines
        assert "document_id" in lines
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [int(line.split()[1]) for line in done.stdout.splitlines()] == shown
    if shutil.which("curl"):
        command = ["bash", "-c", page.locator("#curl").inner_text()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert [result["page"] for result in json.loads(done.stdout)["results"]] == shown


def widths(page: Page) -> list[float]:
    """Of the bars, in percent."""
    found: list[float] = page.locator("#results .bar i").evaluate_all(
        "bars => bars.map(bar => parseFloat(bar.style.width))"
    )
    return found


def test_several_passes(page: Page, images: list[bytes]) -> None:
    """Scores fall over all of them, and say "at most" of the pages that the last one did not hold."""
    files = [{"name": f"{place}.png", "mimeType": "image/png", "buffer": images[place % 5]} for place in range(24)]
    note = 'Ranked in 2 passes: the numbers of pages that the last one did not hold say "at most".'
    for count, show, early in ((24, "24", 4), (24, "10", 0), (12, "24", 0)):
        page.locator("#files").set_input_files(files[:count])
        page.get_by_label("What to look for").fill(QUERY)
        page.get_by_label("Show the best").select_option(show)
        page.get_by_label("What to look for").press("Enter")
        expect(page.get_by_role("status")).to_contain_text(f"Ranked {count} pages", timeout=WAIT)
        expect(results(page)).to_have_count(min(count, int(show)))
        assert page.locator("#warnings > li").all_inner_texts() == [note] * bool(early)
        told = results(page).all_inner_texts()
        assert ["at most" in text for text in told] == [False] * (len(told) - early) + [True] * early
        assert len(widths(page)) == len(told)
        assert widths(page) == sorted(widths(page), reverse=True)


def test_each_page_in_a_pass_of_its_own(browser: Browser, yes_no_bundle: Path) -> None:
    """Its score is the page's own: nothing is compared."""
    with Server("--bundle", yes_no_bundle) as server:
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(server.url)
        page.get_by_label("Drop a PDF").set_input_files(SAMPLE)
        page.get_by_label("What to look for").fill(QUERY)
        page.get_by_label("Show the best").select_option("24")
        page.get_by_label("What to look for").press("Enter")
        expect(results(page)).to_have_count(18, timeout=WAIT)
        assert "at most" not in page.locator("#outcome").inner_text()
        assert widths(page) == sorted(widths(page), reverse=True)
        page.close()
        assert server.stop() == 0


def test_pages_that_the_model_has_not_read(page: Page) -> None:
    """Of 36 pages with text the first stage picks 20."""
    files = [{"name": f"{copy}.pdf", "mimeType": "application/pdf", "buffer": SAMPLE.read_bytes()} for copy in "ab"]
    page.get_by_label("Drop a PDF").set_input_files(files)
    page.get_by_label("What to look for").fill(QUERY)
    page.get_by_label("Show the best").select_option("24")
    page.get_by_label("What to look for").press("Enter")
    expect(results(page)).to_have_count(24, timeout=WAIT)
    expect(page.get_by_role("status")).to_contain_text("text picked those that the model read")
    told = [text for text in results(page).all_inner_texts() if "left behind by its text: the model has" in text]
    assert len(told) == 4
    assert page.locator("#results .bar").count() == 20


def test_pages_that_relevance_left_behind(browser: Browser, bundle_path: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    manifest = json.loads((bundle / "ziprerank.json").read_text())
    (bundle / "ziprerank.json").write_text(json.dumps(manifest | {"relevance": {"ranks": True}}))
    scans = drawn_pdf([lambda canvas, side=side: canvas.rect(20, 20, 50 + side, 90, fill=1) for side in range(24)])
    with Server("--bundle", bundle) as server:
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(server.url)
        drag(page, "#drop", "scans.pdf", scans)
        page.get_by_label("What to look for").fill(QUERY)
        page.get_by_label("Show the best").select_option("24")
        page.get_by_label("What to look for").press("Enter")
        expect(results(page)).to_have_count(24, timeout=WAIT)
        told = [text for text in results(page).all_inner_texts() if "left behind by relevance: the model has" in text]
        assert len(told) == 4
        page.close()
        assert server.stop() == 0
