"""How programs end: threads that rank while the main program is over, and whatever happens to run at that time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ziprerank.errors import InvalidInput
from ziprerank.reranker import Reranker

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


def test_a_handler_that_opens_a_pdf_when_pdfium_is_closed(sample: Path) -> None:
    program = """
reranker = Reranker.from_bundle(page_workers="off")
reranker.rank("dividend", pages)
"""
    before = """
import atexit

def late():
    try:
        reranker.rank("dividend", pages)
    except ValueError as error:
        print("PDFium is closed" in str(error))

atexit.register(late)
"""
    assert run(program, sample, before=before) == "True\n"


def test_a_handler_ranks_a_pdf_in_page_workers_while_the_interpreter_ends(sample: Path) -> None:
    program = """
reranker = Reranker.from_bundle()
reranker.rank("dividend", pages)
"""
    before = """
import atexit
atexit.register(lambda: print(len(reranker.rank("dividend", pages))))
"""
    assert run(program, sample, before=before) == "18\n"


@pytest.mark.parametrize("workers", ["auto", "off"])
def test_a_daemon_ranks_while_the_interpreter_ends(sample: Path, workers: str) -> None:
    """The end waits for the call under way, and the thread begins no other."""
    program = f"""
reranker = Reranker.from_bundle(page_workers={workers!r})
begun = threading.Event()

def work():
    number = 0
    while True:
        number += 1
        reranker.rank(f"dividend {{number}}", pages, progress=lambda *_: begun.set())

threading.Thread(target=work, daemon=True).start()
begun.wait()
"""
    for _ in range(3):
        run(program, sample)


def test_daemons_wait_for_room_while_the_interpreter_ends(sample: Path) -> None:
    program = """
import numpy as np
from ziprerank import _engine
from ziprerank.bundle import default_bundle
from ziprerank.runtime.onnxruntime import find_runtime

engine = _engine.Engine(str(default_bundle()), str(find_runtime().library), pool_bytes=64 << 10)
held = engine.window([(64, 64)] * 2)
begun = threading.Barrier(3)

def work():
    begun.wait()
    engine.window([(64, 64)] * 2)

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
"""
    run(program, sample)


CHILD = """
import os, time
from ziprerank.errors import ZipRerankError

def child(body):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        body()
        sys.exit(0)  # everything is taken apart as at the end of any program
    return pid

def ended(pid):
    \"\"\"Its exit code; None, and it is killed, when it stands still for a minute.\"\"\"
    for _ in range(600):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(pid, 9)
    os.waitpid(pid, 0)

def refused(call):
    try:
        call()
    except ZipRerankError as error:
        print(type(error).__name__, "was forked" in str(error), "spawn" in str(error))
"""


def test_a_child_ends(sample: Path) -> None:
    program = """
reranker = Reranker.from_bundle()
reranker.rank("dividend", pages)
print(ended(child(lambda: None)))
print(len(reranker.rank("dividend", pages)))
"""
    assert run(CHILD + program, sample) == "0\n18\n"


def test_a_child_is_told_that_the_engine_is_its_parents(sample: Path) -> None:
    program = """
reranker = Reranker.from_bundle()
window = reranker.engine.window([(64, 64)])

def body():
    refused(lambda: reranker.rank("dividend", pages))
    refused(lambda: reranker.engine.window([(64, 64)]))
    refused(lambda: window.tokens(0))
    refused(lambda: reranker.engine.pool)
    window.close()
    reranker.close()
    print(reranker.engine.info["provider"])

print(ended(child(body)))
"""
    assert run(CHILD + program, sample) == "EngineError True True\n" * 4 + "cpu\n0\n"


def test_a_child_loads_an_engine_of_its_own(sample: Path) -> None:
    program = """
from ziprerank.integrations.engine import LazyReranker

lazy = LazyReranker()
lazy.get().rank("dividend", pages)

def body():
    with Reranker.from_bundle() as own:
        print(len(own.rank("dividend", pages)))
    print(len(lazy.get().rank("dividend", pages)))

print(ended(child(body)))
"""
    assert run(CHILD + program, sample) == "18\n18\n0\n"


def test_a_child_of_a_ranking_is_told(sample: Path) -> None:
    """It has the ranking of its parent half done, and none of the threads that prepare the next page."""
    program = """
reranker = Reranker.from_bundle()
children = []

def progress(*_):
    if not children:
        pid = os.fork()
        children.append(pid)

sys.stdout.flush()
parent = os.getpid()
try:
    print(len(reranker.rank("dividend", pages, progress=progress)))
except ZipRerankError as error:
    print(type(error).__name__, "was forked" in str(error))
if os.getpid() == parent:
    print(ended(children[0]))
"""
    assert sorted(run(CHILD + program, sample).splitlines()) == ["0", "18", "EngineError True"]


def test_children_while_another_thread_ranks(sample: Path) -> None:
    """None stands still; each ranks on an engine of its own, or is told that the runtime's locks are lost."""
    program = """
import numpy as np

reranker = Reranker.from_bundle()
page = np.full((320, 320, 3), 255, np.uint8)
page[::7] = 0
stop = threading.Event()

def work():
    number = 0
    while not stop.is_set():
        number += 1
        page[0, 0] = number % 256
        reranker.rank(f"dividend {number}", [page.copy()])

def body():
    try:
        reranker.rank("dividend", [page])
        os._exit(1)
    except ZipRerankError:
        pass
    try:
        assert len(Reranker.from_bundle(threads=1).rank("dividend", [page])) == 1
    except ZipRerankError as error:
        assert "forked while another thread used ONNX Runtime" in str(error)

thread = threading.Thread(target=work)
thread.start()
codes = [ended(child(body)) for _ in range(20)]
stop.set()
thread.join()
print(codes == [0] * 20)
"""
    assert run(CHILD + program, sample) == "True\n"


def test_closing_waits_for_the_rankings_under_way(sample: Path) -> None:
    program = """
from ziprerank.errors import InvalidInput

begun = [threading.Event() for _ in range(3)]

def work(own):
    ranked.append(len(reranker.rank("dividend", pages, progress=lambda *_: own.set())))

ranked = []
with Reranker.from_bundle() as reranker:
    threads = [threading.Thread(target=work, args=(own,)) for own in begun]
    for thread in threads:
        thread.start()
    for own in begun:
        own.wait()
for thread in threads:
    thread.join()
print(*ranked)
reranker.close()
for call in (lambda: reranker.rank("dividend", pages), lambda: reranker.engine.window([(64, 64)])):
    try:
        call()
    except InvalidInput as error:
        print("is closed" in str(error))
"""
    assert run(program, sample) == "18 18 18\n" + "True\n" * 2


def test_a_ranking_cannot_close_its_own_reranker(reranker: Reranker, sample: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be closed from inside of a ranking of its own"):
        reranker.rank("dividend", sample, progress=lambda *_: reranker.close())
    assert len(reranker.rank("dividend", sample)) == 18
