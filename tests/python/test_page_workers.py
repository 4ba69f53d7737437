"""Page workers: a page that hangs, crashes its reader or takes too much memory costs that page and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hostile_files import endless_pdf, pdf_of, scans_jpeg, white_png
from page_images import RULES, encoded, opened, png, prepared, refusal
from PIL import Image
from waiting import wait_until
from ziprerank.errors import PageError, WorkerError
from ziprerank.inputs.pages import PageInput, Pdf, open_pages
from ziprerank.inputs.pdf import PDFIUM_LOCK
from ziprerank.inputs.workers.channel import send
from ziprerank.inputs.workers.limits import PageLimits
from ziprerank.inputs.workers.pool import close_workers, pool
from ziprerank.reranker import Reranker

HASTY = PageLimits(timeout=0.5)
PATIENT = PageLimits(timeout=3600.0)  # a test that waits for it never ends
OFF = PageLimits("off")
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a program started in the background ignores
from ziprerank import Reranker
from ziprerank.inputs.workers.pool import pool

def report(done, total):
    print(*pool().pids(), flush=True)

Reranker.from_bundle(check="size", page_timeout=3600).rank("invoice", sys.argv[1], progress=report)
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    file = tmp_path / "endless.pdf"
    file.write_bytes(endless_pdf())
    return file


@pytest.fixture
def fresh() -> Iterator[None]:
    """No worker at the begin, so that the next page starts one; those that a test could not start leave no trace."""
    close_workers()
    yield
    close_workers()


def gone(pid: int) -> bool:
    """Whether a process has ended; it may wait for its parent to ask how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def at_work() -> list[int]:
    """Workers that have a request."""
    return [worker.pid for worker in pool()._workers if worker.since is not None]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_page_that_does_not_end_costs_one_page(endless: Path, sample: Path, as_bytes: bool) -> None:
    page: PageInput = endless.read_bytes() if as_bytes else endless
    name = "PDF bytes" if as_bytes else str(endless)
    with open_pages([sample, page], RULES, limits=HASTY) as sources:
        first = sources[0].prepare()
        workers = pool().pids()
        with pytest.raises(PageError) as caught:
            sources[18].prepare()
        assert str(caught.value) == f"{name}, page 1: rendering it took more than 0.5 s (page_timeout)"
        assert np.array_equal(sources[0].prepare(), first)
        assert any(gone(pid) for pid in workers)  # the one that hung is replaced


def test_a_ranking_names_the_candidate_that_does_not_end(small_pages: Path, endless: Path, sample: Path) -> None:
    reranker = Reranker.from_bundle(small_pages, page_timeout=0.5)
    with pytest.raises(PageError, match=r"candidate 2 \(.*endless.pdf, page 1\): .* 0.5 s"):
        reranker.rank("invoice", [Pdf(sample, "1-2"), endless])
    assert len(reranker.rank("dividend", sample)) == 18


def test_a_jpeg_of_thousands_of_scans_costs_one_page() -> None:
    data = scans_jpeg(2000, side=4000)
    assert refusal(data, HASTY) == "bytes: decoding it took more than 0.5 s (page_timeout)"
    assert refusal(opened(data), HASTY) == "image: decoding it took more than 0.5 s (page_timeout)"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of memory that the system keeps")
def test_an_image_that_takes_too_much_memory_costs_one_page() -> None:
    small = PageLimits(memory=64 << 20)
    data = white_png(5000)
    assert len(data) < 200_000
    assert refusal(data, small) == "bytes: decoding it took more than 67,108,864 bytes of memory (page_memory_bytes)"
    assert prepared(data).min() == 255


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of memory that the system keeps")
def test_a_pdf_page_that_takes_too_much_memory_costs_one_page() -> None:
    """Its drawing instructions are mostly blanks, a thousand times as many as there are bytes in the file."""
    content = zlib.compress(b"0 0 300 300 re f" + b" " * (200 << 20), 9)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 600]/Contents 4 0 R>>",
        b"<</Filter/FlateDecode/Length %d>>stream\n%b\nendstream" % (len(content), content),
    ]
    data = pdf_of(objects)
    assert len(data) < 250_000
    assert "more than 33,554,432 bytes of memory (page_memory_bytes)" in refusal(data, PageLimits(memory=32 << 20))
    assert prepared(data).min() == 0


@pytest.mark.usefixtures("fresh")
def test_a_reader_that_crashes_costs_one_page(endless: Path, sample: Path) -> None:
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(PageError) as caught:
            page.prepare()
        told.append(str(caught.value))

    with open_pages(endless, RULES, limits=PATIENT) as (page,):
        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: len(at_work()) == 1)
        os.kill(*at_work(), signal.SIGKILL)
        asking.join(60)
    assert not asking.is_alive()
    why = "rendering it ended its process (SIGKILL): its decoder crashed, or the system was out of memory"
    assert told == [f"{endless}, page 1: {why}"]
    with open_pages(sample, RULES) as sources:
        assert sources[0].prepare().min() < 128


