"""Tells what a file is by its first bytes, and reads files inside strings: base64, and ``data:`` URLs."""

from __future__ import annotations

import base64
import binascii
import re

from ziprerank.errors import InvalidInput
from ziprerank.inputs.formats import image_kind

HEAD_BYTES = 8192
"""bytes of a file that decide what it is; within them a PDF says %PDF- or holds an object, if its header is lost"""

_OBJECT = re.compile(rb"(?:^|[\r\n])\s*\d{1,10}\s+\d{1,5}\s+obj\b")


def is_pdf(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (its first ``HEAD_BYTES``) is a PDF and not an image."""
    return image_kind(head) is None and says_pdf(head)


def says_pdf(head: bytes) -> bool:
    """Whether ``head`` holds a PDF's signature or an object of one, wherever readers accept it."""
    head = head[:HEAD_BYTES]
    return b"%PDF-" in head or _OBJECT.search(head) is not None


def is_url(text: str) -> bool:
    """Whether a string begins as an ``http:`` or ``https:`` URL."""
    return text[:8].lower().startswith(("http://", "https://"))


def decode_media(text: str) -> bytes:
    """Decodes base64 or a ``data:`` URL; never opens a file. Raises InvalidInput."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidInput("a data URL must be data:TYPE;base64,DATA")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)  # some encoders break lines
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"this is not valid base64 ({error}): encode the file again") from None
    if not data:
        raise InvalidInput("the file is empty")
    return data


def is_encoded_page(text: str) -> bool:
    """Whether a string is a file and not words: a ``data:`` URL without blanks, or base64 that begins as a page."""
    if text[:5].lower() == "data:":
        return not any(character.isspace() for character in text[:2048].strip())
    try:
        head = base64.b64decode(text[:24], validate=True)
        if head[4:8] == b"ftyp":  # of AVIF and HEIC, whose names follow
            head = base64.b64decode(text[:64], validate=True)
    except (binascii.Error, ValueError):
        return False
    return image_kind(head) is not None or head.startswith(b"%PDF-")  # words may say %PDF- further on
