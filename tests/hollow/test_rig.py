"""The hollow GPU itself: it ranks, tells what it was asked, and fails when it is told to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hollow import HollowGpu, Step, read_record

Bundles = Callable[[str], Path]
A, B = (288, 256), (288, 288)


def test_a_ranking_runs_on_onnx_runtimes_cuda_provider(hollow_gpu: HollowGpu, bundles: Bundles, tmp_path: Path) -> None:
    """Pages are read, tokens are kept, a score comes back for each; the second time they are in the pool."""
    run = hollow_gpu.rank(bundles("bf16"), tmp_path / "log", [Step([A, B, A]), Step([A, B, A])])
    output = run.output
    info = output["info"]
    assert info["provider"] == "cuda"
    assert info["runtime_version"] == hollow_gpu.version
    assert info["driver_library"] == "libcuda.so.1"
    for step in output["steps"]:
        assert step["tokens"] == [72, 81, 72]
        assert step["kept"] == [list(range(36)), list(range(40)), list(range(36))]
        # equal logits fall by the least float32 from rank to rank
        assert step["scores"] == pytest.approx([0, 0, 0], abs=1e-40)
    first, again = (run.record.parts[f"step {number}"] for number in (0, 1))
    assert len(first.launches) > len(again.launches) > 0
    assert first.of("flash_fwd")
    assert first.tflop > again.tflop > 0
    assert run.record.parts["load"].live > info["pool_bytes"]
    assert run.record.parts["end"].live == run.record.parts["end"].pinned == 0  # everything is given back


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"memory": 1 << 20}, "memory"),
        ({"memory": 1 << 30}, "no room for a pool of 1073741824 bytes on Fake GPU, where"),
        ({"fail": "copy:3:719"}, "unspecified launch failure"),
        ({"capability": 75}, "cannot run on compute capability 7.5"),
        ({"devices": 0}, "there is no cuda:0"),
    ],
)
def test_a_chosen_call_fails(
    hollow_gpu: HollowGpu, bundles: Bundles, tmp_path: Path, settings: dict[str, object], text: str
) -> None:
    run = hollow_gpu.rank(bundles("bf16"), tmp_path / "log", [], **settings)
    assert text in run.output["error"][1]


@pytest.mark.parametrize("kind", ["launch", "gemm", "copy", "alloc"])
def test_the_next_query_works_after_a_failure_and_none_after_a_lost_device(
    hollow_gpu: HollowGpu, bundles: Bundles, tmp_path: Path, kind: str
) -> None:
    status = "2" if kind == "alloc" else "719"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(bundle=str(bundles("bf16")), plan=f"{kind}:1:{status}"))
    run = hollow_gpu.run([sys.executable, program], tmp_path / "log")
    assert run.output == {"failed": True, "again": True, "lost": [True, True]}
    assert run.record.parts["failing"].failures == [kind]


PROGRAM = """
import json
import numpy as np
from hollow.control import fail, mark
from ziprerank.errors import ZipRerankError
from ziprerank.reranker import Reranker

reranker = Reranker.from_bundle({bundle!r}, provider="cuda", pool_bytes=1 << 24)
def fails(seed, side=256):
    page = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    try:
        reranker.rank("whales", page)
    except ZipRerankError:
        return True
    return False
mark("failing")
fail("{plan}")
out = {{"failed": fails(0), "again": not fails(1)}}
fail("{plan}:lost")
mark("lost")
out["lost"] = [fails(2, 288), fails(3, 288)]
print(json.dumps(out))
"""


def test_a_line_that_is_no_record_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("mark a\nlaunched 3\n")
    with pytest.raises(ValueError, match="'launched'"):
        read_record(log)
