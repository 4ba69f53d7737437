"""Measures what attacks cost the service: memory, files, the patience of others, and how soon it is free again.

    python -m bench.serve_recovery OUT.jsonl [--only NAME ...] [-- OPTIONS OF ziprerank serve]

Each attack meets a server of its own with the model in the box, which has ranked one page before.
While the attack lasts, that page is ranked again and again, as an honest client would.
After it, the first such request says how soon the server is free again, and memory and files are read 5 s later.
Memory is the server's and its page workers' together; at most, it is no less than the server's own peak.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from ziprerank.comparison import machine

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from attackers import HEAD, connect, encode, many, noise, rank  # noqa: E402
from hostile_files import endless_pdf, scans_jpeg, white_png  # noqa: E402
from server_process import Server  # noqa: E402

LASTS = 10.0  # seconds that connections are held open
SETTLES = 5.0  # seconds after which memory is read again
JSON = {"Content-Type": "application/json"}

Attack = Callable[[Server, Counter[str]], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=tuple(ATTACKS), default=tuple(ATTACKS))
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)  # argparse would read the service's options as its own
    arguments, options = parser.parse_args(given[:end]), given[end + 1 :]
    with arguments.out.open("w", encoding="utf-8") as out:
        for name in arguments.only:
            row = {"what": "service attacked", "attack": name, "options": options, **measure(ATTACKS[name], options)}
            row |= machine.describe()
            print(json.dumps(row), flush=True)
            out.write(json.dumps(row) + "\n")


def measure(attack: Attack, options: list[str]) -> dict[str, Any]:
    """Runs one attack against a new server and returns what it cost."""
    picture = encode(noise(400, 300))
    with Server(*options) as server:
        rank(server, picture).raise_for_status()
        before = (held(server), server.files())
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # from now on the system counts the peak anew
        answers: Counter[str] = Counter()
        with watched(server, picture) as seen:
            attack(server, answers)
            ended = time.perf_counter()
            while rank(server, picture).status_code != 200:
                time.sleep(0.05)
            recovered = time.perf_counter() - ended
        most = max(seen.memory, round(server.most_memory() / 1e6, 1))
        time.sleep(SETTLES)
        after = (held(server), server.files())
        stopped = server.stop()
    return {
        "rss_mb": {"before": before[0], "most": most, "after": after[0]},
        "files": {"before": before[1], "most": seen.files, "after": after[1]},
        "attack_answers": dict(answers),
        "honest": {"statuses": dict(seen.statuses), "longest_s": round(seen.longest, 2)},
        "recovered_s": round(recovered, 2),
        "exit": stopped,
    }


class Seen:
    """What an honest client and the system saw while an attack lasted."""

    def __init__(self) -> None:
        self.memory = 0.0
        self.files = 0
        self.longest = 0.0
        self.statuses: Counter[str] = Counter()


@contextmanager
def watched(server: Server, picture: str) -> Iterator[Seen]:
    """Ranks the page again and again, and looks at memory and files ten times a second, in threads."""
    seen, over = Seen(), threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.memory = max(seen.memory, held(server))
            seen.files = max(seen.files, server.files())

    def ask() -> None:
        while not over.wait(0.1):
            begun = time.perf_counter()
            try:
                status = str(rank(server, picture).status_code)
            except httpx.TransportError as error:
                status = type(error).__name__
            seen.statuses[status] += 1
            seen.longest = max(seen.longest, time.perf_counter() - begun)

    threads = [threading.Thread(target=look), threading.Thread(target=ask)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def held(server: Server) -> float:
    """Returns the resident MB of the server and the processes that it started."""
    processes = [server.pid]
    for one in processes:  # grows
        with suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                processes += map(int, (thread / "children").read_text().split())
    pages = 0
    for one in processes:
        with suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def silent(server: Server, answers: Counter[str]) -> None:
    """Row 1: connections that send nothing, or a header that does not end."""
    starts = ("", f"{HEAD}X: ")
    with many(1000, lambda number: connect(server, starts[number % 2], source=f"127.0.0.{2 + number % 4}")):
        time.sleep(LASTS)
    answers["connections"] += 1000


def words(server: Server, answers: Counter[str]) -> None:
    """Row 2: long words, to be drawn as pages."""
    post(server, {"documents": ["w" * 15_000] * 20, "render_text": True}, answers)


def returned(server: Server, answers: Counter[str]) -> None:
    """Row 3: a PDF of 5.6 MB with 20 pages, to be returned with each of them."""
    pdf = (ROOT / "python" / "examples" / "sample.pdf").read_bytes()
    pdf += b"%" * (5_600_000 - len(pdf))
    post(server, {"documents": [{"pdf": encode(pdf)}], "return_documents": True}, answers)


def values(server: Server, answers: Counter[str]) -> None:
    """Row 4: 900,000 small values where documents are expected."""
    post(server, b'{"query": "x", "documents": [' + b"1," * 900_000 + b"1]}", answers)


def announced(server: Server, answers: Counter[str]) -> None:
    """Row 5: requests that announce the largest body and send one byte."""
    with many(64, lambda _: connect(server, f"{HEAD}Content-Length: {64 << 20}\r\n\r\n{{")):
        time.sleep(LASTS)
    answers["connections"] += 64


def unread(server: Server, answers: Counter[str]) -> None:
    """Row 5: clients that do not read their answers of 13 MB."""
    body = json.dumps({"query": "x", "documents": [encode(noise(1600, 2000))], "return_documents": True}).encode()
    request = f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with ExitStack() as stack:
        for _ in range(32):
            with suppress(OSError):
                stack.enter_context(connect(server, request, buffer=4096))
                answers["connections"] += 1
        time.sleep(LASTS)


def bombs(server: Server, answers: Counter[str]) -> None:
    """Row 13: pictures of 36 million pixels in 0.1 MB each."""
    post(server, {"documents": [encode(white_png(6000))] * 8}, answers)


def scans(server: Server, answers: Counter[str]) -> None:
    """A progressive JPEG of 5,000 scans."""
    post(server, {"documents": [encode(scans_jpeg(5000, 4000))]}, answers)


def endless(server: Server, answers: Counter[str]) -> None:
    """PDFs whose form PDFium visits for ever."""
    threads = [
        threading.Thread(target=post, args=(server, {"documents": [{"pdf": encode(endless_pdf())}]}, answers))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


ATTACKS: dict[str, Attack] = {
    "1,000 silent connections": silent,
    "20 words of 15,000 letters": words,
    "a PDF, returned with each page": returned,
    "900,000 small values": values,
    "64 announced bodies": announced,
    "32 unread answers": unread,
    "8 pictures of 36 million pixels": bombs,
    "a JPEG of 5,000 scans": scans,
    "8 PDFs without end": endless,
}


def post(server: Server, body: dict[str, Any] | bytes, answers: Counter[str]) -> None:
    """Sends a request and counts its answer."""
    data = body if isinstance(body, bytes) else json.dumps({"query": "x", **body}).encode()
    answer = httpx.post(f"{server.url}/v1/rerank", content=data, headers=JSON, timeout=300)
    answers[str(answer.status_code)] += 1


if __name__ == "__main__":
    main()
