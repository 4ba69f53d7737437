"""Measures the service under load: clients that ask without a pause, then SIGTERM while requests are under way.

    python -m bench.serve FILE.pdf OUT.jsonl [--clients 32] [--seconds 60] [--pages 8] [--attacks]
        [-- OPTIONS OF ziprerank serve]

Every client asks one of ``QUERIES`` about one of a few page ranges; after a 429 it waits as long as Retry-After says.
First each of these requests is sent alone, and the answers under load are compared with these answers.
From then on page features are in memory, and with the model in the box a pass over 8 pages takes at most about a second
on two cores, so that each client has many turns a minute.

With ``--attacks`` the clients of ``bench/serve_attacks.py`` keep the service busy meanwhile.

``bound_s`` is the queue's length times the longest time that any request had the engine.
No accepted request should take longer, apart from reading and rendering.
``waited`` is the share of their turns in which requests waited for pixels: ``fresh`` while the engine encoded the
pages, ``cached`` with their features in memory.
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
from ziprerank.comparison import machine

from bench.serve_attacks import attack

QUERIES = ("dividend shareholders board directors", "how to upgrade a package", "fish soup", "annual meeting")
ENGINE = ("pages", "tokenize", "vision", "rerank")  # stages of a request's turn with the engine
RUNS = 2  # page ranges
PAUSE = 1.0  # seconds to wait after a refusal without Retry-After


@dataclass
class Seen:
    """The answers and failures that the clients saw.

    Attributes:
        statuses: answers by HTTP status, before the signal.
        seconds: latency of each accepted request.
        turns: seconds with the engine by stage, for each accepted request.
        different: answers that differ from the one to the same request sent alone.
        refused: connections refused after the signal.
        broken: connections that ended before an answer.
        after_signal: answers by HTTP status, after the signal.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    turns: list[dict[str, float]] = field(default_factory=list)
    different: int = 0
    refused: int = 0
    broken: int = 0
    after_signal: Counter[int] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pages", type=int, default=8, help="of one request")
    parser.add_argument("--attacks", action="store_true", help="beside clients that do not behave")
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)  # argparse would read the service's options as its own
    arguments, options = parser.parse_args(given[:end]), given[end + 1 :]
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "ziprerank.cli", "serve", "--port", "0", *options]
        server = subprocess.Popen(command, stderr=log)
        try:
            url = wait_for(server, log)
            row = asyncio.run(measure(server, url, arguments))
        finally:
            server.kill()
            server.wait()
    row = {"what": "service under load", "document": arguments.pdf.name, "options": options, **row}
    row |= machine.describe()
    print(json.dumps(row, indent=1))
    arguments.out.write_text(json.dumps(row) + "\n", encoding="utf-8")


def wait_for(server: subprocess.Popen[bytes], log: Any) -> str:
    """Waits until the service is warm and returns its URL. Raises RuntimeError if it ends before."""
    while server.poll() is None:
        log.seek(0)
        lines = [json.loads(line) for line in log if line.startswith("{") and line.endswith("\n")]
        if any(line["message"] == "ready" for line in lines):
            return next(str(line["url"]) for line in lines if line["message"] == "listening")
        time.sleep(0.1)
    log.seek(0)
    raise RuntimeError(f"the server did not start: {log.read()}")


async def measure(server: subprocess.Popen[bytes], url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the clients, sends SIGTERM, and returns the row."""
    clients, seconds, pages = arguments.clients, arguments.seconds, arguments.pages
    data = base64.b64encode(arguments.pdf.read_bytes()).decode()
    bodies = [
        {"query": query, "documents": [{"pdf": data, "pages": f"{start + 1}-{start + pages}"}], "include": ["timings"]}
        for query, start in itertools.product(QUERIES, range(0, RUNS * pages, pages))
    ]
    packed = [json.dumps(body).encode() for body in bodies]
    seen, memory, stopping = Seen(), [], asyncio.Event()
    limits = httpx.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        limits_told = (await client.get("/info")).json()["limits"]
        limit, drain = limits_told["queue"], limits_told["drain_s"]
        alone = [await ask(client, body) for body in packed]
        wanted = [scores(answer.raise_for_status().json()) for answer in alone]
        begun = [resident(server.pid)]
        tasks = [
            asyncio.create_task(run_client(client, number, packed, wanted, seen, stopping)) for number in range(clients)
        ]
        attackers = asyncio.create_task(attack(url, stopping)) if arguments.attacks else None
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
        attacked = 0 if attackers is None else await attackers
    passes = np.array([sum(turn.values()) for turn in seen.turns])
    p50, p95, p99 = (float(f"{value:.4g}") for value in np.percentile(seen.seconds, (50, 95, 99)))
    bound = float(f"{limit * passes.max():.4g}")
    fresh = [turn_of(answer.json()) for answer in alone[:RUNS]]  # the first request about each page range
    return {
        "clients": clients,
        "seconds": seconds,
        "pages": pages,
        "queue": limit,
        "attacking_connections": attacked,
        "statuses": {str(code): count for code, count in sorted(seen.statuses.items())},
        "different_from_alone": seen.different,
        "answers_a_second": round(seen.statuses[200] / seconds, 2),
        "latency_s": {"p50": p50, "p95": p95, "p99": p99},
        "engine_s": {"mean": float(f"{passes.mean():.4g}"), "max": float(f"{passes.max():.4g}")},
        "bound_s": bound,
        "waited": {"fresh": waited(fresh), "cached": waited(seen.turns)},
        "rss_mb": {"start": begun[0], "end": memory[-1], "most": max(memory)},
        "sigterm": {
            "answered": {str(code): count for code, count in sorted(seen.after_signal.items())},
            "refused_connections": seen.refused,
            "broken_connections": seen.broken,
            "seconds": round(drained, 2),
            "drain_s": drain,
            "exit": status,
        },
        "holds": {
            "no error but 429": set(seen.statuses) <= {200, 429},
            "p95 within the bound": p95 <= bound,
            "results as with one client": seen.different == 0,
            "accepted requests answered after SIGTERM": set(seen.after_signal) <= {200, 429, 503}
            and seen.after_signal[200] > 0
            and seen.broken == 0,
            "exit 0 within the drain time": status == 0 and drained <= drain,
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
    """Asks until the signal, and waits for the answer that is under way then."""
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
        seen.turns.append(turn_of(body))
        found = scores(body)
        same = found.keys() == wanted[which].keys()
        seen.different += not (same and all(abs(found[page] - wanted[which][page]) <= 1e-6 for page in found))


async def ask(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    """Sends one rerank request."""
    return await client.post("/v1/rerank", content=body, headers={"Content-Type": "application/json"})


def turn_of(answer: dict[str, Any]) -> dict[str, float]:
    """Returns the seconds that an answer's request had the engine, by stage."""
    return {stage: answer["meta"]["timings_ms"][stage] / 1e3 for stage in ENGINE}


def waited(turns: list[dict[str, float]]) -> float:
    """Returns the share of these turns in which the engine waited for pixels."""
    return round(sum(turn["pages"] for turn in turns) / sum(sum(turn.values()) for turn in turns), 4)


def scores(answer: dict[str, Any]) -> dict[int, float]:
    """Returns an answer's relevance scores by page."""
    return {result["page"]: result["relevance_score"] for result in answer["results"]}


def resident(process: int) -> float:
    """Returns a process's resident MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


if __name__ == "__main__":
    main()
