"""The HTTP service in a process on the hollow GPU, which fails: ``python serving.py BUNDLE``; prints the answers."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from ziprerank.reranker import Reranker
from ziprerank.serve.app import create_app

from hollow.control import fail, limit, live


def main(bundle: str) -> dict[str, Any]:
    """Asks for more than there is room for, for less, and again when the GPU is lost."""
    reranker = Reranker.from_bundle(bundle, provider="cuda", pool_bytes=1 << 24, blank="keep")
    answers: dict[str, Any] = {}
    with TestClient(create_app(reranker), base_url="http://localhost") as client:

        def get(name: str) -> None:
            answer = client.get("/ready")
            answers[name] = [answer.status_code, answer.json()]

        def rank(name: str, pages: int) -> None:
            body = {"query": "dividend", "keep_ratio": 1, "documents": [_page(seed) for seed in range(pages)]}
            answer = client.post("/v1/rerank", json=body)
            answers[name] = [answer.status_code, answer.json()]

        while client.get("/ready").status_code != 200:
            time.sleep(0.05)
        rank("first", 3)  # each of the three sets of buffers has room for a page
        limit(live())
        rank("too many", 20)
        rank("fewer", 1)
        get("ready after too many")
        fail("launch:5:719:lost")
        rank("lost", 2)
        rank("after it", 1)
        get("ready after lost")
    return answers


def _page(seed: int) -> dict[str, str]:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (288, 288, 3), np.uint8)).save(file, "PNG")
    return {"image": base64.b64encode(file.getvalue()).decode()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
