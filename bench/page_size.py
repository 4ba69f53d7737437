"""Which page size suits a checkpoint? Recall over real PDFs at several sizes, for whole pages and for parts of pages.

    python bench/page_size.py CHECKPOINT OUT.jsonl FILE.pdf...

Two questions apart from each other. *Whole pages* are rendered with their longest side at L px, so a larger L makes
the print more legible and the grid of visual tokens larger at once. *Squares* are cut from pages at one scale (10 pt
print is 12 px high), so only the grid grows. Each query is the three words that tell its page best from the other
candidates (tf-idf over the PDF's text); 8 candidates of the same document; chance is 0.125 for recall@1 and 0.375 for
recall@3.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image
from ziprerank import Reranker, __version__
from ziprerank.export import ExportOptions, export_checkpoint

CANDIDATES = 8
PAGES_PER_DOCUMENT = 16
KEEP_RATIOS = (1.0, 0.5)
WHOLE_PAGES = (288, 512, 768, 1024)
SQUARES = (288, 352, 416, 512)
SCALE = 1.2  # px a point: 10 pt print becomes 12 px high
FACTOR = 32
SEED = 0


@dataclass(frozen=True)
class Item:
    """A candidate: its pixels and the words it holds."""

    pixels: NDArray[np.uint8]
    words: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("out", type=Path)
    parser.add_argument("pdfs", type=Path, nargs="+")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = export_checkpoint(
            arguments.checkpoint, Path(scratch) / "bundle", ExportOptions(longest_side=max(WHOLE_PAGES))
        )
        reranker = Reranker.from_bundle(bundle)
        rows = list(measure(reranker, arguments.pdfs))
    common = {
        "checkpoint": Path(arguments.checkpoint).name,
        "documents": [file.name for file in arguments.pdfs],
        "candidates": CANDIDATES,
        "ziprerank": __version__,
        "machine": platform.machine(),
    }
    arguments.out.write_text("".join(json.dumps({**row, **common}) + "\n" for row in rows), encoding="utf-8")


def measure(reranker: Reranker, pdfs: list[Path]) -> Iterator[dict[str, Any]]:
    """One row for each kind of page, size and keep ratio."""
    for kind, sizes in (("square", SQUARES), ("whole page", WHOLE_PAGES)):
        for size in sizes:
            documents = [squares(pdf, size) if kind == "square" else whole_pages(pdf, size) for pdf in pdfs]
            for keep_ratio in KEEP_RATIOS:
                places = [place for items in documents for place in rank_each(reranker, items, keep_ratio)]
                row = {
                    "kind": kind,
                    "size_px": size,
                    "keep_ratio": keep_ratio,
                    "queries": len(places),
                    "recall@1": round(float(np.mean(np.array(places) < 1)), 3),
                    "recall@3": round(float(np.mean(np.array(places) < 3)), 3),
                }
                print(row, flush=True)
                yield row


def rank_each(reranker: Reranker, items: list[Item], keep_ratio: float) -> Iterator[int]:
    """The place, from 0, of each item among 8 candidates when its own words are the query."""
    rng = random.Random(SEED)
    frequency = Counter(word for item in items for word in set(item.words))
    for index, item in enumerate(items):
        counts = Counter(item.words)
        weights = {w: (1 + math.log(n)) * math.log((len(items) + 1) / frequency[w]) for w, n in counts.items()}
        query = " ".join(sorted(weights, key=lambda word: -weights[word])[:3])
        candidates = [*rng.sample([other for other in range(len(items)) if other != index], CANDIDATES - 1), index]
        rng.shuffle(candidates)
        pages = [items[candidate].pixels for candidate in candidates]
        ranking = reranker.rank(query, pages, keep_ratio=keep_ratio, window="off")
        yield next(page.rank - 1 for page in ranking if candidates[page.index] == index)


def whole_pages(file: Path, longest_side: int) -> list[Item]:
    """Pages with enough text, rendered at one longest side and stretched to multiples of 32."""
    items = []
    for page, words in sample(file):
        scale = longest_side / max(page.get_size())
        width, height = (max(FACTOR, round(side * scale / FACTOR) * FACTOR) for side in page.get_size())
        image = page.render(scale=scale).to_pil().convert("RGB")
        items.append(Item(np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)), words))
    return items


def squares(file: Path, side: int) -> list[Item]:
    """From each page the square, of six tries, that holds the most words."""
    rng = random.Random(SEED)
    items = []
    for page, _ in sample(file):
        width, height = page.get_size()
        points = side / SCALE
        tries = []
        for _ in range(6):
            left, bottom = rng.uniform(0, max(0, width - points)), rng.uniform(0, max(0, height - points))
            text = page.get_textpage().get_text_bounded(left, bottom, left + points, bottom + points)
            tries.append((words_of(text), left, bottom))
        words, left, bottom = max(tries, key=lambda entry: len(entry[0]))
        if len(set(words)) < 5:
            continue
        canvas = Image.new("RGB", (side, side), "white")
        image = page.render(scale=SCALE).to_pil().convert("RGB")
        canvas.paste(image, (-round(left * SCALE), -round((height - bottom - points) * SCALE)))
        items.append(Item(np.asarray(canvas), words))
    return items


def sample(file: Path) -> list[tuple[pdfium.PdfPage, list[str]]]:
    """Pages of a document that hold at least 60 words, drawn with a fixed seed."""
    pages = [(page, words_of(page.get_textpage().get_text_range())) for page in pdfium.PdfDocument(file)]
    full = [entry for entry in pages if len(entry[1]) >= 60]
    return random.Random(SEED).sample(full, min(PAGES_PER_DOCUMENT, len(full)))


def words_of(text: str) -> list[str]:
    """Lower-case words of at least four letters."""
    return [word.lower() for word in re.findall(r"[A-Za-z]{4,}", text)]


if __name__ == "__main__":
    main()
