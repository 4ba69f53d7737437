"""Small page stores, for tests: documents made by reportlab, read and rendered as the real ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from reportlab.pdfgen.canvas import Canvas
from tiny_checkpoint import TOKENIZER
from tokenizers import Tokenizer
from ziprerank.train.data.page_store import PageStore, documents_in, sample_pages, write_store

SYLLABLES = ("ka", "lo", "mi", "ren", "tus", "vor", "bel", "dan", "pri", "sho", "gre", "wil")


def invented(rng: np.random.Generator) -> str:
    """A word of three syllables."""
    return "".join(rng.choice(SYLLABLES, size=3))


def write_documents(folder: Path, *, documents: int, pages: int, words: int) -> None:
    """PDFs of small pages (160 x 160 points), each page with words of its own."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    for number in range(documents):
        canvas = Canvas(str(folder / f"manual-{number}.pdf"), pagesize=(160, 160), invariant=1)
        for _ in range(pages):
            text = canvas.beginText(8, 140)
            text.setFont("Helvetica", 10, leading=13)
            for line in range(0, words, 4):
                text.textLine(" ".join(invented(rng) for _ in range(min(4, words - line)))[:34])
            canvas.drawText(text)
            canvas.showPage()
        canvas.save()


def make_store(
    root: Path, *, documents: int = 6, pages: int = 4, words: int = 24, tokenizer: Tokenizer | None = None
) -> PageStore:
    """A store in ``root/store``; pages of 192 px, by default in the tokens of the tiny checkpoint."""
    write_documents(root / "pdfs", documents=documents, pages=pages, words=words)
    found = sample_pages(
        documents_in([root / "pdfs"], []), 0, per_document=pages, scale=(1000.0, 1010.0), least_words=4
    )
    write_store(root / "store", found, tokenizer or Tokenizer.from_file(str(TOKENIZER)), 1000)
    return PageStore(root / "store")
