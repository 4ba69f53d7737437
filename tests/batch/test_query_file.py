"""A file of queries gives each of its lines as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from ziprerank.cli.batch import _lines


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_line_feeds_part_queries(tmp_path: Path, mark: str, end: str) -> None:
    queries = ["annual\u2028report", "a\u0085b", "a\x0cb", "a\rb", "a\x1cb", "董事会"]
    (tmp_path / "queries.txt").write_bytes((mark + end.join([*queries, "  ", ""])).encode())
    assert _lines(tmp_path / "queries.txt") == queries
