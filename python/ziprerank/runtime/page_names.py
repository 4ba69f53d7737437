"""What finds a page's features in an engine's pool again without its pixels, so that it is not rendered once more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.prepared import WarningPage

MOST_NAMES = 1 << 16  # some 30 MB


@runtime_checkable
class NamingWindow(Protocol):
    """A window of an engine that finds pages by name, as the C++ engine's are."""

    def find_named(self, slot: int, name: bytes) -> bool: ...
    def name(self, slot: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Named:
    """A page that was encoded before: its name in the engine, and what was known of its pixels."""

    name: bytes
    warnings: tuple[str, ...]


class PageNames:
    """Keeps the names of pages of files, the latest used ones, by file, page and owner. Thread-safe."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        """Keeps at most so many names."""
        self._most = most
        self._names: OrderedDict[tuple[object, ...], Named] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: PageSource, owner: str) -> Named | None:
        """Returns what is known of a page; None if it is of no file, or was not encoded for this owner."""
        key = _key(source, owner)
        with self._lock:
            if key is None or key not in self._names:
                return None
            self._names.move_to_end(key)
            return self._names[key]

    def held(self, engine: Any, sources: Sequence[PageSource], indices: Iterable[int], owner: str) -> set[int]:
        """Returns those of ``indices`` whose features are in the pool of ``engine`` now; none if it cannot say."""
        holds = getattr(engine, "holds", None)
        if holds is None:
            return set()
        named = {index: self.get(sources[index], owner) for index in indices}
        return {index for index, one in named.items() if one is not None and holds(one.name)}

    def keep(self, source: PageSource, owner: str, named: Named) -> None:
        """Keeps a name; does nothing for a page that is of no file."""
        key = _key(source, owner)
        if key is None:
            return
        with self._lock:
            self._names[key] = named
            self._names.move_to_end(key)
            while len(self._names) > self._most:
                self._names.popitem(last=False)


def _key(source: PageSource, owner: str) -> tuple[object, ...] | None:
    identity = source.identity() if isinstance(source, WarningPage) else None
    return None if identity is None else (owner, *identity)
