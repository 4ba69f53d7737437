"""Fixtures: the sample PDF's pages, a loaded reranker for all adapters, and the rankings that they must return."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from small_bundle import copy_default_bundle
from ziprerank.inputs.pages import PageInput
from ziprerank.reranker import Reranker
from ziprerank.scales import Scale

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"

SAMPLE = Path(__file__).parents[2] / "python" / "examples" / "sample.pdf"
QUERY = "dividend shareholders board directors"


@dataclass(frozen=True)
class Want:
    """A ranking by ``Reranker.rank``: positions, best first, and their scores."""

    order: list[int]
    probabilities: list[float]
    logits: list[float]
    sigmoids: list[float]

    def on_scale(self, scale: Scale) -> list[float]:
        return {"probability": self.probabilities, "sigmoid": self.sigmoids, "logit": self.logits}[scale]


@pytest.fixture(scope="session")
def query() -> str:
    return QUERY


@pytest.fixture(scope="session")
def sample() -> Path:
    return SAMPLE


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with pages of 192 px, so that the tests stay quick."""
    out = tmp_path_factory.mktemp("bundle") / "small"
    return copy_default_bundle(out, 192, min_pixels=1024, dpi=None)


@pytest.fixture(scope="session")
def reranker(bundle: Path) -> Reranker:
    return Reranker.from_bundle(bundle, threads=1, pool_bytes=64 << 20, check="size")


@pytest.fixture(scope="session")
def ranked(reranker: Reranker) -> Callable[..., Want]:
    """A function that ranks with ``Reranker.rank``, which every adapter is compared with."""

    def rank(pages: PageInput | Sequence[PageInput], **options: float) -> Want:
        ranking = reranker.rank(QUERY, pages, **options)  # type: ignore[arg-type]
        return Want(
            [page.index for page in ranking],
            [page.probability for page in ranking],
            [page.score for page in ranking],
            [page.sigmoid for page in ranking],
        )

    return rank


@pytest.fixture(scope="session")
def want(ranked: Callable[..., Want]) -> Want:
    """The ranking of all 18 pages of the sample PDF."""
    return ranked(SAMPLE)


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """The sample's first five pages as images, as a scanner would make them."""
    pdf = pypdfium2.PdfDocument(SAMPLE)
    return [pdf[page].render(scale=1).to_pil() for page in range(5)]


@pytest.fixture(scope="session")
def files(pictures: list[Image.Image]) -> list[bytes]:
    """``pictures`` as PNG files."""
    streams = [io.BytesIO() for _ in pictures]
    for picture, stream in zip(pictures, streams, strict=True):
        picture.save(stream, "PNG")
    return [stream.getvalue() for stream in streams]


@pytest.fixture(scope="session")
def encoded(files: list[bytes]) -> list[str]:
    return [base64.b64encode(file).decode() for file in files]


@pytest.fixture(scope="session")
def stored(files: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pages")
    paths = [folder / f"page{number}.png" for number, _ in enumerate(files, start=1)]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file)
    return paths


@pytest.fixture(scope="session")
def want_pictures(ranked: Callable[..., Want], files: list[bytes]) -> Want:
    return ranked(files)


@pytest.fixture(scope="session")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages behind the password "sesame"."""
    path = tmp_path_factory.mktemp("encrypted") / "two.pdf"
    canvas = Canvas(str(path), encrypt=StandardEncryption("sesame", strength=128))
    for page in (1, 2):
        canvas.drawString(72, 700, f"page {page}")
        canvas.showPage()
    canvas.save()
    return path