@pytest.mark.usefixtures("fresh")
def test_a_worker_that_dies_while_it_has_no_page_is_replaced(sample: Path) -> None:
    with open_pages(sample, RULES, limits=PageLimits(1)) as sources:
        before = sources[3].prepare()
        (pid,) = pool().pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: gone(pid))
        assert np.array_equal(sources[3].prepare(), before)
        assert pool().pids() != [pid]


@pytest.mark.usefixtures("fresh")
def test_a_progress_callback_ends_a_ranking_whose_page_hangs(small_pages: Path, endless: Path) -> None:
    class Enough(Exception):
        pass

    workers: list[int] = []

    def stop(_done: int, _total: int) -> None:
        workers.extend(at_work())
        if workers:
            raise Enough

    with pytest.raises(Enough):
        Reranker.from_bundle(small_pages, page_timeout=3600).rank("invoice", endless, progress=stop)
    assert gone(workers[0])


def test_ctrl_c_ends_a_ranking_whose_page_hangs(endless: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(endless)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pids = process.stdout.readline().split()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert pids
    assert all(gone(int(pid)) for pid in pids)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs signals for a connection that ends")
@pytest.mark.usefixtures("fresh")
def test_what_comes_on_its_connection_does_not_end_a_worker(endless: Path) -> None:
    """The system may signal late that a request has come, when the worker is at it already."""

    def worked(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])

    with open_pages(endless, RULES, limits=PATIENT) as sources, ThreadPoolExecutor(1) as threads:
        page = threads.submit(sources[0].prepare)
        wait_until(lambda: bool(at_work()))
        (worker,) = pool()._workers
        wait_until(lambda: worked(worker.pid) > 20)  # ticks: it is at the page, not at its start
        send(worker._link, {"do": "pages", "seconds": 1})
        before = worked(worker.pid)
        wait_until(lambda: worked(worker.pid) > before + 5)
        assert not gone(worker.pid)
        close_workers()
        with pytest.raises(PageError):
            page.result()


def test_workers_end_with_a_process_that_is_killed(endless: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(endless)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pids = process.stdout.readline().split()
        assert pids
        process.kill()
        said = process.communicate(timeout=60)[1]  # which ends when no process holds it any more
    wait_until(lambda: all(gone(int(pid)) for pid in pids))
    assert said == ""


@pytest.mark.usefixtures("fresh")
def test_a_worker_inherits_nothing(sample: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        with open_pages(sample, RULES, limits=PageLimits(1)) as sources:
            sources[0].prepare()
            (pid,) = pool().pids()
            folder = Path(f"/proc/{pid}/fd")
            held = {str(entry.readlink()) for entry in folder.iterdir()}
            assert str(Path(f"/proc/self/fd/{writing}").readlink()) not in held
            status = Path(f"/proc/{pid}/status").read_text()
            ignored = int(re.findall(r"SigIgn:\s*(\w+)", status)[0], 16)
            assert ignored >> (signal.SIGINT - 1) & 1
            assert os.getsid(pid) != os.getsid(0)  # no terminal reaches it
            assert str((folder / "1").readlink()) == str((folder / "2").readlink()) == os.devnull
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.usefixtures("fresh")
def test_a_file_in_memory_is_given_back(sample: Path) -> None:
    def held() -> tuple[int, int]:
        (pid,) = pool().pids()
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path("/proc/self/fd").iterdir()))

    def read(data: bytes) -> None:
        with open_pages([data, encoded(Image.new("RGB", (320, 256)), "JPEG")], RULES, limits=PageLimits(1)) as sources:
            sources[0].prepare()
            sources[-1].prepare()

    data = sample.read_bytes()
    read(data)
    before = held()
    for _ in range(3):
        read(data)
    assert all(now <= then for now, then in zip(held(), before, strict=True))


def test_a_forked_process_has_its_own_workers(sample: Path) -> None:
    program = """
import os, sys
from ziprerank.bundle import Bundle
from ziprerank.inputs.pages import open_pages
from ziprerank.inputs.workers.pool import pool

rules = Bundle.load(check="none").image
with open_pages(sys.argv[1], rules) as sources:
    before = sources[0].prepare().tobytes()
    parents = pool().pids()
    child = os.fork()
    if child == 0:
        try:
            assert pool().pids() == []
            assert sources[0].prepare().tobytes() == before
            assert not set(pool().pids()) & set(parents)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sources[0].prepare().tobytes() == before
    assert pool().pids() == parents
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(sample)], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pdfium_and_the_decoders_stay_out_of_this_process(small_pages: Path, sample: Path, tmp_path: Path) -> None:
    """So an application may use pypdfium2 itself, in any thread."""
    Image.new("RGB", (400, 300), "white").save(tmp_path / "scan.tiff")
    program = """
