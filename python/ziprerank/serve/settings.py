"""What an operator decides about the service; every field is a flag of ``ziprerank serve`` and a variable."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ziprerank.errors import InvalidInput

Fetch = Literal["off", "public", "listed"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of one service. Raises InvalidInput for values under which no request could be answered."""

    model_name: str | None = None
    """the name that answers carry; None: the name of the bundle's checkpoint"""
    api_keys: tuple[str, ...] = ()
    """any of them opens what ranks and ``/info``; none: no key is needed"""
    cors_origins: tuple[str, ...] = ()
    web_page: bool = True

    queue: int = 16
    """requests under way: being read, prepared, waiting for the engine, or run"""
    timeout: float = 60.0
    """seconds from a request's first byte to its answer"""
    drain: float = 30.0
    """seconds that accepted requests have after SIGTERM"""
    workers: int = min(4, os.cpu_count() or 1)
    """threads that decode and render pages while the engine runs"""

    max_body_bytes: int = 64 * MIB
    max_held_bytes: int = 256 * MIB
    """bodies and fetched files of all requests under way together"""
    max_pages: int = 500
    """candidates of one request"""
    max_image_pixels: int = 40_000_000
    """of one image before it is decoded; A4 at 600 dpi has 35 million"""
    max_total_pixels: int = 1_500_000_000
    """of all images of one request"""

    fetch: Fetch = "off"
    """``public``: URLs whose host has public addresses; ``listed``: those of ``fetch_hosts`` only"""
    fetch_hosts: tuple[str, ...] = ()
    """``example.com`` or ``*.example.com``; a listed host may have a private address"""
    fetch_bytes: int = 32 * MIB
    fetch_timeout: float = 10.0

    text_font: Path | None = None
    """the font of ``render_text``; None: Pillow's own, which has Latin letters only"""

    def __post_init__(self) -> None:
        for name in ("queue", "workers", "max_body_bytes", "max_held_bytes", "max_pages", "max_image_pixels"):
            _at_least_one(name, getattr(self, name))
        for name in ("max_total_pixels", "fetch_bytes"):
            _at_least_one(name, getattr(self, name))
        for name in ("timeout", "drain", "fetch_timeout"):
            if not 0 < getattr(self, name) < 86_400:
                raise InvalidInput(f"{name} {getattr(self, name)}: must be over 0 and under 86400 seconds")
        if self.fetch not in ("off", "public", "listed"):
            raise InvalidInput(f"fetch {self.fetch!r}: must be 'off', 'public' or 'listed'")
        if (self.fetch == "listed") != bool(self.fetch_hosts):
            raise InvalidInput(f"fetch {self.fetch!r} with {len(self.fetch_hosts)} hosts: give hosts for 'listed' only")
        if self.max_held_bytes < self.max_body_bytes:
            raise InvalidInput(
                f"max_held_bytes {self.max_held_bytes:,} is under max_body_bytes {self.max_body_bytes:,}: raise it"
            )
        if any(not key.strip() for key in self.api_keys):
            raise InvalidInput("an API key is empty: leave it out, or give one")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InvalidInput(f"{name} {value}: must be at least 1")
