"""The bundles of a comparison: given ones, or exports of the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ziprerank.bundle import Blank, Bundle
from ziprerank.errors import InvalidInput
from ziprerank.export import ExportOptions, export_checkpoint
from ziprerank.export.manifest import precision_name, read_manifest

Bundles = dict[str, Bundle]


def load_bundles(given: Sequence[Path], checkpoint: Path, provider: str, scratch: Path) -> tuple[Bundles, Bundles]:
    """Loads bundles; without any, one with the checkpoint's own prompt is exported, and one of the other kind.

    Args:
        given: exports of ``checkpoint``.
        checkpoint: Hugging Face directory.
        provider: that the exports are for.
        scratch: where they go.

    Returns:
        By precision, the bundles that rank a window of pages, and those that score each page by itself.

    Raises:
        InvalidInput: two bundles of a kind have the same precision, or none ranks a window.
    """
    listwise: Bundles = {}
    pointwise: Bundles = {}
    for path in given or _exported(checkpoint, provider, scratch):
        bundle, precision = Bundle.load(path, check="size"), precision_name(read_manifest(path))
        kind = pointwise if bundle.defaults.pointwise else listwise
        if precision in kind:
            raise InvalidInput(f"{kind[precision].path} and {path} are both {precision}: give one of each precision")
        kind[precision] = bundle
    if not listwise:
        raise InvalidInput("every bundle scores each page by itself: give one with letters too, to compare it with")
    return listwise, pointwise


def _exported(checkpoint: Path, provider: str, scratch: Path) -> Iterator[Path]:
    gpu = provider.startswith("cuda")
    options = ExportOptions(target="cuda" if gpu else "cpu", kernels=gpu)
    own = export_checkpoint(str(checkpoint), scratch / "own", options)
    yield own
    other = "ziprerank" if Bundle.load(own, check="none").defaults.pointwise else "qwen3-vl-reranker"
    yield export_checkpoint(str(checkpoint), scratch / "other", replace(options, prompt=other))


def with_pages_of(other: Bundle, bundle: Bundle) -> Bundle:
    """Returns the bundle with the page sizes of another one, so that both read the same pages."""
    return replace(bundle, image=other.image)


def blanks(bundle: Bundle) -> tuple[Blank, ...]:
    """Returns the bundle's recommended option, and "keep", whose logits are compared with the other systems'."""
    return ("drop", "keep") if bundle.defaults.blank == "drop" else ("keep",)
