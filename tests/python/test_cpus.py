"""Engine and helpers use the CPUs that the process may use, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ziprerank.runtime.cpus import usable_cpus

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity masks")

PROGRAM = """
import contextlib, json, os, re, sys
from pathlib import Path

cpu = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cpu})
from ziprerank import Reranker
from ziprerank.runtime.cpus import usable_cpus
from ziprerank.inputs.feed import PageFeed
from ziprerank.serve.settings import Settings

reranker = Reranker.from_bundle(threads=int(sys.argv[1]), pool_bytes=64 << 20)
best = reranker.rank("dividend", sys.argv[2], top_k=1)
allowed = []
for task in Path("/proc/self/task").iterdir():
    with contextlib.suppress(OSError):  # a thread that has ended since
        allowed += re.findall(r"^Cpus_allowed_list:\\s*(.*)$", (task / "status").read_text(), re.MULTILINE)
print(json.dumps({
    "cpu": str(cpu), "allowed": allowed, "threads": reranker.engine.info["threads"], "usable": usable_cpus(),
    "workers": Settings().workers, "feed": PageFeed([])._workers.most, "ranked": len(best),
}))
"""


def on_one_cpu(threads: int, sample: Path) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-c", PROGRAM, str(threads), str(sample)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout), done.stderr


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_process_with_one_cpu(sample: Path) -> None:
    found, said = on_one_cpu(0, sample)
    assert found["threads"] == found["usable"] == found["workers"] == found["feed"] == 1
    assert set(found["allowed"]) == {found["cpu"]}
    assert found["ranked"] == 1
    assert said == ""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_threads_that_were_asked_for_stay_in_the_mask(sample: Path) -> None:
    found, said = on_one_cpu(3, sample)
    assert found["threads"] == 3
    assert set(found["allowed"]) == {found["cpu"]}
    assert said == ""


def test_no_more_than_the_mask() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))


def test_without_the_compiled_engine_the_mask_counts() -> None:
    code = """
import os, sys
sys.modules["ziprerank._engine"] = None
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from ziprerank.runtime.cpus import usable_cpus
print(usable_cpus())
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "1\n"
