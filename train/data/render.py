"""Text passages as images, and the look of a scan.

Stage 1 of the paper ranks passages of text that were rendered on a 280 x 280 canvas. Needs Pillow >= 10.1 with
FreeType.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont
from ziprerank.train.errors import TrainError

Pixels = NDArray[np.uint8]
PASSAGE = 280  # pixels, the paper's; an image processor that wants multiples of 32 makes it 288
LARGEST, SMALLEST = 20, 9  # pixels of type
SPACING = 1.2  # lines, in sizes of type
MARGIN = 6  # pixels
INKS = ((0, 0, 0), (0, 0, 0), (0, 0, 0), (25, 25, 60), (60, 30, 20))
PAPERS = ((255, 255, 255), (255, 255, 255), (255, 255, 255), (250, 246, 234), (240, 244, 250))
LEAST = 32  # pixels a side that degrade accepts: below, a letter is smaller than what blur removes


@lru_cache(maxsize=256)
def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    if path is None:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise TrainError("this Pillow was built without FreeType: install a wheel of it, or give font files")
        return font
    try:
        return ImageFont.truetype(str(path), size)
    except OSError as error:
        raise TrainError(f"{path} cannot be read as a font ({error}): give a .ttf or .otf file") from None


def wrap(text: str, font: ImageFont.FreeTypeFont, measure: float) -> Iterator[str]:
    """Breaks ``text`` at blanks into lines at most ``measure`` pixels long; a longer word is cut at the line's end."""
    space = font.getlength(" ")
    line: list[str] = []
    filled = 0.0
    for word in text.split():
        length = font.getlength(word)
        if line and filled + space + length > measure:
            yield " ".join(line)
            line, filled = [], 0.0
        while length > measure and len(word) > 1:
            cut = max(1, int(len(word) * measure / length))
            while cut > 1 and font.getlength(word[:cut]) > measure:
                cut -= 1
            yield word[:cut]
            word = word[cut:]  # noqa: PLW2901
            length = font.getlength(word)
        filled += length + (space if line else 0.0)
        line.append(word)
    if line:
        yield " ".join(line)


def render_passage(
    text: str,
    size: int = PASSAGE,
    rng: np.random.Generator | None = None,
    fonts: Sequence[Path] = (),
    *,
    largest: int = LARGEST,
    smallest: int = SMALLEST,
) -> Pixels:
    """A passage word-wrapped on a square canvas: uint8 [size, size, 3].

    Type is as large as lets the whole text fit, between ``largest`` and ``smallest`` pixels (scaled by size / 280). A
    text that does not fit at the smallest is cut after the last full line: at 280 pixels and 9-pixel type that is after
    24 lines of about 60 characters. ``rng`` draws the font out of ``fonts`` (files; Pillow's own where there are none)
    and the colours of ink and paper; without it the first font, black on white. Characters that the font lacks are
    drawn as its empty box. TrainError for a text without a word, a canvas under 32 pixels, or a file that is no font.
    """
    if size < LEAST:
        raise TrainError(f"a canvas of {size} pixels: at least {LEAST}")
    if not text.split():
        raise TrainError("a passage without a word: leave it out")
    path = None if not fonts else fonts[0] if rng is None else fonts[int(rng.integers(len(fonts)))]
    ink, paper = (
        (INKS[0], PAPERS[0]) if rng is None else (INKS[rng.integers(len(INKS))], PAPERS[rng.integers(len(PAPERS))])
    )
    margin = max(1, round(MARGIN * size / PASSAGE))
    lowest = max(5, round(smallest * size / PASSAGE))
    highest = max(lowest, round(largest * size / PASSAGE))

    def lines_at(height: int) -> tuple[list[str], bool]:
        most = max(1, int((size - 2 * margin) // (height * SPACING)))
        lines = list(islice(wrap(text, _font(path, height), size - 2 * margin), most + 1))
        return lines[:most], len(lines) <= most

    while lowest < highest:  # the largest height that fits; smaller type takes fewer lines
        middle = (lowest + highest + 1) // 2
        if lines_at(middle)[1]:
            lowest = middle
        else:
            highest = middle - 1
    image = Image.new("RGB", (size, size), paper)
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines_at(lowest)[0]):
        # the line's middle, which no font's own ascent moves out of the canvas
        draw.text(
            (margin, margin + (index + 0.5) * lowest * SPACING), line, fill=ink, font=_font(path, lowest), anchor="lm"
        )
    return np.asarray(image).copy()


def degrade(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    rotation: float = 2.0,
    blur: float = 0.8,
    noise: float = 8.0,
    contrast: float = 0.25,
    tint: float = 0.08,
    quality: int = 40,
) -> Pixels:
    """Makes a clean page look scanned: uint8 [H, W, 3] to uint8 [H, W, 3], the argument unchanged.

    In the order of a scanner: turned by up to ``rotation`` degrees about the centre (corners filled with the paper),
    tinted by up to ``tint`` of full scale a channel, blurred by up to ``blur`` pixels (standard deviation), contrast
    changed by up to ``contrast``, Gaussian noise of up to ``noise`` grey levels (standard deviation), JPEG of at least
    ``quality``. Each is drawn from ``rng``, evenly, on every call. TrainError for other shapes or types, a side under
    32 pixels, more than 2 degrees or a quality outside 1..95.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < LEAST:
        raise TrainError(f"pixels {pixels.dtype} {pixels.shape}: uint8 [H, W, 3] with sides of at least {LEAST}")
    if not 0 <= rotation <= 2:
        raise TrainError(f"rotation by {rotation} degrees: 0 to 2, or text leaves the page")
    if not 1 <= quality <= 95:
        raise TrainError(f"JPEG quality {quality}: 1 to 95")
    paper = tuple(int(value) for value in np.median(pixels[:: max(1, pixels.shape[0] // 64)], axis=(0, 1)))
    image = Image.fromarray(pixels).rotate(
        float(rng.uniform(-rotation, rotation)), Image.Resampling.BICUBIC, fillcolor=paper
    )
    shade = 1.0 - rng.uniform(0, tint, 3)
    image = Image.fromarray((np.asarray(image) * shade).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, blur))))
    image = ImageEnhance.Contrast(image).enhance(float(rng.uniform(1 - contrast, 1 + contrast)))
    rough = np.asarray(image, np.float32)
    rough = rough + rng.normal(0, rng.uniform(0, noise), rough.shape).astype(np.float32)
    image = Image.fromarray(np.clip(np.rint(rough), 0, 255).astype(np.uint8))
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=int(rng.integers(quality, 96)))
    return np.asarray(Image.open(stored)).copy()
