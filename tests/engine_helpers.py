"""What the engine's tests share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from ziprerank import _engine
from ziprerank.bundle import Bundle
from ziprerank.prompt import PromptBuilder

ROOT = Path(__file__).resolve().parents[1]

Pages = list[NDArray[np.uint8]]


def run(*command: str | Path, **environment: str) -> str:
    """Runs a program to its end; its output goes into the failure when it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode != 0:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


WORDS = (
    ("annual", "report", "board", "directors", "chairman", "company"),
    ("dividend", "shares", "holders", "payment", "capital", "profit"),
    ("whale", "ocean", "island", "birds", "biologist", "winter"),
    ("garden", "kitchen", "soup"),
)
"""What is printed on each page of `make_pages`."""


def make_pages() -> Pages:
    """Four pages of three sizes, each with words of its own, so that a query of those words has an order of pages."""
    random = np.random.default_rng(7)
    font = ImageFont.load_default(13)
    out = []
    for words, (height, width) in zip(WORDS, ((288, 288), (320, 256), (288, 288), (64, 160)), strict=True):
        page = Image.new("RGB", (width, height), (245, 245, 245))
        draw = ImageDraw.Draw(page)
        for y in range(4, height - 16, 18):
            line = " ".join(random.choice(words, width // 70))
            draw.text((6, y), line, fill=tuple(random.integers(0, 60, 3).tolist()), font=font)
        out.append(np.array(page))
    return out


def prompt_ids(info: dict[str, object], pages: int, seed: int = 0) -> NDArray[np.int64]:
    """The prompt of the bundle in ``info`` for ``pages`` pages, with a query of words from `make_pages`.

    Random token ids would not do: the default bundle compares words, and gives every page the score 0 for those.
    """
    random = np.random.default_rng(seed)
    query = " ".join(random.choice([word for words in WORDS for word in words], 4 + seed % 5, replace=False))
    return PromptBuilder(Bundle.load(str(info["bundle"]), check="none")).build(query, pages).text_ids


def score(
    engine: _engine.Engine, pages: Pages, ids: NDArray[np.int64], keep_ratio: float = 0.5
) -> _engine.WindowScores:
    """One window from start to end."""
    window = engine.window([page.shape[:2] for page in pages])
    try:
        for slot, page in enumerate(pages):
            window.encode(slot, page)
        return window.score(ids, None, keep_ratio)
    finally:
        window.close()
