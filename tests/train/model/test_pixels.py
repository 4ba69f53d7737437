"""Pages as training sees them against pages as the runtime makes them: pixel for pixel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from ziprerank import Pdf
from ziprerank.bundle import ImageRules
from ziprerank.export.checkpoint import Checkpoint
from ziprerank.inputs.pages import open_pages
from ziprerank.train.data.examples import PageRef
from ziprerank.train.errors import TrainError
from ziprerank.train.model.pixels import Sizes, load

SIZES = Sizes(factor=32, min_pixels=65536, max_pixels=16777216, longest_side=512)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pixels") / "form.pdf"
    canvas = Canvas(str(path), pagesize=(420, 300))
    canvas.drawString(40, 250, "printed on the page")
    canvas.acroForm.textfield(name="field", value="filled in", x=40, y=100, width=200, height=40)
    canvas.showPage()
    canvas.setPageSize((200, 600))
    canvas.drawString(20, 500, "a tall page")
    canvas.showPage()
    canvas.save()
    return path


@pytest.mark.parametrize("dpi", [None, 90.0])
def test_pdf_pages_are_the_runtimes(document: Path, dpi: float | None) -> None:
    sizes = replace(SIZES, dpi=dpi)
    rules = ImageRules(16, 2, sizes.min_pixels, sizes.max_pixels, sizes.longest_side, dpi)
    with open_pages(Pdf(document), rules) as pages:
        for number, shown in enumerate(pages):
            pixels = load(PageRef(document, number), sizes)
            assert pixels.min() < 128
            np.testing.assert_array_equal(pixels, shown.prepare())


@pytest.mark.parametrize("size", [(300, 200), (900, 1400), (2000, 700)])
def test_images_are_the_runtimes(size: tuple[int, int], tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "page.png")
    rules = ImageRules(16, 2, SIZES.min_pixels, SIZES.max_pixels, SIZES.longest_side)
    with open_pages([tmp_path / "page.png"], rules) as pages:
        np.testing.assert_array_equal(load(PageRef(tmp_path / "page.png"), SIZES), pages[0].prepare())


def test_sizes_are_what_the_checkpoint_says(start_checkpoint: Path, tmp_path: Path) -> None:
    assert replace(Sizes.of(Checkpoint.open(str(start_checkpoint))), longest_side=512) == SIZES
    for file in start_checkpoint.iterdir():
        (tmp_path / file.name).symlink_to(file)
    prompt = json.loads((start_checkpoint / "prompt.json").read_text()) | {"longest_side": 640, "dpi": 72}
    (tmp_path / "prompt.json").unlink()
    (tmp_path / "prompt.json").write_text(json.dumps(prompt))
    sizes = Sizes.of(Checkpoint.open(str(tmp_path)))
    assert (sizes.longest_side, sizes.dpi, sizes.factor) == (640, 72, 32)


def test_pages_that_are_not_there(document: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="has 2 pages: there is no page 2"):
        load(PageRef(document, 2), SIZES)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(TrainError, match=r"broken\.png cannot be read as an image"):
        load(PageRef(tmp_path / "broken.png"), SIZES)
