"""A ranking of 500 pages ends within the step that it is in: by Ctrl-C on the command line, and by ``cancel``."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from blocking_engine import BlockingEngine
from counting_engine import CountingEngine
from ziprerank.errors import Cancelled
from ziprerank.reranker import Reranker

PAGES = 500
STEPS = [("encode", 30), ("score", 3)]

# The command line on an engine that sends SIGINT to its own process in the middle of a step; a pass then runs on until
# it is cancelled.
PROGRAM = """
import json, os, signal, sys
from blocking_engine import BlockingEngine
from counting_engine import CountingEngine
from ziprerank import reranker
from ziprerank.cli.app import app

kind, number, told = sys.argv[1], int(sys.argv[2]), sys.argv[3]
load = reranker.load_engine

def interrupt():
    blocking.blocks = kind == "score"
    os.kill(os.getpid(), signal.SIGINT)

def load_counting(bundle, options):
    global blocking, counting
    blocking = BlockingEngine(load(bundle, options))
    blocking.blocks = False
    counting = CountingEngine(blocking, kind, number, interrupt)
    return counting

reranker.load_engine = load_counting
try:
    app(sys.argv[4:])
finally:
    with open(told, "w") as file:
        json.dump({"begun": counting.begun, "after": counting.after, "ended": blocking.ended}, file)
"""


@pytest.mark.parametrize(("kind", "number"), STEPS)
def test_ctrl_c_ends_the_command_line(
    small_pages: Path, make_pdf: Callable[..., bytes], tmp_path: Path, kind: str, number: int
) -> None:
    document, told = tmp_path / "long.pdf", tmp_path / "told.json"
    document.write_bytes(make_pdf(PAGES))
    ranking = ["rank", "page", str(document), "--first-stage", "none", "--bundle", str(small_pages), "--check", "size"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, str(number), str(told), *ranking],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""},
    )
    counts = json.loads(told.read_text())
    assert done.returncode not in (0, -2), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert counts["begun"][kind] == number
    assert counts["after"] == 0
    assert counts["ended"] == (kind == "score")  # the pass under way was cancelled


@pytest.mark.parametrize(("kind", "number"), STEPS)
def test_cancel_ends_a_ranking(
    reranker: Reranker, noise: Callable[[int, int, int], np.ndarray], kind: str, number: int
) -> None:
    cancel, blocking = threading.Event(), BlockingEngine(reranker.engine)
    blocking.blocks = False

    def act() -> None:
        blocking.blocks = kind == "score"
        cancel.set()

    counting = CountingEngine(blocking, kind, number, act)
    pages = [noise(64, 64, seed) for seed in range(PAGES)]
    with pytest.raises(Cancelled):
        Reranker(reranker.bundle, counting).rank("fish soup", pages, cancel=cancel)
    assert counting.begun[kind] == number
    assert counting.after == 0
    assert blocking.ended == (kind == "score")
    assert reranker.engine.pool["pinned_rows"] == 0
