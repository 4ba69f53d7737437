"""Signatures of the C++ engine's binding; the module itself is built from ``python/bindings.cpp``."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy
from numpy.typing import NDArray

class WindowScores:
    @property
    def scores(self) -> NDArray[numpy.float32]: ...  # [K], letter logits in slot order
    @property
    def kept(self) -> list[NDArray[numpy.int64]]: ...  # per page, ascending indices into the page's own visual tokens
    @property
    def text_tokens(self) -> int: ...
    @property
    def visual_tokens(self) -> int: ...  # of all pages, before anything is left out
    @property
    def blank_tokens(self) -> int: ...  # the part of them that was dropped as blank
    @property
    def kept_tokens(self) -> int: ...  # M
    @property
    def layout_ms(self) -> float: ...
    @property
    def encode_ms(self) -> float: ...  # waiting for pages that a GPU was still encoding
    @property
    def rerank_ms(self) -> float: ...  # the run of rerank.onnx: prune + decode

class Window:
    """A reservation of pool rows for a list of pages; pins them until closed."""

    def encode(self, slot: int, pixels: NDArray[numpy.uint8]) -> bool: ...  # [h, w, 3]; True on a cache hit
    def tokens(self, slot: int) -> int: ...  # visual tokens of a filled slot that the model reads
    # Features kept elsewhere, uint8 [tokens(slot), info["row_bytes"]]: `find` fills a slot from the pool alone,
    # `restore` from features read before, `features` copies a filled slot's into `out`.
    def find(self, slot: int, pixels: NDArray[numpy.uint8]) -> bool: ...  # True when the pool had the page
    def restore(self, slot: int, pixels: NDArray[numpy.uint8], features: NDArray[numpy.uint8]) -> bool: ...
    def features(self, slot: int, out: NDArray[numpy.uint8]) -> None: ...
    def score(
        self, text_ids: NDArray[numpy.int64], query_mask: NDArray[numpy.bool_] | None, keep_ratio: float
    ) -> WindowScores: ...
    def close(self) -> None: ...

class EngineProfile(TypedDict):
    """Times are nanoseconds since the epoch; a graph's file counts microseconds since its ``start_ns``."""

    stages: list[tuple[str, int, int, int]]  # stage, start_ns, end_ns, thread
    graphs: list[tuple[str, str, int]]  # graph, file, start_ns

class Engine:
    def __init__(
        self,
        bundle: str,
        runtime_library: str,
        provider: str = "cpu",
        threads: int = 0,
        pool_bytes: int = 1 << 30,
        profile: str = "",  # the prefix of ONNX Runtime's profiles; empty records none
        provider_library: str = "",
        cache: str = "",
        blank: str = "",  # drop | keep; empty: as the bundle recommends
    ) -> None: ...
    def window(self, sizes: Sequence[tuple[int, int]]) -> Window: ...  # (height, width) in pixels of each page
    def end_profile(self) -> EngineProfile: ...  # once; InvalidInput when the engine records none
    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def pool(self) -> dict[str, int]: ...  # rows, used_rows, pinned_rows, pages, hits, misses, evictions

def library() -> str: ...  # path of libziprerank.so, for register_custom_ops_library
