"""The options of an engine, and the C++ engine that they load."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from ziprerank.bundle import Blank, Bundle, Check
from ziprerank.errors import InvalidInput, MissingDependency, quoted
from ziprerank.inputs.workers.limits import PAGE_MEMORY_BYTES, PAGE_TIMEOUT, PageLimits, WorkersOption
from ziprerank.runtime.onnxruntime import find_runtime
from ziprerank.runtime.providers import prepare
from ziprerank.values import whole_number

if TYPE_CHECKING:
    from ziprerank._engine import Engine

POOL_BYTES = 1 << 30
PAGE_CACHE_BYTES = 4 << 30
MOST_PROMPT_TOKENS = 1 << 20  # that the engine takes
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Everything that decides which engine is loaded and how it runs.

    ``Reranker.from_bundle``, the command line, the HTTP service, batch jobs, Ray and the adapters all take these
    options; the command line and the adapters make theirs from the fields of this class. Values are plain, so that the
    options can be pickled and written as JSON.

    Raises:
        InvalidInput: A value that no engine can use.
    """

    bundle: str | Path | None = field(
        default=None, metadata={"help": "Folder of a bundle. Default: the bundle in the package."}
    )
    provider: str = field(
        default="cpu",
        metadata={
            "help": "Execution provider: cpu, cuda, tensorrt or tensorrt-rtx, with :N a device; auto is cuda where it "
            "can run, else cpu."
        },
    )
    threads: int = field(
        default=0, metadata={"help": "Threads of the engine; 0: as many as the CPUs that this process may use."}
    )
    pool_bytes: int = field(
        default=POOL_BYTES,
        metadata={"help": "Memory for page features, kept over queries; one window must fit."},
    )
    blank: Blank | None = field(
        default=None,
        metadata={"help": "Visual tokens of blank paper: drop or keep them. Default: as the bundle recommends."},
    )
    page_cache: str | Path | None = field(
        default=None,
        metadata={"help": "Folder that keeps page features over restarts; several processes may share it."},
    )
    page_cache_bytes: int = field(default=PAGE_CACHE_BYTES, metadata={"help": "Most bytes in that folder."})
    check: Check = field(
        default="full",
        metadata={"help": "How the bundle's files are checked: full by SHA-256, size by length, none not at all."},
    )
    page_workers: WorkersOption = field(
        default="auto",
        metadata={
            "help": "Child processes that read PDFs and images: a number, auto (one for each CPU that may be used, at "
            "most 4) or off (this process reads them, without the limits below)."
        },
    )
    page_timeout: float = field(
        default=PAGE_TIMEOUT, metadata={"help": "Most seconds that a page, or opening a file, takes there."}
    )
    page_memory_bytes: int = field(
        default=PAGE_MEMORY_BYTES, metadata={"help": "Most memory that a child process takes for a page."}
    )
    max_prompt_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Most text tokens of one pass's prompt, which may hold the query once for each page. Default: as "
            "many as the decoder reads of a full window's pages."
        },
    )

    def __post_init__(self) -> None:
        for name in ("bundle", "page_cache"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else str(value))
        threads = whole_number(self.threads)
        if threads is None or threads < 0:
            raise InvalidInput(
                f"threads={quoted(self.threads)}: must be a whole number; 0 is as many as the CPUs that this process "
                "may use"
            )
        object.__setattr__(self, "threads", threads)
        for name in ("pool_bytes", "page_cache_bytes"):
            value = getattr(self, name)
            count = whole_number(value)
            if count is None or count < 1:
                raise InvalidInput(f"{name}={quoted(value)}: must be a positive number of bytes")
            object.__setattr__(self, name, count)
        if self.blank not in (None, "drop", "keep"):
            raise InvalidInput(
                f"blank={quoted(self.blank)}: must be 'drop' or 'keep'; None is the bundle's recommendation"
            )
        if self.check not in ("full", "size", "none"):
            raise InvalidInput(f"check={quoted(self.check)}: must be 'full', 'size' or 'none'")
        limits = PageLimits(self.page_workers, self.page_timeout, self.page_memory_bytes)
        object.__setattr__(self, "page_workers", limits.workers)
        object.__setattr__(self, "page_timeout", limits.timeout)
        object.__setattr__(self, "page_memory_bytes", limits.memory)
        if self.max_prompt_tokens is not None:
            tokens = whole_number(self.max_prompt_tokens)
            if tokens is None or not 1 <= tokens <= MOST_PROMPT_TOKENS:
                raise InvalidInput(
                    f"max_prompt_tokens={quoted(self.max_prompt_tokens)}: must be a whole number from 1 to "
                    f"{MOST_PROMPT_TOKENS:,}; None is the bundle's own limit"
                )
            object.__setattr__(self, "max_prompt_tokens", tokens)

    @property
    def page_limits(self) -> PageLimits:
        """Where pages are prepared, and what one page may cost there."""
        return PageLimits(self.page_workers, self.page_timeout, self.page_memory_bytes)

    def load_bundle(self) -> Bundle:
        """Loads and checks the bundle. Raises BundleError."""
        return Bundle.load(self.bundle, check=self.check)

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}


