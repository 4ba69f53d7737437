"""Signals while requests are under way (row 7)."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from attackers import encode, rank, until
from server_process import Server

STUCK = "import time, ziprerank.serve.documents as found\nfound.lay_out = lambda *more: time.sleep(600)"


def test_sighup_ends_nothing(bundle_path: Path, make_pdf: object) -> None:
    pages = encode(make_pdf(150))  # type: ignore[operator]
    body = {"query": "x", "documents": [{"pdf": pages}], "window": 2, "stride": 1, "top_n": 1}
    with Server("--bundle", bundle_path) as server, ThreadPoolExecutor(8) as threads:
        running = [threads.submit(httpx.post, f"{server.url}/v1/rerank", json=body, timeout=120) for _ in range(8)]
        until(server, "ziprerank_requests_in_flight", 8)
        server.signal(signal.SIGHUP)
        assert [request.result().status_code for request in running] == [200] * 8
        assert any("SIGHUP" in line["message"] for line in server.log)
        assert server.stop() == 0


def test_sigterm_ends_a_process_whose_decoder_does_not_end(bundle_path: Path) -> None:
    options = ["--drain", 1, "--timeout", 600]
    with Server("--bundle", bundle_path, *options, before=STUCK) as server, ThreadPoolExecutor(1) as threads:
        request = threads.submit(rank, server, "plain words", render_text=True)
        until(server, "ziprerank_requests_in_flight", 1)
        time.sleep(0.5)  # until the text is being drawn
        server.terminate()
        assert request.result().status_code == 503
        assert server.wait(30) == 1
        assert any("the process ends without it" in line["message"] for line in server.log)
