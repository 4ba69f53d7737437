"""A value for each option that is none of its defaults, for tests that follow options from where they are given."""

from __future__ import annotations

from typing import Any

ENGINE_VALUES: dict[str, Any] = {
    "bundle": "some/bundle",
    "provider": "cuda:1",
    "threads": 3,
    "pool_bytes": 64 << 20,
    "blank": "keep",
    "page_cache": "some/folder",
    "page_cache_bytes": 1 << 30,
    "check": "size",
    "page_workers": 2,
    "page_timeout": 5.5,
    "page_memory_bytes": 1 << 29,
    "max_prompt_tokens": 2000,
}
"""By the fields of ``EngineOptions``."""

CALL_VALUES: dict[str, Any] = {
    "keep_ratio": 0.25,
    "window": 7,
    "stride": 3,
    "strategy": "windows",
    "first_stage": "text",
    "candidates": 9,
    "instruction": "Find tables",
    "on_bad_page": "skip",
    "budget_ms": 750.5,
}
"""By the parameters of ``Reranker.rank`` that are options everywhere; ``top_k`` has other names in places."""
