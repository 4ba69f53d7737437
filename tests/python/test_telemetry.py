"""Nothing leaves the machine: a ranking writes nothing into the user's home and opens no socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RANK = "import sys; from ziprerank import Reranker; print(len(Reranker.from_bundle().rank('soup', sys.argv[1], 1)))"
WAIT = "; import time; time.sleep(2)"  # ONNX Runtime 1.32 sends from a thread of its own, which takes its time


def run(home: Path, *command: str | Path, **variables: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "OPENBLAS_CORETYPE") if name in os.environ}
    environment = {**kept, "HOME": str(home), **variables}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_ranking_writes_nothing_into_the_home_folder(sample: Path, tmp_path: Path) -> None:
    assert run(tmp_path, sys.executable, "-c", RANK, sample) == "1"
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_ranking_opens_no_socket(sample: Path, tmp_path: Path) -> None:
    log, home = tmp_path / "calls", tmp_path / "home"
    home.mkdir()
    tracer = ["strace", "-f", "-qq", "-e", "trace=socket,connect", "-o", log]
    assert run(home, *tracer, sys.executable, "-c", RANK + WAIT, sample) == "1"
    assert [line for line in log.read_text().splitlines() if "AF_INET" in line] == []


@pytest.mark.parametrize(("given", "left"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_who_wants_telemetry_can_have_it(given: dict[str, str], left: str, tmp_path: Path) -> None:
    code = "import ziprerank, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(tmp_path, sys.executable, "-c", code, **given) == left
