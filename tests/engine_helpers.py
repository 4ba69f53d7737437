"""What the engine's tests share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ziprerank import _engine

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


def make_pages() -> Pages:
    """Four pages of three sizes: paper with dark strokes, so that visual tokens differ."""
    random = np.random.default_rng(7)
    out = []
    for height, width in ((288, 288), (320, 256), (288, 288), (64, 160)):
        page = np.full((height, width, 3), 245, np.uint8)
        for _ in range(40):
            y, x = random.integers(0, height - 8), random.integers(0, width - 30)
            page[y : y + random.integers(2, 8), x : x + random.integers(8, 30)] = random.integers(0, 120, 3)
        out.append(page)
    return out


def prompt_ids(info: dict[str, object], pages: int, seed: int = 0) -> NDArray[np.int64]:
    """A prompt of random words before the pages, in the form of the real one."""
    random = np.random.default_rng(seed)
    words = random.integers(300, 5000, 12 + seed % 5)
    page = [info["vision_start_id"], info["image_pad_id"], info["vision_end_id"]]
    return np.asarray([*words, *(page * pages), *random.integers(300, 5000, 4)], dtype=np.int64)


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
