"""The service's web page as a visitor uses it; the fixtures ``browser`` and ``page`` are in tests/serve/conftest.py."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

SAMPLE = Path(__file__).parents[1] / "python" / "examples" / "sample.pdf"
QUERY = "dividend shareholders board directors"
WAIT = 60_000  # ms; a busy machine
_DRAGGED = """([name, encoded]) => {
  const files = new DataTransfer();
  const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
  files.items.add(new File([bytes], name, {type: "application/pdf"}));
  return files;
}"""


def results(page: Page) -> Locator:
    return page.locator("#results > li")


def rank(page: Page, show: int = 6, query: str = QUERY) -> None:
    """Ranks the sample document, chosen as a file, and waits for the results."""
    page.get_by_label("Drop a PDF").set_input_files(SAMPLE)
    page.get_by_label("What to look for").fill(query)
    page.get_by_label("Show the best").select_option(str(show))
    page.get_by_label("What to look for").press("Enter")
    expect(results(page)).to_have_count(show, timeout=WAIT)


def drag(page: Page, where: str, name: str, data: bytes) -> None:
    """Drops a file of this name on an element."""
    dragged = page.evaluate_handle(_DRAGGED, [name, base64.b64encode(data).decode()])
    page.dispatch_event(where, "drop", {"dataTransfer": dragged})


def ratio_slider(page: Page) -> Locator:
    return page.get_by_role("slider", name=re.compile("^Keep ratio"))


def shade_switch(page: Page) -> Locator:
    return page.get_by_role("switch", name="Shade the patches")


def titles(page: Page, where: str = "#results") -> list[str]:
    """The places and labels of a list's cards, such as "1 page 2 of sample.pdf"."""
    return [" ".join(text.split()) for text in page.locator(f"{where} h3").all_inner_texts()]
