"""Test of ``python -m bench.serve``: a short run with few clients, and its table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from bench.serve_report import table  # noqa: E402


def test_a_short_run(bundle_path: Path, tmp_path: Path) -> None:
    pdf, out = ROOT / "python" / "examples" / "sample.pdf", tmp_path / "out.jsonl"
    command = [
        sys.executable,
        "-m",
        "bench.serve",
        str(pdf),
        str(out),
        "--clients",
        "5",
        "--seconds",
        "2",
        "--pages",
        "4",
    ]
    options = ["--bundle", str(bundle_path), "--queue", "3"]
    done = subprocess.run(
        [*command, "--", *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (row["clients"], row["pages"], row["queue"], row["options"]) == (5, 4, 3, options)
    assert set(row["statuses"]) <= {"200", "429"}
    assert row["statuses"]["200"] > 0
    assert row["different_from_alone"] == row["sigterm"]["broken_connections"] == row["sigterm"]["exit"] == 0
    assert all(held for claim, held in row["holds"].items() if claim != "p95 within the bound")  # that one is a time
    assert 0 <= row["waited"]["cached"] < 1
    text = table(row)
    assert "5 clients for 2 s, each with 4-page requests" in text
    assert f"| answered, turned away with 429, other statuses | {row['statuses']['200']:,}, " in text
    assert table(row | {"different_from_alone": 2, "holds": {"results as with one client": False}}).endswith(
        "\n\nNot held: results as with one client."
    )
