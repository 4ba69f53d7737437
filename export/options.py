"""What an export is asked for: its options, and the defaults that the bundle recommends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ziprerank.strict_json import Fields

from .errors import ExportError
from .files import WEIGHTS, Weights
from .precision import precision_for
from .prompt import LETTERS

PRUNE_TEXTS = ("all_before_image", "query_only")
BLANKS = ("keep", "drop")
SIDES = (256, 16384)
"""Limits of a page's longer side in pixels."""
RESOLUTIONS = (20, 1200)
"""Limits of the resolution of PDF pages in dots per inch."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The pages and queries on which fp8 finds the ranges of activations.

    They should look like what the bundle will rank: values outside the ranges are clipped.

    Attributes:
        pages: Returns pages ``[h, w, 3]`` uint8 at their final size, given the manifest's image rules.
        queries: Each of them is run over all pages.
    """

    pages: Callable[[Mapping[str, Any]], Sequence[NDArray[np.uint8]]]
    queries: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Options of `export_checkpoint`.

    ``keep_ratio`` and everything after it are the bundle's defaults, which every call of the engine can override; None
    takes the prompt's own, or the value of `Defaults` where it has none.

    Attributes:
        target: ``cpu`` (operators for the CPU) or ``cuda`` (standard operators, for CUDA and TensorRT).
        precision: ``fp32``, ``fp16`` or ``bf16``: the graphs refer to the weights as they are stored. ``int8``,
            ``int8-dynamic``, ``int4`` or ``fp8``: the decoder's linear layers are quantised (docs/precision.md). None
            is fp32 for ``cpu`` and bf16 for ``cuda``.
        weights: ``link`` hard-links the checkpoint's shards into the bundle, ``copy`` copies them, ``auto`` links where
            that is possible.
        revision: Branch, tag or commit of a hub id.
        kernels: Whether to compile the pruning kernels into the bundle (target ``cuda`` only).
        calibration: Pages and queries for ``fp8``, which needs them.
        keep_ratio: Share of each page's visual tokens that the decoder reads, in (0, 1].
        window: Pages in one pass, 1..20.
        stride: Pages by which the window moves over longer lists, 1..window.
        prune_text: The text that visual tokens are compared with: ``all_before_image`` or ``query_only``.
        longest_side: Pixels of a page's longer side, 256..16384.
        dpi: Resolution of PDF pages, 20..1200, where ``longest_side`` allows it.
        blank: ``drop`` leaves visual tokens of blank paper out before the vision tower, ``keep`` does not.
        prompt: ``ziprerank``, ``qwen3-vl-reranker`` or the path of a file like ``prompt.json``; None takes the
            checkpoint's own, or that of the kind of checkpoint (`find_prompt`).

    Raises:
        ExportError: An option is unknown, or contradicts another. Defaults are checked by `Defaults`.
    """

    target: str = "cpu"
    precision: str | None = None
    weights: Weights = "auto"
    revision: str | None = None
    kernels: bool = False
    calibration: Calibration | None = None
    keep_ratio: float | None = None
    window: int | None = None
    stride: int | None = None
    prune_text: str | None = None
    longest_side: int | None = None
    dpi: float | None = None
    blank: str | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        precision = precision_for(self.target, self.precision).name
        if precision == "fp8" and self.calibration is None:
            raise ExportError(
                "precision fp8 needs ranges of the activations: calibrate on pages and queries like those it will see "
                "(--calibrate report.pdf --query '...')"
            )
        if precision != "fp8" and self.calibration is not None:
            raise ExportError(f"calibration for precision {precision}: only fp8 is calibrated, leave it out")
        if self.kernels and self.target != "cuda":
            raise ExportError(f"kernels for target {self.target}: they run on CUDA, use target cuda or leave them out")
        if self.weights not in WEIGHTS:
            raise ExportError(f"weights {self.weights!r} is unknown: use {', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}")


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults of a bundle, resolved and checked; see `ExportOptions` for their meaning.

    ``dpi`` None renders every PDF page at ``longest_side``.

    Raises:
        ExportError: A value is out of range.
    """

    keep_ratio: float = 0.5
    window: int = len(LETTERS)
    stride: int = 10
    prune_text: str = "all_before_image"
    longest_side: int = 1024
    dpi: float | None = None
    blank: str = "keep"

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise ExportError(f"keep_ratio {self.keep_ratio} must lie in (0, 1]")
        if not 1 <= self.window <= len(LETTERS):
            raise ExportError(f"window {self.window} must lie in 1..{len(LETTERS)}: a pass has {len(LETTERS)} letters")
        if not 1 <= self.stride <= self.window:
            raise ExportError(f"stride {self.stride} must lie in 1..window ({self.window})")
        if self.prune_text not in PRUNE_TEXTS:
            raise ExportError(f"prune_text {self.prune_text!r} is unknown: use one of {', '.join(PRUNE_TEXTS)}")
        if self.blank not in BLANKS:
            raise ExportError(f"blank {self.blank!r} is unknown: use one of {', '.join(BLANKS)}")
        check_page_size(self.longest_side, self.dpi)

    @staticmethod
    def of(prompt: Fields, options: ExportOptions, most_pages: int = len(LETTERS)) -> Defaults:
        """Resolves the defaults: the options first, then the prompt's file, then those of this class.

        Args:
            prompt: The content of the prompt's file.
            options: The export's.
            most_pages: Pages that one pass scores at most; where that is 1, pages are no window and none moves.

        Raises:
            CheckpointError: A value of the file has the wrong type or is out of range.
            ExportError: A value is out of range.
        """
        names = [field.name for field in fields(Defaults)]
        asked = {name: value for name in names if (value := getattr(options, name)) is not None}
        for name in ("keep_ratio", "dpi"):
            if name in prompt:
                prompt.number(name, 0, 1e6)
        # as written, 88 or 88.0: the bundle's identity is a digest of it
        own: dict[str, Any] = {name: prompt.values[name] for name in ("keep_ratio", "dpi") if name in prompt}
        own |= {name: prompt.whole(name, 0, 1 << 20) for name in ("window", "stride", "longest_side") if name in prompt}
        own |= {name: prompt.text(name, most=256) for name in ("prune_text", "blank") if name in prompt}
        if most_pages == 1:
            for name in ("window", "stride"):
                if asked.get(name, own.get(name, 1)) != 1:
                    raise ExportError(f"{name} for a prompt that is scored page by page: leave it out")
            own |= {"window": 1, "stride": 1}
        return Defaults(**own | asked)


def check_page_size(longest_side: int | None, dpi: float | None) -> None:
    """Checks the size at which pages are read; None is not checked.

    Args:
        longest_side: Pixels of a page's longer side.
        dpi: Resolution of PDF pages.

    Raises:
        ExportError: A value is out of range.
    """
    if longest_side is not None and not SIDES[0] <= longest_side <= SIDES[1]:
        raise ExportError(f"longest_side {longest_side} must lie in {SIDES[0]}..{SIDES[1]} pixels")
    if dpi is not None and not RESOLUTIONS[0] <= dpi <= RESOLUTIONS[1]:
        raise ExportError(f"dpi {dpi} must lie in {RESOLUTIONS[0]}..{RESOLUTIONS[1]}")
