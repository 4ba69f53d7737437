"""Measures a machine where no ranking has told what stages take: on one made page, in a few steps.

What it runs:

1. A PDF of one A4 page with 50 lines of text is made and rendered three times, as pages of a ranking are. The rate is
   the shorter of the last two.
2. Two windows, or one where a pass takes several pages, are filled with two pages of it, whose corners differ by noise,
   so that neither is found in memory. The second page's time gives the rate of the vision tower.
3. Passes over both pages (over the second alone, where each page is scored by itself) at keep ratio 0.25, twice, and
   at 1. The last two are fitted.

The features of both pages then lie in the pool under an owner of their own, until others need the room.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import Bundle
from ziprerank.errors import EngineError
from ziprerank.inputs.feed import most_at_once
from ziprerank.inputs.pages import open_pages, read_page
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.prompt import PromptBuilder
from ziprerank.runtime.engine import EngineLike, WindowScores
from ziprerank.runtime.passes import Passes
from ziprerank.runtime.rates import Rates, fit_passes

OWNER = "ziprerank calibration"
RATIOS = (0.25, 0.25, 1.0)  # the first pass of a process takes longer, and does not count
_QUERY = "what the page is about"
_LINES, _SHEET = 50, (595, 842)


def calibrate(
    bundle: Bundle,
    engine: EngineLike,
    prompts: PromptBuilder,
    limits: PageLimits,
    passes: Passes,
    now: Callable[[], float] = perf_counter,
) -> tuple[Rates, list[tuple[int, float]]]:
    """Returns rates as the module's docstring says, and (tokens, milliseconds) of the passes that they are fitted to.

    Args:
        bundle: How pages are prepared.
        engine: What is measured.
        prompts: The bundle's.
        limits: Where the page is rendered.
        passes: Scores windows.
        now: A clock, in seconds.

    Raises:
        PageError: The page cannot be rendered.
        PoolError: The pool has no room for two pages.
        EngineError: The engine failed.
    """
    rendered = []
    with open_pages(made_page(), bundle.image, limits=limits) as (source,):
        for _ in range(3):
            started = now()
            pixels = read_page(source).pixels
            rendered.append((now() - started) * 1e3)
    width = 1 if bundle.defaults.pointwise else 2
    pages = [_marked(pixels, bundle.image.factor) for _ in range(2)]
    prompt = prompts.build(prompts.check_query(_QUERY), width, prompts.check_instruction(None))
    scores: list[tuple[WindowScores, float]] = []
    encoded = 0.0
    for group in [pages] if width == 2 else [pages[:1], pages[1:]]:
        window = engine.window([(page.shape[0], page.shape[1]) for page in group], owner=OWNER)
        try:
            for slot, page in enumerate(group):
                passes.check()
                started = now()
                window.encode(slot, page)
                encoded = (now() - started) * 1e3
            if group[-1] is not pages[-1]:
                continue
            for ratio in RATIOS:
                started = now()
                scored = passes.score(window, prompt.text_ids, prompt.query_mask, ratio)
                scores.append((scored, (now() - started) * 1e3 - scored.encode_ms))
        finally:
            window.close()
    first = scores[0][0]
    read = first.visual_tokens - first.blank_tokens
    if read <= 0:
        raise EngineError("the calibration's page came out blank, so that the vision tower cannot be measured")
    encoded += first.encode_ms / width  # a GPU is handed pages, and waited for by the first pass
    counted = [(scored.text_tokens + scored.kept_tokens, ms) for scored, ms in scores[1:]]
    rates = Rates(
        min(rendered[1:]),
        encoded / (read / width),
        fit_passes(counted),
        first.blank_tokens / first.visual_tokens,
        most_at_once(),
        "calibration",
        "calibration",
        "calibration",
    )
    return rates, counted


def made_page() -> bytes:
    """Returns a PDF of one A4 page with 50 lines of text in Helvetica."""
    words = "a made page of plain words as a page of a report has them, line by line "
    lines = "".join(f"({number} {words}) Tj T* " for number in range(1, _LINES + 1))
    content = f"BT /F 11 Tf 15 TL 60 790 Td {lines}ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>" % _SHEET,
        b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return data + b"xref\n0 %d\n0000000000 65535 f \n%btrailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        size,
        table,
        size,
        len(data),
    )


def _marked(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Returns a copy with noise in one visual token, which no page had before."""
    page = pixels.copy()
    page[:side, :side] = np.random.default_rng().integers(0, 256, (side, side, 3), dtype=np.uint8)
    return page
