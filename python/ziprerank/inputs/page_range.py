"""Reads page ranges such as ``"1-4,9"``."""

from __future__ import annotations

from collections.abc import Iterable

from ziprerank.errors import InvalidInput
from ziprerank.values import whole_number

_MOST_DIGITS = 9  # of a page's number


def parse_page_range(pages: str | int | Iterable[int], count: int) -> list[int]:
    """Returns the 1-based page numbers of ``"1-20"``, ``"3"``, ``"5-"``, ``"1-4,9"`` or integers, in their order.

    Raises:
        InvalidInput: The text is no range, a page is repeated, or a page is outside ``1..count``.
    """
    if isinstance(pages, str):
        ranges = _ranges_in(pages, count)
    else:
        ranges = [range(number, number + 1) for number in _whole(pages)]
    if not ranges:
        raise InvalidInput("the page range is empty: give pages such as '1-20'")
    for one in ranges:
        if not 1 <= one.start < one.stop <= count + 1:
            raise InvalidInput(f"page {one.start} is outside 1..{count}: the file has {count} pages")
    end = 0
    for one in sorted(ranges, key=lambda one: one.start):  # before they become pages: "1-,1-,..." would be millions
        if one.start < end:
            raise InvalidInput(f"page {one.start} is named twice: name each page once")
        end = one.stop
    return [number for one in ranges for number in one]


def _whole(pages: int | Iterable[int]) -> list[int]:
    try:
        given = list(pages)  # type: ignore[arg-type]
    except TypeError:  # one number, or something that is none
        given = [pages]  # type: ignore[list-item]
    numbers = []
    for page in given:
        number = whole_number(page)
        if number is None:
            raise InvalidInput(f"page {page!r} is not a whole number")
        numbers.append(number)
    return numbers


def _ranges_in(text: str, count: int) -> list[range]:
    ranges = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not (first or last) or not all(
            piece == "" or (piece.isascii() and piece.isdigit()) for piece in (first, last)
        ):
            raise InvalidInput(f"page range {text!r} is not understood: write it as '1-20', '3', '5-' or '1-4,9'")
        outside = InvalidInput(f"page range {part.strip()!r} is outside 1..{count}: the file has {count} pages")
        if max(len(first), len(last)) > _MOST_DIGITS:
            raise outside
        start = int(first) if first else 1
        stop = (int(last) if last else count) if dash else start
        if stop < start or stop > count:
            raise outside
        ranges.append(range(start, stop + 1))
    return ranges
