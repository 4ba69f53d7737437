"""The texts of PDF pages, read once for each file and kept, and the BM25 indexes over them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from ziprerank.errors import PageError
from ziprerank.first_stage.bm25 import Index, words_of
from ziprerank.inputs.page_source import PageSource
from ziprerank.inputs.prepared import TextPlace, WarningPage

MOST_CHARACTERS = 64 << 20  # of all texts kept: about 20,000 dense pages
MOST_WORDS = 8 << 20  # of all indexes kept
_PAGE = 64  # characters, and words of an index, that a page counts for beside its own: one without any takes memory too
_AT_ONCE = 16  # pages that are read in one request, after which a caller may end the ranking

_File = tuple[object, ...]
_Page = tuple[_File, int]


class TextStore:
    """Keeps the texts of files that were read, the latest used ones, by their content and owner. Thread-safe."""

    def __init__(self, most_characters: int = MOST_CHARACTERS, most_words: int = MOST_WORDS) -> None:
        """Keeps at most so many characters, and indexes over so many words, but always the latest of each.

        Each page counts for 64 of both beside its own.
        """
        self._most_characters = most_characters
        self._most_words = most_words
        self._files: OrderedDict[_File, dict[int, str | None]] = OrderedDict()
        self._indexes: OrderedDict[tuple[_Page, ...], tuple[Index, int]] = OrderedDict()
        self._characters = self._words = 0  # counted as they come and go
        self._lock = threading.Lock()
        self.read = 0  # pages that were read from files so far

    def texts(
        self,
        sources: Sequence[PageSource],
        chosen: Sequence[int],
        owner: str = "",
        most_without: int | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> dict[int, tuple[_Page, str] | None] | None:
        """Returns the text of each candidate in ``chosen``, with what names its page; None for one without.

        Args:
            sources: All candidates.
            chosen: Indices of those whose texts are wanted.
            owner: Texts are found again by this owner alone.
            most_without: More candidates without text than this end the reading.
            waiting: Called after every few pages that are read; may raise to end the reading.

        Returns:
            The texts, or None if there are more than ``most_without`` candidates without.
        """
        found: dict[int, tuple[_Page, str] | None] = {}
        places: dict[_File, list[tuple[int, TextPlace]]] = {}
        for index in chosen:
            source = sources[index]
            place = source.text_place() if isinstance(source, WarningPage) else None
            key = None if place is None else place.file.identity()
            if place is None or key is None:
                found[index] = None
            else:
                places.setdefault((owner, *key), []).append((index, place))
        without = len(found)
        for key, wanted in places.items():
            for start in range(0, len(wanted), _AT_ONCE):
                if most_without is not None and without > most_without:
                    return None
                part = wanted[start : start + _AT_ONCE]
                texts = self._read(key, part, waiting)
                for index, place in part:
                    text = texts.get(place.page)
                    found[index] = None if text is None else ((key, place.page), text)
                    without += text is None
        return None if most_without is not None and without > most_without else found

    def index(self, texts: Sequence[tuple[_Page, str]]) -> Index:
        """Returns BM25 over the texts, made anew or as it was made before."""
        key = tuple(page for page, _ in texts)
        with self._lock:
            if key in self._indexes:
                self._indexes.move_to_end(key)
                return self._indexes[key][0]
        words = [words_of(text) for _, text in texts]
        index = Index(words)
        with self._lock:
            if key not in self._indexes:  # another thread may have made it too
                size = sum(map(len, words)) + _PAGE * len(words)
                self._indexes[key] = index, size
                self._words += size
            while len(self._indexes) > 1 and self._words > self._most_words:
                self._words -= self._indexes.popitem(last=False)[1][1]
        return index

    def _read(
        self, key: _File, part: Sequence[tuple[int, TextPlace]], waiting: Callable[[], None]
    ) -> dict[int, str | None]:
        """Returns the texts of pages of one file, reading those that are not kept."""
        with self._lock:
            kept = dict(self._files.get(key, {}))
            if key in self._files:
                self._files.move_to_end(key)
        missing = sorted({place.page for _, place in part} - kept.keys())
        if not missing:
            return kept
        file = part[0][1].file
        try:
            read = dict(zip(missing, file.texts(missing), strict=True))
        except PageError:  # it took too long, or was given up: this time the pages count as pages without text
            waiting()
            return kept
        with self._lock:
            pages = self._files.setdefault(key, {})
            self._characters += _size(read) - _size({page: pages[page] for page in read.keys() & pages.keys()})
            pages.update(read)
            self._files.move_to_end(key)
            self.read += len(missing)
            while len(self._files) > 1 and self._characters > self._most_characters:
                self._characters -= _size(self._files.popitem(last=False)[1])
        waiting()
        return kept | read


def _size(pages: Mapping[int, str | None]) -> int:
    return sum(_PAGE + len(text or "") for text in pages.values())