class EngineKeywords(TypedDict, total=False):
    """The fields of ``EngineOptions`` but the bundle, for signatures that take them all as keyword arguments."""

    provider: str
    threads: int
    pool_bytes: int
    blank: Blank | None
    page_cache: str | Path | None
    page_cache_bytes: int
    check: Check
    page_workers: WorkersOption
    page_timeout: float
    page_memory_bytes: int
    max_prompt_tokens: int | None


class WindowScores(Protocol):
    """What a window returns; ``ziprerank._engine.WindowScores`` says what each field is."""

    @property
    def scores(self) -> NDArray[np.float32]: ...
    @property
    def kept(self) -> list[NDArray[np.int64]]: ...
    @property
    def text_tokens(self) -> int: ...
    @property
    def visual_tokens(self) -> int: ...
    @property
    def blank_tokens(self) -> int: ...
    @property
    def kept_tokens(self) -> int: ...
    @property
    def encode_ms(self) -> float: ...


class WindowLike(Protocol):
    """The pages of one pass: ``encode`` each slot, then ``score`` any number of queries, then ``close``.

    ``cancel``, from another thread, ends a call under way; the window is then good for ``close`` alone.
    """

    def encode(self, slot: int, pixels: NDArray[np.uint8]) -> bool: ...
    def score(
        self, text_ids: NDArray[np.int64], query_mask: NDArray[np.bool_] | None, keep_ratio: float
    ) -> WindowScores: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


class EngineLike(Protocol):
    """What ``Reranker`` needs of an engine: the C++ engine, or a client of one that runs elsewhere."""

    def window(self, sizes: Sequence[tuple[int, int]], *, owner: str = "") -> WindowLike: ...
    def close(self) -> None: ...
    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def pool(self) -> dict[str, int]: ...


def load_engine(bundle: Bundle, options: EngineOptions | None = None, *, profile: str = "") -> Engine:
    """Loads the C++ engine for ``bundle`` on the installed ONNX Runtime.

    The environment variable ZIPRERANK_TENSORRT_CACHE names the folder for what ``tensorrt`` and ``tensorrt-rtx`` build.

    Args:
        bundle: The bundle whose graphs run.
        options: How they run; ``bundle``, ``check`` and the page cache of the options are not looked at.
        profile: Prefix of the files in which ONNX Runtime records its nodes; empty records none.

    Raises:
        MissingDependency: ONNX Runtime, or a package that the provider needs, is not installed.
        ProviderError: The provider cannot run here.
        BundleError: A file is not the one any more that ``bundle`` was checked with.
        EngineError: A graph cannot be loaded.
    """
    options = options or EngineOptions()
    runtime = find_runtime()
    try:
        from ziprerank._engine import Engine
    except ImportError as error:
        raise MissingDependency(f"ziprerank's engine cannot be imported, install ziprerank again: {error}") from error
    engine = Engine(
        str(bundle.path),
        str(runtime.library),
        provider=options.provider,
        threads=options.threads,
        pool_bytes=options.pool_bytes,
        profile=profile,
        provider_library=prepare(options.provider, runtime),
        cache=os.environ.get("ZIPRERANK_TENSORRT_CACHE", ""),
        blank=options.blank or bundle.defaults.blank,
    )
    bundle.check_unchanged()
    return engine


def options_of(bundle: Bundle, engine: EngineLike) -> EngineOptions:
    """Returns the options that load an engine like ``engine`` again; a page cache is not among them.

    Raises:
        InvalidInput: The engine is not one that these options can load.
    """
    info = engine.info
    if "threads" not in info:
        raise InvalidInput(f"an engine of provider {info['provider']!r} cannot be loaded by options: make it anew")
    return EngineOptions(
        bundle=None if bundle.is_default else str(bundle.path),
        provider=info["provider"],
        threads=info["threads"],
        pool_bytes=info["pool_bytes"],
        blank="drop" if info["drop_blank"] else "keep",
    )


def parse_size(text: str | int) -> int:
    """Returns the bytes of ``"4G"``, ``"512M"`` or a plain number; K, M, G and T are powers of 1024.

    Raises:
        InvalidInput: The text is no size.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE)
    if found is None:
        raise InvalidInput(f"size {quoted(text)}: give bytes, or a number with K, M, G or T, such as 4G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def show_size(count: int) -> str:
    """Returns the shortest text that ``parse_size`` reads as ``count`` bytes, such as ``"4G"``."""
    for unit in ("T", "G", "M", "K"):
        if count % _UNITS[unit] == 0 and count > 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)
