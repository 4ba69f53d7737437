"""Makes scans of the documents' pages: PDFs without a text layer, as a flatbed scanner writes them.

    python -m bench.quality.scans SCANS --documents FOLDER

SCANS gets one PDF for each document, with the same page numbers.
Every page that a query ranks is one grey JPEG picture; the other pages are blank.
``python -m bench.quality OUT.jsonl --documents FOLDER --scans SCANS`` ranks the scans, and BM25 still reads the true
text.

The settings of a page's scan (`Scan`) are drawn by `draw_scan` with a fixed seed for each document and page.
"""

from __future__ import annotations

import argparse
import io
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .documents import located
from .queries import QUERIES, read_queries

SEED = 0
DPI = (150, 200)
WHITE = 255

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scan:
    """How one page is scanned.

    Attributes:
        dpi: resolution of the picture.
        skew: degrees by which the page lies askew, counterclockwise.
        bleed: share of the next page's ink that shines through, mirrored.
        paper: grey value of unprinted paper, 255 is white.
        fall_off: grey values by which the edge opposite ``side`` is darker than the paper.
        side: edge with the most light: 0 left, 1 top, 2 right, 3 bottom.
        blur: standard deviation of the lens's blur in pixels.
        noise: standard deviation of the sensor's noise in grey values.
        quality: of the JPEG picture, on Pillow's scale of 1 to 95.
    """

    dpi: int
    skew: float
    bleed: float
    paper: float
    fall_off: float
    side: int
    blur: float
    noise: float
    quality: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the scanned PDFs."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality.scans", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, help="folder for the scanned PDFs; a PDF that is there already is kept")
    parser.add_argument("--documents", type=Path, required=True, help="folder of the PDFs")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="default: the committed set")
    options = parser.parse_args(arguments)
    options.scans.mkdir(parents=True, exist_ok=True)
    for name, pages in ranked_pages(options.queries).items():
        file = options.scans / name
        if file.is_file():
            print(f"{file}: here already")
            continue
        partial = file.with_name(f"{name}.partial")
        scan_document(located(options.documents, name), pages, partial)
        partial.replace(file)
        print(f"{file}: {len(pages)} pages scanned", flush=True)


def ranked_pages(queries: Path) -> dict[str, set[int]]:
    """Returns the 0-based pages of each document that some query ranks."""
    pages: dict[str, set[int]] = {}
    for query in read_queries(queries):
        pages.setdefault(query.document, set()).update(query.candidates)
    return pages


def scan_document(source: Path, pages: Collection[int], target: Path) -> None:
    """Writes a PDF with a scan of each of ``pages``, and blank pages of the same size for the rest."""
    with pdfium.PdfDocument(source) as document:
        scanned = pdfium.PdfDocument.new()
        for number in range(len(document)):
            width, height = document.get_page_size(number)
            sheet = scanned.new_page(width, height)
            if number in pages:
                scan = draw_scan(source.name, number)
                back = render(document, number + 1, scan.dpi) if number + 1 < len(document) else None
                picture = scan_page(render(document, number, scan.dpi), back, scan, seed(source.name, number, 1))
                image = pdfium.PdfImage.new(scanned)
                image.load_jpeg(io.BytesIO(jpeg(picture, scan)), inline=True)
                image.set_matrix(pdfium.PdfMatrix().scale(width, height))
                sheet.insert_obj(image)
                sheet.gen_content()
            sheet.close()
        scanned.save(target)
        scanned.close()


def draw_scan(document: str, page: int) -> Scan:
    """Returns how a page of a document is scanned, the same on every call."""
    rng = np.random.default_rng(seed(document, page, 0))
    return Scan(
        dpi=int(rng.choice(DPI)),
        skew=float(rng.uniform(-1.5, 1.5)),
        bleed=float(rng.uniform(0.0, 0.12)),
        paper=float(rng.uniform(222, 250)),
        fall_off=float(rng.uniform(0, 25)),
        side=int(rng.integers(4)),
        blur=float(rng.uniform(0.3, 0.9)),
        noise=float(rng.uniform(2, 7)),
        quality=int(rng.integers(40, 76)),
    )


def seed(document: str, page: int, use: int) -> list[int]:
    """Returns the seed of NumPy's generator for one ``use`` of random numbers on a page."""
    return [SEED, zlib.crc32(document.encode()), page, use]


def render(document: pdfium.PdfDocument, page: int, dpi: int) -> Grey:
    """Returns the page over white, ``[height, width]``."""
    sheet = document[page]
    picture: Grey = np.array(sheet.render(scale=dpi / 72, grayscale=True).to_pil().convert("L"))
    sheet.close()
    return picture


def scan_page(front: Grey, back: Grey | None, scan: Scan, noise_seed: Sequence[int]) -> Grey:
    """Scans a page.

    Args:
        front: the page over white, ``[height, width]``.
        back: the page on its other side, of any size; None if there is none.
        scan: settings; ``dpi`` is the resolution of ``front`` and ``back``.
        noise_seed: seed of the sensor's noise.

    Returns:
        ``[height, width]``, as large as ``front``.
    """
    ink = 1 - front.astype(np.float32) / WHITE
    if back is not None:
        mirrored = Image.fromarray(back).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        soft = mirrored.resize(front.shape[::-1]).filter(ImageFilter.GaussianBlur(scan.dpi / 75))
        ink = np.maximum(ink, scan.bleed * (1 - np.asarray(soft, dtype=np.float32) / WHITE))
    page = Image.fromarray(np.rint(WHITE * (1 - ink)).astype(np.uint8))
    page = page.rotate(scan.skew, Image.Resampling.BICUBIC, fillcolor=WHITE).filter(ImageFilter.GaussianBlur(scan.blur))
    values = np.asarray(page, dtype=np.float32) / WHITE * (scan.paper - light(front.shape, scan))
    values += np.asarray(np.random.default_rng(noise_seed).normal(0, scan.noise, values.shape), dtype=np.float32)
    scanned: Grey = np.rint(values.clip(0, WHITE)).astype(np.uint8)
    return scanned


def light(shape: tuple[int, ...], scan: Scan) -> NDArray[np.float32]:
    """Returns by how many grey values each pixel is darker than the paper; broadcasts to ``shape``."""
    along = shape[1] if scan.side in (0, 2) else shape[0]
    fall = np.linspace(0, scan.fall_off, along, dtype=np.float32)
    fall = fall if scan.side in (0, 1) else fall[::-1]
    return fall[None, :] if scan.side in (0, 2) else fall[:, None]


def jpeg(picture: Grey, scan: Scan) -> bytes:
    """Returns the picture as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=scan.quality, dpi=(scan.dpi, scan.dpi))
    return file.getvalue()


if __name__ == "__main__":
    main()
