"""``ziprerank.json`` and the metadata of the graphs (docs/bundle.md): read, written, put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import Checkpoint
from .errors import ExportError
from .pack import as_stored
from .precision import Precision

if TYPE_CHECKING:
    from .bundle import Defaults

FORMAT_VERSION = 1
MANIFEST = "ziprerank.json"


def read_manifest(bundle: Path) -> dict[str, Any]:
    """The manifest of a bundle.

    Raises:
        ExportError: there is none.
    """
    file = bundle / MANIFEST
    if not file.is_file():
        raise ExportError(f"{bundle} is not a bundle: it has no {MANIFEST}")
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


def precision_name(manifest: Mapping[str, Any]) -> str:
    """What ``--precision`` a bundle was exported with; ``precision`` alone names the dtype of activations."""
    name: str = manifest.get("quantisation", manifest)["precision"]
    return name


def write_manifest(bundle: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest in one step: a reader sees the old one or the new one."""
    partial = bundle / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(bundle / MANIFEST)


def graph_metadata(
    source: Checkpoint, bundle_id: str, precision: Precision, letters: list[int], defaults: Defaults
) -> dict[str, str]:
    """The metadata of both graphs."""
    config = source.config
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "bundle_id": bundle_id,
        "precision": precision.compute,
        "hidden_size": config.decoder.hidden_size,
        "levels": config.levels,
        "patch_size": config.vision.patch_size,
        "merge_size": config.vision.merge_size,
        "vocab_size": config.decoder.vocab_size,
        "letter_ids": ",".join(map(str, letters)),
        "image_pad_id": config.image_pad_id,
        "vision_start_id": config.vision_start_id,
        "vision_end_id": config.vision_end_id,
        "video_pad_id": config.video_pad_id,
        "keep_ratio": defaults.keep_ratio,
        "window": defaults.window,
        "stride": defaults.stride,
        "blank": defaults.blank,
    }
    if precision.packed:
        values |= {"weights": precision.name, "as_stored": ",".join(as_stored(source))}
    return {f"ziprerank.{key}": str(value) for key, value in values.items()}


def describe_model(source: Checkpoint) -> dict[str, Any]:
    """The manifest's ``model``."""
    vision, decoder = source.config.vision, source.config.decoder
    return {
        "hidden_size": decoder.hidden_size,
        "levels": source.config.levels,
        "vocab_size": decoder.vocab_size,
        "decoder": {
            "layers": decoder.layers,
            "heads": decoder.heads,
            "kv_heads": decoder.kv_heads,
            "head_dim": decoder.head_dim,
            "intermediate_size": decoder.intermediate_size,
        },
        "vision": {
            "depth": vision.depth,
            "hidden_size": vision.hidden_size,
            "heads": vision.heads,
            "intermediate_size": vision.intermediate_size,
            "deepstack": list(vision.deepstack),
        },
        "parameters": source.parameters,
    }


def own_version() -> str:
    """The version of this package."""
    try:
        return version("ziprerank")
    except PackageNotFoundError:
        return "from source"
