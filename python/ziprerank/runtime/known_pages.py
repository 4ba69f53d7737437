"""Which pages a reranker has put into the engine's memory, so that a plan need not render a page to know."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence

from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.prepared import WarningPage

_BLOCK = 32  # rows of the engine's pool that a page takes at a time (PagePool::kBlockRows)


class KnownPages:
    """The pages of PDFs that were ranked last, while they fit into the pool. Thread-safe.

    The pool finds a page by its pixels and drops those that were used longest ago; this goes by a file's path, size and
    date, or by the digest of its bytes, and supposes that nobody else fills the pool.
    """

    def __init__(self, rows: int) -> None:
        """``rows`` is how many visual tokens the pool has room for."""
        self._rows = rows
        self._lock = threading.Lock()
        self._pages: OrderedDict[Hashable, int] = OrderedDict()
        self._held = 0  # rows of all of them

    def used(self, sources: Sequence[PageSource], indices: Iterable[int], factor: int, owner: str) -> None:
        """Notes that the pages of ``indices`` are in memory; ``factor`` is the side of a visual token in px."""
        keys = [(key_of(sources[index], owner), sources[index].size) for index in indices]
        with self._lock:
            for key, (height, width) in keys:
                if key is not None:
                    self._held -= self._pages.pop(key, 0)
                    self._pages[key] = -(-height * width // factor**2 // _BLOCK) * _BLOCK
                    self._held += self._pages[key]
            while self._held > self._rows:
                self._held -= self._pages.popitem(last=False)[1]

    def known(self, sources: Sequence[PageSource], indices: Iterable[int], owner: str) -> set[int]:
        """Returns those of ``indices`` that are in memory."""
        keys = {index: key_of(sources[index], owner) for index in indices}
        with self._lock:
            return {index for index, key in keys.items() if key in self._pages}


def key_of(source: PageSource, owner: str) -> Hashable:
    """Returns what names a page of a PDF that an owner ranks; None for other pages, which nothing but pixels names."""
    place = source.text_place() if isinstance(source, WarningPage) else None
    identity = None if place is None else place.file.identity()
    return None if place is None or identity is None else (owner, *identity, place.page, source.size)
