"""The page on GPUs, whose tables are written by what counted them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "gpu.md"

Row = dict[str, Any]


def with_section(text: str, begin: str, end: str, content: str) -> str:
    """Returns ``text`` with what stands between its lines ``begin`` and ``end`` replaced."""
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + begin + content + end + after


def read_rows(file: Path) -> list[Row]:
    """Returns the rows of a results file; none where it has not been written."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Writes a results file: a JSON object a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
