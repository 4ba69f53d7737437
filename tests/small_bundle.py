"""The default bundle with smaller pages, so that tests stay quick whatever size the default has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ziprerank.bundle import default_bundle


def copy_default_bundle(out: Path, longest_side: int, **image: object) -> Path:
    """Copy the default bundle to ``out`` with pages of ``longest_side`` px; ``image`` are more entries to replace."""
    shutil.copytree(default_bundle(), out)
    manifest = json.loads((out / "ziprerank.json").read_text())
    manifest["image"] |= {"longest_side": longest_side, **image}
    (out / "ziprerank.json").write_text(json.dumps(manifest))
    return out


def copy_without_relevance(bundle: Path, out: Path) -> Path:
    """Copy a bundle to ``out`` as older exports are: relevance cannot pick pages, whatever its manifest says of it."""
    shutil.copytree(bundle, out)
    (out / "relate.onnx").unlink()
    manifest = json.loads((out / "ziprerank.json").read_text())
    del manifest["files"]["relate.onnx"]
    (out / "ziprerank.json").write_text(json.dumps(manifest | {"relevance": {"ranks": True}}))
    return out
