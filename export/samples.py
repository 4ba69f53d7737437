"""Sample pages and prompts on which graphs are run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

from .prompt import prompt_text

SIZES = ((256, 256), (320, 256), (256, 384), (288, 288))
"""(height, width) of sample pages in pixels."""
QUERIES = ("net revenue of the second quarter", "how to replace the filter", "table of contents", "warranty terms")


def prompt_ids(
    bundle: Path, prompt: Mapping[str, Any], query: str, pages: int, document_text: str | None = None
) -> list[int]:
    """Tokenises the prompt for ``pages`` pages, with one image pad for each.

    Args:
        bundle: A directory with ``tokenizer.json``.
        prompt: The manifest's ``prompt``.
        query: What to look for.
        pages: The number of pages.
        document_text: The text of the document, where the prompt has a place for it.
    """
    if prompt["query_case"] == "lower":
        query = " ".join(query.lower().split())
    text = prompt_text(prompt, query, pages, text=document_text)
    ids: list[int] = Tokenizer.from_file(str(bundle / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return ids


def page_image(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draws a page with lines of text, a box and some noise, determined by ``number``.

    Args:
        number: The seed of everything random.
        size: (height, width) in pixels.

    Returns:
        ``[height, width, 3]`` uint8.
    """
    rng = np.random.default_rng(number)
    height, width = size
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    for y in range(8, height - 16, 16):
        words = " ".join("".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 5)) for _ in range(width // 40))
        draw.text((6, y), words, fill=tuple(rng.integers(0, 120, 3).tolist()), font=font)
    left, top = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
    draw.rectangle((left, top, left + 60, top + 40), fill=tuple(rng.integers(0, 256, 3).tolist()))
    noisy = np.asarray(image, np.int64) + rng.integers(-8, 9, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)
