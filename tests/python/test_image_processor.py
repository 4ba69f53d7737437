"""Pages reach the model with the very pixels that transformers' image processor would give it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from ziprerank.bundle import Bundle
from ziprerank.inputs.pages import open_pages


@pytest.mark.parametrize("size", [(700, 433), (300, 300), (40, 900), (1024, 768), (1600, 1131)])
def test_the_same_pixels_as_the_image_processor(bundle: Bundle, noise, size: tuple[int, int]) -> None:
    rules = dataclasses.replace(bundle.image, longest_side=1024)
    width, height = size
    image = Image.fromarray(noise(height, width, 3))
    with open_pages(image, rules) as sources:
        pixels = sources[0].prepare()

    processor = Qwen2VLImageProcessorPil(
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        patch_size=16,
        merge_size=2,
        temporal_patch_size=2,
        size={"longest_edge": rules.max_pixels, "shortest_edge": rules.min_pixels},
    )
    if max(size) > 1024:  # ZipRerank shrinks the page first, the processor does the rest
        image = image.resize((1024, int(height * (1024 / width))), Image.Resampling.LANCZOS)
    expected = processor(images=[image], return_tensors="np")
    _, rows, cols = expected["image_grid_thw"][0]
    assert pixels.shape == (rows * 16, cols * 16, 3)

    normalised = (pixels.astype(np.float32) / 255 - 0.5) / 0.5
    blocks = normalised.reshape(rows // 2, 2, 16, cols // 2, 2, 16, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    frame = blocks.reshape(rows * cols, 3, 1, 16, 16)
    patches = np.concatenate([frame, frame], axis=2).reshape(rows * cols, -1)
    np.testing.assert_allclose(patches, expected["pixel_values"], atol=1e-6)
