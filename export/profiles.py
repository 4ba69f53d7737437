"""Sizes of windows for the optimisation profiles of plans: the smallest, usual and largest shape of every input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

Shapes: TypeAlias = "dict[str, list[list[int]]]"
"""The smallest, usual and largest shape of each input, by its name."""

TEXT = (2, 256, 2048)  # tokens of the prompt, including the query
SUFFIX = 256  # tokens of a prompt's suffix, which its limit spares
MOST_VALUES = 2**31 - 1  # of one tensor, in TensorRT


def profiles(manifest: Mapping[str, Any]) -> dict[str, Shapes]:
    """Computes the sizes of each graph's inputs from the image rules and defaults of a bundle's manifest.

    The usual window has A4 pages at the longest side, pruned by the default. The largest has 20 square pages, unpruned.
    The pool may have as many rows as one tensor can hold, since its size costs a plan nothing.
    """
    image, defaults, model = manifest["image"], manifest["defaults"], manifest["model"]
    letters = len(manifest["tokens"].get("letters", [0]))  # yes/no bundles score one page
    factor = image["patch_size"] * image["merge_size"]
    side = math.ceil(image["longest_side"] / factor)
    largest = max(1, image["max_pixels"] // factor**2)
    page, most = min(side * max(1, round(side / math.sqrt(2))), largest), min(side * side, largest)
    text = (TEXT[0], TEXT[1], max(TEXT[2], manifest["prompt"].get("most_tokens", 0) + SUFFIX))
    patches = image["merge_size"] ** 2
    values = 3 * image["patch_size"] ** 2
    visual = (1, defaults["window"] * page, letters * most)
    kept = (1, round(visual[1] * defaults["keep_ratio"]), visual[2])
    levels, hidden = model["levels"], model["hidden_size"]
    rows = MOST_VALUES // (levels * hidden)

    def sizes(
        smallest: int, usual: int, largest: int, before: tuple[int, ...] = (), after: tuple[int, ...] = ()
    ) -> Any:
        return [[*before, size, *after] for size in (smallest, usual, largest)]

    patch_counts = (patches, patches * page, patches * most)
    return {
        "vision.onnx": {
            "patches": sizes(*patch_counts, before=(1,), after=(values,)),
            "patch_rows": sizes(*patch_counts),
            "patch_cols": sizes(*patch_counts),
        },
        "rerank.onnx": {
            "pool": sizes(1, visual[1], rows, after=(levels, hidden)),
            "rows": sizes(*visual),
            "page_offsets": sizes(2, defaults["window"] + 1, letters + 1),
            "keep": sizes(1, defaults["window"], letters),
            "text_ids": sizes(*text),
            "query_mask": sizes(*text),
            "text_positions": sizes(*text, before=(3,)),
            "visual_positions": sizes(*visual, before=(3,)),
            "layout": sizes(*(text + count for text, count in zip(text, kept, strict=True))),
        },
    }
