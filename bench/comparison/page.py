"""A run's tables and pictures as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ziprerank.evaluation.page import document, figure, rendered

from .plots import caption, draw
from .tables import Rows, tables

TITLE = "ziprerank: measured"


def write_report(rows: Rows, folder: Path, quality: Rows = ()) -> None:
    """Writes the pictures and ``benchmark.html``.

    Args:
        rows: of the run.
        folder: made if missing.
        quality: rows of ``python -m bench.quality``, for the picture of quality against latency.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.html").write_text(page(tables(rows), draw(rows, folder, quality)), encoding="utf-8")


def page(markdown: str, pictures: Sequence[Path]) -> str:
    """Returns the page: the aims first, then the pictures, then all other tables."""
    aims, _, rest = markdown.partition("\n\n**Milliseconds")
    parts = [
        rendered(aims),
        *(figure(picture, caption(picture.stem)) for picture in pictures),
        rendered(f"**Milliseconds{rest}" if rest else ""),
    ]
    return document(TITLE, [f"<h1>{TITLE}</h1>\n", *parts])
