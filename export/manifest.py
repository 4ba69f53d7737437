"""Reading and writing ``ziprerank.json``, the manifest of a bundle (docs/bundle.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ziprerank.manifest import MANIFEST, check_manifest, read_manifest_fields

from .errors import ExportError

__all__ = ["MANIFEST", "precision_name", "read_manifest", "write_manifest"]


def read_manifest(bundle: Path) -> dict[str, Any]:
    """Reads the manifest of a bundle.

    Raises:
        ExportError: The directory has none.
        BundleError: There is no such directory, or the manifest does not say what one must.
    """
    if bundle.is_dir() and not (bundle / MANIFEST).exists():
        raise ExportError(f"{bundle} is not a bundle: it has no {MANIFEST}")
    manifest = read_manifest_fields(bundle)
    check_manifest(manifest)
    return manifest.values


def write_manifest(bundle: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest in one step: a reader sees the old one or the new one."""
    partial = bundle / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(bundle / MANIFEST)


def precision_name(manifest: Mapping[str, Any]) -> str:
    """Returns the ``--precision`` of the export; the manifest's own ``precision`` is only the dtype of activations."""
    name: str = manifest.get("quantisation", manifest)["precision"]
    return name
