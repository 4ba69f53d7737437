"""Sending documents that the service keeps."""

from __future__ import annotations

from typing import Any

import httpx

MIB = 1 << 20


def send(client: httpx.Client, content: bytes, **more: Any) -> httpx.Response:
    return client.post("/v1/documents", files={"file": ("a.pdf", content)}, **more)
