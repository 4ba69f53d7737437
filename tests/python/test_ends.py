"""How programs end: threads that rank while the main program is over, and whatever happens to run at that time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BEGIN = """
import sys, threading
from ziprerank import Reranker
pages = sys.argv[1]
"""


def run(program: str, sample: Path, *, before: str = "") -> str:
    """What the program printed; it must end by itself, with the code 0, and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-c", before + BEGIN + program, str(sample)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_a_thread_loads_and_ranks_after_the_main_program_has_ended(sample: Path) -> None:
    program = """
def work():
    threading.main_thread().join()
    print(len(Reranker.from_bundle().rank("dividend", pages)))

threading.Thread(target=work).start()
"""
    assert run(program, sample) == "18\n"


def test_a_thread_ranks_after_the_main_program_has_ended(sample: Path) -> None:
    program = """
reranker = Reranker.from_bundle()

def work():
    threading.main_thread().join()
    print(len(reranker.rank("dividend", pages)))

threading.Thread(target=work).start()
"""
    assert run(program, sample) == "18\n"


def test_a_handler_ranks_while_the_interpreter_ends(sample: Path) -> None:
    """Registered before ziprerank is imported, it runs after ziprerank's own handlers."""
    program = """
reranker = Reranker.from_bundle()
"""
    before = """
import atexit, numpy as np
atexit.register(lambda: print(len(reranker.rank("dividend", [np.full((320, 320, 3), 255, np.uint8)] * 3))))
"""
    assert run(program, sample, before=before) == "3\n"
