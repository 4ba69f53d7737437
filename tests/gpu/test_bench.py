"""``python -m bench.gpu --tiny`` on the GPU: every section runs there, on small shapes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_helpers import ROOT

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out: Path = tmp_path_factory.mktemp("bench") / "rows.jsonl"
    subprocess.run([sys.executable, "-m", "bench.gpu", str(out), "--tiny"], cwd=ROOT, check=True)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_section_ran_on_the_gpu(rows: list[dict[str, Any]]) -> None:
    assert {row["device"] for row in rows} == {torch.cuda.get_device_name()}
    missing = [row for row in rows if row["what"] == "not run"]
    if any(row["section"] == "engine on cuda" for row in missing):
        pytest.skip(missing[0]["reason"])
    assert not missing
    kernels = [row for row in rows if row["what"] == "prune kernels"]
    expected = [(dtype, pages) for dtype in ("bf16", "fp16", "fp32") for pages in (2, 1)]
    assert [(row["dtype"], row["pages"]) for row in kernels] == expected
    assert {row["timed_by"] for row in kernels} == {"CUDA graph"}
    latencies = [row for row in rows if row["what"] == "latency"]
    assert len(latencies) == 2 * 2 * 3 * 2  # systems, numbers of pages, keep ratios, starts
    assert all(isinstance(row["clocks"], dict) and isinstance(row["driver"], dict) for row in latencies)
    assert all(row["agrees"] for row in rows if row["what"] == "agreement")
