"""Markdown and pictures as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt

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


def document(title: str, parts: Sequence[str]) -> str:
    """Returns a whole page of HTML parts."""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n{''.join(parts)}</html>\n"
    )


def figure(picture: Path, caption: str) -> str:
    """Returns a PNG file as HTML that holds it."""
    data = base64.b64encode(picture.read_bytes()).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'


def rendered(markdown: str) -> str:
    """Returns Markdown as HTML; HTML in it is shown as text, since names of files and queries come from data."""
    text: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return text.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
