"""Images of every kind show what they hold, and say what they do not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.images import KINDS, PILLOW
from page_images import RULES, prepared
from PIL import features
from ziprerank.inputs.pages import open_pages

_FEATURES = {"JPEG 2000": "jpg_2000", "AVIF": "avif", "animated AVIF": "avif"}


@pytest.mark.parametrize("kind", KINDS)
def test_files_show_what_they_hold(kind: str, tmp_path: Path) -> None:
    if not features.check(_FEATURES.get(kind, "jpg")):
        pytest.skip("this Pillow has no decoder for it")
    make, pages, level = KINDS[kind]
    data = make()
    path = tmp_path / "page"
    path.write_bytes(data)
    for given in (data, path):
        with open_pages(given, RULES) as sources:
            assert len(sources) == pages
            shown, warnings = sources[0].read()
        assert np.abs(shown.astype(int)[8:, 8:] - level).max() <= 3
        assert len(warnings) == kind.startswith("animated")


@pytest.mark.parametrize("kind", PILLOW)
def test_images_of_an_application_show_what_they_hold(kind: str) -> None:
    make, level = PILLOW[kind]
    assert np.abs(prepared(make()).astype(int) - level).max() <= 2
