"""The service under load: clients that ask without a pause, then SIGTERM in the middle of it.

    python -m bench.serve FILE.pdf OUT.jsonl [--clients 32] [--seconds 60] [-- OPTIONS OF ziprerank serve]

Every client asks one of ``QUERIES`` about one of a few runs of pages; a 429 is waited out for as long as its
Retry-After says. First each of these requests is sent alone: those answers are what the answers under load are
compared with, and from then on page features come from the cache. ``bound_s`` is the queue's length times the longest
time that any request had the engine: what no accepted request should exceed, but for reading and rendering.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from . import machine

QUERIES = ("dividend shareholders board directors", "how to upgrade a package", "fish soup", "annual meeting")
ENGINE = ("pages", "tokenize", "vision", "rerank")  # stages of a request's turn
PAGES = 8
RUNS = 2  # of pages
PAUSE = 1.0  # seconds after a refusal that does not say how long


@dataclass
class Seen:
    """What all clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)
    different: int = 0
    refused: int = 0  # connections, after the signal
    broken: int = 0  # connections that ended before an answer
    after_signal: Counter[int] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("options", nargs="*", help="passed on to ziprerank serve")
    arguments = parser.parse_args()
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "ziprerank.cli", "serve", "--port", "0", *arguments.options]
        server = subprocess.Popen(command, stderr=log)
        try:
            url = wait_for(server, log)
            row = asyncio.run(measure(server, url, arguments.pdf, arguments.clients, arguments.seconds))
        finally:
            server.kill()
            server.wait()
    row = {"what": "service under load", "document": arguments.pdf.name, "options": arguments.options, **row}
    row |= machine.describe()
    print(json.dumps(row, indent=1))
    arguments.out.write_text(json.dumps(row) + "\n", encoding="utf-8")


def wait_for(server: subprocess.Popen[bytes], log: Any) -> str:
    """The URL, once the service is warm."""
    while server.poll() is None:
        log.seek(0)
        lines = [json.loads(line) for line in log if line.startswith("{") and line.endswith("\n")]
        if any(line["message"] == "ready" for line in lines):
            return next(str(line["url"]) for line in lines if line["message"] == "listening")
        time.sleep(0.1)
    log.seek(0)
    raise RuntimeError(f"the server did not start: {log.read()}")


async def measure(server: subprocess.Popen[bytes], url: str, pdf: Path, clients: int, seconds: float) -> dict[str, Any]:
    data = base64.b64encode(pdf.read_bytes()).decode()
    bodies = [
        {"query": query, "documents": [{"pdf": data, "pages": f"{start + 1}-{start + PAGES}"}], "include": ["timings"]}
        for query, start in itertools.product(QUERIES, range(0, RUNS * PAGES, PAGES))
    ]
    packed = [json.dumps(body).encode() for body in bodies]
    seen, memory, stopping = Seen(), [], asyncio.Event()
    limits = httpx.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        limit = (await client.get("/info")).json()["limits"]["queue"]
        alone = [await ask(client, body) for body in packed]
        wanted = [scores(answer.raise_for_status().json()) for answer in alone]
        begun = [resident(server.pid)]
        tasks = [
            asyncio.create_task(run_client(client, number, packed, wanted, seen, stopping)) for number in range(clients)
        ]
        started = time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            await asyncio.sleep(min(1.0, seconds - spent))
            memory.append(resident(server.pid))
        stopping.set()
        signalled = time.perf_counter()
        server.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(server.wait)
        drained = time.perf_counter() - signalled
        await asyncio.gather(*tasks)
    passes = np.array(seen.engine)
    return {
        "clients": clients,
        "seconds": seconds,
        "pages": PAGES,
        "queue": limit,
        "statuses": {str(code): count for code, count in sorted(seen.statuses.items())},
        "different_from_alone": seen.different,
        "answers_a_second": round(seen.statuses[200] / seconds, 2),
        "latency_s": {f"p{q}": float(f"{np.percentile(seen.seconds, q):.4g}") for q in (50, 95, 99)},
        "engine_s": {"mean": float(f"{passes.mean():.4g}"), "max": float(f"{passes.max():.4g}")},
        "bound_s": float(f"{limit * passes.max():.4g}"),
        "rss_mb": {"start": begun[0], "end": memory[-1], "most": max(memory)},
        "sigterm": {
            "answered": {str(code): count for code, count in sorted(seen.after_signal.items())},
            "refused_connections": seen.refused,
            "broken_connections": seen.broken,
            "seconds": round(drained, 2),
            "exit": status,
        },
    }


async def run_client(
    client: httpx.AsyncClient,
    number: int,
    bodies: list[bytes],
    wanted: list[dict[int, float]],
    seen: Seen,
    stopping: asyncio.Event,
) -> None:
    """Asks until the signal; what was under way then is waited for."""
    for turn in itertools.count(number):
        if stopping.is_set():
            return
        which = turn % len(bodies)
        started = time.perf_counter()
        try:
            answer = await ask(client, bodies[which])
        except httpx.ConnectError:
            seen.refused += 1
            return
        except httpx.TransportError:
            seen.broken += 1
            return
        if stopping.is_set():
            seen.after_signal[answer.status_code] += 1
            return
        seen.statuses[answer.status_code] += 1
        if answer.status_code != 200:
            await asyncio.sleep(float(answer.headers.get("Retry-After", PAUSE)))
            continue
        seen.seconds.append(time.perf_counter() - started)
        body = answer.json()
        seen.engine.append(sum(body["meta"]["timings_ms"][stage] for stage in ENGINE) / 1e3)
        found = scores(body)
        same = found.keys() == wanted[which].keys()
        seen.different += not (same and all(abs(found[page] - wanted[which][page]) <= 1e-6 for page in found))


async def ask(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    return await client.post("/v1/rerank", content=body, headers={"Content-Type": "application/json"})


def scores(answer: dict[str, Any]) -> dict[int, float]:
    return {result["page"]: result["relevance_score"] for result in answer["results"]}


def resident(process: int) -> float:
    """Resident MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


if __name__ == "__main__":
    main()