import sys
from ziprerank import Reranker
print(Reranker.from_bundle(sys.argv[1]).rank("dividend", sys.argv[2:]).pages)
print([name for name in sys.modules if name.startswith("pypdfium2")])
"""
    command = [sys.executable, "-c", program, str(small_pages), str(sample), str(tmp_path / "scan.tiff")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "19\n[]\n"


def test_in_this_process_pdfium_runs_under_the_public_lock(sample: Path) -> None:
    begun, done = threading.Event(), threading.Event()

    def render() -> None:
        with open_pages(Pdf(sample, "1"), RULES, limits=OFF) as (page,):
            begun.set()
            page.prepare()
            done.set()

    with PDFIUM_LOCK:
        rendering = threading.Thread(target=render)
        rendering.start()
        assert not begun.wait(0.5)  # opening needs the lock too
    rendering.join(60)
    assert done.is_set()
    close_workers()


@pytest.mark.parametrize("kind", ["PDF", "JPEG", "PNG", "TIFF", "GIF", "16 bits"])
def test_the_same_pixels_in_and_out_of_this_process(
    kind: str, sample: Path, noise: Callable[[int, int, int], np.ndarray]
) -> None:
    page: PageInput = sample
    if kind == "16 bits":
        page = png(64, 64, 16, 0, (b"\0" + bytes(range(128))) * 64)
    elif kind != "PDF":
        page = encoded(Image.fromarray(noise(700, 500, 7)), kind)
    with open_pages(page, RULES, limits=PageLimits(2)) as outside, open_pages(page, RULES, limits=OFF) as inside:
        assert len(outside) == len(inside)
        for one, other in zip(outside, inside, strict=True):
            assert (one.source, one.page, one.size) == (other.source, other.page, other.size)
            assert np.array_equal(one.prepare(), other.prepare())
        assert np.array_equal(np.asarray(outside[0].picture(333)), np.asarray(inside[0].picture(333)))


@pytest.mark.parametrize("page", [b"%PDF-1.4 nothing", b"\xff\xd8\xff" + bytes(100), b"GIF89a" + bytes(100)])
def test_the_same_errors_in_and_out_of_this_process(page: bytes) -> None:
    assert refusal(page) == refusal(page, OFF)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (None, "this program is no Python interpreter"),
        ("/bin/false", "did not start .status 1."),
        ("/nothing/here", "/nothing/here cannot be started"),
    ],
)
def test_workers_that_cannot_be_started(
    program: str | None, reason: str, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    monkeypatch.delitem(sys.modules, "multiprocessing.spawn", raising=False)
    with pytest.raises(WorkerError, match=rf"{reason}.* page_workers='off' prepares pages in this process"):
        prepared(sample)
    told = pool().check(PageLimits())
    assert told is not None
    assert re.search(reason, told)
    with open_pages(sample, RULES, limits=OFF) as sources:
        assert len(sources) == 18
    monkeypatch.undo()
    assert pool().check(PageLimits()) is None


def test_a_worker_imports_nothing_from_the_current_folder(sample: Path, tmp_path: Path) -> None:
    for name in ("json", "struct", "socket", "ctypes", "numpy", "ziprerank", "channel"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the current folder')\n")
    program = f"""
import os, sys
sys.path[:] = [entry for entry in sys.path if entry]
os.chdir({str(tmp_path)!r})
from ziprerank.bundle import Bundle
from ziprerank.inputs.pages import open_pages
with open_pages(sys.argv[1], Bundle.load(check="none").image) as sources:
    print(sources[0].prepare().shape[2])
"""
    command = [sys.executable, "-c", program, str(sample)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_relative_path_is_one_of_the_folder_of_its_time(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sample.parent)
    with open_pages(sample.name, RULES) as sources:
        monkeypatch.chdir(tmp_path)
        assert sources[0].source == sample.name
        assert sources[0].prepare().min() < 128


@pytest.mark.usefixtures("fresh")
def test_pages_that_hang_leave_room_for_others(endless: Path, sample: Path) -> None:
    """More pages hang than there are workers; a worker beyond the bound prepares the others."""
    threads = []
    for _ in range(2):
        threads.append(threading.Thread(target=refusal, args=(endless, PageLimits(2, timeout=3600))))
        threads[-1].start()
    wait_until(lambda: len(at_work()) == 2)
    hung = at_work()
    try:
        with open_pages(sample, RULES, limits=PageLimits(2, timeout=3600)) as sources:
            assert sources[0].prepare().min() < 128
        assert set(hung) <= set(at_work())  # they still do
    finally:
        close_workers()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
