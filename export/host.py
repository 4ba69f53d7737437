"""A minimal host of a bundle: stock ONNX Runtime and NumPy, without libziprerank.

It shows what a host in any language has to do (docs/bundle.md). `verify_bundle` and the tests run the graphs with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .manifest import read_manifest

_DTYPES = {"fp32": np.float32, "fp16": np.float16}
BLANK_TOLERANCE = 8
"""Largest difference of a value from that of the token's first pixel, channel by channel, in a blank visual token."""


@dataclass(frozen=True, slots=True)
class HostPage:
    """A page after the vision tower.

    Attributes:
        features: ``[n, L, H]``, of the visual tokens that were read.
        grid: Rows and columns of the page in visual tokens.
        read: ``[n]``: indices of the tokens that were read, ascending.
    """

    features: NDArray[Any]
    grid: tuple[int, int]
    read: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HostScores:
    """Result of one pass.

    Attributes:
        logits: ``[20]``, of the letters; ``[1]``, the log-odds, where the bundle's scoring is ``yes_no``.
        kept: For each page its kept visual tokens, ascending indices into its grid.
    """

    logits: NDArray[np.float32]
    kept: tuple[NDArray[np.int64], ...]


class Host:
    """Runs a bundle on ONNX Runtime's CPU provider.

    Args:
        bundle: The bundle's directory.
        op_library: A library with ``RegisterCustomOps`` (libziprerank), whose fused operators then run; without it the
            operators' function bodies do.
        threads: Threads of each session; 0 lets ONNX Runtime choose.
        manifest: At least its ``image`` and ``tokens``, for graphs that are no whole bundle; None reads the bundle's.

    Raises:
        ExportError: The directory is not a bundle.
    """

    def __init__(
        self,
        bundle: Path,
        *,
        op_library: Path | None = None,
        threads: int = 0,
        manifest: dict[str, Any] | None = None,
    ) -> None:
        self.manifest = read_manifest(bundle) if manifest is None else manifest
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        if op_library is not None:
            options.register_custom_ops_library(str(op_library))
        providers = ["CPUExecutionProvider"]
        self.vision = ort.InferenceSession(bundle / "vision.onnx", options, providers=providers)
        self.rerank = ort.InferenceSession(bundle / "rerank.onnx", options, providers=providers)

    @classmethod
    def over(cls, manifest: dict[str, Any], vision: Any, rerank: Any) -> Host:
        """Makes a host on graphs that run elsewhere; both have the ``run`` of an InferenceSession."""
        host = cls.__new__(cls)
        host.manifest, host.vision, host.rerank = manifest, vision, rerank
        return host

    def encode(self, pixels: NDArray[np.uint8], *, drop_blank: bool = False) -> HostPage:
        """Runs the vision tower on one page.

        Args:
            pixels: ``[h, w, 3]``, sides are multiples of patch size x merge size.
            drop_blank: Whether to leave out blank visual tokens.
        """
        patch, merge = self.manifest["image"]["patch_size"], self.manifest["image"]["merge_size"]
        height, width = pixels.shape[0] // patch, pixels.shape[1] // patch
        grid = (height // merge, width // merge)
        read = printed_tokens(pixels, patch * merge) if drop_blank else np.arange(grid[0] * grid[1])
        blocks = pixels.reshape(grid[0], merge, patch, grid[1], merge, patch, 3)
        patches = blocks.transpose(0, 3, 1, 4, 6, 2, 5).reshape(-1, merge**2, 3 * patch * patch)[read]

        def block_order(places: NDArray[np.int64]) -> NDArray[np.int64]:
            blocks = places.reshape(grid[0], merge, grid[1], merge).transpose(0, 2, 1, 3)
            return blocks.reshape(-1, merge**2)[read].ravel()

        rows, cols = np.indices((height, width), dtype=np.int64)
        inputs = {
            "patches": patches.reshape(1, -1, patches.shape[-1]),
            "patch_rows": block_order(rows),
            "patch_cols": block_order(cols),
        }
        (features,) = self.vision.run(["features"], inputs)
        return HostPage(features[0], grid, read)

    def score(
        self,
        text_ids: Sequence[int],
        pages: Sequence[HostPage],
        keep_ratio: float,
        query_mask: Sequence[bool] | None = None,
    ) -> HostScores:
        """Runs one pass.

        Args:
            text_ids: The tokenised prompt, with one image pad for each page.
            pages: At most 20; none for a text alone, where the bundle's scoring is ``yes_no``.
            keep_ratio: Share of each page's visual tokens to keep, in (0, 1].
            query_mask: Which tokens of ``text_ids`` visual tokens are compared with; None: all before the first image
                except vision markers.
        """
        inputs = self.inputs(text_ids, pages, keep_ratio, query_mask)
        logits, kept = self.rerank.run(["scores", "kept"], inputs)
        if not pages:
            return HostScores(logits, ())
        offsets, keep = inputs["page_offsets"], inputs["keep"]
        split = np.split(kept, np.cumsum(keep)[:-1])
        by_page = zip(pages, split, offsets[:-1], strict=True)
        return HostScores(logits, tuple(page.read[chosen - start] for page, chosen, start in by_page))

    def inputs(
        self,
        text_ids: Sequence[int],
        pages: Sequence[HostPage],
        keep_ratio: float,
        query_mask: Sequence[bool] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Builds the inputs of ``rerank.onnx`` for one pass; see `score` for the arguments."""
        tokens = self.manifest["tokens"]
        ids = np.array(text_ids, np.int64)
        is_text = ids != tokens["image_pad"]
        if query_mask is None:
            before_image = np.arange(len(ids)) < (len(ids) if is_text.all() else np.argmin(is_text))
            mask = before_image & ~np.isin(ids, [tokens["vision_start"], tokens["vision_end"]])
        else:
            mask = np.array(query_mask)
        text = {"text_ids": ids[is_text], "query_mask": mask[is_text], **_positions(is_text, pages)}
        if not pages:  # the graph has at least one page: any row of the pool, which the layout leaves out
            model = self.manifest["model"]
            return {
                "pool": np.zeros((1, model["levels"], model["hidden_size"]), _DTYPES[self.manifest["precision"]]),
                "rows": np.zeros(1, np.int64),
                "page_offsets": np.array([0, 1]),
                "keep": np.ones(1, np.int64),
                **text,
                "layout": np.arange(len(ids)),
            }
        features = np.concatenate([page.features for page in pages])
        counts = [len(page.features) for page in pages]
        offsets = np.cumsum([0, *counts])
        keep = np.array([_keep_count(page, keep_ratio) for page in pages], np.int64)
        return {
            "pool": features,
            "rows": np.arange(len(features), dtype=np.int64),
            "page_offsets": offsets,
            "keep": keep,
            **text,
            "layout": _layout(is_text, keep),
        }


def printed_tokens(pixels: NDArray[np.uint8], side: int) -> NDArray[np.int64]:
    """Finds the visual tokens of ``side`` x ``side`` pixels that are not blank, and the last one (docs/bundle.md).

    Args:
        pixels: ``[h, w, 3]``, sides are multiples of ``side``.
        side: Side of a visual token in pixels.

    Returns:
        Their indices, ascending.
    """
    height, width = (extent // side for extent in pixels.shape[:2])
    cells = pixels.reshape(height, side, width, side, 3).transpose(0, 2, 1, 3, 4).reshape(height * width, -1, 3)
    printed = (np.abs(cells.astype(np.int16) - cells[:, :1]) > BLANK_TOLERANCE).any(axis=(1, 2))
    printed[-1] = True
    return np.flatnonzero(printed)


def _keep_count(page: HostPage, keep_ratio: float) -> int:
    """Returns how many tokens to keep: a share of the whole grid, where tokens that were not read are pruned first."""
    return min(len(page.read), max(1, round(keep_ratio * page.grid[0] * page.grid[1])))


def _positions(is_text: NDArray[np.bool_], pages: Sequence[HostPage]) -> dict[str, NDArray[np.int64]]:
    """Computes M-RoPE positions (time, row, column).

    A text token advances the position by 1, an image by the longer side of its grid.
    """
    text, visual, position = [], [], 0
    remaining = iter(pages)
    for token_is_text in is_text:
        if token_is_text:
            text.append([position] * 3)
            position += 1
        else:
            page = next(remaining)
            height, width = page.grid
            rows, cols = np.indices((height, width)).reshape(2, -1)
            visual.append(np.stack([np.zeros_like(rows), rows, cols])[:, page.read] + position)
            position += max(height, width)
    return {
        "text_positions": np.array(text, np.int64).T.copy(),
        "visual_positions": np.concatenate(visual or [np.zeros((3, 1), np.int64)], axis=1).astype(np.int64),
    }


def _layout(is_text: NDArray[np.bool_], keep: NDArray[np.int64]) -> NDArray[np.int64]:
    """Builds the packed sequence of indices: text tokens are ``0..T-1``, kept visual tokens follow from ``T``."""
    text_count = int(is_text.sum())
    text = iter(range(text_count))
    runs = iter(np.split(text_count + np.arange(keep.sum()), np.cumsum(keep)[:-1]))
    return np.concatenate([[next(text)] if token_is_text else next(runs) for token_is_text in is_text]).astype(np.int64)
