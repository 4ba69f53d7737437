"""Editing JSON files of a checkpoint or bundle in tests."""

from __future__ import annotations

import json
from pathlib import Path


def rewrite_json(file: Path, **changes: object) -> None:
    """Replace ``file`` by itself with top-level keys changed; a link is replaced, not written through."""
    content = {**json.loads(file.read_text()), **changes}
    file.unlink()
    file.write_text(json.dumps(content))
