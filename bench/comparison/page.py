"""A run's tables and pictures as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from .plots import caption, draw
from .tables import Rows, tables

TITLE = "ziprerank: measured"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } figure { margin: 2rem 0 } img { max-width: 100% } figcaption { color: #57606a }
.table { overflow-x: auto; margin: 1rem 0 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #d8dee4; text-align: left; white-space: nowrap }
td:first-child, td:last-child { white-space: normal; min-width: 8rem }
th { border-bottom-color: #8c959f; font-weight: 600 } tbody tr:hover { background: #f6f8fa }
code { background: #f6f8fa; padding: 0 .2rem }
"""


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
    parts = [_html(aims), *(_figure(picture) for picture in pictures), _html(f"**Milliseconds{rest}" if rest else "")]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{TITLE}</title>\n<style>{STYLE}</style>\n<h1>{TITLE}</h1>\n{''.join(parts)}</html>\n"
    )


def _figure(picture: Path) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    text = html.escape(caption(picture.stem))
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'


def _html(markdown: str) -> str:
    text: str = MarkdownIt("commonmark").enable("table").render(markdown)
    return text.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
