"""Draws a ranking: the best pages side by side, the patches that the decoder read in colour and the others faded."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ziprerank.bundle import ImageRules
from ziprerank.errors import InvalidInput
from ziprerank.inputs.page_source import PageSource
from ziprerank.ranking import RankedPage, Ranking

PAGE_SIDE = 640  # longest side of a drawn page, px
COLUMNS = 3
MARGIN = 36
GAP = 28
CAPTION = 74

BACKGROUND = (243, 244, 246)
INK = (24, 28, 38)
MUTED = (104, 112, 126)
ACCENT = (28, 100, 200)
TRACK = (218, 222, 230)
WARNING = (186, 98, 12)
FADE = np.array([203, 208, 218], dtype=np.float32)  # what a dropped patch's paper turns into

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_ranking(ranking: Ranking, sources: Sequence[PageSource], rules: ImageRules) -> Image.Image:
    """Draws the ranking's pages, best first, on one sheet. ``sources`` are all its candidates, by index."""
    cards = [_fade_dropped(sources[page.index].picture(PAGE_SIDE), page, rules.factor) for page in ranking]
    columns = min(COLUMNS, len(cards))
    widths = [max(card.width for card in cards[column::columns]) for column in range(columns)]
    rows = [cards[first : first + columns] for first in range(0, len(cards), columns)]
    heights = [CAPTION + max(card.height for card in row) for row in rows]
    width = max(2 * MARGIN + sum(widths) + GAP * (columns - 1), 720)
    title = textwrap.wrap(" ".join(ranking.query.split()), width=max(20, width // 16), max_lines=3, placeholder=" ...")
    header = MARGIN + 36 * len(title) + 44
    sheet = Image.new("RGB", (width, header + sum(heights) + GAP * (len(rows) - 1) + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_header(draw, title, ranking)
    top = header
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        left = MARGIN
        for column, card in enumerate(row):
            page = ranking.results[number * columns + column]
            _draw_caption(draw, page, left, top, card.width)
            sheet.paste(card, (left, top + CAPTION))
            draw.rectangle(
                (left - 1, top + CAPTION - 1, left + card.width, top + CAPTION + card.height), outline=(176, 182, 194)
            )
            left += widths[column] + GAP
        top += height + GAP
    return sheet


def check_picture_name(path: Path) -> None:
    """Raises InvalidInput unless the name asks for a known format."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InvalidInput(f"{path}: a picture's name must end in .png, .jpg or .webp")


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes the picture in the format that the name asks for. Raises InvalidInput."""
    check_picture_name(path)
    try:
        picture.save(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error}") from error


def kept_mask(page: RankedPage, factor: int) -> NDArray[np.bool_]:
    """Returns [rows, columns] bool: which tokens, each ``factor`` px wide and high, were kept."""
    rows, columns = page.size[0] // factor, page.size[1] // factor
    mask = np.zeros(rows * columns, dtype=np.bool_)
    mask[list(page.kept)] = True
    return mask.reshape(rows, columns)


def _fade_dropped(picture: Image.Image, page: RankedPage, factor: int) -> Image.Image:
    """The page with its dropped patches grey and pale, and a fine line around the kept ones."""
    mask = kept_mask(page, factor)
    across = np.arange(picture.width) * mask.shape[1] // picture.width  # token column of each pixel column
    down = np.arange(picture.height) * mask.shape[0] // picture.height
    kept = mask[down][:, across]  # [h, w]
    colour = np.asarray(picture.convert("RGB"), dtype=np.float32)
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None] / 255
    pale = FADE * (0.62 + 0.38 * grey)  # black print stays just readable
    drawn = np.where(kept[..., None], colour, pale)
    edge = np.zeros_like(kept)
    edge[1:] |= kept[1:] != kept[:-1]
    edge[:, 1:] |= kept[:, 1:] != kept[:, :-1]
    drawn[edge] = 0.45 * drawn[edge] + 0.55 * np.array(ACCENT, dtype=np.float32)
    return Image.fromarray(drawn.round().astype(np.uint8))


def _draw_header(draw: ImageDraw.ImageDraw, title: Sequence[str], ranking: Ranking) -> None:
    top = MARGIN - 10
    for line in title:
        draw.text((MARGIN, top), line, fill=INK, font=_font(28))
        top += 36
    shown = (
        f"best {len(ranking)} of {ranking.pages} pages" if len(ranking) < ranking.pages else f"{ranking.pages} pages"
    )
    share = ranking.tokens.kept / max(1, ranking.tokens.visual)
    note = f"{shown}. The decoder read the {share:.0%} of patches in full colour; grey ones were pruned."
    if any(page.warnings for page in ranking):
        note += " A page with an orange number has warnings."
    draw.text((MARGIN, top + 4), note, fill=MUTED, font=_font(19))


def _draw_caption(draw: ImageDraw.ImageDraw, page: RankedPage, left: int, top: int, width: int) -> None:
    number, label = str(page.rank), _fitted(draw, _short_label(page), _font(20), width - 52)
    fill = WARNING if page.warnings else ACCENT if page.rank == 1 else MUTED
    draw.rounded_rectangle((left, top, left + 40, top + 30), radius=7, fill=fill)
    draw.text((left + 20, top + 15), number, fill=(255, 255, 255), font=_font(19), anchor="mm")
    draw.text((left + 52, top + 15), label, fill=INK, font=_font(20), anchor="lm")
    share = f"{page.probability:.1%}"
    detail = f"score {page.score:.2f}   kept {len(page.kept)} of {page.tokens}" if page.passes else "not read"
    draw.text((left, top + 38), share, fill=INK, font=_font(17))
    draw.text((left + width, top + 38), detail, fill=MUTED, font=_font(17), anchor="ra")
    bar = top + 62
    draw.rectangle((left, bar, left + width - 1, bar + 4), fill=TRACK)
    filled = round((width - 1) * page.probability)
    if filled > 0:
        draw.rectangle((left, bar, left + filled, bar + 4), fill=ACCENT)


def _short_label(page: RankedPage) -> str:
    name = Path(page.source).name
    return name if page.page is None else f"page {page.page} · {name}"


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
